//! Fields of the sensor's messages outside its events: hello, batch, outcome.
//!
//! Named by their place in the message `SensorMessage` of the protocol; those of the hello, which are the
//! most, without it.

use super::{Field, Redaction};

const COMPLETENESS: &str = "says honestly what is missing";

const fn field(
    wire: &'static str,
    meaning: &'static str,
    example: &'static str,
    why: &'static str,
) -> Field {
    Field {
        name: None,
        wire: Some(wire),
        classes: &[],
        meaning,
        example,
        why,
        redaction: Redaction::None,
    }
}

/// Fields that leave the host besides those of events.
#[rustfmt::skip]
pub const SENSOR_FIELDS: &[Field] = &[
    field("sensor_id", "random number of this installation", "3f0a…", "tells sensors apart; it says nothing about the machine"),
    field("epoch", "when the spool was begun", "1782893702000000000", "numbers events, so that none is stored twice"),
    field("sensor_version", "version of the sensor", "0.1.0", "tells which sensors are old"),
    field("host.hostname", "the host's name", "workstation-7", "tells which machine it is"),
    field("host.os", "the distribution", "Debian GNU/Linux 12", "tells which machines behave alike"),
    field("host.kernel", "the kernel's release", "6.1.0-18-amd64", "tells what the sensor can see there"),
    field("host.arch", "the processor's architecture", "x86_64", "tells what the sensor can see there"),
    field("host.boot_id", "random number of this boot", "0e3a2f6e-…", "process ids start anew at each boot"),
    field("lane", "whether this stream carries the bulk of events, or findings and what says how complete it is", "findings", "what is urgent does not wait behind what is much"),
    field("takes_orders", "whether the sensor follows orders of the collector, such as how much it logs", "true", "tells which sensors can be asked"),
    field("hooks.fact", "what a hook sees", "open", COMPLETENESS),
    field("hooks.hook", "the hook that is used for it", "lsm/file_open", COMPLETENESS),
    field("hooks.status", "whether it is the best one", "fallback", COMPLETENESS),
    field("hooks.reason", "why not", "lsm: EPERM", COMPLETENESS),
    field("batch.first_seq", "number of the first event of a batch, counted since the spool was begun", "4711", "no event is stored twice, and a missing one is noticed"),
    field("outcome.id", "number of an order of the collector", "7", "ties the answer to the order"),
    field("outcome.kind", "whether the sensor applied it or refused it", "refused", "tells who gave the order what became of it"),
    field("outcome.reason", "why the sensor refused it", "unknown order", "tells who gave the order what became of it"),
];
