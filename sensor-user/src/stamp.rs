//! Boot time and boot id of every event that leaves.
//!
//! What a hook reported has its boot time from the record. What the sensor tells of itself has a Unix time
//! that its clock made of a boot time: this is the way back.

use std::time::Instant;

use skep_event::{BootId, Event};

use crate::{
    act::Act,
    clock::BootClock,
    step::{About, Relay, Sink, Step},
};

/// The state of this step.
#[derive(Default)]
pub struct Stamp {
    clock: Option<BootClock>,
    boot_id: Option<BootId>,
    /// Events whose boot time was not the record's.
    derived: u64,
}

impl Stamp {
    /// `boot_id` as the kernel writes it; another text gives no id.
    pub fn new(clock: BootClock, boot_id: &str) -> Self {
        Self {
            clock: Some(clock),
            boot_id: BootId::parse(boot_id),
            derived: 0,
        }
    }
}

impl Step for Stamp {
    const ABOUT: About = About {
        name: "stamp",
        module: "`stamp.rs`",
        takes: "events",
        passes_on: "events with boot time and boot id",
        bound: || "stateless".to_owned(),
        counters: &["derived"],
    };

    fn count(&self) -> Vec<u64> {
        vec![self.derived]
    }
}

impl Relay for Stamp {
    fn event(&mut self, mut event: Event, _now: Instant, next: &mut impl Sink) {
        if let (None, Some(clock)) = (event.boot_time, &self.clock) {
            event.boot_time = Some(clock.boot(event.time));
            self.derived += 1;
        }
        event.boot_id = self.boot_id;
        next.event(event);
    }

    fn act(&mut self, act: &Act<'_>, now: Instant, next: &mut impl Sink) {
        self.event(act.to_event(), now, next);
    }
}

#[cfg(test)]
mod tests {
    use skep_event::{UnixNanos, sample};

    use super::*;
    use crate::clock::Measured;

    const BOOT: &str = "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001";

    fn stamped(stamp: &mut Stamp, event: Event) -> Event {
        let mut out = Vec::new();
        stamp.event(event, Instant::now(), &mut out);
        out.remove(0)
    }

    #[test]
    fn an_event_keeps_the_boot_time_of_its_record_and_gets_the_id() {
        let mut stamp = Stamp::new(BootClock::with_offset(1000), BOOT);
        let event = Event {
            boot_time: Some(7),
            boot_id: None,
            ..sample::open()
        };
        let stamped = stamped(&mut stamp, event);
        assert_eq!(stamped.boot_time, Some(7));
        assert_eq!(stamped.boot_id, BootId::parse(BOOT));
        assert_eq!(stamp.derived, 0);
    }

    #[test]
    fn what_the_sensor_tells_gets_the_boot_time_of_its_time() {
        let clock = BootClock::with_offset(1_000);
        let mut stamp = Stamp::new(clock.clone(), "no id");
        clock
            .measured(Measured {
                boot_ns: 5_000_000_000,
                offset: 900_000_000_000,
            })
            .unwrap();
        for boot_ns in [0, 4_999_999_999, 5_000_000_000, 9_000_000_000] {
            let event = Event::told(None, clock.unix(boot_ns), sample::finding().detail);
            assert_eq!(stamped(&mut stamp, event).boot_time, Some(boot_ns));
        }
        let before_boot = Event::told(None, UnixNanos(3), sample::finding().detail);
        let before_boot = stamped(&mut stamp, before_boot);
        assert_eq!(
            (before_boot.boot_time, before_boot.boot_id),
            (Some(0), None)
        );
    }
}
