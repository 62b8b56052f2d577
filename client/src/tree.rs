//! A [`Story`] as a tree for a person to read.
//!
//! Long lists are collapsed by folder: the folders with the fewest files are shown in full, since
//! what is rare says more than the four hundredth library. What every program opens as it starts
//! (shared libraries, the loader's cache, the C library's locale) is told by number only.

mod line;

use std::collections::{BTreeMap, HashMap, HashSet};

use skep_human::terminal::{plain, shorten, width};

use crate::{
    story::{Change, Child, DEEPEST, FailedExec, File, Finding, Gap, Header, Process, Story},
    text::{command_line, short_time, thousands},
};

use line::{
    UNKNOWN_PATH, change_line, child_line, destination_line, failed_exec_line, file_line,
    file_name, folder, gap_line, is_destroyed, is_startup, known_gaps, when,
};

/// Lines of one group of files.
const FILES_SHOWN: usize = 10;
/// Findings shown, the earliest first.
const FINDINGS_SHOWN: usize = 12;
/// Gaps shown; those of the session itself come before the host's.
const GAPS_SHOWN: usize = 12;
/// Before the pid of a process that was read from `/proc`.
const INFERRED: &str = "~";
/// Lines that say how many more there are in a folder.
const FOLDERS_SHOWN: usize = 4;

pub fn draw(story: &Story, width: usize) -> String {
    let mut canvas = Canvas {
        width,
        text: String::new(),
        collapsed: false,
    };
    canvas.header(&story.session);
    canvas.findings(&story.findings, &story.session.session);
    canvas.gaps(&story.not_vouched_for, &story.session.session);
    canvas.line("");
    let mut started: HashMap<u32, Vec<&Child>> = HashMap::new();
    for child in &story.child_sessions {
        if let Some(pid) = child.root_ppid {
            started.entry(pid).or_default().push(child);
        }
    }
    canvas.processes(&story.processes, &started, None);
    let mut linked = HashSet::new();
    story
        .processes
        .iter()
        .for_each(|root| pids(root, &mut linked));
    let is_elsewhere = |child: &&Child| child.root_ppid.is_none_or(|pid| !linked.contains(&pid));
    for child in story.child_sessions.iter().filter(is_elsewhere) {
        canvas.line(&child_line(child));
    }
    let id = &story.session.session;
    if story.processes.iter().any(has_inferred) {
        canvas.line("");
        canvas.line(&format!(
            "{INFERRED} not observed from its start: read from /proc, where it may have written over its \
             arguments and its parent may have changed"
        ));
    }
    if story.too_deep > 0 {
        canvas.line("");
        let count = thousands(story.too_deep);
        canvas.line(&format!(
            "{count} processes are {DEEPEST} levels below another and begin trees of their own; -o json has \
             the parent of each"
        ));
    }
    if canvas.collapsed {
        canvas.line("");
        canvas.unbroken(&format!(
            "in full: skep query \"SELECT pid, access, path, count FROM files WHERE session = '{id}'\""
        ));
    }
    for cut in &story.cut {
        canvas.line(&format!("the collector's row limit cut the list of {cut}"));
    }
    canvas.text
}

fn pids(process: &Process, known: &mut HashSet<u32>) {
    known.insert(process.pid);
    process.children.iter().for_each(|child| pids(child, known));
}

fn has_inferred(process: &Process) -> bool {
    process.inferred == Some(true) || process.children.iter().any(has_inferred)
}

struct Canvas {
    width: usize,
    text: String,
    collapsed: bool,
}

// === impl Canvas ===

impl Canvas {
    fn line(&mut self, text: &str) {
        self.unbroken(&shorten(&plain(text), self.width));
    }

    fn unbroken(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn header(&mut self, header: &Header) {
        let unknown = || "unknown".to_owned();
        let family = header
            .agent_family
            .clone()
            .unwrap_or_else(|| "unknown agent".to_owned());
        let family = match &header.agent_name {
            Some(name) => format!("{family} ({name})"),
            None => family,
        };
        let version = header
            .agent_version
            .clone()
            .unwrap_or_else(|| "version unknown".to_owned());
        let sure = header
            .agent_confidence
            .map(|c| format!("  ({c}% sure)"))
            .unwrap_or_default();
        self.line(&format!("{family} {version}{sure}"));

        let uid = header.uid.map(|uid| format!("uid {uid}"));
        let login = header.login_uid.map(|uid| format!("login uid {uid}"));
        let ids: Vec<_> = uid.into_iter().chain(login).collect();
        let user = header.user_name.clone().unwrap_or_else(unknown);
        let user = match ids.is_empty() {
            true => user,
            false => format!("{user} ({})", ids.join(", ")),
        };
        let repository = header.repo_root.as_ref().map(|root| {
            let parts = [Some(root), header.repo_remote.as_ref()]
                .into_iter()
                .flatten()
                .cloned();
            let branch = header
                .repo_branch
                .as_ref()
                .map(|branch| format!("branch {branch}"));
            parts.chain(branch).collect::<Vec<_>>().join("  ")
        });
        let evidence = header.agent_evidence.as_ref().filter(|e| !e.is_empty());
        let seen = format!(
            "{} processes, {} files, {} destinations",
            thousands(header.processes),
            thousands(header.files),
            thousands(header.destinations)
        );
        let found = match header.found.as_deref() {
            Some("resumed") => {
                Some("again after a restart of the sensor, which knew it before".to_owned())
            }
            Some("running") => Some(
                "running when the sensor first saw it: what it did before is not known, and who it \
                 is was read from /proc"
                    .to_owned(),
            ),
            // Observed is what one expects.
            None | Some("observed") => None,
            Some(other) => Some(other.to_owned()),
        };
        let lost = "records were lost meanwhile: the tree may have holes";
        let facts = [
            (
                "evidence",
                Some(evidence.map_or_else(unknown, |e| e.join(", "))),
            ),
            ("installed", header.agent_install_path.clone()),
            ("session", Some(header.session.clone())),
            (
                "parent",
                header
                    .parent
                    .as_ref()
                    .map(|parent| format!("session {parent}")),
            ),
            ("host", Some(header.host.clone().unwrap_or_else(unknown))),
            ("user", Some(user)),
            (
                "terminal",
                Some(header.terminal.clone().unwrap_or_else(unknown)),
            ),
            (
                "directory",
                Some(header.cwd.clone().unwrap_or_else(unknown)),
            ),
            ("repository", repository),
            ("time", Some(when(header))),
            ("found", found),
            ("seen", Some(seen)),
            ("GAPS", header.gaps.filter(|gaps| *gaps > 0).map(known_gaps)),
            ("LOST", header.lost.then(|| lost.to_owned())),
        ];
        for (name, value) in facts {
            if let Some(value) = value {
                self.line(&format!("  {name:<11} {value}"));
            }
        }
    }

    fn findings(&mut self, findings: &[Finding], id: &str) {
        if findings.is_empty() {
            return;
        }
        self.line("");
        self.line("  FINDINGS");
        for finding in findings.iter().take(FINDINGS_SHOWN) {
            let Finding {
                time,
                severity,
                rule,
                title,
                reason,
                attack: _,
                pid,
                exe: _,
            } = finding;
            let severity = severity.as_deref().unwrap_or("severity unknown");
            let pid = pid.map(|pid| format!("  pid {pid}")).unwrap_or_default();
            let time = short_time(time, true);
            self.line(&format!("  {time}  {severity}: {title} ({rule}){pid}"));
            self.line(&format!("    {reason}"));
        }
        if findings.len() > FINDINGS_SHOWN {
            let more = thousands((findings.len() - FINDINGS_SHOWN) as u64);
            self.line(&format!("  … and {more} more"));
            self.unbroken(&format!("  in full: skep findings --session {id}"));
        }
    }

    fn gaps(&mut self, gaps: &[Gap], id: &str) {
        if gaps.is_empty() {
            return;
        }
        self.line("");
        self.line("  NOT VOUCHED FOR");
        let (own, hosts): (Vec<&Gap>, Vec<&Gap>) = gaps.iter().partition(|gap| !gap.whole_host);
        for gap in own.iter().chain(&hosts).take(GAPS_SHOWN) {
            self.line(&format!("  {}", gap_line(gap)));
        }
        if gaps.len() > GAPS_SHOWN {
            let more = thousands((gaps.len() - GAPS_SHOWN) as u64);
            self.line(&format!("  … and {more} more"));
            self.unbroken(&format!("  in full: skep session {id} -o json"));
        }
    }

    /// `rail` is what is left of the branches of these processes; `None` for roots.
    fn processes(
        &mut self,
        processes: &[Process],
        sessions: &HashMap<u32, Vec<&Child>>,
        rail: Option<&str>,
    ) {
        for (index, process) in processes.iter().enumerate() {
            let is_last = index + 1 == processes.len();
            let (branch, below) = match (rail, is_last) {
                (None, _) => (String::new(), String::new()),
                (Some(rail), false) => (format!("{rail}├─ "), format!("{rail}│  ")),
                (Some(rail), true) => (format!("{rail}└─ "), format!("{rail}   ")),
            };
            self.process(process, &branch, &below);
            for child in sessions.get(&process.pid).into_iter().flatten() {
                self.line(&format!("{below}   ⇒ {}", child_line(child)));
            }
            self.processes(&process.children, sessions, Some(&below));
        }
    }

    fn process(&mut self, process: &Process, branch: &str, inner: &str) {
        let ending = match &process.exit {
            None => String::new(),
            Some(exit) => match (exit.code, exit.signal) {
                (_, Some(signal)) => format!("  [signal {signal}]"),
                (Some(code), None) => format!("  [exit {code}]"),
                (None, None) => "  [ended]".to_owned(),
            },
        };
        let command = match (&process.argv, &process.exe) {
            (Some(argv), _) => command_line(argv),
            (None, Some(exe)) => format!("({exe})"),
            (None, None) => "(program unknown)".to_owned(),
        };
        let more = if process.argv_truncated == Some(true) {
            " …"
        } else {
            ""
        };
        let mark = match process.inferred {
            Some(true) => INFERRED,
            Some(false) | None => "",
        };
        let start = format!("{branch}{mark}{} ", process.pid);
        let taken = width(&start) + width(&ending) + width(more);
        let command = plain(&command);
        let command = shorten(&command, self.width.saturating_sub(taken).max(20));
        self.line(&format!("{start}{command}{more}{ending}"));

        let rail = match process.children.is_empty() {
            true => format!("{inner}     "),
            false => format!("{inner}│    "),
        };
        let earlier = process.execs.len().saturating_sub(1);
        for exec in process.execs.iter().take(earlier) {
            let command = exec.argv.as_deref().map(command_line);
            let command = command.or_else(|| exec.exe.clone()).unwrap_or_default();
            self.line(&format!("{rail}was      {command}"));
        }
        self.failed_execs(&rail, &process.failed_execs);
        let (failed, opened): (Vec<_>, Vec<_>) = process
            .files
            .iter()
            .partition(|file| file.result.is_some_and(|result| result < 0));
        for (access, title) in [
            ("create", "created"),
            ("write", "wrote"),
            ("read", "read"),
            ("path", "looked"),
        ] {
            let group: Vec<_> = opened
                .iter()
                .copied()
                .filter(|f| f.access == access)
                .collect();
            self.files(&rail, title, &group);
        }
        self.files(&rail, "failed", &failed);
        self.changes(&rail, &process.changes);
        for (index, peer) in process.destinations.iter().enumerate() {
            let title = if index == 0 { "connect" } else { "" };
            self.line(&format!("{rail}{title:<8} {}", destination_line(peer)));
        }
    }

    /// A search along `PATH` is one line: the same arguments, and the same outcome in each folder.
    fn failed_execs(&mut self, rail: &str, execs: &[FailedExec]) {
        let mut tries: Vec<(&FailedExec, u64)> = Vec::new();
        for exec in execs {
            let is_same = |of: &&mut (&FailedExec, u64)| {
                of.0.result == exec.result
                    && of.0.argv == exec.argv
                    && file_name(&of.0.filename) == file_name(&exec.filename)
            };
            match tries.last_mut().filter(is_same) {
                Some((_, count)) => *count += 1,
                None => tries.push((exec, 1)),
            }
        }
        for (index, (exec, count)) in tries.iter().take(FILES_SHOWN).enumerate() {
            let title = if index == 0 { "tried" } else { "" };
            self.line(&format!(
                "{rail}{title:<8} {}",
                failed_exec_line(exec, *count)
            ));
        }
        if tries.len() > FILES_SHOWN {
            let more = thousands((tries.len() - FILES_SHOWN) as u64);
            self.line(&format!("{rail}{:<8} … and {more} more", ""));
        }
    }

    /// What was destroyed comes first, under a title of its own.
    fn changes(&mut self, rail: &str, changes: &[Change]) {
        let (destroyed, others): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| is_destroyed(change));
        for (title, group) in [("DELETED", destroyed), ("changed", others)] {
            for (index, change) in group.iter().take(FILES_SHOWN).enumerate() {
                let title = if index == 0 { title } else { "" };
                self.line(&format!("{rail}{title:<8} {}", change_line(change)));
            }
            if group.len() > FILES_SHOWN {
                self.collapsed = true;
                let more = thousands((group.len() - FILES_SHOWN) as u64);
                self.line(&format!("{rail}{:<8} … and {more} more", ""));
            }
        }
    }

    fn files(&mut self, rail: &str, title: &str, files: &[&File]) {
        let (startup, files): (Vec<&File>, Vec<&File>) = files
            .iter()
            .copied()
            .partition(|file| file.path.as_deref().is_some_and(is_startup));
        let mut folders: BTreeMap<String, Vec<&File>> = BTreeMap::new();
        for file in files {
            let folder = file.path.as_deref().map(folder);
            let folder = folder.unwrap_or_else(|| UNKNOWN_PATH.to_owned());
            folders.entry(folder).or_default().push(file);
        }
        let mut folders: Vec<_> = folders.into_iter().collect();
        folders.sort_by_key(|(_, files)| files.len());

        let mut room = FILES_SHOWN;
        let mut lines = Vec::new();
        let mut rest = Vec::new();
        for (folder, files) in folders {
            let shown = files.len().min(room);
            room -= shown;
            lines.extend(files[..shown].iter().map(|file| file_line(file)));
            if shown < files.len() {
                rest.push((files.len() - shown, folder));
            }
        }
        rest.reverse();
        self.collapsed |= !rest.is_empty();
        let elsewhere: usize = rest
            .iter()
            .skip(FOLDERS_SHOWN)
            .map(|(count, _)| count)
            .sum();
        for (count, folder) in rest.into_iter().take(FOLDERS_SHOWN) {
            lines.push(format!(
                "… and {} more under {folder}",
                thousands(count as u64)
            ));
        }
        if elsewhere > 0 {
            lines.push(format!(
                "… and {} more elsewhere",
                thousands(elsewhere as u64)
            ));
        }
        if !startup.is_empty() {
            self.collapsed = true;
            let also = if lines.is_empty() { "" } else { "… and " };
            let s = if startup.len() == 1 { "" } else { "s" };
            let count = thousands(startup.len() as u64);
            lines.push(format!(
                "{also}{count} file{s} of the program's start (libraries, locale)"
            ));
        }
        for (index, line) in lines.into_iter().enumerate() {
            let title = if index == 0 { title } else { "" };
            self.line(&format!("{rail}{title:<8} {line}"));
        }
    }
}

#[cfg(test)]
mod tests;
