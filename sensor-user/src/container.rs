//! Containers by the path of their cgroup: which runtime made it, and the id it has there.
//!
//! Runtimes put a container into a cgroup whose name holds its id, and each has ways of its own. The innermost
//! name that is one of these counts: what runs inside makes cgroups below it (systemd in a container, a
//! container in a container). A name that is none of these says nothing: no id is not "no container".

use std::borrow::Cow;

use skep_event::Text;

/// Digits of the ids of OCI runtimes.
const OCI_ID: usize = 64;
/// Longest id that is taken over: a name in a file system has no more bytes.
const ID_MAX: usize = 255;

/// A container, as far as the path of its cgroup says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// `None`: an id as OCI runtimes give it, in a place that says no more.
    pub runtime: Option<&'static str>,
    pub id: Text,
}

/// `RUNTIME-ID.scope` and the like: the systemd cgroup drivers of the runtimes, by the prefix of the unit.
/// - `docker-`: moby, daemon/oci_linux.go (`ScopePrefix`)
/// - `libpod-`: podman, libpod/oci_conmon_linux.go; `libpod-payload-` where crun splits the cgroup
/// - `cri-containerd-`: containerd, internal/cri/server/helpers_linux.go
/// - `crio-`: cri-o, internal/config/cgmgr (`CrioPrefix`)
/// - `nerdctl-`: nerdctl, pkg/cmd/container/run_cgroup_linux.go
const UNITS: [(&str, &str); 6] = [
    ("docker-", "docker"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("nerdctl-", "containerd"),
];

/// Directories that have one cgroup for each container, which is called by its id alone: the cgroupfs drivers
/// of docker and kubelet, and the agents of ECS, GitHub Actions and Cloud Foundry.
const PARENTS: [(&str, Option<&str>); 6] = [
    ("docker", Some("docker")),
    ("buildkit", Some("buildkit")),
    ("actions_job", Some("docker")),
    ("ecs", Some("ecs")),
    ("garden", Some("garden")),
    ("mesos", Some("mesos")),
];

/// The container that a cgroup is, or is in.
pub fn of_cgroup(path: &Text) -> Option<Container> {
    let path = std::str::from_utf8(path.as_bytes()).ok()?;
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    (0..names.len())
        .rev()
        .find_map(|at| of_name(&names[..at], names[at]))
        .map(|(runtime, id)| Container {
            runtime,
            id: Text::from(&*id),
        })
}

/// Runtime and id of one name, beneath these.
fn of_name<'a>(above: &[&str], name: &'a str) -> Option<(Option<&'static str>, Cow<'a, str>)> {
    if name.len() > ID_MAX {
        return None;
    }
    let unit = name.strip_suffix(".scope").unwrap_or(name);
    // kubelet's systemd driver with a runtime that has none: SLICE:PREFIX:ID.
    let unit = unit
        .rsplit_once(":cri-containerd:")
        .map_or(unit, |(_, id)| id);
    let by_unit = UNITS.iter().find_map(|(prefix, runtime)| {
        let id = unit.strip_prefix(prefix)?;
        is_oci_id(id).then_some((Some(*runtime), Cow::from(id)))
    });
    let found = by_unit
        .or_else(|| of_lxc(above, name))
        .or_else(|| of_machine(name));
    if found.is_some() {
        return found;
    }
    let parent = above.last().copied().unwrap_or_default();
    if let Some((_, runtime)) = PARENTS.iter().find(|(known, _)| *known == parent)
        && is_plain_id(name)
        && !PARENTS.iter().any(|(known, _)| *known == name)
    {
        return Some((*runtime, name.into()));
    }
    // ECS tasks have a cgroup, and their containers one each below it: ecs/TASK/ID.
    let is_of_task = above.iter().rev().nth(1) == Some(&"ecs");
    if is_of_task && is_plain_id(name) {
        return Some((Some("ecs"), name.into()));
    }
    if !is_oci_id(unit) {
        return None;
    }
    let in_pod = |name: &&&str| name.starts_with("kubepods") || name.starts_with("pod");
    let runtime = if name.contains(":cri-containerd:") {
        Some("containerd")
    } else if above.iter().any(|name| in_pod(&name)) {
        Some("kubernetes")
    } else {
        None
    };
    Some((runtime, unit.into()))
}

/// LXC, Incus and LXD: `lxc.payload.NAME` (liblxc 4.0), `lxc.payload/NAME` (3.1), `lxc/NAME` (before).
fn of_lxc<'a>(above: &[&str], name: &'a str) -> Option<(Option<&'static str>, Cow<'a, str>)> {
    let id = match (above.last(), name.strip_prefix("lxc.payload.")) {
        (_, Some(id)) => id,
        (Some(&("lxc.payload" | "lxc")), None) => name,
        _ => return None,
    };
    (!id.is_empty()).then_some((Some("lxc"), id.into()))
}

/// systemd-nspawn: `machine-NAME.scope`, or `systemd-nspawn@NAME.service`, escaped as unit names are
/// (systemd.unit(5)). Virtual machines are machines, too, and no containers.
fn of_machine(name: &str) -> Option<(Option<&'static str>, Cow<'_, str>)> {
    let of_scope = || name.strip_prefix("machine-")?.strip_suffix(".scope");
    let of_service = || {
        name.strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")
    };
    let id = unescaped(of_scope().or_else(of_service)?)?;
    let other = ["qemu-", "lxc-", "libvirt-", "vmspawn-"];
    if id.is_empty() || other.iter().any(|other| id.starts_with(other)) {
        return None;
    }
    Some((Some("systemd-nspawn"), id.into()))
}

/// The name that a part of a unit's name stands for: `\x2d` is a hyphen.
fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split("\\x");
    let mut out = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        out.extend(rest.as_bytes());
    }
    String::from_utf8(out).ok()
}

fn is_oci_id(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == OCI_ID && text.bytes().all(is_digit)
}

/// Letters, digits and hyphens, and long enough to be an id.
fn is_plain_id(text: &str) -> bool {
    text.len() >= 8
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
