//! What is known not to be seen, by the hooks that serve, and why: the one place where it is written
//! down. A technique that goes unseen and is not here fails the test, and so does one that is here and
//! is seen after all. With the best hooks there is none.

use std::collections::BTreeMap;

use skep_sensor::probes::HookReport;

const NO_CONNECT: &str = "the tracepoint is that of connect. This peer is given to `sendto` or `sendmsg`, \
                          which nothing watches where the better hooks are refused";

const INT_80: &str = "the kernel calls no tracepoint of a system call that is made as a 32-bit program makes it, and \
                      to be called for every system call of everybody would tax them all";

/// Ids of the techniques these hooks do not see, each with the reason.
pub fn unseen(hooks: &[HookReport]) -> BTreeMap<&'static str, &'static str> {
    let served_by = |fact: &str, prefix: &str| {
        let report = hooks.iter().find(|hook| hook.fact == fact);
        let hook = report.and_then(|report| report.hook);
        hook.expect("every fact is served").starts_with(prefix)
    };
    let mut unseen = BTreeMap::new();
    if served_by("open", "tp/") {
        unseen.insert("int80-open", INT_80);
    }
    if served_by("connect_inet", "tp/") {
        unseen.extend([
            ("int80-connect", INT_80),
            ("tcp-fastopen", NO_CONNECT),
            ("udp", NO_CONNECT),
            ("udp6", NO_CONNECT),
        ]);
    }
    if served_by("connect_unix", "tp/") {
        unseen.insert("unix-datagram", NO_CONNECT);
    }
    if served_by("change", "tp/") {
        unseen.insert("int80-unlink", INT_80);
    }
    unseen
}
