//! What a line of the tree says of one thing: a file, a change, a destination, a gap.

use crate::{
    story::{Change, Child, Destination, FailedExec, File, Gap, Header},
    text::{command_line, outcome, short_time, thousands},
};

/// Where the kernel's path and what the program passed could both not be read.
pub(super) const UNKNOWN_PATH: &str = "(path unknown)";

pub(super) fn known_gaps(gaps: u64) -> String {
    let (s, count) = (if gaps == 1 { "" } else { "s" }, thousands(gaps));
    format!("{count} known gap{s}: the tree may have holes")
}

/// `08:30:03Z to 08:30:04Z  throttled, 1,200 records: why  (this session)`
pub(super) fn gap_line(gap: &Gap) -> String {
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
pub(super) fn is_startup(path: &str) -> bool {
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
pub(super) fn folder(path: &str) -> String {
    let Some((folders, _)) = path.rsplit_once('/') else {
        return ".".to_owned();
    };
    let kept: Vec<_> = folders.split('/').take(3).collect();
    match kept.join("/") {
        root if root.is_empty() => "/".to_owned(),
        folder => folder,
    }
}

pub(super) fn file_line(file: &File) -> String {
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
pub(super) fn file_name(path: &Option<String>) -> Option<&str> {
    path.as_deref()?.rsplit('/').next()
}

pub(super) fn failed_exec_line(exec: &FailedExec, count: u64) -> String {
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
pub(super) fn is_destroyed(change: &Change) -> bool {
    let is_done = change.result.is_none_or(|result| result == 0);
    is_done && matches!(change.op.as_str(), "unlink" | "rmdir" | "truncate")
}

pub(super) fn change_line(change: &Change) -> String {
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

pub(super) fn destination_line(peer: &Destination) -> String {
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

pub(super) fn child_line(child: &Child) -> String {
    let family = child.agent_family.as_deref().unwrap_or("unknown agent");
    let version = child.agent_version.as_deref().unwrap_or("version unknown");
    format!("started {family} {version}, session {}", child.session)
}

pub(super) fn when(header: &Header) -> String {
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
