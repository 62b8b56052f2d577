//! Where a technique is tried: a folder of its own, the sensor under test, an agent to send out.

use skep_testing::Finish;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::sensor::{Sensor, actor, scratch, wait_for};

use super::attempt::Attempt;

/// The place of one attempt. Its folder is removed at the end.
pub struct Stage<'a> {
    pub sensor: &'a Sensor,
    /// Hooks the sensor was told to leave out.
    pub avoid: &'static [&'static str],
    folder: PathBuf,
}

// === impl Stage ===

impl<'a> Stage<'a> {
    pub fn new(sensor: &'a Sensor, tier: &str, id: &str, avoid: &'static [&'static str]) -> Self {
        Self {
            sensor,
            avoid,
            folder: scratch(&format!("{tier}-{id}")),
        }
    }

    /// A path in the folder, which need not exist.
    pub fn path(&self, name: &str) -> String {
        text(&self.folder.join(name))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file worth hiding that one opened it.
    pub fn secret(&self) -> String {
        crate::sensor::file(&self.folder, "secret")
    }

    /// A folder in the folder.
    pub fn subfolder(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("own folder");
        path
    }

    /// Sends an agent to perform these actions, all of which must succeed.
    pub fn act(&self, actions: &[&str]) -> Attempt {
        self.act_as(agent(actions))
    }

    /// The same by another command line, which must name the folder so that its session is found.
    pub fn act_as(&self, command: Command) -> Attempt {
        let attempt = self.try_as(command);
        if let Some(refusal) = &attempt.refusal {
            panic!("the act did not take place, so that nothing can be said: {refusal}");
        }
        attempt
    }

    /// Sends an agent to perform actions that may be refused.
    pub fn try_to_act(&self, actions: &[&str]) -> Attempt {
        self.try_as(agent(actions))
    }

    fn try_as(&self, mut command: Command) -> Attempt {
        let output = command.finish();
        let errors = String::from_utf8_lossy(&output.stderr);
        // 1: an action failed; anything else is the actor's own failure.
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{command:?}: {} {errors}",
            output.status,
        );
        let refusal = (!output.status.success()).then(|| errors.trim().to_owned());
        self.fence();
        Attempt::of(self.sensor, &self.folder, refusal)
    }

    /// Returns once everything up to now has been reported: records come in order, so that after an
    /// ordinary agent's act nothing of what was before it is still on its way.
    pub fn fence(&self) {
        let mark = self.path("fence");
        std::fs::write(&mark, "x").expect("own folder");
        let (before, of) = (self.marks(&mark), agent(&["open", &mark]).spawn());
        assert!(of.expect("the actor").finish().success());
        wait_for("the fence", || (self.marks(&mark) > before).then_some(()));
        std::fs::remove_file(&mark).expect("own folder");
    }

    fn marks(&self, mark: &str) -> usize {
        let mut count = 0;
        self.sensor.each(|event| {
            if let skep_event::Detail::Open(file) = &event.detail {
                count += usize::from(crate::sensor::shown(file) == mark);
            }
        });
        count
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // A failed test leaves what it made, to be looked at.
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.folder).expect("own folder");
        }
    }
}

/// The command line of an agent that performs these actions.
pub fn agent(actions: &[&str]) -> Command {
    let mut command = Command::new(actor());
    command.arg("do").args(actions);
    command
}

/// A path of this suite's own making, as text.
pub fn text(path: &Path) -> String {
    path.to_str().expect("own names are text").to_owned()
}
