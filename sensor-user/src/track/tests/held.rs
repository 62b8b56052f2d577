//! Execs that are judged by what they open.

use skep_abi::{self as abi, Header, Kind, MISSING_RESULT, PathForm, STATE_PENDING};
use zerocopy::IntoBytes;

use super::*;

/// The record of an open as the ring has it.
fn open_bytes(time_ns: u64, pid: u32, claim: Claim, path: &str) -> Vec<u8> {
    let tail = [path.as_bytes(), b"\0"].concat();
    let len = size_of::<abi::Open>() + tail.len();
    let open = abi::Open {
        header: Header {
            time_ns,
            start_ns: u64::from(pid) * 10,
            session: 0,
            claim,
            image: 0,
            len: len as u32,
            tgid: pid,
            tid: pid,
            state: STATE_PENDING,
            missing: MISSING_RESULT,
            kind: Kind::Open as u16,
            hook: Hook::TpOpenat as u8,
            pad: 0,
            uid: 1000,
            euid: 1000,
        },
        file: FILE,
        flags: 0,
        mode: 0o100_644,
        result: 0,
        dirfd: -100,
        links: 1,
        epoch: 0,
        path_len: tail.len() as u16,
        path_form: PathForm::Given as u8,
        pad: [0; 5],
    };
    [open.as_bytes(), &tail].concat()
}

impl World {
    /// As the chain hands a record on: kept if it waits, else handled.
    fn opens(&mut self, pid: u32, claim: Claim, path: &str) -> Vec<Event> {
        self.now += 1;
        let bytes = open_bytes(self.now, pid, claim, path);
        let mut room = Vec::new();
        let record = decode::decode(&bytes, &mut room).expect("a record");
        let mut out = Vec::new();
        if !self.tracker.holds(&record, &bytes) {
            self.tracker.handle(record, &mut self.maps, &mut out);
        }
        out
    }

    fn settle(&mut self, now_ns: u64) -> Vec<Event> {
        let mut out = Vec::new();
        self.tracker.settle_held(now_ns, &mut self.maps, &mut out);
        out
    }

    fn held_exit(&mut self, pid: u32, claim: Claim) {
        self.now += 1;
        let exit = decode::Exit {
            code: Some(0),
            signal: None,
        };
        let common = Common {
            time_ns: self.now,
            tgid: pid,
            tid: pid,
            start_ns: Some(u64::from(pid) * 10),
            session: None,
            claim: Some(claim),
            image: None,
            ids: None,
            hook: Hook::RawTpExit,
        };
        let record = Record {
            common,
            body: Body::Exit(exit),
        };
        assert!(self.tracker.holds(&record, b"an exit"));
    }
}

#[test]
fn a_program_that_opens_an_agents_file_is_that_agent_with_all_it_did_before() {
    let mut world = World::new();
    let (claim, events) = world.exec(10, &["python", "-"], None);
    assert!(events.is_empty() && world.maps.settled.is_empty());
    assert!(world.opens(10, claim, "/etc/passwd").is_empty());
    assert!(!world.tracker.has_questions());
    assert!(world.opens(10, claim, "/x/other.js").is_empty());
    assert!(world.settle(0).is_empty());
    assert!(world.opens(10, claim, "/x/gemini.js").is_empty());
    assert!(world.tracker.has_questions());
    let events = world.settle(0);
    assert_eq!(
        classes(&events),
        ["session", "exec", "open", "open", "open"]
    );
    let agent = events[0].agent.as_ref().expect("an agent");
    assert_eq!(agent.family, "gemini-cli");
    assert_eq!(world.maps.settled, [(claim, STATE_AGENT)]);
    assert!(world.tracker.take_unjudged().is_empty());
    assert!(!world.tracker.holds_any());
    assert_eq!(classes(&world.opens(10, claim, "/etc/hosts")), ["open"]);
}

#[test]
fn what_tells_nothing_in_time_is_told_as_not_judged_and_ignored() {
    let mut world = World::new();
    let (claim, _) = world.exec(10, &["python"], None);
    assert!(world.opens(10, claim, "/etc/passwd").is_empty());
    assert!(world.settle(world.now).is_empty());
    assert!(world.maps.settled.is_empty());
    assert!(world.settle(world.now + 6_000_000_000).is_empty());
    assert_eq!(world.maps.settled, [(claim, STATE_IGNORED)]);
    let told = world.tracker.take_unjudged();
    assert!(
        told[0].reason.ends_with("came through a pipe or a device"),
        "{told:?}"
    );
    assert_eq!((world.tracker.counts().ignored, told[0].count), (2, 1));
    assert!(world.opens(10, claim, "/x/gemini.js").is_empty());
    assert!(!world.tracker.holds_any());
}

#[test]
fn the_end_of_a_program_ends_its_waiting_once_its_last_file_was_looked_at() {
    let mut world = World::new();
    let (claim, _) = world.exec(10, &["python"], None);
    world.held_exit(10, claim);
    assert!(world.tracker.has_questions());
    world.settle(0);
    assert_eq!(world.maps.settled, [(claim, STATE_IGNORED)]);
    let (claim, _) = world.exec(11, &["python"], None);
    world.opens(11, claim, "/x/gemini.js");
    world.held_exit(11, claim);
    // The bytes of that exit are none: it is the open that counts here.
    assert_eq!(classes(&world.settle(0)), ["session", "exec", "open"]);
}

#[test]
fn what_one_that_waits_executes_is_answered_with_it() {
    let mut world = World::new();
    let (claim, _) = world.exec(10, &["python"], None);
    let (of_child, events) = world.exec(11, &["make"], Some(claim));
    assert!(events.is_empty() && world.maps.settled.is_empty());
    world.opens(11, of_child, "/etc/hosts");
    world.opens(10, claim, "/x/gemini.js");
    let events = world.settle(0);
    assert_eq!(
        classes(&events),
        ["session", "exec", "exec", "open", "open"]
    );
    assert!(
        events
            .iter()
            .all(|event| event.session == events[0].session)
    );
    assert_eq!(
        world.maps.settled,
        [(claim, STATE_AGENT), (of_child, STATE_AGENT)]
    );

    let mut world = World::new();
    let (claim, _) = world.exec(10, &["python"], None);
    let (of_child, _) = world.exec(11, &["make"], Some(claim));
    world.settle(u64::MAX);
    assert_eq!(
        world.maps.settled,
        [(claim, STATE_IGNORED), (of_child, STATE_IGNORED)]
    );
}

#[test]
fn an_agent_that_one_that_waits_executes_is_no_part_of_it() {
    let mut world = World::new();
    let (claim, _) = world.exec(10, &["python"], None);
    let (of_agent, events) = world.exec(11, &["claude"], Some(claim));
    assert_eq!(classes(&events), ["session", "exec"]);
    assert_eq!(
        world.maps.settled,
        [(claim, STATE_IGNORED), (of_agent, STATE_AGENT)]
    );
    assert_eq!(world.tracker.take_unjudged().len(), 1);
}

#[test]
fn in_a_session_nothing_is_kept_back_and_an_agent_is_a_session_of_its_own() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["claude"], None);
    let parent = session(&events);
    world.fork(10, 11, None);
    let (claim, events) = world.exec(11, &["python"], None);
    assert_eq!((classes(&events), session(&events)), (vec!["exec"], parent));
    let events = world.opens(11, claim, "/etc/hosts");
    assert_eq!((classes(&events), session(&events)), (vec!["open"], parent));
    let events = world.opens(11, claim, "/x/gemini.js");
    assert_eq!(session(&events), parent);
    let events = world.settle(0);
    assert_eq!(classes(&events), ["session"]);
    let Detail::Session(info) = &events[0].detail else {
        panic!("{events:?}")
    };
    assert_eq!(info.parent, Some(parent));
    let child = session(&events);
    assert_eq!(session(&world.opens(11, claim, "/etc/hosts")), child);
    assert_eq!(classes(&world.exit(11)), ["exit", "session"]);
}

#[test]
fn what_waits_is_bounded_in_number_and_bytes() {
    let mut world = World::new();
    let (claim, _) = world.exec(10, &["python"], None);
    let path = "/x".repeat(1_500);
    let mut opens = 0;
    while world.maps.settled.is_empty() {
        assert!(opens < 1_000, "a quarter of a mebibyte of records");
        world.opens(10, claim, &path);
        world.settle(0);
        opens += 1;
    }
    assert_eq!(world.tracker.take_unjudged()[0].count, 1);
    let claims: Vec<Claim> = (0..80)
        .map(|pid| world.exec(100 + pid, &["python"], None).0)
        .collect();
    let settled = world.maps.settled.len() - 1;
    assert_eq!(
        settled,
        claims.len() - 64,
        "the last ones were not let wait"
    );
    world.settle(u64::MAX);
    assert_eq!(world.maps.settled.len() - 1, claims.len());
    assert!(!world.tracker.holds_any());
}

#[test]
fn a_tools_name_outside_a_session_of_its_family_is_evidence() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["claude", "rg"], None);
    assert_eq!(classes(&events), ["session", "exec"], "out of nowhere");
    let own = session(&events);
    world.fork(10, 11, None);
    let (_, events) = world.exec(11, &["claude", "rg", "--files"], None);
    assert_eq!((classes(&events), session(&events)), (vec!["exec"], own));
    let (_, events) = world.exec(20, &["codex"], None);
    let other = session(&events);
    world.fork(20, 21, None);
    let (_, events) = world.exec(21, &["claude", "rg"], None);
    assert_eq!(classes(&events), ["session", "exec"], "in another family's");
    assert_ne!(session(&events), other);
    // Claude starts Codex, whose shell has Claude's `rg`.
    world.fork(10, 12, None);
    world.exec(12, &["codex"], None);
    world.fork(12, 13, None);
    let (_, events) = world.exec(13, &["claude", "rg"], None);
    assert_eq!(
        classes(&events),
        ["exec"],
        "a session above is of the family"
    );
}
