//! The Skep sensor. Data flows one way through one module per step:
//! `probes` → `decode` → `track` → `identify` → `enrich` → `fold` → `redact` → `spool` → `uplink`.

pub mod accounts;
pub mod act;
pub mod backlog;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod decode;
pub mod enrich;
pub mod epochs;
pub mod fold;
pub mod git;
pub mod identify;
pub mod install_id;
pub mod journal;
pub mod liveness;
pub mod manifest;
pub mod output;
pub mod pipeline;
pub mod probes;
mod proc;
pub mod settings;
pub mod start;
pub mod status;
pub mod stop;
pub mod track;
pub mod uplink;
pub mod users;
pub mod watch;
