//! PostgreSQL's protocol as a client speaks it: frames, and texts of several statements.

mod framed;
mod split;

pub use framed::{Framed, Frames};
pub use split::{Piece, split};

/// Bytes of a message. A statement has 64 KiB at most; values of parameters come on top.
pub const MAX_MESSAGE: usize = 1 << 20;
