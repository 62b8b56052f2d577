//! One event of each class with every field set: what tests hold the JSON form, the wire form, the
//! manifest and redaction to.

use std::sync::Arc;

use crate::{
    Agent, BootId, Change, Connect, Coverage, Detail, Event, Exec, Exit, Facts, Finding, Lost,
    Open, Process, Secrets, SessionId, SessionInfo, Text, UnixNanos,
};

pub const TIME: UnixNanos = UnixNanos(1_700_000_000_000_000_001);
pub const BOOT_TIME: u64 = 93_123_456_789_012;
pub const BOOT_ID: BootId = BootId([
    0x0e, 0x3a, 0x2f, 0x6e, 0x5c, 0x1b, 0x4d, 0x2a, 0x9a, 0x55, 0x0d, 0x5d, 0x3e, 0xf0, 0xa0, 0x01,
]);
pub(crate) const LATER: UnixNanos = UnixNanos(1_700_000_000_500_000_000);

pub fn all() -> Vec<Event> {
    vec![
        exec(),
        failed_exec(),
        exit(),
        open(),
        connect(),
        connect_unix(),
        session(),
        lost(),
        coverage(),
        finding(),
        change(),
    ]
}

fn with(detail: Detail) -> Event {
    let mut session = [0; 16];
    session[..2].copy_from_slice(&[0x4d, 0x2f]);
    Event {
        time: TIME,
        boot_time: Some(BOOT_TIME),
        boot_id: Some(BOOT_ID),
        session: Some(SessionId(session)),
        agent: Some(Arc::new(Agent::sample())),
        process: Some(Arc::new(Process::sample())),
        result: Some(0),
        hook: Some("raw_tp/sched_process_exec"),
        detail,
    }
}

pub fn exec() -> Event {
    with(Detail::Exec(Exec::done(Exec::sample().filename)))
}

pub fn failed_exec() -> Event {
    let mut event = with(Detail::Exec(Exec::sample()));
    event.result = Some(-libc::ENOENT);
    event
}

pub fn exit() -> Event {
    with(Detail::Exit(Exit::sample()))
}

pub fn open() -> Event {
    with(Detail::Open(Open::sample()))
}

pub fn connect() -> Event {
    let mut event = with(Detail::Connect(Connect::sample()));
    event.result = Some(-libc::ECONNREFUSED);
    event
}

pub fn connect_unix() -> Event {
    with(Detail::Connect(Connect::sample_unix()))
}

pub fn session() -> Event {
    with(Detail::Session(SessionInfo::sample()))
}

pub fn lost() -> Event {
    let mut event = with(Detail::Lost(Lost::sample()));
    (
        event.session,
        event.agent,
        event.process,
        event.hook,
        event.result,
    ) = (None, None, None, None, None);
    event
}

/// What a throttled session's end looks like.
pub fn coverage() -> Event {
    let mut event = with(Detail::Coverage(Coverage::sample()));
    (event.process, event.hook, event.result) = (None, None, None);
    event
}

/// A finding of the sensor's own; one about a session would have all of its parts.
pub fn finding() -> Event {
    with(Detail::Finding(Finding::sample()))
}

pub fn change() -> Event {
    with(Detail::Change(Change::sample()))
}

/// Puts a secret into every text of an event that can hold one.
pub fn plant(event: &mut Event, secret: &str) {
    let mut planter = Planter(secret);
    if let Some(agent) = &mut event.agent {
        Arc::make_mut(agent).secrets(&mut planter);
    }
    if let Some(process) = &mut event.process {
        Arc::make_mut(process).secrets(&mut planter);
    }
    event.detail.secrets(&mut planter);
    if let Detail::Session(info) = &mut event.detail
        && let Some(repository) = &mut info.repository
    {
        let remote = format!("https://dev:{secret}@example.com/a.git");
        repository.remote = Some(remote.as_str().into());
    }
}

struct Planter<'a>(&'a str);

impl Secrets for Planter<'_> {
    fn text(&mut self, text: &mut Text) {
        *text = format!("/x/{}", self.0).as_str().into();
    }

    fn string(&mut self, text: &mut String) {
        *text = format!("it opened /x/{}", self.0);
    }

    fn command(&mut self, argv: &mut Vec<Text>, _: bool) {
        *argv = ["x", self.0].map(Into::into).to_vec();
    }
}
