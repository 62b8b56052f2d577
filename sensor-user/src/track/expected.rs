//! Processes that the walks of an adoption have still to find.

use std::sync::Arc;

use skep_event::Process;

/// A process that is believed to be there, or was met by a walk, until [`super::Tracker::settle_expected`].
pub struct Expected {
    pub start_ns: u64,
    /// The image it has not by an exec that was seen.
    pub image: Arc<Process>,
    pub seen: bool,
}
