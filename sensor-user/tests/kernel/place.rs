//! Where agents run: cgroup and namespaces, as the kernel programs read them.

use std::{io, os::unix::process::CommandExt, process::Command};

use skep_event::{Detail, Phase, SessionInfo, UserSource};
use skep_sensor::{cgroup, place::Namespaces};

use crate::sensor::{Run, actor, sensor};

fn start(run: &Run) -> SessionInfo {
    let start = run.events.iter().find_map(|event| match &event.detail {
        Detail::Session(info) if info.phase == Phase::Start => Some(info.clone()),
        _ => None,
    });
    start.expect("a session begins")
}

#[test]
fn a_session_says_in_which_cgroup_and_namespaces_it_began() {
    let run = sensor().run(&["exec", "/bin/sh", "-c", "true", "--"]);
    let info = start(&run);
    let own = Namespaces::of("self");
    let told = (
        info.pid_namespace,
        info.user_namespace,
        info.mount_namespace,
    );
    assert_eq!(told, (own.pid, own.user, own.mount));
    // Hosts without version 2 have nothing to say of it.
    if let Some(cgroup) = cgroup::of_process(std::process::id()) {
        assert_eq!(info.cgroup, Some(cgroup));
    }
    assert_eq!(info.user.as_deref(), Some("root"));
    assert_eq!(info.user_source, Some(UserSource::Files));
    for event in &run.events {
        let process = event.process.as_deref();
        assert!(
            process.is_none_or(|process| process.mount_namespace.is_none()
                && process.user_namespace.is_none()
                && process.pid_namespace.is_none()
                && process.cgroup.is_none())
        );
    }
}

#[test]
fn a_user_of_another_user_namespace_has_no_name_of_the_host() {
    let mut command = Command::new(actor());
    command.args(["do", "exec", "/bin/sh", "-c", "true", "--"]);
    // SAFETY: a call that changes the child alone.
    let unshare = || match unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: between fork and exec nothing is done but this call.
    unsafe { command.pre_exec(unshare) };
    let is_possible = Command::new("/bin/sh")
        .args(["-c", "[ $(cat /proc/sys/user/max_user_namespaces) -gt 0 ]"])
        .status();
    if !is_possible.is_ok_and(|status| status.success()) {
        println!("no user namespaces here");
        return;
    }
    let info = start(&sensor().run_command(command));
    let own = Namespaces::of("self");
    assert!(info.user_namespace.is_some() && info.user_namespace != own.user);
    assert!(info.mount_namespace.is_some() && info.mount_namespace != own.mount);
    assert_eq!(info.pid_namespace, own.pid);
    assert_eq!(
        (info.user, info.uid),
        (None, Some(0)),
        "the number on the host"
    );
    assert_eq!(info.user_source, Some(UserSource::UserNamespace));
}
