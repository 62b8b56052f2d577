//! What is known not to be seen, by the hooks that serve: the one place where it is written down.
//! A technique that goes unseen and is not here fails the test, and so does one that is here and is
//! seen after all.

use std::collections::BTreeSet;

use skep_sensor::probes::HookReport;

/// Ids of the techniques these hooks do not see.
pub fn unseen(hooks: &[HookReport]) -> BTreeSet<&'static str> {
    let served_by = |fact: &str, prefix: &str| {
        let report = hooks.iter().find(|hook| hook.fact == fact);
        let hook = report.and_then(|report| report.hook);
        hook.expect("every fact is served").starts_with(prefix)
    };
    let mut unseen = BTreeSet::new();
    if served_by("open", "tp/") {
        unseen.extend([
            "io-uring-open",
            "io-uring-open-worker",
            "io-uring-open-polled",
        ]);
    }
    if served_by("connect_inet", "tp/") {
        unseen.extend(["io-uring-connect", "udp", "udp6"]);
    }
    if served_by("connect_unix", "tp/") {
        unseen.insert("io-uring-connect-unix");
    }
    // No hook for it yet: that of connect is not called.
    unseen.insert("unix-datagram");
    unseen
}
