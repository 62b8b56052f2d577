//! `skep-calls`: what system calls cost the process that makes them, in CPU time of its own.
//!
//! - `open FILE N` opens and closes one file; `open-each FOLDER N` opens and closes the files
//!   `0`, `1`, … of a folder, none twice; `fill FOLDER N` makes them.
//! - `exec PROGRAM N` forks, starts the program in the child and waits for its end; the child's
//!   time counts.
//! - `connect N` makes a TCP connection to a listener of its own on the loopback interface, accepts
//!   and resets it; `connect-udp N` sets the peer of a datagram socket.
//! - `getppid N` calls what no sensor looks at: what it costs more is what every call costs more.
//! - `loop N` makes no call: two instructions a round, to find out what the clock counts.
//! - `run COMMAND…` runs a command once, its output thrown away, and prints the seconds it took by
//!   the wall clock and of CPU time, its children's included.
//!
//! N is the number of calls in a repetition; there are [`REPETITIONS`] after one that does not
//! count. Prints a JSON object: nanoseconds of CPU time a call of each repetition, and their
//! median. Carries no mark of an agent: whether it is watched is up to who starts it.

mod call;

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use call::Call;

/// Repetitions that count.
const REPETITIONS: u64 = 5;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("skep-calls: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["run", command @ ..] = &words[..] {
        return run_once(command);
    }
    let (name, subject, count) = match words[..] {
        [name, count] => (name, "", count),
        [name, subject, count] => (name, subject, count),
        _ => return Err("expected CALL [SUBJECT] N".to_owned()),
    };
    let count: u64 = count
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("`{count}` is not a number of calls, expected 1 or more"))?;
    if name == "fill" {
        // As many as `open-each` opens with the same number.
        return call::fill(subject, count * (REPETITIONS + 1))
            .map_err(|error| format!("{subject}: {error}"));
    }
    let mut call = Call::prepare(name, subject)?;
    let mut costs = Vec::new();
    for repetition in 0..=REPETITIONS {
        let cost = call
            .cost(count)
            .map_err(|error| format!("{name} {subject}: {error}"))?;
        if repetition > 0 {
            costs.push(cost as f64 / count as f64);
        }
    }
    let listed: Vec<String> = costs.iter().map(|cost| format!("{cost:.2}")).collect();
    costs.sort_by(f64::total_cmp);
    println!(
        r#"{{"call":"{name}","calls":{count},"ns":[{}],"median":{:.2}}}"#,
        listed.join(","),
        costs[costs.len() / 2]
    );
    Ok(())
}

fn run_once(command: &[&str]) -> Result<(), String> {
    let [program, arguments @ ..] = command else {
        return Err("expected run COMMAND".to_owned());
    };
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let cpu_before = call::children_time().map_err(failed)?;
    let begun = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(failed)?;
    let wall = begun.elapsed().as_secs_f64();
    let cpu = (call::children_time().map_err(failed)? - cpu_before) as f64 / 1e9;
    if !status.success() {
        return Err(format!("{program}: {status}"));
    }
    println!(r#"{{"wall":{wall:.6},"cpu":{cpu:.6}}}"#);
    Ok(())
}
