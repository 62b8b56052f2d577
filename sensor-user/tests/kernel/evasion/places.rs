//! Acts from another namespace or under another root.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Group, Technique, processes::by_descendant, stage::Stage, verdict::Verdict};

pub const GROUP: Group = Group {
    title: "Namespaces and chroot",
    techniques: &[
        Technique {
            id: "pid-namespace",
            title: "pid namespace",
            tries: "the acting process is pid 1 of a namespace of its own",
            attempt: pid_namespace,
        },
        Technique {
            id: "mount-namespace",
            title: "mount namespace",
            tries: "mounts that no other process has",
            attempt: |stage| by_descendant(stage, "new-mount"),
        },
        Technique {
            id: "network-namespace",
            title: "network namespace",
            tries: "a connect from a network stack of its own (which refuses it: no route)",
            attempt: network_namespace,
        },
        Technique {
            id: "user-namespace",
            title: "user namespace",
            tries: "a process whose uid there is not the one outside",
            attempt: |stage| by_descendant(stage, "new-user"),
        },
        Technique {
            id: "chroot",
            title: "chroot",
            tries: "the path the program gives is `/secret`; the file lies elsewhere",
            attempt: chroot,
        },
    ],
};

fn pid_namespace(stage: &Stage) -> Verdict {
    let secret = stage.secret();
    let attempt = stage.act(&["new-pid", "open", &secret]);
    let root = attempt.root();
    attempt.opened_by(&secret, "a pid of the host", |process| {
        process.pid != 1 && root.is_some_and(|root| process.pid > root)
    })
}

fn network_namespace(stage: &Stage) -> Verdict {
    // Never answered: in the new namespace there is not even a loopback.
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let mark = stage.secret();
    let attempt = stage.try_to_act(&["new-net", "connect4", "127.0.0.1", "9", "open", &mark]);
    let refusal = attempt.refusal.as_deref().unwrap_or_default();
    assert!(refusal.contains("ENETUNREACH"), "{refusal}");
    attempt.connected(peer)
}

fn chroot(stage: &Stage) -> Verdict {
    let jail = stage.subfolder("jail");
    let secret = crate::sensor::file(std::path::Path::new(&jail), "secret");
    stage
        .act(&["chroot", &jail, "open", "/secret"])
        .opened_by_descendant(&secret)
}
