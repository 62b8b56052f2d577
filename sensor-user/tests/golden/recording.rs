//! The recorded sequence: kernel records byte for byte, and what else reaches the sensor between them.
//!
//! [`recorded`] makes `tests/golden/records.txt` from the structures of the ABI: every kind of record,
//! each fact present and absent. A fixed part begins as zeros and is filled in by name, so that a field
//! that is added later changes neither this file nor, while it is zero, anything but the records.

mod files;
mod processes;
mod sockets;
mod tape;

pub use self::tape::FIRST_PID;
use self::{
    files::{folded, opens},
    processes::{begins, descendants, ends, execs, others, ran_before, unseen},
    sockets::connects,
    tape::{BEGIN_NS, Tape},
};

/// What reaches the sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record out of the ring.
    Record(Vec<u8>),
    /// A count of repeats out of the kernel's table.
    Count(Vec<u8>),
    /// No count of this epoch is still to come.
    Close(u32),
    /// So many milliseconds pass.
    After(u64),
    /// What the walk over the task list found is taken in.
    Walk,
    /// What no walk has found is gone.
    Settle,
    /// Pid and start of a process that the census found dead.
    Dead(u32, u64),
    /// The sensor missed something: a gap of every live session.
    Gap,
    /// What the sensor tells of itself, and of losses.
    Told,
    /// The last round.
    End,
}

/// The steps in a text that [`recorded`] made.
pub fn steps(text: &str) -> Vec<Step> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(step).collect()
}

fn step(line: &str) -> Step {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["record", bytes] => Step::Record(unhex(bytes)),
        ["count", bytes] => Step::Count(unhex(bytes)),
        ["close", epoch] => Step::Close(epoch.parse().unwrap()),
        ["after", milliseconds] => Step::After(milliseconds.parse().unwrap()),
        ["walk"] => Step::Walk,
        ["settle"] => Step::Settle,
        ["dead", pid, start_ns] => Step::Dead(pid.parse().unwrap(), start_ns.parse().unwrap()),
        ["gap"] => Step::Gap,
        ["told"] => Step::Told,
        ["end"] => Step::End,
        _ => panic!("not a step: {line}"),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// The recording.
pub fn recorded() -> String {
    let mut tape = Tape {
        ids: Default::default(),
        text: String::new(),
        time_ns: BEGIN_NS,
    };
    tape.say("# Kernel records as they come out of the ring, and what else reaches the sensor between them.");
    tape.say(
        "# Made by sensor-user/tests/golden/recording.rs; README.md says when it is made anew.",
    );
    ran_before(&mut tape);
    let root = begins(&mut tape);
    let shell = descendants(&mut tape, &root);
    opens(&mut tape, &shell);
    folded(&mut tape, &root, &shell);
    connects(&mut tape, &shell);
    let tool = execs(&mut tape, &root);
    others(&mut tape);
    unseen(&mut tape, &root, &shell);
    tape.say("told");
    ends(&mut tape, &root, &shell, &tool);
    tape.say("end");
    tape.text
}
