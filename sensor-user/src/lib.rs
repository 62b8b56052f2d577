//! The Skep sensor: [`probes`] fill the kernel's ring, the steps of [`chain`] make events of it, which
//! [`watch`] prints and [`daemon`] spools for [`uplink`] to send.

pub mod accounts;
pub mod act;
pub mod backlog;
pub mod canary;
mod causes;
pub mod chain;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod decode;
pub mod enrich;
pub mod fold;
pub mod fold_epochs;
pub mod git;
pub mod identify;
pub mod install_id;
pub mod journal;
pub mod liveness;
pub mod log_level;
pub mod logging;
pub mod manifest;
pub mod output;
pub mod pipeline;
pub mod probes;
pub mod proc;
pub mod redact;
pub mod settings;
pub mod start;
pub mod status;
pub mod step;
pub mod stop;
pub mod track;
pub mod uplink;
pub mod users;
pub mod verdicts;
pub mod watch;
