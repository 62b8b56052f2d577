//! An action within an action.

use std::io;

/// Work that another action is to do somewhere else.
pub type Inner<'a> = &'a dyn Fn() -> io::Result<()>;
