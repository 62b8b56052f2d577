//! What the kernel says of a process.

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, which is 100 on every architecture that we build for.
const TICKS: f64 = 100.0;

/// Resident memory now (`VmRSS`) or at most (`VmHWM`), MiB.
pub fn memory(pid: u32, which: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kib: f64 = line
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .with_context(|| format!("/proc/{pid}/status does not say {which}"))?;
    Ok(kib / 1024.0)
}

/// CPU time of a process and all its threads since its start, seconds.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&text)
        .map(|ticks| ticks as f64 / TICKS)
        .context("the kernel does not say how long a process ran")
}

/// `utime` + `stime`: the 14th and 15th field; the second one may hold spaces, in parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let [user, system]: [u64; 2] = [fields.next()?.parse().ok()?, fields.next()?.parse().ok()?];
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_spaces() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 12 0 0";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    fn this_process_has_memory() {
        let pid = std::process::id();
        assert!(memory(pid, "VmRSS").unwrap() > 0.1);
        assert!(memory(pid, "VmHWM").unwrap() >= memory(pid, "VmRSS").unwrap() * 0.9);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
    }
}
