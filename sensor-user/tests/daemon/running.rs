//! A daemon of this test's own, and what it does while running.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use skep_proto::v1::{self, event::Detail};
use skep_sensor::status::{Spool, Status};

use crate::collector::Collector;

const PATIENCE: Duration = Duration::from_secs(60);

/// The sensor's binary.
pub fn sensor() -> Command {
    Command::new(env!("CARGO_BIN_EXE_skep-sensor"))
}

/// A running sensor, stopped by SIGTERM when dropped.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts it and waits until it says that it is ready.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the sensor's binary");
        let stderr = child.stderr.take().expect("a pipe");
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line == "ready" => break,
                Some(Ok(line)) => said.push(line),
                _ => panic!("the sensor did not get ready: {said:#?}"),
            }
        }
        // Keep the pipe empty, or the sensor would wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child }
    }

    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Already gone is seen by the wait.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.child.wait().expect("a child").code()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
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

/// The demo agent, built beside the sensor's binary.
pub fn actor() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_skep-sensor")).with_file_name("skep-demo-agent");
    assert!(
        path.exists(),
        "{}: build it with `cargo build -p skep-demo-agent`",
        path.display()
    );
    path
}

/// Every sensor sees the agents of every test. Storms share this; who must not lose a record to one has
/// it alone.
pub static CALM: RwLock<()> = RwLock::new(());

pub fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    wait_or_explain(what, found, String::new)
}

/// The same; when it does not come, `explain` says how things stood.
pub fn wait_or_explain<T>(
    what: &str,
    mut found: impl FnMut() -> Option<T>,
    explain: impl FnOnce() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        if start.elapsed() >= PATIENCE {
            panic!("waited {PATIENCE:?} in vain for {what}\n{}", explain());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the collector has everything the sensor has now: the end of a session travels in a lane
/// of its own, and may arrive before what the session did. (The lanes need not be empty at any time:
/// every sensor sees the agents of every test.)
pub fn settled(config: &Path) {
    let lanes = || {
        let output = sensor()
            .args(["status", "--json", "--config"])
            .arg(config)
            .output()
            .ok()?;
        let status: Status = serde_json::from_slice(&output.stdout).ok()?;
        Some([status.spool.bulk, status.spool.findings])
    };
    let then = wait_for("the sensor's status", lanes);
    wait_or_explain(
        "what both lanes had to be acknowledged",
        || {
            let now = lanes()?;
            let has = |(then, now): (&Spool, &Spool)| {
                let acknowledged = now.acked_seq + 1 >= then.next_seq;
                now.records == 0 || now.epoch == then.epoch && acknowledged
            };
            then.iter().zip(&now).all(has).then_some(())
        },
        || format!("{then:?} then, {:?} now", lanes()),
    );
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
        .output()
        .expect("the sensor's binary");
    text + &String::from_utf8_lossy(&status.stdout)
}

/// Whether an agent run that was given `mark` as an argument has ended, as far as the events tell.
pub fn ended(events: &[v1::Event], mark: &str) -> bool {
    let session = events.iter().find_map(|event| {
        let process = event.process.as_ref()?;
        process
            .argv
            .iter()
            .any(|arg| arg == mark)
            .then(|| event.session.clone())?
    });
    session.is_some_and(|session| {
        events.iter().any(|event| {
            event.session.as_ref() == Some(&session)
                && matches!(&event.detail, Some(Detail::SessionInfo(info))
                    if info.phase() == v1::session::Phase::End)
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
        .status();
    assert!(status.expect("the actor").success());
}

#[test]
fn what_happens_while_the_collector_is_away_arrives_later_and_the_figures_add_up() {
    let _calm = CALM.write().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("a directory");
    // A port that was free a moment ago, where nobody listens yet.
    let port = Collector::start(0).address.port();
    let config = configure(directory.path(), SocketAddr::from(([127, 0, 0, 1], port)));
    let mut running = Running::start(sensor().args(["run", "--config"]).arg(&config));
    act("while-away");
    std::thread::sleep(Duration::from_millis(500));
    let collector = Collector::start(port);
    wait_for("the events of the time without a collector", || {
        ended(&collector.events(), "while-away").then_some(())
    });
    act("while-there");
    wait_for("the events since", || {
        ended(&collector.events(), "while-there").then_some(())
    });

    // Other tests' agents are seen too; once they are quiet, every account agrees.
    wait_for("every account to agree", || {
        let output = sensor()
            .args(["status", "--json", "--config"])
            .arg(&config)
            .output()
            .ok()?;
        assert!(output.status.success());
        let status: Status = serde_json::from_slice(&output.stdout).ok()?;
        assert!(status.uplink.bulk.connected && status.uplink.findings.connected);
        for (kind, counters) in &status.kernel {
            assert_eq!(counters.lost.values().sum::<u64>(), 0, "{kind}");
        }
        let read = status
            .kernel
            .iter()
            .all(|(kind, counters)| status.read.get(kind) == Some(&counters.sent));
        let reported: u64 = status.events.values().sum();
        let stored = collector.events().len() as u64;
        let waiting = status.spool.bulk.records + status.spool.findings.records;
        (read && reported == stored && waiting == 0).then_some(())
    });
    assert_eq!(running.stop(), Some(0));
    assert!(
        !directory.path().join("run/sensor.sock").exists(),
        "it takes its socket away"
    );
}

#[test]
fn a_killed_sensor_sends_what_it_had_spooled_when_it_is_started_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = Collector::start(0).address.port();
    let config = configure(directory.path(), SocketAddr::from(([127, 0, 0, 1], port)));
    let mut running = Running::start(sensor().args(["run", "--config"]).arg(&config));
    act("before-the-kill");
    // Folded events leave after a second.
    std::thread::sleep(Duration::from_millis(2_500));
    running.kill();
    let collector = Collector::start(port);
    let mut again = Running::start(sensor().args(["run", "--config"]).arg(&config));
    wait_for("the events from before", || {
        ended(&collector.events(), "before-the-kill").then_some(())
    });
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::start(0);
    let config = configure(directory.path(), collector.address);
    let mut first = Running::start(sensor().args(["run", "--config"]).arg(&config));
    let second = sensor()
        .args(["run", "--config"])
        .arg(&config)
        .output()
        .expect("the binary");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("sensor.sock"), "{said}");
    act("after-the-second");
    wait_for("the first to report", || {
        ended(&collector.events(), "after-the-second").then_some(())
    });
    assert_eq!(first.stop(), Some(0));
}

#[test]
fn watching_ends_when_nobody_reads_any_more() {
    let mut watching = Running::start(sensor().args(["watch", "--json"]).stdout(Stdio::piped()));
    drop(watching.stdout());
    act("nobody-reads");
    let status = wait_for("the end", || watching.child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(0));
}
