//! A daemon of this test's own, and what it does while running.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prost::Message;
use skep_proto::v1::{self, event::Detail};
use skep_sensor::status::Status;
use skep_spool::Stats;
use skep_testing::{
    Finish, Program,
    collector::{Absent, Collector},
    eventually, eventually_or,
};

use crate::{accounts::level, kills::left};

/// Whether storms are those that break things (`SKEP_STORM=full`).
pub fn full_size() -> bool {
    match std::env::var("SKEP_STORM").as_deref() {
        Ok("full") => true,
        Ok(other) => panic!("SKEP_STORM is {other:?}: it can be full, or not set"),
        Err(_) => false,
    }
}

/// How long what must come may take.
fn patience() -> Duration {
    Duration::from_secs(if full_size() { 900 } else { 180 })
}

/// The sensor's binary.
pub fn sensor() -> Command {
    Command::new(env!("CARGO_BIN_EXE_skep-sensor"))
}

/// A configuration in `directory` that sends to `collector`.
pub fn configure(directory: &Path, collector: SocketAddr) -> PathBuf {
    let file = directory.join("sensor.toml");
    let text = format!(
        "state_directory = \"{0}/state\"\n[collector]\naddress = \"http://{collector}\"\n\
         [spool]\ndirectory = \"{0}/spool\"\n[status]\nsocket = \"{0}/run/sensor.sock\"\n",
        directory.display()
    );
    std::fs::write(&file, text).expect("own directory");
    file
}

/// The demo agent.
pub fn actor() -> PathBuf {
    skep_testing::demo_agent()
}

/// Every sensor sees the agents of every test. Who makes a storm, and who must not lose a record to one,
/// has this for as long as the test runs.
pub fn calm() -> MutexGuard<'static, ()> {
    static CALM: Mutex<()> = Mutex::new(());
    // A test that failed has left nothing behind it.
    CALM.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    eventually(what, patience(), found)
}

/// The same; when it does not come, `explain` says how things stood.
pub fn wait_or_explain<T>(
    what: &str,
    found: impl FnMut() -> Option<T>,
    explain: impl FnOnce() -> String,
) -> T {
    eventually_or(what, patience(), found, explain)
}

/// The sensor's figures as of now; `None` when it is too busy to count.
pub fn status(config: &Path) -> Option<Status> {
    let output = sensor()
        .args(["status", "--json", "--config"])
        .arg(config)
        .finish();
    let status: Status = serde_json::from_slice(&output.stdout).ok()?;
    status.stale_seconds.is_none().then_some(status)
}

/// Waits until the collector has everything the sensor has now: the end of a session travels in a lane
/// of its own, and may arrive before what the session did. (The lanes need not be empty at any time:
/// every sensor sees the agents of every test.)
pub fn settled(config: &Path) {
    let lanes = || {
        let status = status(config)?;
        Some([status.spool.bulk, status.spool.findings])
    };
    let then = wait_for("the sensor's status", lanes);
    wait_or_explain(
        "what both lanes had to be acknowledged",
        || {
            let now = lanes()?;
            let has = |(then, now): (&Stats, &Stats)| {
                let acknowledged = now.acked_seq + 1 >= then.next_seq;
                now.records == 0 || now.epoch == then.epoch && acknowledged
            };
            then.iter().zip(&now).all(has).then_some(())
        },
        || format!("{then:?} then, {:?} now", lanes()),
    );
}

/// What is in the files of the spool in `directory`.
pub fn spool_files(directory: &Path) -> Vec<Vec<u8>> {
    let lanes = ["bulk", "findings"].map(|lane| std::fs::read_dir(directory.join(lane)));
    let entries = lanes.into_iter().flatten().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path()).ok())
        .collect()
}

/// Waits until the spool in `directory` has a run with this mark.
pub fn spooled(directory: &Path, mark: &str) {
    wait_for("the spool to have the run", || {
        spool_files(directory)
            .iter()
            .any(|file| memchr::memmem::find(file, mark.as_bytes()).is_some())
            .then_some(())
    });
}

/// What is needed to tell why a session has not ended: what was told of it and of losses, its
/// processes that still run, and the sensor's own figures.
pub fn how_things_stand(events: &[v1::Event], config: &Path, session: &Option<String>) -> String {
    let mut text = String::new();
    let mut pids = BTreeSet::new();
    for event in events {
        let process = event.process.as_ref();
        if event.session == *session {
            pids.extend(process.map(|process| process.pid));
        }
        if matches!(event.detail, Some(Detail::Open(_) | Detail::Connect(_))) {
            continue;
        }
        let of_all = matches!(event.detail, Some(Detail::Lost(_) | Detail::Coverage(_)));
        if event.session == *session || event.session.is_none() && of_all {
            let pid = process.map(|process| process.pid);
            text.push_str(&format!(
                "{} pid {pid:?} {:?}\n",
                event.time_unix_nano, event.detail
            ));
        }
    }
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        text.push_str(&format!("{pid}: {}\n", stat.unwrap_or_default().trim_end()));
    }
    let status = sensor()
        .args(["status", "--json", "--config"])
        .arg(config)
        .finish();
    text + &String::from_utf8_lossy(&status.stdout)
}

/// The session of the agent run that was given `mark` as an argument.
pub fn session_of(events: &[v1::Event], mark: &str) -> Option<String> {
    events.iter().find_map(|event| {
        let process = event.process.as_ref()?;
        let is_marked = process.argv.iter().any(|arg| arg == mark);
        event.session.clone().filter(|_| is_marked)
    })
}

/// Whether an agent run that was given `mark` as an argument has ended, as far as the events tell.
pub fn ended(events: &[v1::Event], mark: &str) -> bool {
    session_of(events, mark).is_some_and(|session| {
        events.iter().any(|event| {
            event.session.as_ref() == Some(&session)
                && matches!(&event.detail, Some(Detail::SessionInfo(info))
                    if info.phase() == v1::session_info::Phase::End)
        })
    })
}

fn act(mark: &str) {
    let status = Command::new(actor())
        .args([
            "do",
            "open",
            "/proc/self/comm",
            "exec",
            "/bin/true",
            mark,
            "--",
        ])
        .spawn();
    assert!(status.expect("the actor").finish().success());
}

#[test]
fn what_happens_while_the_collector_is_away_arrives_later_and_the_figures_add_up() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let absent = Absent::new();
    let config = configure(directory.path(), absent.address);
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    act("while-away");
    spooled(&directory.path().join("spool"), "while-away");
    let collector = absent.arrive();
    wait_for("the events of the time without a collector", || {
        ended(&collector.events(), "while-away").then_some(())
    });
    act("while-there");
    wait_for("the events since", || {
        ended(&collector.events(), "while-there").then_some(())
    });

    settled(&config);
    level(&config, &collector);
    let events = collector.events();
    for mark in ["while-away", "while-there"] {
        let session = session_of(&events, mark);
        let lost = events.iter().find(|event| {
            event.session == session && matches!(event.detail, Some(Detail::Lost(_)))
        });
        assert_eq!(lost, None, "{mark}");
    }
    // Other tests' agents are seen too, and go on: what has left the pipeline by now has a number,
    // and every number arrives.
    let status = wait_for("the sensor's status", || status(&config));
    assert!(status.uplink.bulk.connected && status.uplink.findings.connected);
    let lanes = [&status.spool.bulk, &status.spool.findings];
    let numbered: u64 = lanes.iter().map(|lane| lane.next_seq - 1).sum();
    assert_eq!(status.events.values().sum::<u64>(), numbered, "{status:#?}");
    for lane in lanes {
        let epoch = lane.epoch.expect("it is open");
        wait_for("every number to arrive", || {
            (collector.last(epoch) + 1 >= lane.next_seq).then_some(())
        });
    }
    assert_eq!(running.terminate().code(), Some(0));
    assert!(
        !directory.path().join("run/sensor.sock").exists(),
        "it takes its socket away"
    );
}

#[test]
fn a_killed_sensor_sends_what_it_had_spooled_when_it_is_started_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let absent = Absent::new();
    let config = configure(directory.path(), absent.address);
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    act("before-the-kill");
    wait_for("the spool to have the whole run", || {
        let records = left(&directory.path().join("spool"));
        let events = records
            .iter()
            .map(|record| v1::Event::decode(&record[..]).expect("an event"));
        ended(&events.collect::<Vec<_>>(), "before-the-kill").then_some(())
    });
    running.kill();
    let collector = absent.arrive();
    let mut again = Program::start(sensor().args(["run", "--config"]).arg(&config));
    wait_for("the exec from before", || {
        let is_it = |event: &v1::Event| {
            matches!(event.detail, Some(Detail::Exec(_)))
                && session_of(std::slice::from_ref(event), "before-the-kill").is_some()
        };
        collector.events().into_iter().find(is_it)
    });
    wait_for("the end of that session", || {
        ended(&collector.events(), "before-the-kill").then_some(())
    });
    assert_eq!(again.terminate().code(), Some(0));
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let mut first = Program::start(sensor().args(["run", "--config"]).arg(&config));
    let second = sensor().args(["run", "--config"]).arg(&config).finish();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("sensor.sock"), "{said}");
    act("after-the-second");
    wait_for("the first to report", || {
        ended(&collector.events(), "after-the-second").then_some(())
    });
    assert_eq!(first.terminate().code(), Some(0));
}

#[test]
fn watching_ends_when_nobody_reads_any_more() {
    let mut watching = Program::start(sensor().args(["watch", "--json"]).stdout(Stdio::piped()));
    drop(watching.stdout());
    act("nobody-reads");
    let status = wait_for("the end", || watching.ended());
    assert_eq!(status.code(), Some(0));
}
