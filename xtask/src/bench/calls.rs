//! What the machines measured: instructions a call, and what they are compared with.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::guests::{AFTER, BEFORE, CALLS, Subject};

/// How far the clock may be from one nanosecond an instruction.
const CLOCK_TOLERANCE: f64 = 0.01;
const STRING: &str = "writing to a string does not fail";

/// What one boot measured.
#[derive(Debug)]
pub struct Round {
    pub kernel: String,
    pub subject: Subject,
    pub run: u32,
    /// Instructions a call, by case and call.
    medians: BTreeMap<(String, String), f64>,
    /// Files that were opened once each, and in how many events the sensor told of them, by case.
    seen: BTreeMap<String, u64>,
}

/// The line of `skep-calls`.
#[derive(Deserialize)]
struct Line {
    median: f64,
}

impl Round {
    /// Reads the guest's file, and refuses it if the clock did not count instructions.
    pub fn read(kernel: &str, subject: Subject, run: u32, text: &str) -> Result<Self> {
        let mut round = Self {
            kernel: kernel.to_owned(),
            subject,
            run,
            medians: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        for line in text.lines() {
            let words: Vec<_> = line.splitn(3, ' ').collect();
            let [first, second, rest] = words[..] else {
                continue;
            };
            if first == "seen" {
                let count = rest.parse().with_context(|| format!("no number: {line}"))?;
                round.seen.insert(second.to_owned(), count);
            } else {
                let line: Line =
                    serde_json::from_str(rest).with_context(|| format!("not a figure: {line}"))?;
                let key = (first.to_owned(), second.to_owned());
                round.medians.insert(key, line.median);
            }
        }
        // Two instructions a round and nothing else.
        let clock = round.median("clock", "loop")? / 2.0;
        ensure!(
            (clock - 1.0).abs() < CLOCK_TOLERANCE,
            "the guest's clock counts {clock:.3} ns an instruction, not 1"
        );
        Ok(round)
    }

    /// Instructions a call.
    pub fn median(&self, case: &str, call: &str) -> Result<f64> {
        self.medians
            .get(&(case.to_owned(), call.to_owned()))
            .copied()
            .with_context(|| format!("{call} was not measured in the case {case}"))
    }

    /// Instructions of a call without the subject: the mean of before and after.
    pub fn bare(&self, call: &str) -> Result<f64> {
        Ok((self.median(BEFORE, call)? + self.median(AFTER, call)?) / 2.0)
    }

    /// How far before and after are apart, as a part of their mean.
    pub fn drift(&self, call: &str) -> Result<f64> {
        let apart = self.median(AFTER, call)? - self.median(BEFORE, call)?;
        Ok(apart.abs() / self.bare(call)?)
    }

    /// A case as a multiple of the bare call.
    pub fn ratio(&self, case: &str, call: &str) -> Result<f64> {
        Ok(self.median(case, call)? / self.bare(call)?)
    }
}

/// Every case of every boot, a line each.
pub fn table(rounds: &[Round]) -> Result<String> {
    let mut text = String::new();
    for round in rounds {
        writeln!(
            text,
            "\n{} {} run {}: instructions a call; {}",
            round.kernel,
            round.subject.name(),
            round.run + 1,
            round
                .seen
                .iter()
                .map(|(case, count)| format!("events of {case} opens-each: {count}"))
                .collect::<Vec<_>>()
                .join(", ")
        )
        .expect(STRING);
        write!(text, "{:<12} {:>10} {:>7}", "call", "bare", "drift").expect(STRING);
        for case in round.subject.cases() {
            write!(text, " {case:>28}").expect(STRING);
        }
        text.push('\n');
        for call in CALLS {
            let bare = round.bare(call.name)?;
            let drift = round.drift(call.name)? * 100.0;
            write!(text, "{:<12} {bare:>10.0} {drift:>6.2}%", call.name).expect(STRING);
            for case in round.subject.cases() {
                let cost = round.median(case, call.name)?;
                let ratio = round.ratio(case, call.name)?;
                write!(
                    text,
                    " {:>28}",
                    format!("{cost:.0} {:+.0} {ratio:.4}", cost - bare)
                )
                .expect(STRING);
            }
            text.push('\n');
        }
    }
    Ok(text)
}
