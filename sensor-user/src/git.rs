//! Reads which repository a directory belongs to, without running git.
//!
//! Running git in a directory of someone else's would run what its configuration names. Here only
//! three small files are read: `HEAD`, `config`, and where they are for worktrees and submodules.
//!
//! Invariants and bounds:
//! - paths are resolved *inside* a root (the process's own, e.g. `/proc/PID/root`), symlinks
//!   included (`openat2` with `RESOLVE_IN_ROOT`, Linux 5.6);
//! - only regular files are opened for reading, so that a FIFO cannot block nor a device act;
//!   at most [`MAX_FILE`] bytes of each; at most [`MAX_DEPTH`] directories up;
//! - what cannot be read or makes no sense is `None`, never a guess: `include`, `insteadOf` and
//!   environment variables of git are not followed;
//! - nothing is redacted here: a remote's URL may carry a password until [`skep_redact`] has run.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use skep_event::{Repository, Text};

use crate::identify::{
    Root,
    looks::{Budget, Looks},
};

const MAX_FILE: usize = 256 << 10;
const MAX_DEPTH: usize = 64;
/// A longer branch is none.
pub const MAX_BRANCH: usize = 1024;
/// A longer URL is none.
pub const MAX_REMOTE: usize = 4096;

/// The repository that `start` lies in; `start` is absolute as seen from `root`.
pub fn read_repository(start: &Path, root: &Path) -> Option<Repository> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = fs::openat(CWD, root, flags, Mode::empty()).ok()?;
    let root = Root::directory(fd, Looks::within(Budget::UNBOUNDED));
    repository_in(start, &root, None)
}

/// The same in a root that was taken hold of. With an `owner`, a `.git` counts only if that user or root owns
/// it, as for git itself: what others put into a directory above says nothing of who works below it.
pub(crate) fn repository_in(start: &Path, root: &Root, owner: Option<u32>) -> Option<Repository> {
    if !start.is_absolute() {
        return None;
    }
    let tree = Tree { root };
    for directory in start.ancestors().take(MAX_DEPTH) {
        let Some((_, uid)) = root.kind_and_owner(bytes(&directory.join(".git"))) else {
            continue;
        };
        if owner.is_some_and(|owner| uid != owner && uid != 0) {
            return None;
        }
        if let Some(repository) = tree.repository_at(directory) {
            return Some(repository);
        }
    }
    None
}

/// The file system as a process sees it.
struct Tree<'a> {
    root: &'a Root,
}

// === impl Tree ===

impl Tree<'_> {
    fn is_directory(&self, path: &Path) -> bool {
        let found = self.root.kind_and_owner(bytes(path));
        found.is_some_and(|(kind, _)| kind == FileType::Directory)
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.root.read_start(bytes(path), MAX_FILE)
    }

    fn repository_at(&self, directory: &Path) -> Option<Repository> {
        let dot_git = directory.join(".git");
        let git_dir = if self.is_directory(&dot_git) {
            dot_git
        } else {
            let link = self.read(&dot_git)?;
            pointed_to(directory, line(link.strip_prefix(b"gitdir:")?)?)?
        };
        let head = self.read(&git_dir.join("HEAD"))?;
        let common_dir = match self.read(&git_dir.join("commondir")) {
            Some(link) => pointed_to(&git_dir, line(&link)?)?,
            None => git_dir,
        };
        let config = self.read(&common_dir.join("config")).unwrap_or_default();
        Some(Repository {
            root: Text::from(directory.as_os_str().as_bytes()),
            remote: remote(&config),
            branch: branch(&head),
        })
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The first line, trimmed; `None` when there is nothing on it.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let first = bytes.split(|byte| *byte == b'\n').next()?.trim_ascii();
    (!first.is_empty()).then_some(first)
}

/// `target`, relative to `base` unless absolute, with `..` taken away by name; `None` when it holds a NUL.
pub fn pointed_to(base: &Path, target: &[u8]) -> Option<PathBuf> {
    if target.contains(&0) {
        return None;
    }
    let mut path = PathBuf::new();
    for part in base.join(OsStr::from_bytes(target)).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    Some(path)
}

/// The branch that a file `HEAD` names (`ref: refs/heads/NAME`), or the commit of a detached head.
pub fn branch(head: &[u8]) -> Option<Text> {
    let head = line(head)?;
    let Some(reference) = head.strip_prefix(b"ref:") else {
        let is_commit = matches!(head.len(), 40 | 64) && head.iter().all(u8::is_ascii_hexdigit);
        return is_commit.then(|| Text::from(head));
    };
    let reference = reference.trim_ascii();
    let name = reference.strip_prefix(b"refs/heads/").unwrap_or(reference);
    // `.invalid` stands in HEAD when references are kept in a table (reftable).
    let known = !name.is_empty() && name.len() <= MAX_BRANCH && name != b".invalid";
    known.then(|| Text::from(name))
}

/// From a file `config`, the URL of `origin`, else of the first remote that has one.
pub fn remote(config: &[u8]) -> Option<Text> {
    let mut first = None;
    let mut section = None;
    for entry in entries(config) {
        match entry {
            Entry::Remote(name) => section = Some(name),
            Entry::OtherSection => section = None,
            Entry::Value { key, value } => {
                let Some(name) = &section else { continue };
                let usable = !value.is_empty() && value.len() <= MAX_REMOTE;
                if !key.eq_ignore_ascii_case(b"url") || !usable {
                    continue;
                }
                if name == b"origin" {
                    return Some(Text::from(value));
                }
                first.get_or_insert(value);
            }
        }
    }
    first.map(Text::from)
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Remote(Vec<u8>),
    OtherSection,
    Value { key: Vec<u8>, value: Vec<u8> },
}

/// The part of git-config(1)'s syntax that matters here; lines that do not fit are passed over.
fn entries(config: &[u8]) -> impl Iterator<Item = Entry> {
    let mut rest = config.strip_prefix(b"\xef\xbb\xbf").unwrap_or(config);
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_ascii_start();
            match rest.first()? {
                b'#' | b';' => rest = after_line(rest),
                b'[' => {
                    let (entry, tail) = section(&rest[1..]);
                    rest = tail;
                    return Some(entry);
                }
                byte if byte.is_ascii_alphabetic() => {
                    let (entry, tail) = value(rest);
                    rest = tail;
                    if entry.is_some() {
                        return entry;
                    }
                }
                _ => rest = after_line(rest),
            }
        }
    })
}

fn after_line(bytes: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', bytes).map_or(&[], |at| &bytes[at + 1..])
}

/// What follows `[`: `remote "origin"]`, `remote.origin]` or something else.
fn section(bytes: &[u8]) -> (Entry, &[u8]) {
    let end = bytes
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && *b != b'-' && *b != b'.')
        .unwrap_or(bytes.len());
    let (name, mut rest) = bytes.split_at(end);
    if let Some(old_form) = strip_prefix_ignoring_case(name, b"remote.") {
        let rest = rest.strip_prefix(b"]").unwrap_or_else(|| after_line(rest));
        return (Entry::Remote(old_form.to_ascii_lowercase()), rest);
    }
    rest = rest.trim_ascii_start();
    let Some(mut quoted) = rest.strip_prefix(b"\"") else {
        return (
            Entry::OtherSection,
            rest.strip_prefix(b"]").unwrap_or_else(|| after_line(rest)),
        );
    };
    let mut subsection = Vec::new();
    loop {
        match quoted {
            [b'\\', byte, tail @ ..] if *byte != b'\n' => {
                subsection.push(*byte);
                quoted = tail;
            }
            [b'"', b']', tail @ ..] if name.eq_ignore_ascii_case(b"remote") => {
                return (Entry::Remote(subsection), tail);
            }
            [b'"', b']', tail @ ..] => return (Entry::OtherSection, tail),
            [b'"' | b'\n', ..] | [] => return (Entry::OtherSection, after_line(quoted)),
            [byte, tail @ ..] => {
                subsection.push(*byte);
                quoted = tail;
            }
        }
    }
}

fn strip_prefix_ignoring_case<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// `key = value`, with quotes, escapes, comments and continuation lines; a key alone has no value.
fn value(bytes: &[u8]) -> (Option<Entry>, &[u8]) {
    let end = bytes
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && *b != b'-')
        .unwrap_or(bytes.len());
    let (key, rest) = bytes.split_at(end);
    let blanks = rest
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    let Some(mut rest) = rest[blanks..].strip_prefix(b"=") else {
        return (None, after_line(rest));
    };
    let (mut value, mut kept, mut quoted) = (Vec::new(), 0, false);
    loop {
        match rest {
            [] | [b'\n', ..] => break,
            [b'\r', b'\n', ..] => break,
            [b'#' | b';', ..] if !quoted => break,
            [b'\\', b'\r', b'\n', tail @ ..] | [b'\\', b'\n', tail @ ..] => rest = tail,
            [b'\\', escape, tail @ ..] => {
                match escape {
                    b'n' => value.push(b'\n'),
                    b't' => value.push(b'\t'),
                    b'b' => value.push(8),
                    other => value.push(*other),
                }
                kept = value.len();
                rest = tail;
            }
            [b'"', tail @ ..] => {
                quoted = !quoted;
                kept = value.len();
                rest = tail;
            }
            [byte, tail @ ..] => {
                if quoted || !matches!(byte, b' ' | b'\t') {
                    value.push(*byte);
                    kept = value.len();
                } else if !value.is_empty() {
                    value.push(*byte);
                }
                rest = tail;
            }
        }
    }
    // Blanks at the end belong to the value only inside quotes.
    value.truncate(kept);
    (
        Some(Entry::Value {
            key: key.to_vec(),
            value,
        }),
        after_line(rest),
    )
}

#[cfg(test)]
mod tests;
