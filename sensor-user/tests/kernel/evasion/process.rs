//! A sensor in a process of its own, which a test can end as it likes and start again.
//!
//! The test program executes itself: with [`STATE`] in its environment the one test below is such a
//! sensor. It goes through the steps of `skep-sensor run` (the probes, the journal and what runs
//! already, then rounds through the fold until SIGTERM), and writes its events as lines of JSON to a
//! file where the daemon hands them to its spool.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use skep_event::Event;
use skep_event::json;

use skep_sensor::{clock::BootClock, config::Config, journal::Journal, start, stop::Stop};

use crate::sensor::{sensor, wait_for};

use super::stage::Stage;

/// State directory of the sensor this program is to be.
const STATE: &str = "SKEP_TEST_SENSOR_STATE";
/// Its events go to this file; the file with `.ready` appended says that it watches.
const EVENTS: &str = "SKEP_TEST_SENSOR_EVENTS";
/// Hooks it leaves out, with commas between them.
const AVOID: &str = "SKEP_TEST_SENSOR_AVOID";
/// The test that is the sensor.
const ENTRY: &str = "evasion::process::a_sensor_of_its_own_ends_at_sigterm_and_has_told_everything";
/// How long it waits for a record before it looks by itself.
const IDLE: Duration = Duration::from_millis(100);

/// A running sensor; killed if a test does not end it.
pub struct SensorProcess {
    child: Child,
    events: PathBuf,
}

// === impl SensorProcess ===

impl SensorProcess {
    /// Starts it with the hooks of the stage and the state in this folder, and waits until it watches.
    pub fn start(stage: &Stage, state: &str, life: &str) -> Self {
        let events: PathBuf = stage.path(life).into();
        let log = events.with_extension("log");
        let output = File::create(&log).expect("own folder");
        let errors = output.try_clone().expect("a descriptor");
        let mut command = Command::new(std::env::current_exe().expect("a test binary has a path"));
        command
            .args(["--exact", ENTRY, "--nocapture", "--test-threads=1"])
            .env(STATE, state)
            .env(EVENTS, &events)
            .env(AVOID, stage.avoid.join(","))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        // SAFETY: the closure makes system calls on memory of its own, and takes no lock.
        unsafe { command.pre_exec(block_sigterm) };
        let mut child = command.spawn().expect("this very program");
        let ready = ready(&events);
        wait_for("a sensor in a process of its own", || {
            if let Some(status) = child.try_wait().expect("own child") {
                let said = fs::read_to_string(&log).unwrap_or_default();
                panic!("the sensor did not get ready: {status}\n{said}");
            }
            ready.exists().then_some(())
        });
        Self { child, events }
    }

    /// What it has told so far.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.events).expect("it is ready");
        // What has no end yet is being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| serde_json::from_str(line).expect("a line is an event");
        whole.lines().map(parse).collect()
    }

    /// Ends it by this signal, waits for that, and gives everything it told.
    pub fn end(mut self, signal: Signal) -> (ExitStatus, Vec<Value>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("own child");
        let status = self.child.wait().expect("own child");
        (status, self.events())
    }
}

impl Drop for SensorProcess {
    fn drop(&mut self) {
        // After `end` it is gone, and nothing is sent.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready(events: &Path) -> PathBuf {
    events.with_extension("ready")
}

/// In every thread of the program to come: its harness has one before the sensor can ask for this.
fn block_sigterm() -> io::Result<()> {
    // SAFETY: an all-zero set is valid storage, which `sigemptyset` makes a set of; the calls change
    // this process only.
    let result = unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The sensor itself, until SIGTERM.
fn be_the_sensor(state: &Path) {
    let text = |name| std::env::var(name).expect("set beside the state directory");
    let events = PathBuf::from(text(EVENTS));
    let mut config = Config {
        state_directory: state.to_owned(),
        ..Config::default()
    };
    config.catalogue.directory = state.join("no-catalogue");
    let avoid = text(AVOID);
    let avoid = avoid.split(',').filter(|prefix| !prefix.is_empty());
    config.kernel.avoid = avoid.map(str::to_owned).collect();

    let stop = Stop::on_signals().expect("signals");
    let boot = start::boot_id();
    let clock = BootClock::for_boot(state, &boot);
    let mut pipeline = start::pipeline(&config, clock).expect("the sensor can start here");
    let mut file = File::create(&events).expect("own folder");
    let mut tell = |event: Event| {
        let line = json::write(&event) + "\n";
        file.write_all(line.as_bytes()).expect("own folder");
    };
    let (journal, found) = Journal::open(state, &boot, BootClock::boot_now());
    pipeline.keep_in(journal);
    pipeline.adopt(found.kept, &mut tell);
    File::create(ready(&events)).expect("own folder");
    let mut stopping = false;
    loop {
        let more = pipeline.round(stopping, &mut tell);
        if stopping && !more {
            return;
        }
        let idle = if more { Duration::ZERO } else { IDLE };
        stopping |= stop.wait(pipeline.ring(), idle);
    }
}

#[test]
fn a_sensor_of_its_own_ends_at_sigterm_and_has_told_everything() {
    if let Some(state) = std::env::var_os(STATE) {
        return be_the_sensor(Path::new(&state));
    }
    let stage = Stage::new(sensor(), "process", "sigterm", &[]);
    let secret = stage.secret();
    let process = SensorProcess::start(&stage, &stage.subfolder("state"), "life");
    stage.act(&["open", &secret]);
    let (status, events) = process.end(Signal::TERM);
    assert!(status.success(), "{status}");
    let opens = events
        .iter()
        .filter(|event| event["file"]["path"] == *secret);
    assert_eq!(opens.count(), 1);
}
