//! What a process did, on its way from the tracker to the fold: opens and connects, by reference.
//!
//! They are by far the most frequent, and most of them repeat an earlier one. So they become an
//! [`Event`], which owns what it tells, only where one of them is the first of its kind.

use std::{net::IpAddr, sync::Arc};

use skep_event::{
    Agent, Detail, Device, Event, File, Net, NetFamily, Process, SessionId, Text, UnixNanos,
};

/// An open or a connect.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    pub time: UnixNanos,
    pub session: SessionId,
    pub agent: Option<&'a Arc<Agent>>,
    pub process: &'a Arc<Process>,
    /// 0 or a negative errno, where the hook knows it.
    pub result: Option<i32>,
    pub hook: &'static str,
    pub target: Target<'a>,
}

/// What it was done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Open(Open<'a>),
    Connect(Connect<'a>),
}

/// Fields as in [`File`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    pub path: Option<&'a [u8]>,
    pub resolved: bool,
    pub flags: u32,
    pub mode: Option<u32>,
    pub inode: Option<u64>,
    pub device: Option<Device>,
    pub links: Option<u32>,
    /// Present when the kernel side counts repeats of it.
    pub folding: Option<Folding>,
}

/// Fields as in [`Net`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    pub family: NetFamily,
    pub addr: Option<IpAddr>,
    pub port: Option<u16>,
    pub proto: Option<u8>,
    pub path: Option<&'a [u8]>,
}

/// Where the kernel side counts repeats of an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folding {
    /// The epoch in which it does.
    pub epoch: u32,
    pub record: RecordId,
}

/// Names a record: time (boot clock, nanoseconds) and thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordId {
    pub time_ns: u64,
    pub tid: u32,
}

// === impl Act ===

impl Act<'_> {
    /// The event that tells of this act alone.
    pub fn to_event(&self) -> Event {
        let Self {
            time,
            session,
            agent,
            process,
            result,
            hook,
            target,
        } = *self;
        let detail = match target {
            Target::Open(Open {
                path,
                resolved,
                flags,
                mode,
                inode,
                device,
                links,
                folding: _,
            }) => Detail::Open(File {
                path: path.map(Text::from),
                resolved,
                flags,
                mode,
                count: 1,
                last: None,
                inode,
                device,
                links,
            }),
            Target::Connect(Connect {
                family,
                addr,
                port,
                proto,
                path,
            }) => Detail::Connect(Net {
                family,
                addr,
                port,
                proto,
                path: path.map(Text::from),
                count: 1,
                last: None,
            }),
        };
        Event {
            time,
            session: Some(session),
            agent: agent.cloned(),
            process: Some(process.clone()),
            result,
            hook: Some(hook),
            detail,
        }
    }

    /// Whether an event tells of the same, but for time and count: what then may be counted in it.
    pub fn repeats(&self, event: &Event) -> bool {
        let Self {
            time: _,
            session,
            agent,
            process,
            result,
            hook,
            target,
        } = *self;
        let alike = match (target, &event.detail) {
            (Target::Open(open), Detail::Open(file)) => open.repeats(file),
            (Target::Connect(connect), Detail::Connect(net)) => connect.repeats(net),
            _ => false,
        };
        alike
            && event.session == Some(session)
            && event.result == result
            && event.hook == Some(hook)
            // The agent of a session may become known meanwhile, a process execute something else.
            && same(agent, event.agent.as_ref())
            && same(Some(process), event.process.as_ref())
    }
}

fn same<T: PartialEq>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}

impl Open<'_> {
    fn repeats(&self, file: &File) -> bool {
        let File {
            path,
            resolved,
            flags,
            mode,
            count: _,
            last: _,
            inode,
            device,
            links,
        } = file;
        self.inode == *inode
            && self.flags == *flags
            && self.path == path.as_ref().map(Text::as_bytes)
            && self.device == *device
            && self.resolved == *resolved
            && self.mode == *mode
            && self.links == *links
    }
}

impl Connect<'_> {
    fn repeats(&self, net: &Net) -> bool {
        let Net {
            family,
            addr,
            port,
            proto,
            path,
            count: _,
            last: _,
        } = net;
        self.family == *family
            && self.addr == *addr
            && self.port == *port
            && self.proto == *proto
            && self.path == path.as_ref().map(Text::as_bytes)
    }
}
