//! Puts the steps together, for `watch` and `run` alike.

use std::{path::Path, sync::Arc};

use skep_catalogue::{Catalogue, CatalogueError};

use crate::{
    cgroup::Cgroups,
    clock::BootClock,
    config::Config,
    enrich::Enrich,
    identify::switches,
    inspect::{Inspector, InspectorError, Launch, Limits},
    memory::{give_back_code, give_back_heap},
    pipeline::Pipeline,
    probes::{HostError, ProbeConfig, Probes, log_ring_bytes},
    track::{Bounds, Tracker},
    users::Users,
};

/// The kernel's id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Inspector(#[from] InspectorError),
    #[error("cannot read the kernel's accounts: {0}")]
    Accounts(std::io::Error),
}

/// The boot id, or an empty text where `/proc` does not tell.
pub fn boot_id() -> String {
    std::fs::read_to_string(BOOT_ID)
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The catalogue: the embedded families, and those of the configured directory if it is there.
pub fn catalogue(directory: &Path) -> Result<Catalogue, CatalogueError> {
    if directory.is_dir() {
        Catalogue::with_directory(directory)
    } else {
        Ok(Catalogue::embedded())
    }
}

/// Attaches the hooks and makes the pipeline ready. Call it before any other thread exists.
pub fn pipeline(config: &Config, clock: BootClock) -> Result<Pipeline<Inspector>, StartError> {
    let catalogue = Arc::new(catalogue(&config.catalogue.directory)?);
    let memory_bytes = config.limits.memory();
    let limits = Limits {
        millis: config.inspector.question_milliseconds,
        bytes: config.inspector.question_bytes,
        entries: config.inspector.question_entries,
        ..Limits::within(memory_bytes)
    };
    let launch = Launch::own(&config.catalogue.directory);
    // Before the hooks: nothing it does at its start is anybody's to see.
    let inspector = Inspector::start(launch, limits, Arc::clone(&catalogue))?;
    // The hooks take the most, for a moment: what is needed no more is not to be there beside that.
    give_back_heap();
    give_back_code();
    let log = config.kernel.log;
    let probes = Probes::attach(ProbeConfig {
        ring_bytes: config.kernel.ring_bytes,
        avoid: config.kernel.avoid.clone(),
        log,
        log_bytes: log_ring_bytes(log, memory_bytes),
        switches: switches(&catalogue),
    })?;
    // Before what stays is put behind it.
    give_back_heap();
    for hook in &probes.hooks {
        tracing::info!(
            fact = hook.fact,
            hook = hook.hook.unwrap_or("none"),
            status = ?hook.status,
            reason = hook.reason,
            "hook"
        );
    }
    let enrich = Enrich::new(Users::host()).with_cgroups(Cgroups::host());
    let tracker = Tracker::with_bounds(
        boot_id(),
        clock.clone(),
        inspector,
        enrich,
        Bounds::within(memory_bytes),
    );
    let pipeline = Pipeline::new(probes, tracker, clock, memory_bytes);
    give_back_heap();
    give_back_code();
    pipeline.map_err(StartError::Accounts)
}
