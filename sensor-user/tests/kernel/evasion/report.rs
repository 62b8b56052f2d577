//! Verdicts as JSON lines, for `cargo xtask evasion`.
//!
//! A file is named `evasion-TIER.jsonl`. Its first line is a [`Header`], every other one a [`Row`].

use std::{io::Write, path::PathBuf};

use serde::Serialize;
use skep_sensor::probes::{HookReport, HookStatus};

use super::{Group, Technique, verdict::Verdict};

/// What was tested.
#[derive(Serialize)]
struct Header<'a> {
    /// `uname -r`.
    kernel: &'a str,
    /// `best`, `fallback` (what this kernel gives, if that is not the best), or `tracepoints`.
    tier: &'a str,
    hooks: Vec<Hook<'a>>,
}

#[derive(Serialize)]
struct Hook<'a> {
    fact: &'a str,
    hook: Option<&'a str>,
    /// `live`, `fallback`, `off`
    status: &'a str,
}

/// One technique.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    group: &'a str,
    title: &'a str,
    tries: &'a str,
    /// `seen`, `gap`, `not_seen`, `not_possible`
    verdict: &'a str,
    /// For `seen` and `gap`.
    hook: Option<&'a str>,
    /// For all but `seen`.
    why: Option<&'a str>,
}

/// A file under construction.
pub struct Report {
    path: PathBuf,
    text: Vec<u8>,
}

// === impl Report ===

impl Report {
    pub fn begin(tier: &str, hooks: &[HookReport]) -> Self {
        let uname = rustix::system::uname();
        let header = Header {
            kernel: &uname.release().to_string_lossy(),
            tier,
            hooks: hooks
                .iter()
                .map(|hook| Hook {
                    fact: hook.fact,
                    hook: hook.hook,
                    status: match hook.status {
                        HookStatus::Live => "live",
                        HookStatus::Fallback => "fallback",
                        HookStatus::Off => "off",
                    },
                })
                .collect(),
        };
        let mut report = Self {
            path: folder().join(format!("evasion-{tier}.jsonl")),
            text: Vec::new(),
        };
        report.line(&header);
        report
    }

    pub fn add(&mut self, group: &Group, technique: &Technique, verdict: &Verdict) {
        let (word, hook, why) = match verdict {
            Verdict::Seen { hook } => ("seen", Some(hook.as_str()), None),
            Verdict::Gap { hook, why } => ("gap", Some(hook.as_str()), Some(why.as_str())),
            Verdict::NotSeen { why } => ("not_seen", None, Some(why.as_str())),
            Verdict::NotPossible { why } => ("not_possible", None, Some(why.as_str())),
        };
        self.line(&Row {
            id: technique.id,
            group: group.title,
            title: technique.title,
            tries: technique.tries,
            verdict: word,
            hook,
            why,
        });
    }

    fn line(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.text, value).expect("memory takes it");
        self.text.push(b'\n');
    }

    /// Writes the file.
    pub fn finish(self) {
        let written = std::fs::create_dir_all(folder())
            .and_then(|()| std::fs::File::create(&self.path))
            .and_then(|mut file| file.write_all(&self.text));
        written.unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }
}

/// Where results go: what the virtual machine says, else `evasion` in cargo's target folder.
fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("SKEP_VM_OUTPUT") {
        return folder.into();
    }
    // target/PROFILE/deps/kernel-… → target/evasion
    let program = std::env::current_exe().expect("a test binary has a path");
    let target = program.ancestors().nth(3).expect("cargo's layout");
    target.join("evasion")
}
