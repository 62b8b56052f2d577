//! The argument list of `do`, as actions.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::deed::{self, How};

/// Ends the command of an `exec`-like action.
const END_OF_COMMAND: &str = "--";
/// In a script: its arguments.
const ARGUMENTS: &str = "\"$@\"";

/// One thing to do.
pub struct Action {
    /// The word that names it in the argument list.
    pub name: &'static str,
    /// How many arguments it takes up, its name included.
    pub length: usize,
    work: Work,
}

/// What an action does, given the arguments that follow it.
type Work = Box<dyn Fn(&[OsString]) -> io::Result<()>>;

// === impl Action ===

impl Action {
    /// Does it. `rest` are the arguments after it.
    pub fn perform(&self, rest: &[OsString]) -> io::Result<()> {
        (self.work)(rest)
    }
}

/// Parses a whole argument list; nothing is performed unless all of it is understood.
pub fn parse(arguments: &[OsString]) -> Result<Vec<Action>, String> {
    let mut rest = arguments;
    let mut actions = Vec::new();
    while !rest.is_empty() {
        let action = parse_one(rest)?;
        rest = &rest[action.length..];
        actions.push(action);
    }
    Ok(actions)
}

/// The argument list a script stands for: its words, without the lines that begin with `#`.
pub fn words_of_script(text: &str, arguments: &[OsString]) -> Vec<OsString> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .flat_map(|word| match word {
            ARGUMENTS => arguments.to_vec(),
            word => vec![OsString::from(word)],
        })
        .collect()
}

/// The first action of a list that is not empty.
fn parse_one(arguments: &[OsString]) -> Result<Action, String> {
    let given = arguments[0].to_string_lossy();
    let (name, how) = deed::ALL
        .iter()
        .find(|(name, _)| *name == given)
        .ok_or_else(|| format!("{given}: no such action"))?;
    let text = |index: usize| {
        let text = arguments.get(index).cloned();
        text.ok_or_else(|| format!("{name}: expected {index} or more arguments"))
    };
    let number = |index: usize| -> Result<u64, String> {
        let text = arguments.get(index).and_then(|word| word.to_str());
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("{name}: expected a number as argument {index}"))
    };
    let inner = |index: usize| match arguments.get(index..) {
        None | Some([]) => Err(format!("{name}: expected an action to perform")),
        Some(rest) => parse_one(rest),
    };
    let (length, work): (usize, Work) = match *how {
        How::Alone(perform) => (1, Box::new(move |_| perform())),
        How::Path(perform) => {
            let path = text(1)?;
            (2, Box::new(move |_| perform(&path)))
        }
        How::TwoPaths(perform) => {
            let (first, second) = (text(1)?, text(2)?);
            (3, Box::new(move |_| perform(&first, &second)))
        }
        How::PathAndNumber(perform) => {
            let (path, count) = (text(1)?, number(2)?);
            (3, Box::new(move |_| perform(&path, count)))
        }
        How::Number(perform) => {
            let number = number(1)?;
            (2, Box::new(move |_| perform(number)))
        }
        How::Address4(perform) => {
            let address = address(name, arguments, false)?;
            (3, Box::new(move |_| perform(address)))
        }
        How::Address6(perform) => {
            let address = address(name, arguments, true)?;
            (3, Box::new(move |_| perform(address)))
        }
        How::Command(perform) => {
            let command = command(name, &arguments[1..])?;
            let ended = usize::from(arguments.len() > command.len() + 1);
            let length = 1 + command.len() + ended;
            (length, Box::new(move |_| perform(&command)))
        }
        How::Around(perform) => {
            let inner = inner(1)?;
            let length = 1 + inner.length;
            (
                length,
                Box::new(move |rest| perform(&|| inner.perform(rest))),
            )
        }
        How::AroundIn(perform) => {
            let (path, inner) = (text(1)?, inner(2)?);
            let length = 2 + inner.length;
            (
                length,
                Box::new(move |rest| perform(&path, &|| inner.perform(rest))),
            )
        }
        How::ForTheRest(perform) => {
            let name = text(1)?;
            (2, Box::new(move |rest| perform(&name, rest)))
        }
    };
    Ok(Action { name, length, work })
}

fn command(name: &str, arguments: &[OsString]) -> Result<Vec<OsString>, String> {
    let words = arguments
        .iter()
        .take_while(|word| *word != END_OF_COMMAND)
        .cloned();
    let command: Vec<_> = words.collect();
    if command.is_empty() {
        return Err(format!("{name}: expected a command"));
    }
    Ok(command)
}

fn address(name: &str, arguments: &[OsString], wants_v6: bool) -> Result<SocketAddr, String> {
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

    fn parsed(text: &str) -> Result<Vec<(&'static str, usize)>, String> {
        let actions = parse(&words(text))?;
        Ok(actions.iter().map(|a| (a.name, a.length)).collect())
    }

    #[test]
    fn a_command_ends_at_two_dashes_and_the_next_action_follows() {
        assert_eq!(
            parsed("exec sh -c true -- open /etc/hostname"),
            Ok(vec![("exec", 5), ("open", 2)])
        );
    }

    #[test]
    fn the_last_command_needs_no_end_mark() {
        assert_eq!(parsed("exec true"), Ok(vec![("exec", 2)]));
    }

    #[test]
    fn an_action_performed_in_another_place_counts_as_one() {
        assert_eq!(
            parsed("new-pid chroot /x open /a sleep 1"),
            Ok(vec![("new-pid", 5), ("sleep", 2)])
        );
        assert!(parsed("new-pid").is_err());
        assert!(parsed("new-pid jump").is_err());
    }

    #[test]
    fn an_address_of_the_wrong_family_is_refused() {
        assert_eq!(
            parsed("connect4 ::1 80"),
            Err("connect4: expected an address of that family".to_owned())
        );
    }

    #[test]
    fn an_unknown_action_anywhere_refuses_the_whole_list() {
        assert!(parsed("sleep 1 jump high").is_err());
    }

    #[test]
    fn a_script_is_its_words_with_its_arguments_in_their_place() {
        let script = "#!/usr/bin/actor\n# a remark\nopen /a\n\n  \"$@\" sleep 1\n";
        assert_eq!(
            words_of_script(script, &words("open /b")),
            words("open /a open /b sleep 1")
        );
    }
}
