//! Parts of events that do not depend on what a session has done: the agent, inodes, and the rare ones that
//! are told of a session (coverage, losses, findings).

use skep_proto::{
    tag::{agent, event},
    v1::{self, event::Detail},
};

use crate::{encode::Fields, world::Agent};

pub fn agent_field(agent: &Agent) -> Vec<u8> {
    let Agent {
        family,
        version,
        confidence,
        evidence,
        install_path,
        ..
    } = agent;
    let mut message = Fields::default();
    message.text(agent::FAMILY, family);
    message.text(agent::VERSION, version);
    message.plain(agent::CONFIDENCE, u64::from(*confidence));
    for piece in evidence {
        message.text(agent::EVIDENCE, piece);
    }
    message.text(agent::INSTALL_PATH, install_path);
    let mut field = Fields::default();
    field.message(event::AGENT, &message.0);
    field.0
}

/// A number that is the same for the same path on the same machine (FNV-1a).
pub fn inode(sensor_id: &str, path: [&str; 3]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in [&sensor_id[..4]]
        .iter()
        .chain(&path)
        .flat_map(|part| part.bytes())
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    1000 + hash % 8_000_000
}

pub fn io_uring(nanos: u64) -> Detail {
    let reason =
        "an io_uring was set up; what is opened through it is not seen by this host's open hook";
    coverage(
        "io_uring",
        v1::coverage::Phase::Point,
        Some("tp/sys_exit_io_uring_setup"),
        nanos,
        0,
        reason,
    )
}

pub fn throttled_begin(nanos: u64) -> Detail {
    let reason = "its records are held back while the ring is more than three quarters full";
    coverage(
        "throttled",
        v1::coverage::Phase::Begin,
        None,
        nanos,
        0,
        reason,
    )
}

pub fn throttled_end(nanos: u64) -> Detail {
    let reason = "its records are no longer held back";
    coverage(
        "throttled",
        v1::coverage::Phase::End,
        None,
        nanos,
        1200,
        reason,
    )
}

pub fn coverage(
    what: &str,
    phase: v1::coverage::Phase,
    hook: Option<&str>,
    nanos: u64,
    count: u64,
    reason: &str,
) -> Detail {
    Detail::Coverage(v1::Coverage {
        what: what.to_owned(),
        phase: phase.into(),
        hook: hook.map(str::to_owned),
        first_unix_nano: nanos,
        last_unix_nano: nanos,
        count,
        reason: reason.to_owned(),
        ..v1::Coverage::default()
    })
}

pub fn lost(nanos: u64) -> Detail {
    Detail::Lost(v1::Lost {
        hop: "kernel".to_owned(),
        record: "open".to_owned(),
        cause: "ring_full".to_owned(),
        count: 17,
        first_unix_nano: nanos - 3_000_000,
        last_unix_nano: nanos,
    })
}

pub fn credential_read(_: u64) -> Detail {
    Detail::Finding(v1::Finding {
        rule: "load.credential_read".to_owned(),
        title: "an agent read a credential of its user".to_owned(),
        severity: v1::finding::Severity::High.into(),
        attack: vec!["T1552.001".to_owned(), "T1552.004".to_owned()],
        reason: "a file that holds a credential was opened by an agent itself".to_owned(),
    })
}
