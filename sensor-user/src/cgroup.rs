//! Paths of cgroups (version 2) by the id that kernel records carry.
//!
//! The kernel opens a cgroup by its id, whatever became of the process that was in it (`open_by_handle_at` with
//! `FILEID_KERNFS`, include/linux/exportfs.h, Linux 5.5); where it does not, `/proc/PID/cgroup` says it while the
//! process lives. A cgroup that was removed has no path any more: unknown.
//!
//! Bound: paths of 2 × [`REMEMBERED`] cgroups are remembered. An id is not given to another cgroup while the host
//! runs; one that is renamed (version 1 alone can) keeps its first path here.

use std::{
    ffi::{CString, OsString},
    fs,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
};

use skep_event::Text;

use crate::identify::cache::Cache;

const REMEMBERED: usize = 512;
/// Where version 2 is mounted, alone or beside version 1 (systemd's "unified" and "hybrid").
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2: i64 = 0x6367_7270;
/// `FILEID_KERNFS` (include/linux/exportfs.h).
const FILEID_KERNFS: libc::c_int = 0xfe;
/// A cgroup of so many levels has no longer path; the kernel nests 2^31 deep at most, and nobody does.
const PATH_MAX: usize = 4096;

/// Looks paths up.
#[derive(Debug)]
pub struct Cgroups {
    mount: Option<(OwnedFd, Vec<u8>)>,
    known: Cache<u64, Text>,
    reads_proc: bool,
}

/// `struct file_handle` with room for an id.
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    id: [u8; 8],
}

// === impl Cgroups ===

impl Cgroups {
    /// Those of this host.
    pub fn host() -> Self {
        let mount = MOUNTS.iter().find_map(|mount| {
            let fd = OwnedFd::from(fs::File::open(mount).ok()?);
            let is_it = rustix::fs::fstatfs(&fd).is_ok_and(|stat| stat.f_type == CGROUP2);
            is_it.then(|| (fd, mount.as_bytes().to_vec()))
        });
        Self {
            mount,
            known: Cache::new(REMEMBERED),
            reads_proc: true,
        }
    }

    /// Of a host that has none.
    pub fn none() -> Self {
        Self {
            mount: None,
            known: Cache::new(1),
            reads_proc: false,
        }
    }

    /// The path of a cgroup, in which this process was a moment ago; `None` when that is not known.
    pub fn path(&mut self, id: u64, pid: u32) -> Option<Text> {
        if id == 0 {
            return None;
        }
        if let Some(path) = self.known.get(id) {
            return Some(path);
        }
        let Some(path) = self.by_id(id) else {
            // Not remembered: by now the process may be in another.
            return self.reads_proc.then(|| of_process(pid)).flatten();
        };
        self.known.insert(id, path.clone());
        Some(path)
    }

    fn by_id(&self, id: u64) -> Option<Text> {
        let (mount, prefix) = self.mount.as_ref()?;
        let mut handle = Handle {
            bytes: 8,
            kind: FILEID_KERNFS,
            id: id.to_ne_bytes(),
        };
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the handle has as many bytes as it says, and outlives the call.
        let fd =
            unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
        if fd < 0 {
            return None;
        }
        // SAFETY: a new descriptor that nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let link = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
        let link = Path::new(link.to_str().ok()?).to_owned();
        let path = OsString::from(fs::read_link(link).ok()?).into_vec();
        let within = path.strip_prefix(prefix.as_slice())?;
        match within {
            b"" => Some(Text::from("/")),
            // What was removed meanwhile has a name that it never had.
            [b'/', ..] if within.len() < PATH_MAX && !within.ends_with(b" (deleted)") => {
                Some(Text::from(within))
            }
            _ => None,
        }
    }
}

/// The cgroup of a process, by `/proc`.
pub fn of_process(pid: u32) -> Option<Text> {
    path_in(&fs::read(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The path of version 2 in `/proc/PID/cgroup` (cgroups(7)); where there is none, that of systemd's
/// hierarchy, which runtimes name after the container as well.
pub fn path_in(text: &[u8]) -> Option<Text> {
    let lines = || text.split(|byte| *byte == b'\n');
    let of_version_2 = lines().find_map(|line| line.strip_prefix(b"0::"));
    let of_systemd = || {
        lines().find_map(|line| {
            let at = memchr::memmem::find(line, b":name=systemd:")?;
            Some(&line[at + b":name=systemd:".len()..])
        })
    };
    // A host with both has everything at the root of version 2.
    let path = match (of_version_2, of_systemd()) {
        (Some(b"/"), Some(path)) | (None, Some(path)) => path,
        (Some(path), _) => path,
        (None, None) => return None,
    };
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    (path.first() == Some(&b'/') && path.len() < PATH_MAX).then(|| Text::from(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_line_of_version_2_counts_or_that_of_systemd() {
        let path = |text: &str| path_in(text.as_bytes()).map(|path| path.escaped());
        let both = "12:pids:/docker/x\n1:name=systemd:/docker/x\n0::/\n";
        assert_eq!(
            path("0::/system.slice/a.service\n").as_deref(),
            Some("/system.slice/a.service")
        );
        assert_eq!(path(both).as_deref(), Some("/docker/x"));
        assert_eq!(path("0::/\n").as_deref(), Some("/"));
        assert_eq!(path("0::/a (deleted)\n").as_deref(), Some("/a"));
        for none in ["", "12:pids:/x\n", "0::", "0::x", "\0"] {
            assert_eq!(path(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_cgroup_is_found_by_its_id_once_and_then_remembered() {
        let mut cgroups = Cgroups::host();
        let Some((_, mount)) = &cgroups.mount else {
            return; // a host without version 2
        };
        let mount = String::from_utf8(mount.clone()).unwrap();
        // The root and whatever lies in it: the id is the inode (64-bit hosts).
        let id = |path: &str| fs::metadata(path).unwrap().ino();
        let root = id(&mount);
        let mine = std::process::id();
        // The root of a container is not the root of the hierarchy.
        if cgroups.by_id(root).is_some() {
            assert_eq!(cgroups.path(root, mine), Some(Text::from("/")));
        }
        let folder = fs::read_dir(&mount)
            .unwrap()
            .filter_map(Result::ok)
            .find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        if let Some(folder) = folder
            && let Some(path) = cgroups.by_id(folder.metadata().unwrap().ino())
        {
            let name = folder.file_name().into_string().unwrap();
            assert_eq!(path, Text::from(format!("/{name}").as_str()));
        }
        assert_eq!(cgroups.path(0, mine), None);
        // What is no cgroup falls back to the process.
        let by_process = of_process(mine);
        assert_eq!(cgroups.path(u64::MAX, mine), by_process);
        assert_eq!(cgroups.path(u64::MAX, u32::MAX), None);
        assert_eq!(Cgroups::none().path(root, mine), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = path_in(&bytes);
        }
    }
}
