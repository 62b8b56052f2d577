//! What a session is worth knowing by: user, terminal, working directory, repository.

use skep_event::{Repository, Text};

use crate::{decode, users::Users};

/// Facts of a session, as of its first exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    pub user: Option<String>,
    pub uid: Option<u32>,
    pub login_uid: Option<u32>,
    pub terminal: Option<Text>,
    pub cwd: Option<Text>,
    pub repository: Option<Repository>,
}

impl SessionFacts {
    /// Memory of its texts.
    pub fn bytes(&self) -> usize {
        let Self {
            user,
            uid: _,
            login_uid: _,
            terminal,
            cwd,
            repository,
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
    }
}

/// Looks the facts up.
pub struct Enrich {
    users: Users,
}

impl Enrich {
    pub fn new(users: Users) -> Self {
        Self { users }
    }

    /// Facts of the session whose root process has just executed `exec`, in this repository.
    pub fn session(&mut self, exec: &decode::Exec, repository: Option<Repository>) -> SessionFacts {
        SessionFacts {
            user: exec.uid.and_then(|uid| self.users.name(uid)),
            uid: exec.uid,
            login_uid: exec.login_uid,
            terminal: exec.terminal.as_ref().map(terminal),
            cwd: exec.cwd.clone(),
            repository,
        }
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
