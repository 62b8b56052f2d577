//! The collector as a source of its own: what it has to say goes through the same log as what sensors
//! send, into the same tables.
//!
//! Its events have the sensor id [`COLLECTOR`], which no sensor may use. Invariants:
//! - its epoch is one life of the log, and begins anew where the log goes on under a new name; within it
//!   sequences are dense, over restarts, too;
//! - [`super::Store::emit`] returns once the events are durable.
//!
//! Bound: [`WAITING`] emissions that wait for the log.

use std::sync::Arc;

use prost::Message;
use skep_proto::v1::{self, event::Detail};

use super::{Source, Tail, clock::unix_nanos, log::Log};
use crate::{batch::Batch, error::Result, schema::Origin};

/// Sensor id of the collector's own events.
pub const COLLECTOR: &str = "ffffffffffffffffffffffffffffffff";
/// Emissions that wait for the log.
pub(super) const WAITING: usize = 64;

/// What the collector says of itself, or of sensors.
#[derive(Clone, Debug, PartialEq)]
pub enum Own {
    Finding(v1::Finding),
    Coverage(v1::Coverage),
}

/// Where the collector's own events go on.
pub(super) struct OwnSource {
    pub source: Source,
    pub origin: Arc<Origin>,
    pub tail: Tail,
}

// === impl OwnSource ===

impl OwnSource {
    pub fn open(log: &mut Log) -> Result<Self> {
        let source = Source {
            sensor_id: COLLECTOR.to_owned(),
            epoch: log.epoch()?,
        };
        // What cannot be read is not known.
        let of_kernel = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
            Some(text.trim_end().to_owned())
        };
        Ok(Self {
            tail: log.tail(&source)?.unwrap_or_default(),
            origin: Arc::new(Origin {
                sensor_id: source.sensor_id.clone(),
                epoch: source.epoch,
                hostname: of_kernel("hostname"),
                kernel: of_kernel("osrelease"),
            }),
            source,
        })
    }

    /// Events of this moment as a batch.
    pub fn batch(first_seq: u64, events: Vec<Own>) -> Batch {
        let now = unix_nanos();
        let event = |own| v1::Event {
            time_unix_nano: now,
            detail: Some(match own {
                Own::Finding(finding) => Detail::Finding(finding),
                Own::Coverage(coverage) => Detail::Coverage(coverage),
            }),
            ..v1::Event::default()
        };
        let message = v1::Batch {
            first_seq,
            events: events.into_iter().map(event).collect(),
        };
        Batch::decode(message.encode_to_vec().into()).expect("an encoded batch is one")
    }
}
