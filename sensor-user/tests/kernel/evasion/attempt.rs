//! What was reported of an agent that tried not to be seen, and the questions put to it.
//!
//! Every answer is about the one session the agent's own exec started: an event of another session,
//! or of none, counts for nothing.

use std::{
    collections::BTreeSet, fs::Metadata, net::SocketAddr, os::unix::fs::MetadataExt, path::Path,
};

use skep_event::{
    ChangeOp, Connect, CoverageKind, Detail, Device, Event, NetFamily, Open, Process, SessionId,
    Text,
};

use crate::sensor::{Sensor, shown};

use super::verdict::Verdict;

/// The family of the acting program.
const FAMILY: &str = "skep-demo-agent";

/// The session of one attempt.
pub struct Attempt {
    /// Events of the session; empty when there was none.
    pub events: Vec<Event>,
    /// What the actor said of the action that failed.
    pub refusal: Option<String>,
    /// Why there is no session to ask.
    trouble: Option<String>,
}

// === impl Attempt ===

impl Attempt {
    /// The session whose programs were given arguments that name `folder`; the fence is not meant.
    pub fn of(sensor: &Sensor, folder: &Path, refusal: Option<String>) -> Self {
        let prefix = format!("{}/", folder.display());
        let fence = format!("{prefix}fence");
        let names_folder = |process: &Process| {
            let argv: Vec<_> = process.argv.iter().map(Text::escaped).collect();
            !argv.contains(&fence) && argv.iter().any(|word| word.contains(&prefix))
        };
        let sessions: BTreeSet<SessionId> = sensor
            .of(|event| {
                matches!(event.detail, Detail::Exec(_))
                    && event.process.as_deref().is_some_and(names_folder)
            })
            .iter()
            .filter_map(|event| event.session)
            .collect();
        let mut sessions = sessions.into_iter();
        let (session, more) = (sessions.next(), sessions.count());
        let trouble = match (session, more) {
            (None, _) => Some("the agent was not recognised".to_owned()),
            (Some(_), 0) => None,
            (Some(_), more) => Some(format!("the acts are spread over {} sessions", more + 1)),
        };
        let events = match (&trouble, session) {
            (None, Some(session)) => sensor.of(|event| event.session == Some(session)),
            _ => Vec::new(),
        };
        Self::with(events, refusal, trouble)
    }

    pub fn with(events: Vec<Event>, refusal: Option<String>, trouble: Option<String>) -> Self {
        for event in &events {
            let family = event.agent.as_ref().map(|agent| agent.family.as_str());
            assert_eq!(family, Some(FAMILY), "the agent of the session: {event:?}");
        }
        Self {
            events,
            refusal,
            trouble,
        }
    }

    /// The verdict when this kernel refuses the means, by the actor's own words.
    pub fn refused(&self, means: &str) -> Option<Verdict> {
        let refusal = self.refusal.as_ref()?;
        let why = ["ENOSYS", "EPERM", "EAFNOSUPPORT", "EPROTONOSUPPORT"]
            .iter()
            .find(|errno| refusal.contains(*errno))
            .unwrap_or_else(|| panic!("the act did not take place: {refusal}"));
        Some(Verdict::NotPossible {
            why: format!("{means} is refused here ({why})"),
        })
    }

    /// The first process of the session.
    pub fn root(&self) -> Option<u32> {
        let mut execs = self.execs();
        Some(execs.next()?.process.as_ref()?.pid)
    }

    fn execs(&self) -> impl Iterator<Item = &Event> {
        let is_exec =
            |event: &&Event| matches!(event.detail, Detail::Exec(_)) && event.result.is_none();
        self.events.iter().filter(is_exec)
    }

    pub fn opens(&self) -> impl Iterator<Item = (&Event, &Open)> {
        self.events.iter().filter_map(|event| match &event.detail {
            Detail::Open(file) => Some((event, file)),
            _ => None,
        })
    }

    fn connects(&self) -> impl Iterator<Item = (&Event, &Connect)> {
        self.events.iter().filter_map(|event| match &event.detail {
            Detail::Connect(net) => Some((event, net)),
            _ => None,
        })
    }

    pub fn nothing(&self, of: &str) -> Verdict {
        let why = self.trouble.clone();
        Verdict::not_seen(why.unwrap_or_else(|| format!("no event tells of {of}")))
    }

    // --- the questions ---

    /// Was this path opened?
    pub fn opened(&self, path: &str) -> Verdict {
        self.opened_by(path, "the session", |_| true)
    }

    /// Was it opened by a process other than the agent's first?
    pub fn opened_by_descendant(&self, path: &str) -> Verdict {
        let root = self.root();
        self.opened_by(path, "a process that the agent started", |process| {
            root.is_some_and(|root| root != process.pid)
        })
    }

    /// Was it opened by such a process?
    pub fn opened_by(&self, path: &str, whose: &str, is: impl Fn(&Process) -> bool) -> Verdict {
        let found = self
            .opens()
            .find(|(event, file)| shown(file) == path && event.process.as_deref().is_some_and(&is));
        match found {
            Some((event, file)) if file.resolved => Verdict::seen(event.hook),
            Some((event, _)) => Verdict::gap(
                event.hook,
                "the path is the one the program gave and not the kernel's; `file.resolved` is false",
            ),
            None => self.nothing(&format!("the open by {whose}")),
        }
    }

    /// Was a program run under this `argv[0]`, and what it opened reported as its doing?
    pub fn executed(&self, name: &str, opens: &str) -> Verdict {
        let is_it = |process: &Process| {
            let argv0 = process.argv.first();
            argv0.is_some_and(|argv0| argv0.escaped() == name)
        };
        let exec = self
            .execs()
            .find(|event| event.process.as_deref().is_some_and(is_it));
        match exec {
            None => self.nothing("the program that was executed"),
            Some(exec) => self
                .opened_by(opens, "the program that was executed", is_it)
                .and(|| Verdict::seen(exec.hook)),
        }
    }

    /// Was the agent recognised, by the exec hook, and its act reported?
    pub fn recognised(&self, opens: &str) -> Verdict {
        let exec = self.execs().next();
        match exec {
            None => self.nothing("the agent"),
            Some(exec) => self.opened(opens).and(|| Verdict::seen(exec.hook)),
        }
    }

    /// Was a file opened by another of its names? Seen it is if the event says which file it was.
    pub fn opened_by_other_name(&self, name: &str, file: &Metadata) -> Verdict {
        let device = file.dev();
        let device = Device {
            major: rustix::fs::major(device),
            minor: rustix::fs::minor(device),
        };
        let Some((event, open)) = self.opens().find(|(_, open)| shown(open) == name) else {
            return self.nothing("the open under the other name");
        };
        let is_same = open.inode == Some(file.ino()) && open.device == Some(device);
        match open.links {
            _ if !is_same => Verdict::not_seen("an open of another name, and not of which file"),
            Some(links) if links > 1 => Verdict::gap(
                event.hook,
                "the path is the name that was used, not the secret's. `file.links` above 1 says that \
                 the file has other names, and `file.inode` with `file.device` are the secret's: a \
                 rule on the path alone is got round, one on the file is not",
            ),
            _ => Verdict::gap(
                event.hook,
                "the path is the name that was used, not the secret's. `file.inode` with \
                 `file.device` are the secret's: a rule on the path alone is got round, one on the \
                 file is not. A mount that makes such a name is not reported, a rename is, \
                 as a `change`",
            ),
        }
    }

    /// Was a path longer than the sensor takes reported as cut, with its end right?
    pub fn opened_too_long(&self, path: &str) -> Verdict {
        let ends_it = |file: &Open| {
            let shown = shown(file);
            let rest = shown.strip_prefix('…');
            rest.is_some_and(|rest| rest.contains('/') && path.ends_with(rest))
        };
        match self.opens().find(|(_, file)| ends_it(file)) {
            Some((event, file)) if !file.resolved => {
                if file.inode.is_none() || file.device.is_none() {
                    return Verdict::not_seen("half a path, and not of which file");
                }
                Verdict::gap(
                    event.hook,
                    "the head of the path is missing, and said to be: it begins with `…`, and \
                     `file.resolved` is false. The rest is right, and `file.inode` with `file.device` \
                     name the file",
                )
            }
            Some(_) => Verdict::not_seen("the path is cut and said to be whole"),
            None => self.opened(path),
        }
    }

    /// Was a connection or a datagram to this address reported?
    pub fn connected(&self, peer: SocketAddr) -> Verdict {
        let found = self
            .connects()
            .find(|(_, net)| net.addr == Some(peer.ip()) && net.port == Some(peer.port()));
        match found {
            Some((event, _)) => Verdict::seen(event.hook),
            None => self.nothing("the peer"),
        }
    }

    /// Was a connection or a datagram to this unix socket reported? An abstract name begins with `@`.
    pub fn connected_to_unix(&self, path: &str) -> Verdict {
        self.connected_to(NetFamily::Unix, path)
    }

    /// The same for a family of which a peer is a text.
    pub fn connected_to(&self, family: NetFamily, path: &str) -> Verdict {
        let is_it = |net: &Connect| {
            net.family == family && net.path.as_ref().is_some_and(|own| own.escaped() == path)
        };
        match self.connects().find(|(_, net)| is_it(net)) {
            Some((event, _)) => Verdict::seen(event.hook),
            None => self.nothing("the socket"),
        }
    }

    /// Was this change reported, from and to these names?
    pub fn changed(&self, op: ChangeOp, path: &str, to: Option<&str>) -> Verdict {
        let is = |text: &Option<Text>, name: &str| {
            text.as_ref().is_some_and(|text| text.escaped() == name)
        };
        let changes = self.events.iter().filter_map(|event| match &event.detail {
            Detail::Change(change) if change.op == op => Some((event, change)),
            _ => None,
        });
        let mut of_it = changes
            .filter(|(_, change)| is(&change.path, path) && to.is_none_or(|to| is(&change.to, to)));
        match of_it.next() {
            Some((event, change)) if change.resolved || change.inode.is_some() => {
                Verdict::seen(event.hook)
            }
            Some((event, _)) => Verdict::gap(
                event.hook,
                "the names are those the program gave: where a folder in them is a symbolic link, they \
                 are not the kernel's. `change.resolved` is false",
            ),
            None => self.nothing("the change"),
        }
    }

    /// Was the attempt to execute this reported, with its error?
    pub fn tried(&self, filename: &str) -> Verdict {
        let is_it = |event: &&Event| match &event.detail {
            Detail::Exec(exec) => {
                let name = exec.filename.as_ref().map(Text::escaped);
                name.as_deref() == Some(filename) && event.result.is_some_and(|result| result < 0)
            }
            _ => false,
        };
        match self.events.iter().find(is_it) {
            Some(event) => Verdict::seen(event.hook),
            None => self.nothing("the attempt"),
        }
    }

    /// Did the sensor say that the session has a socket of this kind?
    pub fn has_socket(&self, kind: &str) -> Option<Verdict> {
        self.events.iter().find_map(|event| match &event.detail {
            Detail::Coverage(coverage)
                if coverage.what == CoverageKind::Socket && coverage.reason.contains(kind) =>
            {
                Some(Verdict::gap(
                    coverage.hook,
                    "no hook is called with the peers of such a socket. That the session made one, and of \
                     which kind, is reported, as a `coverage` event (`socket`) of that session; what was \
                     sent through it, and to whom, is not known",
                ))
            }
            _ => None,
        })
    }

    /// Did the sensor say that the session has an io_uring?
    pub fn has_uring(&self) -> Option<Verdict> {
        self.events.iter().find_map(|event| match &event.detail {
            Detail::Coverage(coverage) if coverage.what == CoverageKind::IoUring => {
                Some(Verdict::gap(
                    coverage.hook.or(event.hook),
                    "an operation of io_uring makes no system call that a tracepoint could see. That \
                     the session set up a ring is reported, as a `coverage` event (`io_uring`) of that \
                     session; what went through it is not known",
                ))
            }
            _ => None,
        })
    }
}
