//! `docs/performance.md`: what was measured, between marks, one pair for each part of the benchmark.
//! What stands outside of them is written by hand and kept.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::Run;
use crate::workspace;

/// A part of the benchmark and its place on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// System calls in virtual machines, in instructions
    Vm,
    /// Real work on this machine's kernel
    Machine,
    /// The sensor itself
    Sensor,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Vm, Self::Machine, Self::Sensor];

    pub fn place(self) -> Place {
        let part = match self {
            Self::Vm => "vm",
            Self::Machine => "machine",
            Self::Sensor => "sensor",
        };
        Place {
            bench: "kernel",
            part,
            size: None,
        }
    }
}

/// Where figures stand on the page: the benchmark, as it is named on the command line, its part, and
/// the size where a part has several.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub bench: &'static str,
    pub part: &'static str,
    pub size: Option<Size>,
}

/// How many of something: `20M`, `300k`, `5000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, factor) = match text.strip_suffix(['M', 'k']) {
            Some(digits) if text.ends_with('M') => (digits, 1_000_000),
            Some(digits) => (digits, 1_000),
            None => (text, 1),
        };
        let number = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor));
        number
            .filter(|number| *number > 0)
            .map(Self)
            .ok_or_else(|| format!("{text} is not a number such as 20M or 300k"))
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            number if number % 1_000_000 == 0 => write!(f, "{}M", number / 1_000_000),
            number if number % 1_000 == 0 => write!(f, "{}k", number / 1_000),
            number => write!(f, "{number}"),
        }
    }
}

fn page() -> PathBuf {
    workspace::root().join("docs/performance.md")
}

/// The line that says where figures come from: command, day, processor, kernel, revision.
pub fn origin(place: Place, arguments: &str, write: bool) -> Result<String> {
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches(['\t', ':', ' '])
        });
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot read the kernel's release")?;
    let day = Command::new("date")
        .args(["-u", "+%Y-%m-%d"])
        .quiet_output()?;
    let revision = revision().unwrap_or_else(|_| "no git revision".to_owned());
    Ok(format!(
        "`cargo xtask bench {} --only {}{arguments}{}`, {}, {} × {model}, kernel {}, source {}.\n",
        place.bench,
        place.part,
        if write { " --write" } else { "" },
        day.trim(),
        processors,
        kernel.trim(),
        revision
    ))
}

/// The commit, and whether anything but this page differs from it: another part of the same run may have
/// written there already.
fn revision() -> Result<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(arguments)
            .current_dir(workspace::root())
            .quiet_output()
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", ".", ":!docs/performance.md"])?;
    let dirty = if changed.trim().is_empty() {
        ""
    } else {
        "-dirty"
    };
    Ok(format!("{}{dirty}", commit.trim()))
}

/// Puts a part's text between its marks on the page.
pub fn write(place: Place, text: &str) -> Result<()> {
    let page = page();
    let old = std::fs::read_to_string(&page)
        .with_context(|| format!("cannot read {}", page.display()))?;
    let new = replaced(&old, place, text)
        .with_context(|| format!("cannot write to {}", page.display()))?;
    std::fs::write(&page, new).with_context(|| format!("cannot write {}", page.display()))?;
    println!("wrote {}", page.display());
    Ok(())
}

fn replaced(page: &str, place: Place, text: &str) -> Result<String> {
    let Place { bench, part, size } = place;
    let size = size.map_or(String::new(), |size| format!(" {size}"));
    let begin = format!("<!-- bench {bench} {part}{size}: begin -->\n");
    let end = format!("<!-- bench {bench} {part}{size}: end -->\n");
    let Some((before, rest)) = page.split_once(&begin) else {
        bail!("it has no line {begin:?}: put one where the figures shall stand");
    };
    let Some((_, after)) = rest.split_once(&end) else {
        bail!("it has no line {end:?} behind the one that begins");
    };
    Ok(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

/// [`verdict`] of a value that should be at least the goal.
pub fn verdict_at_least(value: f64, goal: f64) -> String {
    met_unless(1.0 - value / goal)
}

/// `met`, or by how much not.
pub fn verdict(value: f64, goal: f64) -> String {
    met_unless(value / goal - 1.0)
}

/// What would be shown as 0.0 % is not missed.
fn met_unless(missed_by: f64) -> String {
    match format!("{:.1}", missed_by * 100.0).as_str() {
        "0.0" => "met".to_owned(),
        percent if missed_by > 0.0 => format!("**missed by {percent} %**"),
        _ => "met".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Title\n<!-- bench kernel vm: begin -->\nold\n\
                        <!-- bench kernel vm: end -->\nby hand\n";

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = replaced(PAGE, Part::Vm.place(), "new\n").unwrap();
        assert_eq!(
            page,
            "# Title\n<!-- bench kernel vm: begin -->\n\nnew\n\n\
             <!-- bench kernel vm: end -->\nby hand\n"
        );
    }

    #[test]
    fn a_page_without_marks_is_left_alone() {
        let refused = replaced(PAGE, Part::Machine.place(), "new")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("bench kernel machine: begin"), "{refused}");
    }

    #[test]
    fn sizes_may_be_in_thousands_and_millions() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(size("20M"), Ok(20_000_000));
        assert_eq!(size("300k"), Ok(300_000));
        assert_eq!(size("7"), Ok(7));
        assert!(size("0").is_err() && size("M").is_err() && size("3G").is_err());
        for text in ["20M", "1500k", "7"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn each_size_has_a_place_of_its_own() {
        let place = |size: &str| Place {
            bench: "collector",
            part: "queries",
            size: Some(size.parse().unwrap()),
        };
        let page = "<!-- bench collector queries 20M: begin -->\n\
                    <!-- bench collector queries 20M: end -->\n";
        assert!(replaced(page, place("20M"), "new").unwrap().contains("new"));
        assert!(replaced(page, place("100M"), "new").is_err());
    }

    #[test]
    fn a_goal_is_met_at_its_limit() {
        assert_eq!(verdict(1.01, 1.01), "met");
        assert_eq!(verdict(1.11, 1.0), "**missed by 11.0 %**");
        assert_eq!(verdict(1.436_1, 1.436), "met", "not by 0.0 %");
        assert_eq!(verdict(0.5, 1.0), "met");
        assert_eq!(verdict_at_least(2.0, 1.0), "met");
        assert_eq!(verdict_at_least(0.9, 1.0), "**missed by 10.0 %**");
    }
}
