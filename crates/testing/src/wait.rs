//! Waits with a bound: for a condition, for the end of a process.

use std::{
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time in which any process that a test waits for has ended, unless it hangs. Storms in full size
/// take minutes.
const HANGS: Duration = Duration::from_secs(900);

/// Waits until `found` gives something.
///
/// # Panics
/// When that takes longer than `within`; the message names `what`.
pub fn eventually<T>(what: &str, within: Duration, found: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, within, found, String::new)
}

/// The same; when it does not come, `explain` says how things stood.
pub fn eventually_or<T>(
    what: &str,
    within: Duration,
    mut found: impl FnMut() -> Option<T>,
    explain: impl FnOnce() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(
            start.elapsed() < within,
            "waited {within:?} in vain for {what}\n{}",
            explain()
        );
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The bound of a loop that waits by doing something again and again.
#[derive(Debug)]
pub struct Bound {
    what: &'static str,
    within: Duration,
    begun: Instant,
}

impl Bound {
    /// Of the wait for `what`, which begins now.
    pub fn of(what: &'static str, within: Duration) -> Self {
        let begun = Instant::now();
        Self {
            what,
            within,
            begun,
        }
    }

    /// # Panics
    /// When the wait has taken longer than its bound; the message names what it was for.
    pub fn check(&self) {
        let Self {
            what,
            within,
            begun,
        } = self;
        assert!(
            begun.elapsed() < *within,
            "waited {within:?} in vain for {what}"
        );
    }
}

/// A process that ends, or is killed and makes the test fail.
pub trait Finish {
    /// What is known at its end.
    type End;

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it cannot be started, or has not ended after minutes.
    fn finish(&mut self) -> Self::End;
}

impl Finish for Child {
    type End = ExitStatus;

    fn finish(&mut self) -> ExitStatus {
        ended_within(self, HANGS)
    }
}

impl Finish for Command {
    type End = Output;

    /// With everything it wrote to its outputs; it reads nothing.
    fn finish(&mut self) -> Output {
        let child = self
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        output_of(child.unwrap_or_else(|error| {
            panic!("{self:?}: {error}; `cargo xtask setup` installs what tests start")
        }))
    }
}

/// How a process ends, with everything it wrote to those of its outputs that are pipes.
///
/// # Panics
/// When it has not ended after minutes.
pub fn output_of(mut child: Child) -> Output {
    let outputs = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = (drain(outputs.0), drain(outputs.1));
    let status = ended_within(&mut child, HANGS);
    Output {
        status,
        stdout: joined("its output", stdout),
        stderr: joined("its messages", stderr),
    }
}

type Reader = std::thread::JoinHandle<Vec<u8>>;

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> Reader {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What cannot be read any more ends there.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// What a process of a process has inherited ends with that one: for a while it may be open still.
fn joined(what: &str, reader: Reader) -> Vec<u8> {
    let ended = || reader.is_finished().then_some(());
    eventually(&format!("the end of {what}"), HANGS, ended);
    reader.join().expect("a reader does not panic")
}

fn ended_within(child: &mut Child, within: Duration) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("an own child") {
            return status;
        }
        if start.elapsed() >= within {
            let pid = child.id();
            // Both fail if it has just ended, which makes no difference any more.
            let _ = child.kill();
            let _ = child.wait();
            panic!("process {pid} had not ended after {within:?}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_comes_is_returned() {
        let mut looks = 0;
        let found = eventually("the third look", HANGS, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "in vain for a thing\nit stood so")]
    fn what_does_not_come_is_named_with_the_reason() {
        let never = || None::<()>;
        eventually_or("a thing", Duration::ZERO, never, || {
            "it stood so".to_owned()
        });
    }

    #[test]
    #[should_panic(expected = "in vain for a thing")]
    fn a_loop_ends_at_its_bound() {
        let bound = Bound::of("a thing", Duration::from_millis(1));
        loop {
            bound.check();
        }
    }

    #[test]
    fn a_process_gives_its_outputs_also_more_than_a_pipe_holds() {
        let output = shell("head -c 200000 /dev/zero; echo why >&2; exit 3").finish();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (output.stdout.len(), output.stderr.as_slice()),
            (200_000, &b"why\n"[..])
        );
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        let mut child = shell("exec sleep 600").spawn().expect("a shell");
        let pid = child.id();
        let hung = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ended_within(&mut child, Duration::from_millis(20))
        }));
        assert!(hung.is_err());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
