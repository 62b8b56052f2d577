//! Any event and any message, for property tests.

use std::sync::Arc;

use proptest::{arbitrary::any, option, prelude::*};
use skep_proto::v1;

use crate::{
    Agent, BootId, Detail, Event, Facts, Process, SessionId, UnixNanos, arbitrary::Any, class,
};

/// Any event.
pub fn event() -> BoxedStrategy<Event> {
    let who = (
        option::of(SessionId::any()),
        option::of(<Agent as Facts>::any()),
        option::of(<Process as Facts>::any()),
    );
    let seen = (
        (
            UnixNanos::any(),
            option::of(any::<u64>()),
            option::of(BootId::any()),
        ),
        option::of(any::<i32>()),
        <Option<&'static str>>::any(),
    );
    (who, seen, <Detail as Any>::any())
        .prop_map(
            |((session, agent, process), ((time, boot_time, boot_id), result, hook), detail)| {
                Event {
                    time,
                    boot_time,
                    boot_id,
                    session,
                    agent: agent.map(Arc::new),
                    process: process.map(Arc::new),
                    result,
                    hook,
                    detail,
                }
            },
        )
        .boxed()
}

/// Any event as a message of which every value fits its column. Its texts are any; ids and names need
/// not be such that a sensor would send them.
pub fn message() -> BoxedStrategy<v1::Event> {
    let text = || any::<String>();
    let who = (
        option::of(text()),
        option::of(Agent::any_message()),
        option::of(Process::any_message()),
    );
    let seen = (
        (
            crate::column::any::time::<UnixNanos, u64>(),
            crate::column::any::long::<u64, Option<u64>>(),
            option::of(text()),
        ),
        option::of(any::<i32>()),
        option::of(text()),
    );
    (who, seen, class::any_message())
        .prop_map(
            |(
                (session, agent, process),
                ((time_unix_nano, boot_time_nano, boot_id), result, hook),
                detail,
            )| v1::Event {
                time_unix_nano,
                boot_time_nano,
                boot_id,
                session,
                agent,
                process,
                hook,
                result,
                detail: Some(detail),
            },
        )
        .boxed()
}
