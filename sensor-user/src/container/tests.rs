//! Paths as they stand on hosts of each kind, and what is like them and is no container.

use proptest::prelude::*;

use super::*;

const ID: &str = "3f1e5c0b9a7d4e2f8c6b5a4d3e2f1c0b9a8d7e6f5c4b3a2d1e0f9c8b7a6d5e4f";
const OTHER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn container(path: &str) -> Option<(Option<&'static str>, String)> {
    let path = path.replace("ID", ID).replace("OTHER", OTHER);
    let Container { runtime, id } = of_cgroup(&Text::from(path.as_str()))?;
    Some((
        runtime,
        id.escaped().replace(ID, "ID").replace(OTHER, "OTHER"),
    ))
}

#[test]
fn each_runtime_is_known_by_its_cgroups() {
    let cases = [
        // Docker, by its two drivers; rootless; a container in a container; systemd inside.
        ("/system.slice/docker-ID.scope", Some("docker"), "ID"),
        ("/docker/ID", Some("docker"), "ID"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope",
            Some("docker"),
            "ID",
        ),
        ("/docker/OTHER/docker/ID", Some("docker"), "ID"),
        (
            "/system.slice/docker-OTHER.scope/docker/ID",
            Some("docker"),
            "ID",
        ),
        (
            "/system.slice/docker-ID.scope/init.scope",
            Some("docker"),
            "ID",
        ),
        (
            "/system.slice/docker-ID.scope/system.slice/cron.service",
            Some("docker"),
            "ID",
        ),
        (
            "/docker/buildkit/k2v8t6rn4f1xq0w9p3zs5hy7c",
            Some("buildkit"),
            "k2v8t6rn4f1xq0w9p3zs5hy7c",
        ),
        ("/actions_job/ID", Some("docker"), "ID"),
        // Podman: as root, rootless, in a pod, split by crun, by cgroupfs.
        ("/machine.slice/libpod-ID.scope", Some("podman"), "ID"),
        (
            "/machine.slice/libpod-ID.scope/container",
            Some("podman"),
            "ID",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            Some("podman"),
            "ID",
        ),
        (
            "/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope",
            Some("podman"),
            "ID",
        ),
        (
            "/system.slice/app.service/libpod-payload-ID",
            Some("podman"),
            "ID",
        ),
        ("/libpod_parent/libpod-ID", Some("podman"), "ID"),
        // Kubernetes: containerd and CRI-O by systemd, any by cgroupfs, containerd without the driver.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f1c.slice/cri-containerd-ID.scope",
            Some("containerd"),
            "ID",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0f1c.slice/crio-ID.scope",
            Some("cri-o"),
            "ID",
        ),
        (
            "/kubepods.slice/kubepods-pod0f1c.slice/crio-ID.scope/container",
            Some("cri-o"),
            "ID",
        ),
        (
            "/kubepods.slice/kubepods-pod0f1c.slice/docker-ID.scope",
            Some("docker"),
            "ID",
        ),
        (
            "/kubepods/burstable/pod0f1c-2d/ID",
            Some("kubernetes"),
            "ID",
        ),
        ("/kubepods/pod0f1c-2d/ID", Some("kubernetes"), "ID"),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod0f1c.slice:cri-containerd:ID",
            Some("containerd"),
            "ID",
        ),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0f1c.slice/cri-containerd-ID.scope",
            Some("containerd"),
            "ID",
        ),
        // Others.
        ("/system.slice/nerdctl-ID.scope", Some("containerd"), "ID"),
        ("/default/ID", None, "ID"),
        (
            "/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/ID",
            Some("ecs"),
            "ID",
        ),
        (
            "/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/0f1e2d3c4b5a69788796a5b4c3d2e1f0-2532310451",
            Some("ecs"),
            "0f1e2d3c4b5a69788796a5b4c3d2e1f0-2532310451",
        ),
        (
            "/garden/7a4f2c1e-5b3d-4a6f-8c9e-0d1b2a3c4d5e",
            Some("garden"),
            "7a4f2c1e-5b3d-4a6f-8c9e-0d1b2a3c4d5e",
        ),
        (
            "/mesos/0b9c8d7e-1a2b-4c3d-9e8f-7a6b5c4d3e2f",
            Some("mesos"),
            "0b9c8d7e-1a2b-4c3d-9e8f-7a6b5c4d3e2f",
        ),
        ("/lxc.payload.web1", Some("lxc"), "web1"),
        (
            "/lxc.payload.web1/system.slice/ssh.service",
            Some("lxc"),
            "web1",
        ),
        ("/lxc.payload/web1/init.scope", Some("lxc"), "web1"),
        ("/lxc/web1", Some("lxc"), "web1"),
        (
            "/machine.slice/machine-debian\\x2dtree.scope",
            Some("systemd-nspawn"),
            "debian-tree",
        ),
        (
            "/machine.slice/systemd-nspawn@build.service/payload",
            Some("systemd-nspawn"),
            "build",
        ),
        // Docker in an LXC container.
        ("/lxc.payload.web1/docker/ID", Some("docker"), "ID"),
    ];
    for (path, runtime, id) in cases {
        assert_eq!(container(path), Some((runtime, id.to_owned())), "{path}");
    }
}

#[test]
fn what_is_like_a_container_and_is_none_has_no_id() {
    for path in [
        "",
        "/",
        "/init.scope",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-code-4242.scope",
        "/system.slice/docker.service",
        "/system.slice/containerd.service",
        "/docker",
        "/docker/buildkit",
        "/system.slice/docker-short.scope",
        // The monitor of a container is outside of it.
        "/machine.slice/libpod-conmon-ID.scope",
        "/system.slice/crio-conmon-ID.scope",
        "/kubepods.slice/kubepods-burstable.slice",
        // Virtual machines.
        "/machine.slice/machine-qemu\\x2d1\\x2dwindows.scope",
        "/machine.slice/machine-qemu\\x2d1\\x2dwindows.scope/libvirt/emulator",
        "/machine.slice/machine-.scope",
        "/machine.slice/machine-\\xzz.scope",
        "/lxc.payload.",
        "/lxc.monitor.web1",
    ] {
        assert_eq!(container(path), None, "{path}");
    }
    let upper = format!("/docker-{}.scope", ID.to_uppercase());
    assert_eq!(container(&upper), None);
    assert_eq!(
        of_cgroup(&Text::from(&b"/docker/\xff\xff\xff\xff"[..])),
        None
    );
}

proptest! {
    #[test]
    fn any_path_is_read_without_panic_and_an_id_stands_in_it(path in "(/[a-z0-9.:@\\\\x-]{0,20}){0,6}") {
        if let Some(Container { id, .. }) = of_cgroup(&Text::from(path.as_str())) {
            prop_assert!(!id.as_bytes().is_empty());
            prop_assert!(path.contains('\\') || path.contains(&id.escaped()), "{path}");
        }
    }

    #[test]
    fn an_id_is_found_beneath_whatever_and_above_what_it_holds(
        above in "(/[a-z]{1,12}\\.slice){0,4}",
        id in "[0-9a-f]{64}",
        unit in prop::sample::select(UNITS.to_vec()),
        below in "(/[a-z]{1,12}\\.(service|scope)){0,3}",
    ) {
        let (prefix, runtime) = unit;
        let path = format!("{above}/{prefix}{id}.scope{below}");
        let expected = Container { runtime: Some(runtime), id: Text::from(id.as_str()) };
        prop_assert_eq!(of_cgroup(&Text::from(path.as_str())), Some(expected));
    }
}
