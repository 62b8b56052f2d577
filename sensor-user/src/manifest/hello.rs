//! What the sensor says of itself and the host when it connects.

use super::{Field, Redaction};

const COMPLETENESS: &str = "says honestly what is missing";

const fn hello(
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

/// What the sensor says of itself and the host when it connects to the collector.
#[rustfmt::skip]
pub const HELLO_FIELDS: &[Field] = &[
    hello("sensor_id", "random number of this installation", "3f0a…", "tells sensors apart; it says nothing about the machine"),
    hello("epoch", "when the spool was begun", "1782893702000000000", "numbers events, so that none is stored twice"),
    hello("sensor_version", "version of the sensor", "0.1.0", "tells which sensors are old"),
    hello("host.hostname", "the host's name", "workstation-7", "tells which machine it is"),
    hello("host.os", "the distribution", "Debian GNU/Linux 12", "tells which machines behave alike"),
    hello("host.kernel", "the kernel's release", "6.1.0-18-amd64", "tells what the sensor can see there"),
    hello("host.arch", "the processor's architecture", "x86_64", "tells what the sensor can see there"),
    hello("host.boot_id", "random number of this boot", "0e3a2f6e-…", "process ids start anew at each boot"),
    hello("lane", "whether this stream carries the bulk of events, or findings and what says how complete it is", "findings", "what is urgent does not wait behind what is much"),
    hello("takes_orders", "whether the sensor follows orders of the collector, such as how much it logs", "true", "tells which sensors can be asked"),
    hello("hooks.fact", "what a hook sees", "open", COMPLETENESS),
    hello("hooks.hook", "the hook that is used for it", "lsm/file_open", COMPLETENESS),
    hello("hooks.status", "whether it is the best one", "fallback", COMPLETENESS),
    hello("hooks.reason", "why not", "lsm: EPERM", COMPLETENESS),
];
