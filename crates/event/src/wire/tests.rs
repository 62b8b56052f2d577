//! The wire form turns back into the very same event.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{Detail, Exec, any_event, sample};

fn round_trip(original: &Event) -> Event {
    let encoded = event(original).encode_to_vec();
    Event::from_wire(v1::Event::decode(&encoded[..]).unwrap()).unwrap()
}

#[test]
fn every_class_survives_the_wire() {
    for event in sample::all() {
        assert_eq!(round_trip(&event), event);
    }
}

#[test]
fn unknown_stays_unknown_on_the_wire() {
    let mut bare = sample::exec();
    (
        bare.session,
        bare.agent,
        bare.process,
        bare.hook,
        bare.result,
    ) = (None, None, None, None, None);
    bare.detail = Detail::Exec(Exec::done(None));
    assert_eq!(round_trip(&bare), bare);
}

#[test]
fn what_no_sensor_writes_is_not_an_event() {
    let event = event(&sample::session());
    let with = |change: &dyn Fn(&mut v1::SessionInfo)| {
        let mut event = event.clone();
        if let Some(v1::event::Detail::SessionInfo(info)) = &mut event.detail {
            change(info);
        }
        Event::from_wire(event)
    };
    assert!(with(&|_| ()).is_ok());
    assert!(with(&|info| info.phase = 0).is_err());
    assert!(with(&|info| info.found = 9).is_err());
    assert!(with(&|info| info.gaps = None).is_err());
    assert!(with(&|info| info.parent = Some("A".repeat(32))).is_err());
    assert!(with(&|info| info.cwd = Some("\\".into())).is_err());
}

proptest! {
    #[test]
    fn any_event_survives_the_wire(event in any_event::event()) {
        prop_assert_eq!(round_trip(&event), event);
    }
}
