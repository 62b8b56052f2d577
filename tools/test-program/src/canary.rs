//! A canary, as the sensor starts one for its self-test.

use anyhow::{Context, Result};
use skep_sensor::canary;

/// Acts, and reports which steps this host let it do.
pub fn act(without_network: bool) -> Result<()> {
    if without_network {
        // SAFETY: the only thread of this process gets another network, in which nothing is up; no
        // memory is involved.
        let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        let error = std::io::Error::last_os_error();
        (left == 0)
            .then_some(())
            .ok_or(error)
            .context("cannot leave the network")?;
    }
    canary::act().report();
    Ok(())
}
