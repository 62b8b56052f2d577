//! Events as lines for people: one line an event, in columns.
//!
//! ```text
//! 08:15:02.123  claude-code 2.1.91    4d2f  bash[812]           exec     bash -c 'echo hi'
//! ```
//!
//! Invariants: a line has no line break and no control or direction-changing character of the
//! watched program's making; only arguments and command lines are shortened (`…`), paths never; JSON
//! is the complete form.

use std::fmt::Write;

use jiff::tz::TimeZone;
use skep_catalogue::UNKNOWN;

use skep_event::{
    Agent, Change, Connect, Coverage, CoverageKind, CoveragePhase, Detail, Event, Exec, Exit,
    Finding, Found, Lost, NetFamily, Open, Phase, Process, SessionInfo, Text, UnixNanos,
    result_name,
};
use skep_human::terminal::{self, is_hidden, pad};

/// A longer argument is cut in the middle.
const MAX_ARGUMENT: usize = 320;
/// Arguments past this many characters are only counted.
const MAX_COMMAND: usize = 640;

/// Writes lines, with colour or without.
#[derive(Clone, Debug)]
pub struct Human {
    colour: bool,
    zone: TimeZone,
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    /// Times, sessions: there when looked for.
    Dim,
    /// Session start and end.
    Session,
    Exec,
    Write,
    Connect,
    /// What failed.
    Failed,
    /// What is missing.
    Lost,
    /// A self-test that passed, a gap that is over.
    Vouched,
}

// === impl Human ===

impl Human {
    /// `colour`: only when the output is a terminal.
    pub fn new(colour: bool) -> Self {
        Self {
            colour,
            zone: TimeZone::system(),
        }
    }

    /// In UTC, for output that must not depend on the machine.
    pub fn utc(colour: bool) -> Self {
        Self {
            colour,
            zone: TimeZone::UTC,
        }
    }

    /// One line, without the line's end.
    pub fn line(&self, event: &Event) -> String {
        let Event {
            time,
            boot_time: _,
            boot_id: _,
            session,
            agent,
            process,
            result,
            hook: _,
            detail,
        } = event;
        let session = session
            .map(|id| id.to_string()[..4].to_owned())
            .unwrap_or_default();
        let agent = agent.as_deref().map(agent_name).unwrap_or_default();
        let process = process.as_deref();
        let (style, word, text) = match detail {
            Detail::Exec(exec) => (Style::Exec, "exec", exec_text(process, exec, *result)),
            Detail::Exit(exit) => (Style::Dim, "exit", exit_text(exit)),
            Detail::Open(open) => open_text(open),
            Detail::Change(change) => (Style::Write, change.op.name(), change_text(change)),
            Detail::Connect(connect) => (Style::Connect, "connect", connect_text(connect)),
            Detail::Session(info) => (Style::Session, phase_word(info.phase), session_text(info)),
            Detail::Lost(lost) => (Style::Lost, "LOST", lost_text(lost)),
            Detail::Coverage(coverage) => coverage_text(coverage),
            Detail::Finding(finding) => finding_text(finding),
        };
        let process = process.map(process_name).unwrap_or_default();
        let mut line = String::with_capacity(160);
        self.paint(&mut line, Style::Dim, &self.clock(*time));
        line.push_str("  ");
        self.paint(&mut line, Style::Plain, &pad(&agent, 20));
        line.push_str("  ");
        self.paint(&mut line, Style::Dim, &format!("{session:<4}"));
        line.push_str("  ");
        self.paint(&mut line, Style::Plain, &pad(&process, 18));
        line.push_str("  ");
        self.paint(&mut line, style, &format!("{word:<7}"));
        line.push_str("  ");
        match style {
            Style::Session | Style::Lost | Style::Vouched => self.paint(&mut line, style, &text),
            _ => line.push_str(&text),
        }
        if let Some(errno) = result.filter(|result| *result != 0) {
            line.push_str("  ");
            self.paint(&mut line, Style::Failed, &result_name(errno));
        }
        line
    }

    fn clock(&self, time: UnixNanos) -> String {
        jiff::Timestamp::from_nanosecond(i128::from(time.0))
            .expect("u64 nanoseconds end in 2554, within jiff's range")
            .to_zoned(self.zone.clone())
            .strftime("%H:%M:%S.%3f")
            .to_string()
    }

    fn paint(&self, line: &mut String, style: Style, text: &str) {
        let code = match style {
            Style::Plain => "",
            Style::Dim => "2",
            Style::Session => "1;36",
            Style::Exec => "32",
            Style::Write => "33",
            Style::Connect => "35",
            Style::Failed => "31",
            Style::Lost => "1;31",
            Style::Vouched => "2",
        };
        if self.colour && !code.is_empty() {
            // Writing to a `String` does not fail.
            let _ = write!(line, "\x1b[{code}m{text}\x1b[0m");
        } else {
            line.push_str(text);
        }
    }
}

/// `codex 0.169.0`; of an agent of no family, `unknown (some-agent 1.2.3)`.
fn agent_name(agent: &Agent) -> String {
    let unknown = agent.name.as_ref().filter(|_| agent.family == UNKNOWN);
    let name = unknown.unwrap_or(&agent.family);
    let name = match &agent.version {
        Some(version) => format!("{name} {version}"),
        None => name.clone(),
    };
    match unknown {
        Some(_) => visible(&format!("{UNKNOWN} ({name})")),
        None => visible(&name),
    }
}

fn process_name(process: &Process) -> String {
    let path = process.exe.as_ref().or(process.argv.first());
    let name = path
        .map(|path| path.as_bytes())
        .and_then(|path| path.rsplit(|b| *b == b'/').next());
    let name = name.map_or_else(|| "?".to_owned(), |name| plain(&Text::from(name)));
    // Read from `/proc`, not observed.
    let mark = if process.inferred { "~" } else { "" };
    format!("{mark}{name}[{}]", process.pid)
}

/// The command line; of one that failed, the name that was to be executed, and its arguments.
fn exec_text(process: Option<&Process>, exec: &Exec, result: Option<i32>) -> String {
    let Exec {
        filename,
        argv,
        argv_truncated,
    } = exec;
    let name = || filename.as_ref().map_or_else(|| "?".to_owned(), plain);
    let (mut text, is_cut) = match process {
        _ if result.is_some_and(|result| result < 0) => {
            let arguments = match argv.get(1..) {
                None | Some([]) => String::new(),
                Some(arguments) => format!(" {}", command(arguments)),
            };
            (name() + &arguments, *argv_truncated)
        }
        Some(process) if !process.argv.is_empty() => {
            (command(&process.argv), process.argv_truncated)
        }
        Some(_) | None => return name(),
    };
    if is_cut {
        text.push_str(" …");
    }
    text
}

/// A command line as one would type it into a shell, long arguments shortened.
pub fn command(argv: &[Text]) -> String {
    let mut out = String::new();
    for (index, argument) in argv.iter().enumerate() {
        if index > 0 {
            if out.chars().count() >= MAX_COMMAND {
                let _ = write!(out, " …(+{} arguments)", argv.len() - index);
                return out;
            }
            out.push(' ');
        }
        out.push_str(&quoted(argument));
    }
    out
}

fn quoted(argument: &Text) -> String {
    let bytes = argument.as_bytes();
    let safe = |b: &u8| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(b);
    if !bytes.is_empty() && bytes.iter().all(safe) {
        return shortened(&String::from_utf8_lossy(bytes));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_hidden) => {
            format!("'{}'", shortened(text).replace('\'', "'\\''"))
        }
        _ => format!("$'{}'", shortened(&plain(argument)).replace('\'', "\\'")),
    }
}

fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= MAX_ARGUMENT {
        return text.to_owned();
    }
    let kept = MAX_ARGUMENT / 2;
    let head: String = text.chars().take(kept).collect();
    let tail: String = text.chars().skip(length - kept).collect();
    format!("{head}…(+{})…{tail}", length - 2 * kept)
}

fn visible(text: &str) -> String {
    terminal::plain(text).into_owned()
}

fn plain(text: &Text) -> String {
    visible(&text.escaped())
}

fn exit_text(exit: &Exit) -> String {
    let Exit { code, signal } = exit;
    match (code, signal) {
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(code), None) => code.to_string(),
        (None, None) => "?".to_owned(),
    }
}

fn open_text(open: &Open) -> (Style, &'static str, String) {
    let Open {
        path,
        resolved,
        flags,
        count,
        links,
        ..
    } = open;
    let changes = libc::O_CREAT | libc::O_TRUNC;
    let writes = !matches!(flags.names()[0].as_str(), "O_RDONLY");
    let (style, letter) = if flags.0 & changes as u32 != 0 {
        (Style::Write, 'c')
    } else if writes {
        (Style::Write, 'w')
    } else {
        (Style::Plain, 'r')
    };
    let mut text = match path {
        Some(path) => format!("{letter} {}", plain(path)),
        None => format!("{letter} (path unknown)"),
    };
    if !resolved && path.is_some() {
        text.push_str(" (as given)");
    }
    if let Some(links) = links.filter(|links| *links > 1) {
        let _ = write!(text, " ({links} hard links)");
    }
    push_count(&mut text, *count);
    (style, "open", text)
}

fn connect_text(connect: &Connect) -> String {
    let Connect {
        family,
        addr,
        port,
        proto,
        path,
        count,
        ..
    } = connect;
    let mut text = match (addr, port, path) {
        (Some(addr), Some(port), _) => std::net::SocketAddr::new(*addr, *port).to_string(),
        (Some(addr), None, _) => addr.to_string(),
        (None, _, Some(path)) => format!("{family}:{}", plain(path)),
        (None, _, None) => match family {
            NetFamily::Other(number) => format!("family {number} ?"),
            family => format!("{family} ?"),
        },
    };
    if let Some(proto) = proto {
        let _ = write!(text, "/{proto}");
    }
    push_count(&mut text, *count);
    text
}

fn change_text(change: &Change) -> String {
    let Change {
        path,
        to,
        resolved,
        many,
        mode,
        uid,
        gid,
        size,
        attribute,
        count,
        ..
    } = change;
    let name = |path: &Option<Text>| match path {
        Some(path) => plain(path),
        None => "(path unknown)".to_owned(),
    };
    let mut text = name(path);
    if to.is_some() {
        let _ = write!(text, " -> {}", name(to));
    }
    if let Some(mode) = mode {
        let _ = write!(text, " {:04o}", mode.0);
    }
    let id = |id: &Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
    if uid.is_some() || gid.is_some() {
        let _ = write!(text, " {}:{}", id(uid), id(gid));
    }
    if let Some(size) = size {
        let _ = write!(text, " to {size} bytes");
    }
    if let Some(attribute) = attribute {
        let _ = write!(text, " {}", plain(attribute));
    }
    if !resolved && path.is_some() {
        text.push_str(" (as given)");
    }
    if *many {
        text.push_str(" (files in it)");
    }
    push_count(&mut text, *count);
    text
}

fn push_count(text: &mut String, count: u64) {
    if count != 1 {
        let _ = write!(text, " ×{count}");
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "START",
        Phase::Update => "UPDATE",
        Phase::End => "END",
    }
}

/// As the runtimes themselves show an id: twelve digits.
fn short(id: &Text) -> Text {
    let bytes = id.as_bytes();
    let is_long = bytes.len() == 64 && bytes.iter().all(u8::is_ascii_hexdigit);
    Text::from(if is_long { &bytes[..12] } else { bytes })
}

fn session_text(info: &SessionInfo) -> String {
    let SessionInfo {
        phase: _,
        parent,
        user,
        uid,
        login_uid,
        terminal,
        cwd,
        repository,
        gaps,
        found,
        user_source: _,
        cgroup: _,
        container_runtime,
        container_id,
        pid_namespace: _,
        user_namespace: _,
        mount_namespace: _,
    } = info;
    let mut text = "session".to_owned();
    match (user, uid) {
        (Some(user), _) => text.push_str(&format!(" of {}", visible(user))),
        (None, Some(uid)) => text.push_str(&format!(" of uid {uid}")),
        (None, None) => {}
    }
    if let Some(login) = login_uid.filter(|login| Some(*login) != *uid) {
        let _ = write!(text, " (logged in as uid {login})");
    }
    if let Some(terminal) = terminal {
        let _ = write!(text, " on {}", plain(terminal));
    }
    if let Some(cwd) = cwd {
        let _ = write!(text, " in {}", plain(cwd));
    }
    if let Some(id) = container_id {
        let runtime = container_runtime.map_or(String::new(), |runtime| format!(" ({runtime})"));
        let _ = write!(text, ", container {}{runtime}", plain(&short(id)));
    }
    if let Some(repository) = repository {
        let remote = repository.remote.as_ref().unwrap_or(&repository.root);
        let _ = write!(text, ", repository {}", plain(remote));
        if let Some(branch) = &repository.branch {
            let _ = write!(text, " @ {}", plain(branch));
        }
    }
    if let Some(parent) = parent {
        let _ = write!(text, ", child of {}", &parent.to_string()[..4]);
    }
    text.push_str(match found {
        Found::Observed => "",
        Found::Resumed => ", known from before the sensor was restarted",
        Found::Running => ", was running before the sensor saw it",
    });
    if *gaps > 0 {
        let _ = write!(text, ", INCOMPLETE: {gaps} known gap{}", plural(*gaps));
    }
    text
}

fn lost_text(lost: &Lost) -> String {
    let Lost {
        hop,
        record,
        cause,
        count,
        first: _,
        last: _,
    } = lost;
    format!("{count} {record} records at {hop}: {cause}")
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn coverage_text(coverage: &Coverage) -> (Style, &'static str, String) {
    let Coverage {
        what,
        phase,
        hook,
        first,
        last,
        count,
        reason,
        clock_offset_before: _,
        clock_offset_after: _,
    } = coverage;
    let (style, word) = match (what, phase) {
        (CoverageKind::Canary, _) => (Style::Vouched, "CHECK"),
        (CoverageKind::Clock, _) => (Style::Lost, "CLOCK"),
        (_, CoveragePhase::End) => (Style::Vouched, "GAP END"),
        (_, CoveragePhase::Begin | CoveragePhase::Point) => (Style::Lost, "GAP"),
    };
    let (subject, unit) = match what {
        CoverageKind::Blind => ("blind", "record"),
        CoverageKind::Throttled => ("throttled", "record"),
        CoverageKind::Hook => ("hook", "record"),
        CoverageKind::IoUring => ("io_uring", "set-up"),
        CoverageKind::Socket => ("socket", "record"),
        CoverageKind::Canary => ("self-test", "record"),
        CoverageKind::Evicted => ("table full", "entry"),
        CoverageKind::Unjudged => ("unjudged", "program"),
        CoverageKind::Vanished => ("ended unseen", "process"),
        CoverageKind::Untested => ("untested", "record"),
        CoverageKind::Degraded => ("degraded", "session"),
        CoverageKind::Clock => ("set", "record"),
    };
    let mut text = subject.to_owned();
    if let Some(hook) = hook {
        let _ = write!(text, " {hook}");
    }
    if let Some(nanos) = last.0.checked_sub(first.0).filter(|nanos| *nanos > 0) {
        let _ = write!(text, " for {}", duration(nanos));
    }
    if *count > 0 {
        let units = match (*count, unit) {
            (1, unit) => unit,
            (_, "entry") => "entries",
            (_, "process") => "processes",
            _ => "records",
        };
        let _ = write!(text, ", {count} {units}");
    }
    let _ = write!(text, ": {}", visible(reason));
    (style, word, text)
}

fn finding_text(finding: &Finding) -> (Style, &'static str, String) {
    let Finding {
        rule,
        title,
        severity,
        attack,
        reason,
    } = finding;
    let mut text = format!("{} {rule}: {}", severity.name(), visible(title));
    if !attack.is_empty() {
        let _ = write!(text, " ({})", visible(&attack.join(", ")));
    }
    let _ = write!(text, ": {}", visible(reason));
    (Style::Lost, "FINDING", text)
}

/// `0.500 s`, `12 s`, `3 min 5 s`, `2 h 10 min`
fn duration(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    match seconds {
        0..10 => format!("{seconds}.{:03} s", nanos / 1_000_000 % 1000),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests;
