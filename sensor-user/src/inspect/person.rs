//! As whom a process opens files, and how this process becomes that.
//!
//! Invariants: real, effective and saved ids all become those of the other (a FUSE file system without
//! `allow_other` asks for all six), supplementary groups too; no capability stays, but for one that root keeps
//! where the process looked at has it; there is no way back.

use std::io;

use rustix::{
    process::{Gid, Uid},
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};

/// `/proc/PID/status` lists up to 65,536 groups (`NGROUPS_MAX`) on one line.
const STATUS_MAX: u64 = 1 << 20;
/// What a process whose user has no name in passwd(5) is taken to be a member of.
const NO_GROUP: u32 = 65_534;

/// Ids for file access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Reads what root reads: it is root, and may pass over permissions.
    reads_all: bool,
}

// === impl Person ===

impl Person {
    /// As whom `pid` opens files now.
    pub fn of(pid: u32) -> Option<Self> {
        use std::io::Read;
        let mut status = Vec::new();
        let file = std::fs::File::open(format!("/proc/{pid}/status")).ok()?;
        file.take(STATUS_MAX).read_to_end(&mut status).ok()?;
        Self::parse(&status)
    }

    /// One that has ended: nothing but its user is known.
    pub fn ended(uid: Option<u32>) -> Self {
        Self {
            uid: uid.unwrap_or(NO_GROUP),
            gid: NO_GROUP,
            groups: Vec::new(),
            // Not one that could be asked for by ending.
            reads_all: false,
        }
    }

    /// From proc_pid_status(5): the fourth of the ids is the one for file access.
    pub fn parse(status: &[u8]) -> Option<Self> {
        let field = |name: &[u8]| {
            let mut lines = status.split(|byte| *byte == b'\n');
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            std::str::from_utf8(value).ok()
        };
        let id = |name: &[u8]| field(name)?.split_ascii_whitespace().nth(3)?.parse().ok();
        let uid = id(b"Uid:")?;
        let groups = field(b"Groups:")?.split_ascii_whitespace();
        let effective = u64::from_str_radix(field(b"CapEff:")?.trim(), 16).ok()?;
        let passing_over = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        let passes_over = CapabilitySet::from_bits_retain(effective).intersects(passing_over);
        Some(Self {
            uid,
            gid: id(b"Gid:")?,
            groups: groups.map(|id| id.parse().ok()).collect::<Option<_>>()?,
            reads_all: uid == 0 && passes_over,
        })
    }

    /// Becomes it, for good.
    ///
    /// # Errors
    ///
    /// The kernel refuses; this process is then nobody who should read anything.
    pub fn become_it(&self) -> io::Result<()> {
        if !self.is_me() {
            set_groups(&self.groups)?;
            set_gid(self.gid)?;
        }
        // Before the ids change: that takes what it permits along.
        set_uid(self.uid)?;
        let kept = if self.reads_all {
            CapabilitySet::DAC_READ_SEARCH
        } else {
            CapabilitySet::empty()
        };
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: none,
        };
        let outcome = set_capabilities(None, sets);
        // Who never had it keeps nothing.
        let outcome = outcome.or_else(|_| {
            set_capabilities(
                None,
                CapabilitySets {
                    effective: none,
                    permitted: none,
                    inheritable: none,
                },
            )
        });
        Ok(outcome?)
    }

    /// Whether there is nothing to become, which needs no privilege.
    fn is_me(&self) -> bool {
        Self::of(std::process::id())
            .is_some_and(|me| me.gid == self.gid && me.groups == self.groups && me.uid == self.uid)
    }
}

fn outcome(result: libc::c_long) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|id| Gid::from_raw(*id)).collect();
    Ok(rustix::thread::set_thread_groups(&groups)?)
}

fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: plain numbers. The system call itself: this process has one thread.
    outcome(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })
}

fn set_uid(uid: u32) -> io::Result<()> {
    let uid = Uid::from_raw(uid).as_raw();
    // SAFETY: the same.
    outcome(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t1\t2\t3\t1000\nGid:\t1\t2\t3\t100\n\
                          Groups:\t4 24 100 \nCapEff:\t0000000000000000\n";

    #[test]
    fn the_ids_for_files_count() {
        let person = Person::parse(STATUS.as_bytes()).unwrap();
        assert_eq!((person.uid, person.gid), (1000, 100));
        assert_eq!(person.groups, [4, 24, 100]);
        assert!(!person.reads_all);
    }

    #[test]
    fn only_root_with_the_capability_passes_over_permissions() {
        let reads_all = |uid: &str, capabilities: &str| {
            let status = STATUS
                .replace("\t1000\n", &format!("\t{uid}\n"))
                .replace("0000000000000000", capabilities);
            Person::parse(status.as_bytes()).unwrap().reads_all
        };
        assert!(reads_all("0", "000001ffffffffff"));
        assert!(reads_all("0", "0000000000000004"));
        assert!(!reads_all("0", "0000000000000001"));
        assert!(!reads_all("1000", "000001ffffffffff"));
    }

    #[test]
    fn what_is_no_status_is_nobody() {
        for odd in [
            "",
            "Uid:\t1\n",
            &STATUS.replace("100\n", "x\n"),
            &STATUS.replace("24", "-1"),
            &STATUS.replace("CapEff", "CapEfg"),
        ] {
            assert_eq!(Person::parse(odd.as_bytes()), None, "{odd:?}");
        }
        assert!(Person::of(std::process::id()).is_some());
    }
}
