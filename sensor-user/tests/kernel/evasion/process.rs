//! A sensor in a process of its own, which a test can end as it likes and start again.
//!
//! `skep-test-program sensor` goes through the steps of `skep-sensor run` and writes its events as lines
//! of JSON to a file where the daemon hands them to its spool.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;
use skep_testing::{Finish, test_program};

use crate::sensor::wait_for;

use super::stage::Stage;

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
        let mut child = Command::new(test_program())
            .args(["sensor", state])
            .arg(&events)
            .args(stage.avoid)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("the test program");
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
        let status = self.child.finish();
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

mod once {
    use super::*;
    use crate::sensor::sensor;

    #[test]
    fn a_sensor_of_its_own_ends_at_sigterm_and_has_told_everything() {
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
}
