//! Whether a value may be: each check gives the value, or what was expected in its place.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Component, PathBuf},
};

use super::bounds::{
    FINDINGS_BYTES, LIVENESS_SECONDS, MAX_SOCKET_PATH, MEMORY_BYTES, RING_BYTES, SPOOL_BYTES,
};
use crate::probes;

pub(super) fn absolute(text: String) -> Result<PathBuf, String> {
    let path = PathBuf::from(&text);
    let has_parent = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || has_parent {
        return Err(format!(
            "`{text}` is not an absolute path, expected one such as `/var/lib/skep`"
        ));
    }
    Ok(path)
}

pub(super) fn socket_path(text: String) -> Result<PathBuf, String> {
    let path = absolute(text)?;
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(format!(
            "a socket's path is at most {MAX_SOCKET_PATH} bytes long"
        ));
    }
    if path.file_name().is_none() {
        return Err("expected the path of a socket, not of a directory".to_owned());
    }
    Ok(path)
}

pub(super) fn existing_directory(text: String) -> Result<PathBuf, String> {
    let path = absolute(text)?;
    if !path.is_dir() {
        return Err(format!(
            "no directory `{}`: create it or remove the key",
            path.display()
        ));
    }
    Ok(path)
}

pub(super) fn spool_bytes(value: i64) -> Result<u64, String> {
    let (low, high) = (SPOOL_BYTES.start(), SPOOL_BYTES.end());
    u64::try_from(value)
        .ok()
        .filter(|value| SPOOL_BYTES.contains(value))
        .ok_or_else(|| format!("{value} is out of range, expected {low} to {high} bytes"))
}

pub(super) fn findings_share(value: i64, all: u64) -> Result<u64, String> {
    let high = all / 2;
    u64::try_from(value)
        .ok()
        .filter(|value| (FINDINGS_BYTES..=high).contains(value))
        .ok_or_else(|| {
            format!(
                "{value} is out of range, expected {FINDINGS_BYTES} to {high} bytes, half of max_bytes"
            )
        })
}

pub(super) fn memory_size(value: i64) -> Result<u64, String> {
    within(value, &MEMORY_BYTES, "bytes")
}

pub(super) fn within(value: i64, range: &RangeInclusive<u64>, unit: &str) -> Result<u64, String> {
    let (low, high) = (range.start(), range.end());
    u64::try_from(value)
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| format!("{value} is out of range, expected {low} to {high} {unit}"))
}

pub(super) fn ring_size(value: i64) -> Result<u32, String> {
    let (low, high) = (RING_BYTES.start(), RING_BYTES.end());
    u32::try_from(value)
        .ok()
        .filter(|value| RING_BYTES.contains(value) && value.is_power_of_two())
        .ok_or_else(|| format!("{value} is not a power of two from {low} to {high} (bytes)"))
}

pub(super) fn liveness_interval(value: i64) -> Result<u64, String> {
    let high = LIVENESS_SECONDS.end();
    u64::try_from(value)
        .ok()
        .filter(|value| LIVENESS_SECONDS.contains(value))
        .ok_or_else(|| {
            format!("{value} is out of range, expected 0 (no self-tests) to {high} seconds")
        })
}

/// The start of the name of a hook that has another beside it.
pub(super) fn avoidable(prefix: String) -> Result<String, String> {
    let names = probes::avoidable_hooks();
    if !prefix.is_empty() && names.iter().any(|name| name.starts_with(&prefix)) {
        return Ok(prefix);
    }
    let kinds: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.split_inclusive('/').next())
        .collect();
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    Err(format!(
        "`{prefix}` is the start of no hook that the sensor can do without, expected {} or more \
         of a name that `skep-sensor status` shows",
        kinds.join(", ")
    ))
}

/// `http://HOST:PORT` with a host on the loopback interface.
pub(super) fn collector_address(text: String) -> Result<String, String> {
    let example = "expected one such as `http://127.0.0.1:7317`";
    if text.starts_with("https://") {
        return Err("https is not available yet: use `http://` and a loopback address".to_owned());
    }
    let Some(authority) = text.strip_prefix("http://") else {
        return Err(format!("`{text}` is not an http address, {example}"));
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => return Err(format!("`{text}` has no port, {example}")),
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().map_or(true, |p| p == 0) {
        return Err(format!("`{port}` is not a port, expected 1 to 65535"));
    }
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let loopback = match (literal, host.parse::<IpAddr>()) {
        (Some(v6), _) => v6.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        (None, Ok(ip)) => ip.is_ipv4() && ip.is_loopback(),
        (None, Err(_)) => host == "localhost",
    };
    if !loopback {
        return Err(format!(
            "`{host}` is not a loopback address: events would cross the network unprotected, \
             since there is no TLS yet; {example}"
        ));
    }
    Ok(format!("http://{authority}"))
}
