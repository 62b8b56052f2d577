//! What the machines measured: instructions a call, what they are compared with, and the goals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::guests::{AFTER, BEFORE, CALLS, FILES_ONCE, Subject};
use super::page::verdict;

/// How far the clock may be from one nanosecond an instruction.
const CLOCK_TOLERANCE: f64 = 0.01;
/// Of a call of a process that is not watched, in the best tier.
const GOAL_UNWATCHED: f64 = 1.01;
/// Of opening the same file again and again.
const GOAL_SAME_FILE: f64 = 1.10;
/// Of opening another file each time.
const GOAL_OTHER_FILE: f64 = 1.5;
/// How far runs may be apart, as a part of their mean.
const GOAL_REPEATS: f64 = 0.03;
const STRING: &str = "writing to a string does not fail";

/// What one boot measured.
#[derive(Debug)]
pub struct Round {
    pub kernel: String,
    pub subject: Subject,
    /// Instructions a call, by case and call.
    medians: BTreeMap<(String, String), f64>,
    /// Of the files that were opened once each: how many the subject told of, by case.
    told: BTreeMap<String, u64>,
}

/// The line of `skep-calls`.
#[derive(Deserialize)]
struct Line {
    median: f64,
}

impl Round {
    /// Reads the guest's file. Refuses it if the clock did not count instructions, or if who was
    /// to be watched was not.
    pub fn read(kernel: &str, subject: Subject, text: &str) -> Result<Self> {
        let mut round = Self {
            kernel: kernel.to_owned(),
            subject,
            medians: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(first), Some(second), Some(rest)) =
                (words.next(), words.next(), words.next().or(Some("")))
            else {
                continue;
            };
            if first == "told" {
                let count = rest.parse().with_context(|| format!("no number: {line}"))?;
                round.told.insert(second.to_owned(), count);
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
        if matches!(subject, Subject::Sensor | Subject::Fallback) {
            let told = |case| round.told.get(case).copied().unwrap_or_default();
            ensure!(
                told("unwatched") == 0 && told("watched") > 0,
                "the sensor told of {} opens of the process that is watched and of {} of the one \
                 that is not: these figures would not be what they are called",
                told("watched"),
                told("unwatched")
            );
        }
        Ok(round)
    }

    /// Instructions a call.
    fn median(&self, case: &str, call: &str) -> Result<f64> {
        self.medians
            .get(&(case.to_owned(), call.to_owned()))
            .copied()
            .with_context(|| format!("{call} was not measured in the case {case}"))
    }

    /// Instructions of a call without the subject: the mean of before and after, or before alone
    /// where the subject leaves something behind.
    fn bare(&self, call: &str) -> Result<f64> {
        let before = self.median(BEFORE, call)?;
        if self.subject.leaves_traces() {
            return Ok(before);
        }
        Ok((before + self.median(AFTER, call)?) / 2.0)
    }

    /// How much dearer a call is after than before, as a part of before.
    fn drift(&self, call: &str) -> Result<f64> {
        Ok(self.median(AFTER, call)? / self.median(BEFORE, call)? - 1.0)
    }

    /// A case as a multiple of the bare call.
    fn ratio(&self, case: &str, call: &str) -> Result<f64> {
        Ok(self.median(case, call)? / self.bare(call)?)
    }
}

/// The rounds of one kernel.
struct OfKernel<'a> {
    rounds: Vec<&'a Round>,
}

impl OfKernel<'_> {
    /// Something of every run of a subject.
    fn of(&self, subject: Subject, value: impl Fn(&Round) -> Result<f64>) -> Result<Vec<f64>> {
        let rounds = self.rounds.iter().filter(|round| round.subject == subject);
        rounds.map(|round| value(round)).collect()
    }

    fn mean(&self, subject: Subject, value: impl Fn(&Round) -> Result<f64>) -> Result<Option<f64>> {
        let values = self.of(subject, value)?;
        Ok((!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
    }

    fn ratio(&self, subject: Subject, case: &str, call: &str) -> Result<Option<f64>> {
        self.mean(subject, |round| round.ratio(case, call))
    }

    /// How far the runs of a case are apart at most, as a part of their mean.
    fn spread(&self, subject: Subject, case: &str, call: &str) -> Result<f64> {
        let costs = self.of(subject, |round| round.median(case, call))?;
        let low = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = costs.iter().copied().fold(0.0, f64::max);
        let mean = costs.iter().sum::<f64>() / costs.len() as f64;
        Ok((high - low) / mean)
    }
}

/// The tables and goals of all rounds, as Markdown.
pub fn report(rounds: &[Round]) -> Result<String> {
    let mut text = String::new();
    let kernels: BTreeSet<&str> = rounds.iter().map(|round| round.kernel.as_str()).collect();
    for kernel in kernels {
        let of_kernel = OfKernel {
            rounds: rounds
                .iter()
                .filter(|round| round.kernel == kernel)
                .collect(),
        };
        writeln!(text, "### {kernel}\n").expect(STRING);
        tables(&mut text, &of_kernel)?;
        goals(&mut text, &of_kernel)?;
        repeats(&mut text, &of_kernel)?;
    }
    Ok(text)
}

/// Instructions of the bare call, then each case as its multiple.
fn tables(text: &mut String, kernel: &OfKernel<'_>) -> Result<()> {
    for subject in Subject::ALL {
        let Some(round) = kernel.rounds.iter().find(|round| round.subject == subject) else {
            continue;
        };
        write!(text, "| {} | bare | after/before |", subject.title()).expect(STRING);
        for case in subject.cases() {
            write!(text, " {} |", case.replace('-', " ")).expect(STRING);
        }
        write!(text, "\n|---|--:|--:|").expect(STRING);
        text.push_str(&"--:|".repeat(subject.cases().len()));
        text.push('\n');
        for call in CALLS {
            let bare = kernel.mean(subject, |round| round.bare(call.name))?;
            let drift = kernel.mean(subject, |round| round.drift(call.name))?;
            let (bare, drift) = bare.zip(drift).context("a subject without a round")?;
            write!(
                text,
                "| {} | {bare:.0} | {:+.2} % |",
                call.title,
                drift * 100.0
            )
            .expect(STRING);
            for case in subject.cases() {
                let cost = kernel.mean(subject, |round| round.median(case, call.name))?;
                let ratio = kernel.ratio(subject, case, call.name)?;
                let (cost, ratio) = cost.zip(ratio).context("a subject without a round")?;
                write!(text, " {:+.0} **{ratio:.3}** |", cost - bare).expect(STRING);
            }
            text.push('\n');
        }
        let told: Vec<_> = round
            .told
            .iter()
            .map(|(case, count)| format!("{} {count}", case.replace('-', " ")))
            .collect();
        writeln!(
            text,
            "\nOf {FILES_ONCE} files opened once each, told of: {}.\n",
            told.join(", ")
        )
        .expect(STRING);
    }
    Ok(())
}

fn goals(text: &mut String, kernel: &OfKernel<'_>) -> Result<()> {
    text.push_str("| goal | limit | measured | |\n|---|--:|--:|---|\n");
    let mut goal = |what: &str, value: Option<f64>, limit: Option<f64>| {
        if let (Some(value), Some(limit)) = (value, limit) {
            let verdict = verdict(value, limit);
            writeln!(text, "| {what} | {limit:.3} | {value:.3} | {verdict} |").expect(STRING);
        }
    };
    for call in CALLS {
        goal(
            &format!("best tier, unwatched: {}", call.title),
            kernel.ratio(Subject::Sensor, "unwatched", call.name)?,
            Some(GOAL_UNWATCHED),
        );
    }
    for (what, call, limit) in [
        ("the same file again", "open", GOAL_SAME_FILE),
        ("each time another file", "open-each", GOAL_OTHER_FILE),
    ] {
        goal(
            &format!("best tier, watched: {what}"),
            kernel.ratio(Subject::Sensor, "watched", call)?,
            Some(limit),
        );
    }
    for call in CALLS {
        goal(
            &format!(
                "fallback tier, unwatched, no dearer than opensnoop filtered: {}",
                call.title
            ),
            kernel.ratio(Subject::Fallback, "unwatched", call.name)?,
            kernel.ratio(Subject::Snoop, "opensnoop-filtered", call.name)?,
        );
    }
    text.push('\n');
    Ok(())
}

/// How far apart the runs are, where there is more than one.
fn repeats(text: &mut String, kernel: &OfKernel<'_>) -> Result<()> {
    let mut worst: Option<(f64, String)> = None;
    let mut runs = 0;
    for subject in Subject::ALL {
        let count = kernel.of(subject, |_| Ok(1.0))?.len();
        if count < 2 {
            continue;
        }
        runs = count;
        // What a call costs after auditing is shown as a drift, and compared with nothing.
        let bare: &[&str] = match subject {
            Subject::Audit => &[BEFORE],
            Subject::Sensor | Subject::Fallback | Subject::Snoop => &[BEFORE, AFTER],
        };
        for case in bare.iter().chain(subject.cases()) {
            for call in CALLS {
                let spread = kernel.spread(subject, case, call.name)?;
                if worst.as_ref().is_none_or(|(so_far, _)| spread > *so_far) {
                    worst = Some((spread, format!("{}, {case}, {}", subject.name(), call.name)));
                }
            }
        }
    }
    if let Some((spread, place)) = worst {
        writeln!(
            text,
            "Over {runs} runs no figure differs by more than {:.2} % ({place}); goal {:.0} %: {}.\n",
            spread * 100.0,
            GOAL_REPEATS * 100.0,
            verdict(spread, GOAL_REPEATS)
        )
        .expect(STRING);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(loop_cost: f64, told: u64) -> String {
        let mut text = format!(
            "clock loop {{\"median\":{loop_cost}}}\ntold watched {told}\ntold unwatched 0\n"
        );
        for (case, cost) in [
            (BEFORE, 99.0),
            ("unwatched", 101.0),
            ("watched", 160.0),
            (AFTER, 101.0),
        ] {
            for call in CALLS {
                text.push_str(&format!("{case} {} {{\"median\":{cost}}}\n", call.name));
            }
        }
        text
    }

    #[test]
    fn a_case_is_compared_with_the_mean_of_before_and_after() {
        let round = Round::read("6.1", Subject::Sensor, &text(2.0, 9)).unwrap();
        assert_eq!(round.ratio("unwatched", "open").unwrap(), 1.01);
        let report = report(&[round]).unwrap();
        assert!(report.contains("1.010 | 1.010 | met"), "{report}");
        assert!(
            report.contains("1.500 | 1.600 | **missed by 6.7 %**"),
            "{report}"
        );
    }

    #[test]
    fn figures_of_a_clock_that_does_not_count_instructions_are_refused() {
        let refused = Round::read("6.1", Subject::Sensor, &text(3.1, 9)).unwrap_err();
        assert!(refused.to_string().contains("1.550 ns"), "{refused}");
    }

    #[test]
    fn figures_of_a_process_that_was_not_watched_are_refused() {
        Round::read("6.1", Subject::Sensor, &text(2.0, 0)).unwrap_err();
    }
}
