//! Starts of the sensor amid processes that fork and execute: nobody of a session is lost.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use skep_event::Detail;
use skep_sensor::{clock::BootClock, journal::Journal};
use skep_testing::Finish;

use crate::sensor::{Sensor, actor, scratch, shown, wait_for, wait_or_explain};

/// Starts; `SKEP_START_ROUNDS` for another number.
const ROUNDS: usize = 5;
const WORKERS: usize = 2;

/// What a straggler does: it waits, executing one program after the other, until the epoch has a name, and
/// makes a file of that name.
const STRAGGLER: &str =
    "while read -r e < epoch && [ \"$e\" = - ]; do sleep 0.2; done; : > \"made-$e-$1\"";

/// A worker starts stragglers of four kinds while the epoch has no name: forked; forked and executed; executed
/// twice; executed by a child that waits.
const WORKER: &str = r#"
straggle() { while read -r e < epoch && [ "$e" = - ]; do sleep 0.2; done; : > "made-$e-$1"; }
i=0
while read -r e < epoch && [ "$e" != stop ]; do
    if [ "$e" != - ]; then
        wait
        : > "idle-$e-$w"
        i=0
    elif [ $i -lt 8 ]; then
        i=$((i + 1))
        case $((i % 4)) in
            0) ( straggle "forked-$w-$i" ) & ;;
            1) sh -c "$STRAGGLER" sh "executed-$w-$i" & ;;
            2) sh -c 'exec sh -c "$STRAGGLER" sh "$1"' sh "twice-$w-$i" & ;;
            3) ( sh -c "$STRAGGLER" sh "within-$w-$i"; : ) & ;;
        esac
    fi
    sleep 0.0$((7 + w * 2))
done
wait
"#;

/// An agent whose workers do that.
struct Agent {
    directory: PathBuf,
    child: Child,
}

impl Agent {
    fn start(directory: &Path) -> Self {
        fs::write(directory.join("worker"), WORKER).expect("own directory");
        set_epoch(directory, "-");
        let workers: String = (0..WORKERS)
            .map(|worker| format!("w={worker} sh worker & "))
            .collect();
        let child = Command::new(actor())
            .args(["do", "exec", "/bin/sh", "-c", &(workers + "wait"), "--"])
            .current_dir(directory)
            .env("STRAGGLER", STRAGGLER)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the actor");
        Self {
            directory: directory.to_owned(),
            child,
        }
    }

    /// Lets the stragglers go; gives the files they made, once all have ended.
    fn round(&self, name: &str) -> BTreeSet<String> {
        set_epoch(&self.directory, name);
        for worker in 0..WORKERS {
            let idle = self.directory.join(format!("idle-{name}-{worker}"));
            wait_for("the stragglers to end", || idle.exists().then_some(()));
        }
        let prefix = format!("made-{name}-");
        let files = fs::read_dir(&self.directory).expect("own directory");
        let files = files.map(|file| file.expect("own directory").path());
        files
            .map(|file| file.to_string_lossy().into_owned())
            .filter(|file| file.contains(&prefix))
            .collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        set_epoch(&self.directory, "stop");
        self.child.finish();
    }
}

fn set_epoch(directory: &Path, name: &str) {
    let new = directory.join("epoch.new");
    fs::write(&new, format!("{name}\n")).expect("own directory");
    fs::rename(new, directory.join("epoch")).expect("own directory");
}

fn rounds() -> usize {
    match std::env::var("SKEP_START_ROUNDS") {
        Ok(rounds) => rounds
            .parse()
            .unwrap_or_else(|error| panic!("SKEP_START_ROUNDS is {rounds:?}: {error}")),
        Err(_) => ROUNDS,
    }
}

/// Every second start takes up what the one before it kept, the others find the agent running.
#[test]
fn nobody_who_forks_or_executes_amid_a_start_is_lost() {
    let directory = scratch("starts");
    let agent = Agent::start(&directory);
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    for round in 0..rounds() {
        let keeps = directory.join(format!("state-{}", round / 2));
        fs::create_dir_all(&keeps).expect("own directory");
        let (journal, found) = Journal::open(&keeps, boot_id.trim(), BootClock::boot_now());
        let resumed = round % 2 == 1;
        assert_eq!(found.kept.is_some(), resumed, "round {round}");
        let sensor = Sensor::start_keeping(journal, found.kept);
        let made = agent.round(&round.to_string());
        assert!(made.len() >= WORKERS, "round {round}: {made:?}");
        let mut missed = made.clone();
        let mut known = 0;
        wait_or_explain(
            "what the stragglers made",
            || {
                known = sensor.each_since(known, |event| {
                    if let Detail::Open(file) = &event.detail {
                        missed.remove(&shown(file));
                    }
                });
                missed.is_empty().then_some(())
            },
            || {
                format!(
                    "round {round}, resumed: {resumed}; of {made:?} {:?}",
                    sensor.lost()
                )
            },
        );
        assert_eq!(sensor.lost(), Vec::<String>::new(), "round {round}");
        // The next ones are on their way when this sensor stops and another starts.
        set_epoch(&directory, "-");
        sensor.end();
    }
    drop(agent);
    fs::remove_dir_all(directory).expect("own directory");
}
