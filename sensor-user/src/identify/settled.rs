//! Whether what a path leads to is what it led to when a process began to run it.
//!
//! The version of an agent is read from files beside what it runs. A process that runs for a while may have
//! read others: its package was updated since, the link that leads there was switched, the directory was
//! replaced. Nothing of the process says which it has read, so that only what has not changed since counts.
//!
//! The kernel sets a file's change time (`ctime`) whenever its content, its name or its attributes change, to
//! the wall clock, and no program can set it back. Of a directory it also says that a name in it came or went:
//! its modification time is then the same moment, and nothing on the way to the file has changed by that.
//!
//! Bound: [`STEPS_MAX`] names are looked at.

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, readlinkat},
    io::Errno,
};
use skep_event::UnixNanos;

use super::{
    access::Root,
    command::{absolute, parent},
};

const STEPS_MAX: usize = 256;

/// A name on the way, and where it leads if it is a symbolic link.
struct Name {
    stat: Stat,
    link: Option<Vec<u8>>,
}

impl Root {
    /// Whether nothing on the way to this file of the process, nor the file itself, has changed since. What
    /// cannot be looked at counts as changed.
    pub(super) fn is_settled(&self, path: &[u8], since: UnixNanos) -> bool {
        let mut paths = vec![path.to_vec()];
        let mut steps = 0;
        while let Some(path) = paths.pop() {
            let slashes = path.iter().enumerate().skip(1);
            let ends = slashes.filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            for end in ends.chain([path.len()]) {
                steps += 1;
                if steps > STEPS_MAX {
                    return false;
                }
                let prefix = &path[..end];
                let Ok(Name { stat, link }) = self.name(prefix) else {
                    return false;
                };
                if changed(&stat) > since.0 && !is_listing(&stat) {
                    return false;
                }
                if let Some(target) = link {
                    let Some(target) = absolute(&target, Some(parent_of(prefix))) else {
                        return false;
                    };
                    paths.push(target);
                }
            }
        }
        true
    }

    fn name(&self, path: &[u8]) -> Result<Name, Errno> {
        self.looks.entry().map_err(|_| Errno::NOBUFS)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat2(self.fd(), path, flags, Mode::empty(), resolve)?;
        let stat = fstat(&fd)?;
        let link = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Some(readlinkat(&fd, "", Vec::new())?.into_bytes()),
            _ => None,
        };
        Ok(Name { stat, link })
    }
}

/// With its slash where that is all of it.
fn parent_of(path: &[u8]) -> &[u8] {
    match parent(path) {
        b"" => b"/",
        directory => directory,
    }
}

/// Unix time of the last change, nanoseconds.
fn changed(stat: &Stat) -> u64 {
    nanos(stat.st_ctime, stat.st_ctime_nsec)
}

/// A directory of which nothing has changed last but what names are in it.
fn is_listing(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        && nanos(stat.st_mtime, stat.st_mtime_nsec) == changed(stat)
}

fn nanos(seconds: i64, nanos: impl TryInto<u64>) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{
            ffi::OsStrExt,
            fs::{PermissionsExt, symlink},
        },
        path::Path,
        thread,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::identify::looks::{Budget, Looks};

    fn now() -> UnixNanos {
        // The kernel stamps files by its last tick: a hundredth of a second ago at most.
        thread::sleep(Duration::from_millis(20));
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        let nanos = UnixNanos(u64::try_from(now.as_nanos()).expect("before 2554"));
        thread::sleep(Duration::from_millis(20));
        nanos
    }

    fn root() -> Root {
        let fd = fs::File::open("/").expect("the root");
        Root::directory(fd.into(), Looks::within(Budget::UNBOUNDED))
    }

    fn is_settled(path: &Path, since: UnixNanos) -> bool {
        root().is_settled(path.as_os_str().as_bytes(), since)
    }

    /// A file that is reached by two links, each in a directory of its own.
    fn tree(top: &Path) -> std::path::PathBuf {
        for version in ["v1", "v2"] {
            fs::create_dir_all(top.join(version).join("lib")).expect("directories");
            fs::write(top.join(version).join("lib/package.json"), version).expect("writes");
        }
        symlink("v1", top.join("current")).expect("links");
        fs::create_dir(top.join("bin")).expect("a directory");
        symlink("../current/lib/package.json", top.join("bin/agent")).expect("links");
        top.join("bin/agent")
    }

    #[test]
    fn what_nobody_has_touched_is_settled_whatever_comes_and_goes_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = tree(dir.path());
        let since = now();
        assert!(is_settled(&path, since));
        for beside in ["x", "bin/x", "v1/x", "v1/lib/x", "v2/lib/package.json"] {
            fs::write(dir.path().join(beside), "x").expect("writes");
            assert!(is_settled(&path, since), "{beside}");
        }
        fs::remove_file(dir.path().join("v1/lib/x")).expect("removes");
        assert!(is_settled(&path, since));
        assert!(!is_settled(&dir.path().join("no-such-file"), since));
    }

    #[test]
    fn every_way_to_change_what_a_path_leads_to_is_noticed() {
        type Change = (&'static str, fn(&Path));
        let changes: [Change; 7] = [
            ("written over", |top| {
                fs::write(top.join("v1/lib/package.json"), "new").expect("writes");
            }),
            ("another file renamed over it", |top| {
                fs::rename(
                    top.join("v2/lib/package.json"),
                    top.join("v1/lib/package.json"),
                )
                .expect("renames");
            }),
            ("its directory replaced by one that was there", |top| {
                fs::rename(top.join("v1/lib"), top.join("old")).expect("renames");
                fs::rename(top.join("v2/lib"), top.join("v1/lib")).expect("renames");
            }),
            ("a directory above it replaced", |top| {
                fs::rename(top.join("v1"), top.join("old")).expect("renames");
                fs::rename(top.join("v2"), top.join("v1")).expect("renames");
            }),
            ("a link on the way switched", |top| {
                symlink("v2", top.join("next")).expect("links");
                fs::rename(top.join("next"), top.join("current")).expect("renames");
            }),
            ("the link itself switched", |top| {
                fs::remove_file(top.join("bin/agent")).expect("removes");
                symlink("../v2/lib/package.json", top.join("bin/agent")).expect("links");
            }),
            ("its mode changed, which cannot be told from it", |top| {
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(top.join("v1/lib/package.json"), mode).expect("mode");
            }),
        ];
        for (what, change) in changes {
            let dir = tempfile::tempdir().expect("a directory");
            let path = tree(dir.path());
            let since = now();
            assert!(is_settled(&path, since), "{what}");
            change(dir.path());
            assert!(!is_settled(&path, since), "{what}");
            assert!(is_settled(&path, now()), "{what}: it began after that");
        }
    }

    #[test]
    fn links_without_an_end_are_not_followed_for_ever() {
        let dir = tempfile::tempdir().expect("a directory");
        symlink("b", dir.path().join("a")).expect("links");
        symlink("a", dir.path().join("b")).expect("links");
        assert!(!is_settled(&dir.path().join("a"), now()));
    }
}
