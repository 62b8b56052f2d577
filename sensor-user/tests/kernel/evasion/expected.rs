//! What is known not to be seen, by the hooks that serve, and why: the one place where it is written
//! down. A technique that goes unseen and is not here fails the test, and so does one that is here and
//! is seen after all.

use std::collections::BTreeMap;

use skep_sensor::probes::HookReport;

/// Unseen by every hook there is; must be empty before the best tier can be said to see everything.
const NOT_YET: &[(&str, &str)] = &[(
    "unix-datagram",
    "the hooks of connect are not called for a datagram to a socket's path",
)];

/// Ids of the techniques these hooks do not see, each with the reason.
pub fn unseen(hooks: &[HookReport]) -> BTreeMap<&'static str, &'static str> {
    let served_by = |fact: &str, prefix: &str| {
        let report = hooks.iter().find(|hook| hook.fact == fact);
        let hook = report.and_then(|report| report.hook);
        hook.expect("every fact is served").starts_with(prefix)
    };
    let mut unseen: BTreeMap<_, _> = NOT_YET.iter().copied().collect();
    let mut add = |ids: &[&'static str], why| unseen.extend(ids.iter().map(|id| (*id, why)));
    if served_by("open", "tp/") {
        add(
            &[
                "io-uring-open",
                "io-uring-open-worker",
                "io-uring-open-polled",
            ],
            "the tracepoints are those of the open system calls, and io_uring makes none of them",
        );
    }
    let no_connect = "the tracepoint is that of the connect system call, and io_uring makes none";
    if served_by("connect_inet", "tp/") {
        add(&["io-uring-connect"], no_connect);
        add(
            &["udp", "udp6"],
            "the tracepoint is that of connect, and the peer of a datagram is given to sendto",
        );
    }
    if served_by("connect_unix", "tp/") {
        add(&["io-uring-connect-unix"], no_connect);
    }
    unseen
}
