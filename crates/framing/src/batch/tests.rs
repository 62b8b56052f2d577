//! Batches as sensors send them, and as none should.

use proptest::{collection::vec, prelude::*};
use skep_proto::v1;

use super::*;

fn opens(count: usize) -> Vec<v1::Event> {
    let open = |number: usize| v1::Event {
        time_unix_nano: number as u64,
        session: (number > 1).then(|| "s".repeat(32)),
        agent: (number > 0).then(|| Agent {
            family: "claude-code".to_owned(),
            ..Agent::default()
        }),
        process: Some(Process {
            pid: (number / 2) as u32,
            argv: vec!["a".to_owned(), "b".to_owned()],
            ..Process::default()
        }),
        hook: Some("lsm/file_open".to_owned()),
        result: Some(-2),
        boot_time_nano: (number > 0).then_some(number as u64 * 3),
        boot_id: (number > 0).then(|| "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001".to_owned()),
        detail: Some(Detail::Open(v1::Open {
            path: Some(format!("/{number}")),
            count: 1,
            ..v1::Open::default()
        })),
    };
    (0..count).map(open).collect()
}

/// Its events as the generated code has them.
fn whole(batch: &Batch) -> Vec<v1::Event> {
    fn part<T: Clone>(parts: &[T], index: Option<u32>) -> Option<T> {
        index.map(|index| parts[index as usize].clone())
    }
    let parts = &batch.parts;
    let events = batch.events.iter().map(|event| v1::Event {
        time_unix_nano: event.time_unix_nano,
        session: part(&parts.sessions, event.session),
        agent: part(&parts.agents, event.agent),
        process: part(&parts.processes, event.process),
        hook: part(&parts.hooks, event.hook),
        result: event.result,
        boot_time_nano: event.boot_time_nano,
        boot_id: part(&parts.boots, event.boot),
        detail: event.detail.clone(),
    });
    events.collect()
}

#[test]
fn it_is_what_the_message_is_and_sums_the_last_event() {
    let events = opens(3);
    let message = v1::Batch {
        first_seq: 7,
        events: events.clone(),
    };
    let batch = Batch::decode(message.encode_to_vec().into()).unwrap();
    assert_eq!((batch.first_seq, whole(&batch)), (7, events.clone()));
    let Parts {
        sessions,
        agents,
        processes,
        hooks,
        boots,
    } = &batch.parts;
    let parts = [sessions.len(), agents.len(), processes.len(), hooks.len()];
    assert_eq!(parts, [1, 1, 2, 1], "each once");
    assert_eq!(boots.len(), 1, "once, too");
    assert_eq!(
        batch.last_crc32,
        crc32fast::hash(&events[2].encode_to_vec())
    );
}

#[test]
fn a_message_that_comes_twice_is_merged() {
    let event = opens(2).remove(1);
    let mut bytes = event.encode_to_vec();
    let again = v1::Event {
        agent: Some(Agent {
            version: Some("2".to_owned()),
            ..Agent::default()
        }),
        ..v1::Event::default()
    };
    bytes.extend(again.encode_to_vec());
    let expected = v1::Event::decode(&bytes[..]).unwrap();
    let agent = expected.agent.clone().unwrap();
    assert_eq!(
        (agent.family.as_str(), agent.version.as_deref()),
        ("claude-code", Some("2"))
    );
    let mut batch = Vec::new();
    prost::encoding::bytes::encode(2, &bytes, &mut batch);
    assert_eq!(whole(&Batch::decode(batch.into()).unwrap()), [expected]);
}

/// A batch of one event, from the fields of the event.
fn batch_of(fields: &[(u32, &[u8])]) -> Result<Batch, BatchError> {
    let mut event = Vec::new();
    for (tag, bytes) in fields {
        prost::encoding::bytes::encode(*tag, &bytes.to_vec(), &mut event);
    }
    let mut batch = Vec::new();
    prost::encoding::bytes::encode(2, &event, &mut batch);
    let expected = v1::Batch::decode(&batch[..]).is_ok();
    let found = Batch::decode(batch.into());
    assert_eq!(found.is_ok(), expected, "as the generated code has it");
    found
}

#[test]
fn a_message_that_was_cut_is_refused_by_name_and_not_joined_with_the_next() {
    let agent = Agent {
        family: "claude-code".to_owned(),
        version: Some("2".to_owned()),
        ..Agent::default()
    };
    let process = Process {
        pid: 7,
        argv: vec!["claude".to_owned()],
        ..Process::default()
    };
    for (tag, name, whole) in [
        (3, "agent", agent.encode_to_vec()),
        (4, "process", process.encode_to_vec()),
    ] {
        let mut refused = 0;
        for at in 0..=whole.len() {
            let (head, tail) = whole.split_at(at);
            match batch_of(&[(tag, head), (tag, tail)]) {
                Ok(batch) => assert_eq!(batch.events.len(), 1),
                Err(BatchError::Malformed { place, .. }) => {
                    assert_eq!((place.event, place.part), (Some(1), Some(name)));
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());
    }
}

#[test]
fn a_refusal_names_the_event_and_its_field() {
    let refused = |fields: &[(u32, &[u8])]| batch_of(fields).unwrap_err().to_string();
    for (tag, name) in [
        (2, "session"),
        (3, "agent"),
        (4, "process"),
        (5, "hook"),
        (8, "boot_id"),
    ] {
        let text = refused(&[(tag, b"\xff")]);
        assert!(
            text.contains(&format!("event 1 of it, field {name}")),
            "{text}"
        );
    }
    let open = Class::ALL.into_iter().find(|class| class.name() == "open");
    let text = refused(&[(open.unwrap().tag(), b"\xff")]);
    assert!(text.contains("event 1 of it, field open"), "{text}");
    let text = Batch::decode(vec![0x0a, 0].into()).unwrap_err().to_string();
    assert!(text.contains("what is around its events"), "{text}");
}

#[test]
fn of_a_text_that_comes_twice_the_last_counts_and_the_first_is_not_kept() {
    let texts = |first: &[u8]| {
        let mut event = Vec::new();
        for text in [first, b"second"] {
            prost::encoding::bytes::encode(2, &text.to_vec(), &mut event);
            prost::encoding::bytes::encode(5, &text.to_vec(), &mut event);
        }
        let mut batch = Vec::new();
        prost::encoding::bytes::encode(2, &event, &mut batch);
        Batch::decode(batch.into())
    };
    let batch = texts(b"first").unwrap();
    assert_eq!(batch.parts.sessions, ["second"]);
    assert_eq!(batch.parts.hooks, ["second"]);
    assert!(texts(&[0xff]).is_err(), "as the generated code has it");
}

#[test]
fn decoding_ends_where_there_are_too_many_events() {
    let empty = |count: usize| [0x12, 0].repeat(count);
    let most = Batch::decode(empty(MAX_BATCH_EVENTS).into()).unwrap();
    assert_eq!(most.events.len(), MAX_BATCH_EVENTS);
    // What follows is not even looked at.
    let mut bomb = empty(MAX_BATCH_EVENTS + 1);
    bomb.push(0xff);
    assert_eq!(Batch::decode(bomb.into()).unwrap_err(), BatchError::TooMany);
}

#[test]
fn empty_texts_count_as_the_memory_they_take() {
    let argv = vec![String::new(); 100_000];
    let process = Process {
        argv,
        ..Process::default()
    };
    let event = v1::Event {
        process: Some(process),
        ..v1::Event::default()
    };
    let message = v1::Batch {
        first_seq: 1,
        events: vec![event],
    };
    let batch = Batch::decode(message.encode_to_vec().into()).unwrap();
    assert!(batch.memory() >= 100_000 * size_of::<String>());
}

proptest! {
    #[test]
    fn it_takes_what_the_generated_code_takes(
        seq in any::<u64>(), count in 0..4usize, at in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..6),
    ) {
        let message = v1::Batch { first_seq: seq, events: opens(count) };
        let mut bytes = message.encode_to_vec();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, noise);
        let expected = v1::Batch::decode(&bytes[..]);
        let found = Batch::decode(bytes.into());
        match (expected, found) {
            (Ok(expected), Ok(found)) => {
                prop_assert_eq!(expected.first_seq, found.first_seq);
                prop_assert_eq!(expected.events, whole(&found));
            }
            (Err(_), Err(_)) => {}
            (expected, found) => prop_assert!(false, "{expected:?} but {found:?}"),
        }
    }
}
