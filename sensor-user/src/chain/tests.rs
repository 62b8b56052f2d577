//! The chain as it is built, as the page on the architecture shows it, and with one more step in it.

use skep_event::{ActRef, ConnectRef, Detail, Finding, NetFamily, Severity, sample};

use super::*;
use crate::{act::Act, clock::Moment};

const MEMORY: usize = 64 << 20;

/// A step that finds something in every act on a port, with a secret in what it says.
#[derive(Default)]
struct Policy {
    acts: u64,
}

impl Step for Policy {
    const ABOUT: About = About {
        name: "policy",
        module: "a test",
        takes: "events and acts",
        passes_on: "the same, and findings",
        bound: || "stateless".to_owned(),
        counters: &["acts"],
    };

    fn count(&self) -> Vec<u64> {
        vec![self.acts]
    }
}

impl Relay for Policy {
    fn event(&mut self, event: Event, _now: Instant, next: &mut impl Sink) {
        next.event(event);
    }

    fn act(&mut self, act: &Act<'_>, _now: Instant, next: &mut impl Sink) {
        self.acts += 1;
        let finding = Finding {
            rule: "policy.port".to_owned(),
            title: "a connect".to_owned(),
            severity: Severity::High,
            attack: Vec::new(),
            reason: "to https://user:hunter2@host.example".to_owned(),
        };
        let session = Some(act.session);
        next.event(Event::told(session, act.at.time, Detail::Finding(finding)));
        next.act(act);
    }
}

/// Gives so many connects that are alike.
fn connects(count: u64, sink: &mut impl Sink) {
    let event = sample::connect();
    let process = event.process.as_ref().expect("a connect has a process");
    let act = Act {
        at: Moment {
            time: event.time,
            boot_ns: sample::BOOT_TIME,
        },
        session: event.session.expect("a connect has a session"),
        agent: None,
        process,
        result: None,
        hook: "lsm/socket_connect",
        facts: ActRef::Connect(ConnectRef {
            family: NetFamily::Inet,
            addr: None,
            port: Some(443),
            proto: None,
            path: None,
        }),
        folding: None,
    };
    for _ in 0..count {
        sink.act(&act);
    }
    sink.end();
}

fn folded(events: &[Event]) -> Vec<u64> {
    let count = |event: &Event| match &event.detail {
        Detail::Connect(net) => Some(net.count),
        _ => None,
    };
    events.iter().filter_map(count).collect()
}

#[test]
fn acts_leave_folded_and_without_the_fold_one_by_one() {
    let mut tail = Tail::within(MEMORY);
    let mut left = Vec::new();
    connects(3, &mut tail.to(Instant::now(), |event| left.push(event)));
    assert_eq!(folded(&left), [3]);
    let mut left = Vec::new();
    connects(3, &mut tail.unfolded(|event| left.push(event)));
    assert_eq!(folded(&left), [1, 1, 1]);
    let counts = tail.counts();
    assert_eq!(
        counts[2].counters,
        [("derived", 0)],
        "acts have a boot time"
    );
    assert_eq!(counts[3].counters, [("events", 4)]);
}

#[test]
fn a_step_goes_between_track_and_fold_by_one_call_and_what_it_finds_is_redacted() {
    let mut policy = Policy::default();
    let mut tail = Tail::within(MEMORY);
    let (mut left, now) = (Vec::new(), Instant::now());
    let mut sink = policy.then(now, tail.to(now, |event| left.push(event)));
    connects(3, &mut sink);
    let mut names = Vec::new();
    sink.show(&mut |about, counted| names.push((about.name, counted[0])));
    assert_eq!(
        names,
        [
            ("policy", 3),
            ("first sight", 0),
            ("fold", 0),
            ("stamp", 0),
            ("redact", 4)
        ]
    );
    drop(sink);
    assert_eq!(folded(&left), [3], "the fold comes after it");
    let reasons: Vec<&str> = left
        .iter()
        .filter_map(|event| match &event.detail {
            Detail::Finding(finding) => Some(finding.reason.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, ["to https://***@host.example"; 3]);
}

#[test]
fn every_step_counts_what_it_says_it_counts() {
    for counts in Tail::within(MEMORY).counts() {
        let about = steps(MEMORY)
            .into_iter()
            .find(|about| about.name == counts.step)
            .expect("a step of the chain");
        let names: Vec<&str> = counts.counters.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, about.counters);
    }
}

#[test]
fn the_page_on_the_architecture_prints_the_chain() {
    const BEGIN: &str = "<!-- chain: begin -->\n";
    const END: &str = "<!-- chain: end -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture.md");
    let page = std::fs::read_to_string(path).expect("the page on the architecture");
    let steps = steps(MEMORY);
    let chain = format!(
        "```\nring ─▶ {} ─▶ `watch`, spool\n```\n\n{}",
        diagram(&steps),
        table(&steps)
    );
    let (before, rest) = page.split_once(BEGIN).expect("a place for the chain");
    let (_, after) = rest.split_once(END).expect("an end of that place");
    let expected = format!("{before}{BEGIN}{chain}{END}{after}");
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(path, &expected).expect("the page on the architecture");
        return;
    }
    assert!(
        page == expected,
        "docs/architecture.md does not print the chain as it is: run \
         `SKEP_BLESS=1 cargo test -p skep-sensor --lib chain`"
    );
}
