//! Names from the host's name service, which may be a directory somewhere in the network.
//!
//! `getent passwd UID` asks it, in a child of its own: NSS loads foreign code into whoever asks, and may wait for
//! as long as it likes. Invariants:
//! - who asks never waits: the answer is there later ([`NameService::answers`]), on the thread that asked;
//! - a child that does not end within [`DEADLINE`] is killed, and that is the answer; one that cannot be killed
//!   holds up this service, and nothing else;
//! - the program is one absolute path, started without an environment.
//!
//! Bounds: [`WAITING_MAX`] questions wait; names of 2 × [`REMEMBERED`] users are remembered, for
//! [`KNOWN_FOR`], that there is none for [`UNKNOWN_FOR`].

use std::{
    collections::HashSet,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
    time::{Duration, Instant},
};

use skep_event::UserSource;

use super::{Named, find};
use crate::identify::cache::Cache;

/// As Debian, Fedora, SUSE, Arch and Alpine have it.
pub const GETENT: &str = "/usr/bin/getent";
const DEADLINE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a killed child may take to be gone.
const PATIENCE: Duration = Duration::from_secs(1);
const WAITING_MAX: usize = 64;
const REMEMBERED: usize = 1024;
const KNOWN_FOR: Duration = Duration::from_mins(10);
const UNKNOWN_FOR: Duration = Duration::from_mins(1);
/// More than a line of passwd(5) has.
const ANSWER_MAX: u64 = 64 << 10;

/// Asks the name service.
#[derive(Debug)]
pub struct NameService {
    program: PathBuf,
    /// The thread that asks; begun with the first question.
    asking: Option<Asking>,
    known: Cache<u32, (Instant, Named)>,
    /// Asked, and not answered yet.
    waiting: HashSet<u32>,
}

#[derive(Debug)]
struct Asking {
    questions: SyncSender<u32>,
    answers: Receiver<(u32, Named)>,
}

// === impl NameService ===

impl NameService {
    /// Starts nothing yet.
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            asking: None,
            known: Cache::new(REMEMBERED),
            waiting: HashSet::new(),
        }
    }

    /// What is known of the name; `None`: the answer is still to come.
    pub fn name(&mut self, uid: u32) -> Option<Named> {
        if let Some((at, named)) = self.known.get(uid) {
            let lasts = match named.source {
                UserSource::NameService => KNOWN_FOR,
                _ => UNKNOWN_FOR,
            };
            if at.elapsed() < lasts {
                return Some(named);
            }
        }
        if self.waiting.contains(&uid) {
            return None;
        }
        if self.asking.is_none() {
            self.asking = Asking::begin(self.program.clone());
        }
        let asked = self
            .asking
            .as_ref()
            .map(|asking| asking.questions.try_send(uid));
        if !matches!(asked, Some(Ok(()))) {
            return Some(Named::none(UserSource::Unavailable));
        }
        self.waiting.insert(uid);
        None
    }

    /// What was answered since the last time.
    pub fn answers(&mut self) -> Vec<(u32, Named)> {
        let Some(asking) = &self.asking else {
            return Vec::new();
        };
        let answers: Vec<_> = asking.answers.try_iter().collect();
        for (uid, named) in &answers {
            self.waiting.remove(uid);
            self.known.insert(*uid, (Instant::now(), named.clone()));
        }
        answers
    }
}

// === impl Asking ===

impl Asking {
    fn begin(program: PathBuf) -> Option<Self> {
        let (questions, asked) = sync_channel(WAITING_MAX);
        let (answer, answers) = channel();
        let begun = thread::Builder::new()
            .name("names".into())
            .spawn(move || serve(&program, &asked, &answer));
        begun.ok()?;
        Some(Self { questions, answers })
    }
}

/// Until nobody asks any more.
fn serve(program: &Path, asked: &Receiver<u32>, answer: &Sender<(u32, Named)>) {
    while let Ok(uid) = asked.recv() {
        if answer.send((uid, ask(program, uid))).is_err() {
            return;
        }
    }
}

fn ask(program: &Path, uid: u32) -> Named {
    let started = Command::new(program)
        .args(["passwd", &uid.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tracing::info!(program = %program.display(), %error, "the name service cannot be asked");
            return Named::none(UserSource::Unavailable);
        }
    };
    let output = child.stdout.take();
    let until = Instant::now() + DEADLINE;
    loop {
        match child.try_wait() {
            // getent(1): 2 is "not found".
            Ok(Some(status)) => match (status.code(), output) {
                (Some(0), Some(output)) => return said(output, uid),
                (Some(2), _) => return Named::none(UserSource::Unknown),
                _ => return Named::none(UserSource::Unavailable),
            },
            Ok(None) if Instant::now() < until => thread::sleep(LOOK_EVERY),
            Ok(None) => {
                tracing::info!(uid, "the name service did not answer in time");
                end(&mut child);
                return Named::none(UserSource::Late);
            }
            Err(_) => return Named::none(UserSource::Unavailable),
        }
    }
}

/// What it has written before it ended; whoever else holds its output open is not waited for.
fn said(output: ChildStdout, uid: u32) -> Named {
    let mut text = Vec::new();
    if rustix::io::ioctl_fionbio(&output, true).is_ok() {
        // What was read before an error counts.
        let _ = output.take(ANSWER_MAX).read_to_end(&mut text);
    }
    match find(text.as_slice(), uid) {
        Some(name) => Named {
            name: Some(name),
            source: UserSource::NameService,
        },
        None => Named::none(UserSource::Unknown),
    }
}

/// Does not wait for one that cannot be ended.
fn end(child: &mut Child) {
    let _ = child.kill();
    let until = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    /// A stand-in for getent.
    fn program(dir: &Path, script: &str) -> PathBuf {
        let path = dir.join("getent");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(format!("#!/bin/sh\n{script}\n").as_bytes())
            .unwrap();
        drop(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Asks and waits, as nobody else does.
    fn answer(service: &mut NameService, uid: u32) -> Named {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(named) = service.name(uid) {
                return named;
            }
            assert!(Instant::now() < until, "an answer");
            thread::sleep(Duration::from_millis(5));
            service.answers();
        }
    }

    #[test]
    fn a_name_is_there_later_and_then_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let asked = dir.path().join("asked");
        let script = format!(
            "echo \"$@\" $(env | grep -c HOME) >> {}; [ \"$2\" = 70001 ] || exit 2; \
             echo \"alice:*:$2:100:Alice:/home/alice:/bin/bash\"",
            asked.display()
        );
        let mut service = NameService::new(&program(dir.path(), &script));
        assert_eq!(service.name(70001), None, "still to come");
        let alice = Named {
            name: Some("alice".into()),
            source: UserSource::NameService,
        };
        assert_eq!(answer(&mut service, 70001), alice);
        assert_eq!(
            answer(&mut service, 70002),
            Named::none(UserSource::Unknown)
        );
        assert_eq!(answer(&mut service, 70001), alice);
        assert_eq!(
            answer(&mut service, 70002),
            Named::none(UserSource::Unknown)
        );
        let asked = std::fs::read_to_string(asked).unwrap();
        assert_eq!(
            asked, "passwd 70001 0\npasswd 70002 0\n",
            "once each, without an environment"
        );
    }

    #[test]
    fn a_service_that_hangs_holds_nobody_up_and_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", pid.display());
        let mut service = NameService::new(&program(dir.path(), &script));
        let begun = Instant::now();
        assert_eq!(service.name(7), None);
        for uid in 8..1000 {
            // The first wait for it, the others are not asked.
            let named = service.name(uid);
            assert!(named.is_none() || named == Some(Named::none(UserSource::Unavailable)));
        }
        assert!(begun.elapsed() < DEADLINE / 2, "nobody has waited");
        assert_eq!(answer(&mut service, 7), Named::none(UserSource::Late));
        let pid = std::fs::read_to_string(pid).unwrap();
        let is_there = Path::new("/proc").join(pid.trim()).exists();
        // The next question may have begun already, and written its own.
        assert!(!is_there || begun.elapsed() > DEADLINE);
    }

    #[test]
    fn a_service_that_is_not_there_or_fails_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut missing = NameService::new(&dir.path().join("no-such-program"));
        assert_eq!(
            answer(&mut missing, 7),
            Named::none(UserSource::Unavailable)
        );
        for script in ["exit 1", "kill -9 $$", "echo 'x:y'; exit 3"] {
            let mut service = NameService::new(&program(dir.path(), script));
            assert_eq!(
                answer(&mut service, 7),
                Named::none(UserSource::Unavailable),
                "{script}"
            );
        }
        for script in [
            "echo garbage",
            "echo 'bob:*:8:8::/:/bin/sh'",
            "head -c 200000 /dev/zero",
        ] {
            let mut service = NameService::new(&program(dir.path(), script));
            let named = answer(&mut service, 7);
            assert_eq!(named.name, None, "{script}");
        }
    }
}
