//! What the two halves of a session tell each other, in files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What [`super::inside`] needs to know; passed as a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// `FAMILY@VERSION`.
    pub agent: String,
    /// Folder of the agent's program.
    pub programs: PathBuf,
    /// Search path of the session.
    pub search_path: String,
    /// The one shell command the model asks for.
    pub command: String,
    /// The scratch folder.
    pub scratch: PathBuf,
}

/// How a session ended; written by [`super::inside`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where the stand-in listened.
    pub model: SocketAddr,
    /// The agent's exit code; none if it was ended by a signal.
    pub code: Option<i32>,
    /// Wall-clock time of the agent, in milliseconds.
    pub milliseconds: u64,
    /// Requests the stand-in answered, as `METHOD PATH STATUS`.
    pub requests: Vec<String>,
}

impl Report {
    /// Wall-clock time of the agent.
    pub fn seconds(&self) -> f64 {
        Duration::from_millis(self.milliseconds).as_secs_f64()
    }
}
