//! What the sensor needs of the host, checked by name before anything is loaded.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::btf;

/// Something this host cannot give; the sensor cannot start (exit code 3).
#[derive(Debug, Error)]
pub enum HostError {
    #[error(
        "not permitted to load kernel programs: effective capabilities lack {missing}; run as root, \
         or give the service CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE"
    )]
    Capabilities { missing: String },
    #[error(
        "the kernel publishes no type information at {}: {source}; use a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y (every current distribution's is)",
        btf::VMLINUX
    )]
    NoBtf { source: io::Error },
    #[error(transparent)]
    BadBtf(#[from] btf::BtfError),
    #[error(
        "the kernel's type information lacks {members}: without it nobody can be watched; please \
         report the kernel version"
    )]
    Offsets { members: String },
    #[error(
        "no cgroup v2: {reason}; mount it (`mount -t cgroup2 none /sys/fs/cgroup`) or boot a kernel \
         built with CONFIG_CGROUPS=y and CONFIG_CGROUP_BPF=y"
    )]
    NoCgroup2 { reason: String },
    #[error(
        "cannot create the ring buffer: {reason}; Linux 5.8 or newer is needed (this is {release})"
    )]
    NoRingBuffer { reason: String, release: String },
    #[error("cannot load the kernel object: {0}")]
    Load(String),
    #[error("cannot watch {fact}: {reason}")]
    Required { fact: &'static str, reason: String },
}

/// Capabilities the programs and the look-ups in `/proc` need (linux/capability.h).
const CAPABILITIES: [(u32, &str); 3] = [
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];

/// Refuses early what would otherwise fail later with a bare EPERM.
pub fn check_capabilities() -> Result<(), HostError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(HostError::Capabilities {
            missing: missing.join(", "),
        })
    }
}

/// `uname -r`.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// A directory descriptor of the root of cgroup v2, and tracefs where the tracepoints look for it.
///
/// What is not mounted is mounted in a mount namespace of our own, so that nothing on the host
/// changes and nothing is left behind. Call this before any other thread exists.
pub fn prepare_mounts() -> Result<File, HostError> {
    let mut private = false;
    if !Path::new("/sys/kernel/tracing/events").exists()
        && let Err(error) = mount_privately(&mut private, "tracefs", "/sys/kernel/tracing")
    {
        tracing::warn!(%error, "tracefs cannot be mounted: tracepoints will be off");
    }
    let mounted = mount_point("cgroup2");
    let root = match mounted {
        Some(root) => root,
        None => {
            let target = "/sys/fs/cgroup";
            mount_privately(&mut private, "cgroup2", target).map_err(|error| {
                HostError::NoCgroup2 {
                    reason: error.to_string(),
                }
            })?;
            PathBuf::from(target)
        }
    };
    File::open(&root).map_err(|error| HostError::NoCgroup2 {
        reason: format!("{}: {error}", root.display()),
    })
}

fn mount_privately(private: &mut bool, filesystem: &str, target: &str) -> io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    if !*private {
        // SAFETY: changes the mount namespace of this thread only; the caller says there is no other.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        mount_change(
            "/",
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )?;
        *private = true;
    }
    mount(
        "none",
        target,
        filesystem,
        MountFlags::NOSUID | MountFlags::NODEV,
        None,
    )?;
    tracing::info!(
        filesystem,
        target,
        "mounted in a mount namespace of the sensor's own"
    );
    Ok(())
}

/// Where the root of a filesystem type is mounted (`/proc/self/mountinfo`, proc(5)).
fn mount_point(filesystem: &str) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mount_point_in(&mounts, filesystem).map(PathBuf::from)
}

/// The same in the text of a file `mountinfo`.
pub fn mount_point_in<'a>(mounts: &'a str, filesystem: &str) -> Option<&'a str> {
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let root = fields.next()?;
        let target = fields.next()?;
        (kind.split(' ').next()? == filesystem && root == "/").then_some(target)
    })
}

/// Kernels before 5.11 charge maps to this limit.
pub fn raise_memlock_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(
        Resource::Memlock,
        Rlimit {
            current: None,
            maximum: None,
        },
    );
}
