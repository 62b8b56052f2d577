//! A [`Story`] as a tree for a person to read.
//!
//! Long lists are collapsed by folder: the folders with the fewest files are shown in full, since
//! what is rare says more than the four hundredth library. What every program opens as it starts
//! (shared libraries, the loader's cache, the C library's locale) is told by number only.

use std::collections::{BTreeMap, HashMap, HashSet};

use skep_human::terminal::{plain, shorten, width};

use crate::{
    story::{
        Change, Child, DEEPEST, Destination, FailedExec, File, Finding, Gap, Header, Process, Story,
    },
    text::{command_line, outcome, short_time, thousands},
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

/// Where the kernel's path and what the program passed could both not be read.
const UNKNOWN_PATH: &str = "(path unknown)";

fn known_gaps(gaps: u64) -> String {
    let (s, count) = (if gaps == 1 { "" } else { "s" }, thousands(gaps));
    format!("{count} known gap{s}: the tree may have holes")
}

/// `08:30:03Z to 08:30:04Z  throttled, 1,200 records: why  (this session)`
fn gap_line(gap: &Gap) -> String {
    let Gap {
        whole_host,
        what,
        hook,
        first,
        last,
        count,
        reason,
    } = gap;
    let time = match last {
        None => format!("{} on", short_time(first, true)),
        Some(last) if last == first => short_time(first, true),
        Some(last) => format!("{} to {}", short_time(first, true), short_time(last, true)),
    };
    let hook = hook.as_ref().map(|hook| format!(" {hook}"));
    let records = match (count, what.as_str()) {
        (0, _) => String::new(),
        (1, "evicted") => ", 1 entry".to_owned(),
        (count, "evicted") => format!(", {} entries", thousands(*count)),
        (1, _) => ", 1 record".to_owned(),
        (count, _) => format!(", {} records", thousands(*count)),
    };
    let whose = match whole_host {
        true => "whole host",
        false => "this session",
    };
    let hook = hook.unwrap_or_default();
    format!("{time}  {whose}: {what}{hook}{records}: {reason}")
}

/// Opened by the loader and the C library on a program's way to its first line: says nothing of what
/// the program does. Only inside the system's library folders, so that a library an agent brings
/// along is still shown.
fn is_startup(path: &str) -> bool {
    const LIBRARIES: [&str; 6] = [
        "/lib/",
        "/lib64/",
        "/usr/lib/",
        "/usr/lib64/",
        "/usr/local/lib/",
        "/usr/libexec/",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    let library = name.ends_with(".so") || name.contains(".so.");
    let locale = path.contains("/locale/") || name == "gconv-modules.cache";
    path == "/etc/ld.so.cache"
        || path == "/etc/ld.so.preload"
        || path == "/etc/locale.alias"
        || ((library || locale) && LIBRARIES.iter().any(|folder| path.starts_with(folder)))
}

/// The first two components, or one when there is no more.
fn folder(path: &str) -> String {
    let Some((folders, _)) = path.rsplit_once('/') else {
        return ".".to_owned();
    };
    let kept: Vec<_> = folders.split('/').take(3).collect();
    match kept.join("/") {
        root if root.is_empty() => "/".to_owned(),
        folder => folder,
    }
}

fn file_line(file: &File) -> String {
    let failed = file
        .result
        .filter(|result| *result < 0)
        .map(|r| format!("  {}", outcome(r)));
    let times = match file.count {
        1 => String::new(),
        count => format!("  ×{}", thousands(count)),
    };
    let names = file
        .links
        .filter(|links| *links > 1)
        .map(|links| format!("  ({links} hard links)"));
    let became = file.became.as_ref();
    let became = became.map(|name| format!(" → {name}"));
    format!(
        "{}{}{}{times}{}",
        file.path.as_deref().unwrap_or(UNKNOWN_PATH),
        became.unwrap_or_default(),
        names.unwrap_or_default(),
        failed.unwrap_or_default()
    )
}

/// The last part of a path.
fn file_name(path: &Option<String>) -> Option<&str> {
    path.as_deref()?.rsplit('/').next()
}

fn failed_exec_line(exec: &FailedExec, count: u64) -> String {
    let FailedExec {
        time: _,
        filename,
        argv,
        result,
    } = exec;
    let arguments = argv.as_deref().and_then(|argv| argv.get(1..));
    let arguments = arguments.filter(|arguments| !arguments.is_empty());
    let times = match count {
        1 => String::new(),
        count => format!("  ×{}", thousands(count)),
    };
    format!(
        "{}{}{times}  {}",
        filename.as_deref().unwrap_or("(program unknown)"),
        arguments.map_or_else(String::new, |arguments| format!(
            " {}",
            command_line(arguments)
        )),
        outcome(*result)
    )
}

/// A name or contents are gone.
fn is_destroyed(change: &Change) -> bool {
    let is_done = change.result.is_none_or(|result| result == 0);
    is_done && matches!(change.op.as_str(), "unlink" | "rmdir" | "truncate")
}

fn change_line(change: &Change) -> String {
    let Change {
        op,
        path,
        was,
        many,
        result,
        count,
        first: _,
        last: _,
    } = change;
    let path = path.as_deref().unwrap_or(UNKNOWN_PATH);
    let what = match was {
        Some(was) => format!("{op} {was} → {path}"),
        None => format!("{op} {path}"),
    };
    let times = match (many, count) {
        (true, count) => format!("  {} files in it", thousands(*count)),
        (false, 1) => String::new(),
        (false, count) => format!("  ×{}", thousands(*count)),
    };
    let failed = result
        .filter(|result| *result < 0)
        .map(|r| format!("  {}", outcome(r)));
    format!("{what}{times}{}", failed.unwrap_or_default())
}

fn destination_line(peer: &Destination) -> String {
    let place = peer
        .destination
        .clone()
        .unwrap_or_else(|| "address unknown".to_owned());
    let proto = peer.proto.clone().unwrap_or_else(|| peer.family.clone());
    let times = match peer.count {
        1 => String::new(),
        count => format!("  ×{}", thousands(count)),
    };
    let result = peer
        .result
        .filter(|r| *r != 0)
        .map(|r| format!("  {}", outcome(r)));
    format!("{place} {proto}{times}{}", result.unwrap_or_default())
}

fn child_line(child: &Child) -> String {
    let family = child.agent_family.as_deref().unwrap_or("unknown agent");
    let version = child.agent_version.as_deref().unwrap_or("version unknown");
    format!("started {family} {version}, session {}", child.session)
}

fn when(header: &Header) -> String {
    let from = header.started.as_ref().or(header.first_event.as_ref());
    let to = header.ended.as_ref().or(header.last_event.as_ref());
    let (Some(from), Some(to)) = (from, to) else {
        return "unknown: no event of it arrived".to_owned();
    };
    let took = || Some(to.parse::<jiff::Timestamp>().ok()? - from.parse::<jiff::Timestamp>().ok()?);
    let took = took().map(|span| {
        let seconds = span.get_seconds();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match (hours, minutes) {
            (0, 0) => format!("{seconds} s"),
            (0, _) => format!("{minutes} min {seconds} s"),
            _ => format!("{hours} h {minutes} min"),
        }
    });
    let took = took.map(|took| format!(", {took}")).unwrap_or_default();
    let began = if header.started.is_some() {
        ""
    } else {
        " (start not seen)"
    };
    let ended = if header.ended.is_some() {
        ""
    } else {
        " so far (end not seen)"
    };
    format!("{}{began}{took}{ended}", short_time(from, false))
}

#[cfg(test)]
mod tests;
