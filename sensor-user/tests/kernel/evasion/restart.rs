//! The sensor ends in the middle of a session, and is started again: whose acts are the acts after it?
//!
//! The sensor of these techniques is a process of its own ([`SensorProcess`]); that of the suite, which
//! watches all the while, is not asked.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::Child};

use rustix::process::Signal;
use serde_json::Value;
use skep_event::time_text;
use skep_sensor::{clock::BootClock, journal::Journal, start};
use skep_testing::Finish;

use crate::sensor::wait_for;

use super::{
    process::SensorProcess,
    stage::{Stage, agent},
    verdict::Verdict,
};

/// What an agent leaves running: in a session of its own, its parent gone, in the folder given. Each
/// of its acts is an open by the shell itself.
const DAEMON: &str = "\
wait_for() { while [ ! -e \"$1\" ]; do sleep 0.05; done; }
: < \"$1/daemon-before\"
wait_for \"$1/cue-unwatched\"
: < \"$1/daemon-unwatched\"
: > \"$1/done-daemon-unwatched\"
wait_for \"$1/cue-after\"
: < \"$1/daemon-after\"
: > \"$1/done-daemon-after\"
";

/// An agent with such a daemon; both do the next thing when they get the cue.
struct Agent<'a> {
    stage: &'a Stage<'a>,
    child: Child,
}

/// What two lives of the sensor told of one agent.
struct Story {
    /// The agent's, as the first life told it.
    session: Value,
    agent: Value,
    /// When the first life was over, and when the second began.
    unwatched: (String, String),
    /// What was opened after that by the agent, and by its daemon.
    after: [String; 2],
    /// What the second life told.
    told: Vec<Value>,
}

/// The verdict on an agent whose sensor is ended by this signal.
pub fn goes_on(stage: &Stage, signal: Signal) -> Verdict {
    let state = stage.subfolder("state");
    Story::of(stage, signal, [&state, &state]).verdict()
}

// === impl Agent ===

impl<'a> Agent<'a> {
    fn start(stage: &'a Stage<'a>) -> Self {
        for name in ["before", "unwatched", "after"] {
            for who in ["agent", "daemon"] {
                fs::write(stage.path(&format!("{who}-{name}")), "x").expect("own folder");
            }
        }
        let script = stage.path("daemon.sh");
        fs::write(&script, DAEMON).expect("own folder");
        let folder = stage.folder().display();
        let daemonise = format!("setsid /bin/sh {script} {folder} < /dev/null > /dev/null 2>&1 &");
        let path = |name: &str| stage.path(name);
        let child = agent(&["exec", "/bin/sh", "-c", &daemonise, "--"])
            .args(["open", &path("agent-before")])
            .args(["wait-for", &path("cue-unwatched")])
            .args(["open", &path("agent-unwatched")])
            .args(["create", &path("done-agent-unwatched")])
            .args(["wait-for", &path("cue-after")])
            .args(["open", &path("agent-after")])
            .spawn()
            .expect("the actor");
        Self { stage, child }
    }

    fn cue(&self, name: &str) {
        fs::write(self.stage.path(&format!("cue-{name}")), "").expect("own folder");
    }

    fn has_done(&self, name: &str) {
        let mark = self.stage.path(&format!("done-{name}"));
        wait_for(name, || Path::new(&mark).exists().then_some(()));
    }

    fn ends(&mut self) {
        assert!(self.child.finish().success());
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        // Whatever a failed test left waiting goes on and ends.
        for name in ["unwatched", "after"] {
            let _ = fs::write(self.stage.path(&format!("cue-{name}")), "");
        }
        let _ = self.child.wait();
    }
}

// === impl Story ===

impl Story {
    /// Two lives of the sensor, each with its state in the folder given, and an agent across both.
    fn of(stage: &Stage, signal: Signal, states: [&str; 2]) -> Self {
        let first = SensorProcess::start(stage, states[0], "first");
        let clock = BootClock::for_boot(Path::new(states[0]), &start::boot_id());
        let mut agent = Agent::start(stage);
        let known = wait_for("the agent to be known", || {
            opened(&first.events(), &stage.path("agent-before")).cloned()
        });
        let of_daemon = wait_for("the daemon to be known", || {
            opened(&first.events(), &stage.path("daemon-before")).cloned()
        });
        assert_eq!(known["session"], of_daemon["session"]);
        let session = &known["session"];
        wait_for("both to be in the journal", || {
            is_kept(stage, states[0], session, &[&known, &of_daemon]).then_some(())
        });
        let (status, _) = first.end(signal);
        let killed = (signal == Signal::KILL).then_some(libc::SIGKILL);
        assert_eq!(status.signal(), killed, "the first life: {status}");
        let from = clock.now();
        agent.cue("unwatched");
        agent.has_done("agent-unwatched");
        agent.has_done("daemon-unwatched");
        let to = clock.now();
        let second = SensorProcess::start(stage, states[1], "second");
        agent.cue("after");
        agent.ends();
        agent.has_done("daemon-after");
        let (status, told) = second.end(Signal::TERM);
        assert!(status.success(), "the second life: {status}");
        Self {
            session: known["session"].clone(),
            agent: known["process"]["pid"].clone(),
            unwatched: (time_text(from), time_text(to)),
            after: ["agent-after", "daemon-after"].map(|name| stage.path(name)),
            told,
        }
    }

    fn of_session(&self) -> Vec<Value> {
        let of_session = |event: &&Value| event["session"] == self.session;
        self.told.iter().filter(of_session).cloned().collect()
    }

    fn verdict(&self) -> Verdict {
        let of_session = self.of_session();
        let [by_agent, by_daemon] = &self.after;
        let by_agent = opened(&of_session, by_agent);
        let Some(act) = by_agent.filter(|event| event["process"]["pid"] == self.agent) else {
            return Verdict::not_seen("what the agent did after the restart is not in its session");
        };
        let by_daemon = opened(&of_session, by_daemon);
        if by_daemon.is_none_or(|event| event["process"]["pid"] == self.agent) {
            return Verdict::not_seen(
                "what the daemon did after the restart is not in the session",
            );
        }
        let says_resumed = |event: &Value| {
            let info = &event["session_info"];
            info["found"] == "resumed" && info["gaps"].as_u64().is_some_and(|gaps| gaps > 0)
        };
        if !of_session.iter().any(says_resumed) {
            return Verdict::not_seen("the session does not say that it has a gap");
        }
        if !self.told.iter().any(|event| self.says_blind(event)) {
            return Verdict::not_seen("nothing says when nobody watched");
        }
        Verdict::gap(
            act["hook"].as_str(),
            "what the agent did while no sensor ran is not known. That time is a `coverage` event \
             (`blind`), and the session says that it was resumed and has gaps; what the agent and its \
             daemon did afterwards is reported in the session they had before",
        )
    }

    /// Does this event say that nobody watched, from the first life's end to the second's start?
    fn says_blind(&self, event: &Value) -> bool {
        let coverage = &event["coverage"];
        let time = |name: &str| coverage[name].as_str().unwrap_or_default();
        let (from, to) = (self.unwatched.0.as_str(), self.unwatched.1.as_str());
        // Times have a fixed width.
        let has_all = !time("first").is_empty() && time("first") <= from && time("last") >= to;
        coverage["what"] == "blind" && has_all
    }
}

fn opened<'a>(events: &'a [Value], path: &str) -> Option<&'a Value> {
    let is = |event: &&Value| event["class"] == "open" && event["file"]["path"] == path;
    events.iter().find(is)
}

/// Whether the journal, as it is now, has the session and the processes of these events.
fn is_kept(stage: &Stage, state: &str, session: &Value, events: &[&Value]) -> bool {
    // Of a copy: whoever opens a journal begins it anew.
    let copy = stage.subfolder("journal");
    let name = "sessions.journal";
    fs::copy(Path::new(state).join(name), Path::new(&copy).join(name)).expect("a journal");
    let (_, found) = Journal::open(Path::new(&copy), &start::boot_id(), BootClock::boot_now());
    let Some(kept) = found.kept else {
        return false;
    };
    let has_session = |id: String| kept.sessions.iter().any(|kept| kept.id.to_string() == id);
    let has_process = |event: &&Value| {
        let pid = event["process"]["pid"].as_u64();
        kept.processes
            .iter()
            .any(|kept| Some(kept.tgid.into()) == pid)
    };
    session.as_str().map(str::to_owned).is_some_and(has_session) && events.iter().all(has_process)
}

/// The questions can be answered with no.
mod once {
    use super::*;
    use crate::sensor::sensor;

    #[test]
    fn a_sensor_that_forgot_what_it_knew_has_not_seen_the_session_go_on() {
        let stage = Stage::new(sensor(), "restart", "forgot", &[]);
        let states = ["one", "two"].map(|name| stage.subfolder(name));
        let story = Story::of(&stage, Signal::KILL, [&states[0], &states[1]]);
        // The acts are told, in a session of their own.
        assert!(opened(&story.told, &story.after[0]).is_some());
        assert!(matches!(story.verdict(), Verdict::NotSeen { .. }));
    }

    /// A story in which everything is told.
    fn told() -> Story {
        use serde_json::json;
        let open = |pid: u32, path: &str| {
            json!({
                "class": "open", "session": "aa", "hook": "fentry/vfs_open",
                "process": {"pid": pid}, "file": {"path": path},
            })
        };
        Story {
            session: json!("aa"),
            agent: json!(7),
            unwatched: ("2026-01-01T00:00:02".into(), "2026-01-01T00:00:03".into()),
            after: ["/agent".into(), "/daemon".into()],
            told: vec![
                json!({
                    "class": "coverage", "session": null,
                    "coverage": {
                        "what": "blind",
                        "first": "2026-01-01T00:00:01", "last": "2026-01-01T00:00:04",
                    },
                }),
                json!({
                    "class": "session", "session": "aa",
                    "session_info": {"found": "resumed", "gaps": 1},
                }),
                open(7, "/agent"),
                open(8, "/daemon"),
            ],
        }
    }

    #[test]
    fn a_gap_is_stated_only_if_every_part_of_it_is() {
        assert!(matches!(told().verdict(), Verdict::Gap { .. }));
        let is_not_enough = |change: &dyn Fn(&mut Story)| {
            let mut story = told();
            change(&mut story);
            let verdict = story.verdict();
            assert!(matches!(verdict, Verdict::NotSeen { .. }), "{verdict:?}");
        };
        for at in 0..told().told.len() {
            is_not_enough(&|story| drop(story.told.remove(at)));
        }
        is_not_enough(&|story| story.told[0]["coverage"]["first"] = "2026-01-01T00:00:02.5".into());
        is_not_enough(&|story| story.told[0]["coverage"]["last"] = "2026-01-01T00:00:02.5".into());
        is_not_enough(&|story| story.told[1]["session_info"]["found"] = "running".into());
        is_not_enough(&|story| story.told[1]["session_info"]["gaps"] = 0.into());
        for at in 1..4 {
            is_not_enough(&|story| story.told[at]["session"] = "bb".into());
        }
        is_not_enough(&|story| story.told[3]["process"]["pid"] = 7.into());
    }
}
