//! Where a process runs: its cgroup, the container that makes it, its namespaces.

use std::{fs, os::unix::fs::MetadataExt};

use skep_event::{Process, Text};

use crate::container::{self, Container};

/// Namespaces by their inode numbers, as `/proc/PID/ns` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    pub pid: Option<u32>,
    pub user: Option<u32>,
    pub mount: Option<u32>,
}

/// What is known of where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub cgroup: Option<Text>,
    pub container: Option<Container>,
    pub namespaces: Namespaces,
}

// === impl Namespaces ===

impl Namespaces {
    /// Those of a process, by `/proc`, as far as it may be looked at. `process`: its pid, or `self`.
    pub fn of(process: &str) -> Self {
        let inode = |name: &str| {
            let meta = fs::metadata(format!("/proc/{process}/ns/{name}")).ok()?;
            u32::try_from(meta.ino()).ok()
        };
        Self {
            pid: inode("pid"),
            user: inode("user"),
            mount: inode("mnt"),
        }
    }
}

// === impl Place ===

impl Place {
    pub fn new(cgroup: Option<Text>, namespaces: Namespaces) -> Self {
        Self {
            container: cgroup.as_ref().and_then(container::of_cgroup),
            cgroup,
            namespaces,
        }
    }

    /// Memory of its texts.
    pub fn bytes(&self) -> usize {
        let id = self.container.as_ref().map(|container| &container.id);
        let texts = self.cgroup.iter().chain(id);
        texts.map(|text| text.as_bytes().len()).sum()
    }

    /// Says of a process what is known of it and is not so of its session.
    pub fn tell(&self, session: &Self, process: &mut Process) {
        fn other<T: Clone + PartialEq>(own: &Option<T>, session: &Option<T>) -> Option<T> {
            own.as_ref().filter(|_| own != session).cloned()
        }
        let id = |place: &Self| {
            place
                .container
                .as_ref()
                .map(|container| container.id.clone())
        };
        let (own, of_session) = (self.namespaces, session.namespaces);
        process.cgroup = other(&self.cgroup, &session.cgroup);
        process.container_id = other(&id(self), &id(session));
        process.pid_namespace = other(&own.pid, &of_session.pid);
        process.user_namespace = other(&own.user, &of_session.user);
        process.mount_namespace = other(&own.mount, &of_session.mount);
    }

    /// Whether there is anything to [`Place::tell`].
    pub fn is_other(&self, session: &Self) -> bool {
        fn is_other<T: PartialEq>(own: &Option<T>, session: &Option<T>) -> bool {
            own.is_some() && own != session
        }
        let (own, of_session) = (self.namespaces, session.namespaces);
        is_other(&self.cgroup, &session.cgroup)
            || is_other(&own.pid, &of_session.pid)
            || is_other(&own.user, &of_session.user)
            || is_other(&own.mount, &of_session.mount)
    }
}

#[cfg(test)]
mod tests {
    use skep_event::{Facts, Process};

    use super::*;

    fn place(cgroup: &str, namespace: u32) -> Place {
        let namespaces = Namespaces {
            pid: Some(namespace),
            user: Some(2),
            mount: None,
        };
        Place::new(Some(Text::from(cgroup)), namespaces)
    }

    #[test]
    fn a_process_says_what_differs_from_its_session_and_is_known() {
        let id = "3f1e5c0b9a7d4e2f8c6b5a4d3e2f1c0b9a8d7e6f5c4b3a2d1e0f9c8b7a6d5e4f";
        let session = place("/user.slice", 1);
        let inside = place(&format!("/docker/{id}"), 9);
        let mut process = Process::sample();
        inside.tell(&session, &mut process);
        assert!(inside.is_other(&session));
        assert_eq!(process.cgroup, inside.cgroup);
        assert_eq!(process.container_id, Some(Text::from(id)));
        assert_eq!(process.pid_namespace, Some(9));
        assert_eq!(
            (process.user_namespace, process.mount_namespace),
            (None, None)
        );
        session.tell(&session, &mut process);
        assert!(!session.is_other(&session));
        let all = (process.cgroup, process.container_id, process.pid_namespace);
        assert_eq!(all, (None, None, None));
        assert!(
            !Place::default().is_other(&session),
            "what is unknown differs from nothing"
        );
    }

    #[test]
    fn a_process_shows_its_namespaces_as_proc_has_them() {
        let Namespaces { pid, user, mount } = Namespaces::of("self");
        let link = |name: &str| {
            let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            link.to_str().unwrap().to_owned()
        };
        assert_eq!(link("pid"), format!("pid:[{}]", pid.unwrap()));
        assert_eq!(link("user"), format!("user:[{}]", user.unwrap()));
        assert_eq!(link("mnt"), format!("mnt:[{}]", mount.unwrap()));
        assert_eq!(Namespaces::of("0"), Namespaces::default());
    }
}
