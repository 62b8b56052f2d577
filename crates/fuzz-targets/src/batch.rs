//! Batches of events.

use bytes::Bytes;
use prost::Message;
use skep_framing::batch::{Batch, BatchError, Event, Parts};
use skep_proto::v1;

/// The generated code takes the same, and reads the same; what is read can be written and read again.
pub fn check(bytes: &[u8]) {
    let expected = v1::Batch::decode(bytes);
    match (expected, Batch::decode(Bytes::copy_from_slice(bytes))) {
        (Ok(expected), Ok(found)) => {
            assert_eq!(expected, message(&found));
            assert_each_is_used(&found);
            let again = Batch::decode(expected.encode_to_vec().into());
            assert_eq!(message(&again.expect("what was read is valid")), expected);
        }
        (Err(_), Err(_)) | (Ok(_), Err(BatchError::TooMany)) => {}
        // Events are decoded one by one, each with the depth that the batch has as a whole.
        (Err(error), Ok(_)) if error.to_string().contains("recursion limit") => {}
        (expected, found) => panic!("{expected:?} but {found:?}"),
    }
}

/// A batch as the generated code has it.
fn message(batch: &Batch) -> v1::Batch {
    fn part<T: Clone>(parts: &[T], index: Option<u32>) -> Option<T> {
        index.map(|index| parts[index as usize].clone())
    }
    let Parts {
        sessions,
        agents,
        processes,
        hooks,
        boots,
    } = &batch.parts;
    let events = batch.events.iter().map(|event| {
        let Event {
            time_unix_nano,
            session,
            agent,
            process,
            hook,
            result,
            boot_time_nano,
            boot,
            detail,
        } = event;
        v1::Event {
            time_unix_nano: *time_unix_nano,
            session: part(sessions, *session),
            agent: part(agents, *agent),
            process: part(processes, *process),
            hook: part(hooks, *hook),
            result: *result,
            boot_time_nano: *boot_time_nano,
            boot_id: part(boots, *boot),
            detail: detail.clone(),
        }
    });
    v1::Batch {
        first_seq: batch.first_seq,
        events: events.collect(),
    }
}

/// Every part is some event's, so that there are no more of them than events.
fn assert_each_is_used(batch: &Batch) {
    let all_used = |count: usize, of: fn(&Event) -> Option<u32>| {
        let used: std::collections::HashSet<u32> = batch.events.iter().filter_map(of).collect();
        assert_eq!(used.len(), count);
    };
    let parts = &batch.parts;
    all_used(parts.sessions.len(), |event| event.session);
    all_used(parts.agents.len(), |event| event.agent);
    all_used(parts.processes.len(), |event| event.process);
    all_used(parts.hooks.len(), |event| event.hook);
    all_used(parts.boots.len(), |event| event.boot);
}
