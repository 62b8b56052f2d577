//! What a session is worth knowing by: user, terminal, working directory, repository, container.

use skep_event::{Repository, Text, UserSource};

use crate::{
    cgroup::Cgroups,
    decode,
    place::{Namespaces, Place},
    users::{Named, Users},
};

/// Facts of a session, as of its first exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    pub user: Option<String>,
    /// `None` while it is not known yet.
    pub user_source: Option<UserSource>,
    pub uid: Option<u32>,
    pub login_uid: Option<u32>,
    pub terminal: Option<Text>,
    pub cwd: Option<Text>,
    pub repository: Option<Repository>,
    pub place: Place,
}

impl SessionFacts {
    /// Memory of its texts.
    pub fn bytes(&self) -> usize {
        let Self {
            user,
            user_source: _,
            uid: _,
            login_uid: _,
            terminal,
            cwd,
            repository,
            place,
        } = self;
        let texts = terminal.iter().chain(cwd).chain(repository.iter().flat_map(
            |Repository {
                 root,
                 remote,
                 branch,
             }| std::iter::once(root).chain(remote).chain(branch),
        ));
        user.as_ref().map_or(0, String::len)
            + texts.map(|text| text.as_bytes().len()).sum::<usize>()
            + place.bytes()
    }
}

/// Looks the facts up.
pub struct Enrich {
    users: Users,
    cgroups: Cgroups,
    /// The user namespace whose names [`Users`] has.
    user_namespace: Option<u32>,
}

impl Enrich {
    /// Knows of no cgroups.
    pub fn new(users: Users) -> Self {
        Self {
            users,
            cgroups: Cgroups::none(),
            user_namespace: Namespaces::of("self").user,
        }
    }

    /// Looks cgroups up there.
    pub fn with_cgroups(self, cgroups: Cgroups) -> Self {
        Self { cgroups, ..self }
    }

    /// Facts of the session whose root process has just executed `exec`, in this repository and place.
    pub fn session(
        &mut self,
        exec: &decode::Exec,
        repository: Option<Repository>,
        place: Place,
    ) -> SessionFacts {
        let (user, user_source) = self.user(exec.uid, place.namespaces.user);
        SessionFacts {
            user,
            user_source,
            uid: exec.uid,
            login_uid: exec.login_uid,
            terminal: exec.terminal.as_ref().map(terminal),
            cwd: exec.cwd.clone(),
            repository,
            place,
        }
    }

    /// Where the process with this pid runs that has just executed `exec`.
    pub fn place(&mut self, pid: u32, exec: &decode::Exec) -> Place {
        let by_id = || self.cgroups.path(exec.cgroup_id, pid);
        let cgroup = exec.cgroup.clone().or_else(by_id);
        Place::new(cgroup, exec.namespaces)
    }

    /// The numbers of a process are those of the initial user namespace. In another one they stand for other
    /// users, who have their names in there.
    pub fn user(
        &mut self,
        uid: Option<u32>,
        namespace: Option<u32>,
    ) -> (Option<String>, Option<UserSource>) {
        let Some(uid) = uid else { return (None, None) };
        if namespace.is_some() && namespace != self.user_namespace {
            return (None, Some(UserSource::UserNamespace));
        }
        match self.users.look_up(uid) {
            Some(Named { name, source }) => (name, Some(source)),
            None => (None, None),
        }
    }

    /// Names that were still to come, by uid.
    pub fn names(&mut self) -> Vec<(u32, Named)> {
        self.users.answers()
    }
}

/// The kernel calls `/dev/pts/3` "pts3" (drivers/tty/pty.c); people call it `pts/3`.
fn terminal(name: &Text) -> Text {
    match name.as_bytes().strip_prefix(b"pts") {
        Some(number) if number.first().is_some_and(u8::is_ascii_digit) => {
            Text::from([b"pts/", number].concat())
        }
        _ => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn enrich() -> Enrich {
        let passwd = Path::new("/etc/passwd");
        Enrich::new(Users::of_file(passwd))
    }

    fn exec(uid: u32, user_namespace: Option<u32>) -> decode::Exec {
        decode::Exec {
            uid: Some(uid),
            namespaces: Namespaces {
                user: user_namespace,
                ..Namespaces::default()
            },
            cgroup: Some("/docker/x".into()),
            ..decode::Exec::unknown()
        }
    }

    #[test]
    fn a_number_in_another_user_namespace_has_no_name_of_the_host() {
        let mut enrich = enrich();
        let own = Namespaces::of("self").user;
        let mut user = |uid, namespace| {
            let exec = exec(uid, namespace);
            let place = enrich.place(1, &exec);
            let facts = enrich.session(&exec, None, place);
            (facts.user, facts.user_source)
        };
        let root = (Some("root".to_owned()), Some(UserSource::Files));
        assert_eq!(user(0, own), root);
        assert_eq!(user(0, None), root, "not known to be another");
        assert_eq!(user(0, Some(1)), (None, Some(UserSource::UserNamespace)));
        assert_eq!(user(4_000_000_000, own), (None, Some(UserSource::Unknown)));
    }

    #[test]
    fn the_cgroup_that_was_read_of_a_running_process_counts() {
        let mut enrich = enrich();
        let place = enrich.place(1, &exec(0, None));
        assert_eq!(place.cgroup, Some(Text::from("/docker/x")));
        assert_eq!(enrich.place(1, &decode::Exec::unknown()), Place::default());
    }
}
