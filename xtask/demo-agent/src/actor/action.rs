//! The argument list of `do`, as actions.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

/// Ends the command of an `exec`-like action.
const END_OF_COMMAND: &str = "--";

/// One thing to do. The name in the argument list is given by [`Action::name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `open PATH`: `openat` for reading.
    Open(OsString),
    /// `create PATH`: `openat` for writing, created if absent, one byte written.
    Create(OsString),
    /// `creat PATH`: the system call of that name.
    Creat(OsString),
    /// `openat2 PATH`: the system call of that name, for reading.
    OpenAt2(OsString),
    /// `open-path PATH`: `openat` with `O_PATH`.
    OpenPath(OsString),
    /// `remove PATH`: `unlink`.
    Remove(OsString),
    /// `thread-open PATH`: as `open`, in a second thread.
    ThreadOpen(OsString),
    /// `double-fork PATH`: as `open`, in a grandchild whose parent has ended.
    DoubleFork(OsString),
    /// `connect4 IP PORT` and `connect6 IP PORT`: a TCP connection.
    Connect(SocketAddr),
    /// `udp4 IP PORT` and `udp6 IP PORT`: one datagram from an unconnected socket.
    Send(SocketAddr),
    /// `unix PATH`: a stream connection; a leading `@` means the abstract namespace.
    Unix(OsString),
    /// `exec CMD ARGS… [--]`.
    Exec(Vec<OsString>),
    /// `env-exec CMD ARGS… [--]`: with an empty environment.
    EnvExec(Vec<OsString>),
    /// `thread-exec CMD ARGS… [--]`: called from a thread that is not the first.
    ThreadExec(Vec<OsString>),
    /// `fd-exec CMD ARGS… [--]`: through `/proc/self/fd/N`.
    FdExec(Vec<OsString>),
    /// `memfd-exec CMD ARGS… [--]`: a copy of the program in anonymous memory.
    MemfdExec(Vec<OsString>),
    /// `execself NAME`: this program again, under another `argv[0]`, for the remaining actions. What
    /// failed before no longer shows in the exit code.
    ExecSelf(OsString),
    /// `sleep MILLISECONDS`.
    Sleep(u64),
}

impl Action {
    /// The word that names the action in the argument list.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Create(_) => "create",
            Self::Creat(_) => "creat",
            Self::OpenAt2(_) => "openat2",
            Self::OpenPath(_) => "open-path",
            Self::Remove(_) => "remove",
            Self::ThreadOpen(_) => "thread-open",
            Self::DoubleFork(_) => "double-fork",
            Self::Connect(SocketAddr::V4(_)) => "connect4",
            Self::Connect(SocketAddr::V6(_)) => "connect6",
            Self::Send(SocketAddr::V4(_)) => "udp4",
            Self::Send(SocketAddr::V6(_)) => "udp6",
            Self::Unix(_) => "unix",
            Self::Exec(_) => "exec",
            Self::EnvExec(_) => "env-exec",
            Self::ThreadExec(_) => "thread-exec",
            Self::FdExec(_) => "fd-exec",
            Self::MemfdExec(_) => "memfd-exec",
            Self::ExecSelf(_) => "execself",
            Self::Sleep(_) => "sleep",
        }
    }
}

/// Parses a whole argument list; nothing is performed unless all of it is understood.
pub fn parse(arguments: &[OsString]) -> Result<Vec<Action>, String> {
    let mut rest = arguments;
    let mut actions = Vec::new();
    while !rest.is_empty() {
        let (action, length) = parse_one(rest)?;
        actions.push(action);
        rest = &rest[length..];
    }
    Ok(actions)
}

/// The arguments that follow the action at `position`.
pub fn after(arguments: &[OsString], position: usize) -> Vec<OsString> {
    let mut rest = arguments;
    for _ in 0..=position {
        let Ok((_, length)) = parse_one(rest) else {
            break;
        };
        rest = &rest[length..];
    }
    rest.to_vec()
}

/// The first action of a list that is not empty, and how many arguments it takes up.
fn parse_one(arguments: &[OsString]) -> Result<(Action, usize), String> {
    let name = arguments[0].to_string_lossy();
    let with_text = |build: fn(OsString) -> Action| {
        let text = arguments
            .get(1)
            .ok_or_else(|| format!("{name}: expected an argument"))?;
        Ok((build(text.clone()), 2))
    };
    let with_address = |build: fn(SocketAddr) -> Action, wants_v6: bool| {
        Ok((build(address(arguments, wants_v6)?), 3))
    };
    let with_command = |build: fn(Vec<OsString>) -> Action| {
        let command: Vec<_> = arguments[1..]
            .iter()
            .take_while(|word| *word != END_OF_COMMAND)
            .cloned()
            .collect();
        if command.is_empty() {
            return Err(format!("{name}: expected a command"));
        }
        let ended = usize::from(arguments.len() > command.len() + 1);
        let length = 1 + command.len() + ended;
        Ok((build(command), length))
    };
    match &*name {
        "open" => with_text(Action::Open),
        "create" => with_text(Action::Create),
        "creat" => with_text(Action::Creat),
        "openat2" => with_text(Action::OpenAt2),
        "open-path" => with_text(Action::OpenPath),
        "remove" => with_text(Action::Remove),
        "thread-open" => with_text(Action::ThreadOpen),
        "double-fork" => with_text(Action::DoubleFork),
        "connect4" => with_address(Action::Connect, false),
        "connect6" => with_address(Action::Connect, true),
        "udp4" => with_address(Action::Send, false),
        "udp6" => with_address(Action::Send, true),
        "unix" => with_text(Action::Unix),
        "exec" => with_command(Action::Exec),
        "env-exec" => with_command(Action::EnvExec),
        "thread-exec" => with_command(Action::ThreadExec),
        "fd-exec" => with_command(Action::FdExec),
        "memfd-exec" => with_command(Action::MemfdExec),
        "execself" => with_text(Action::ExecSelf),
        "sleep" => {
            let milliseconds = arguments
                .get(1)
                .and_then(|text| text.to_str()?.parse().ok());
            let milliseconds = milliseconds.ok_or("sleep: expected a number of milliseconds")?;
            Ok((Action::Sleep(milliseconds), 2))
        }
        other => Err(format!("{other}: no such action")),
    }
}

fn address(arguments: &[OsString], wants_v6: bool) -> Result<SocketAddr, String> {
    let name = arguments[0].to_string_lossy();
    let text = |index: usize| arguments.get(index).and_then(|word| word.to_str());
    let ip: IpAddr = text(1)
        .and_then(|word| word.parse().ok())
        .filter(|ip: &IpAddr| ip.is_ipv6() == wants_v6)
        .ok_or_else(|| format!("{name}: expected an address of that family"))?;
    let port = text(2)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| format!("{name}: expected a port after the address"))?;
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_command_ends_at_two_dashes_and_the_next_action_follows() {
        let actions = parse(&words("exec sh -c true -- open /etc/hostname")).unwrap();
        assert_eq!(
            actions,
            [
                Action::Exec(words("sh -c true")),
                Action::Open("/etc/hostname".into())
            ]
        );
    }

    #[test]
    fn the_last_command_needs_no_end_mark() {
        assert_eq!(
            parse(&words("exec true")).unwrap(),
            [Action::Exec(words("true"))]
        );
    }

    #[test]
    fn an_address_of_the_wrong_family_is_refused() {
        let error = parse(&words("connect4 ::1 80")).unwrap_err();
        assert_eq!(error, "connect4: expected an address of that family");
    }

    #[test]
    fn an_unknown_action_anywhere_refuses_the_whole_list() {
        assert!(parse(&words("sleep 1 jump high")).is_err());
    }

    #[test]
    fn the_rest_after_a_re_execution_starts_at_the_next_action() {
        let arguments = words("exec true -- execself rg open /a sleep 1");
        assert_eq!(after(&arguments, 1), words("open /a sleep 1"));
    }
}
