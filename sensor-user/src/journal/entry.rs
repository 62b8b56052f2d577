//! What stands in the journal's records, and how the tracker's terms become that and come back.
//!
//! A record that does not say what it must (an id of another length, a record without a kind) is
//! refused as a whole; nothing here panics on what a file holds.

use std::{collections::HashMap, sync::Arc};

use prost::Message;
use skep_event::{
    Agent, Found, Phase, Process, Repository, SessionId, SessionInfo, Text, UnixNanos,
};

use crate::{
    container,
    track::{
        Bounds,
        kept::{Kept, KeptProcess, KeptSession},
    },
};

/// Bytes of arguments that are kept; resumption needs none, people want to see which process it is.
const ARGV_KEPT: usize = 512;

#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    #[prost(message, tag = "1")]
    Session(Box<SessionEntry>),
    /// Session id.
    #[prost(bytes, tag = "2")]
    Ended(Vec<u8>),
    #[prost(message, tag = "3")]
    Process(Box<ProcessEntry>),
    #[prost(message, tag = "4")]
    Child(ChildEntry),
    /// Pid.
    #[prost(uint32, tag = "5")]
    Gone(u32),
}

#[derive(Clone, PartialEq, Message)]
pub struct SessionEntry {
    #[prost(bytes, tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, optional, tag = "3")]
    version: Option<String>,
    #[prost(uint32, tag = "4")]
    confidence: u32,
    #[prost(string, repeated, tag = "5")]
    evidence: Vec<String>,
    #[prost(bytes, optional, tag = "6")]
    install_path: Option<Vec<u8>>,
    #[prost(bytes, optional, tag = "7")]
    parent: Option<Vec<u8>>,
    #[prost(string, optional, tag = "8")]
    user: Option<String>,
    #[prost(uint32, optional, tag = "9")]
    uid: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    login_uid: Option<u32>,
    #[prost(bytes, optional, tag = "11")]
    terminal: Option<Vec<u8>>,
    #[prost(bytes, optional, tag = "12")]
    cwd: Option<Vec<u8>>,
    #[prost(bytes, optional, tag = "13")]
    repository_root: Option<Vec<u8>>,
    #[prost(bytes, optional, tag = "14")]
    repository_remote: Option<Vec<u8>>,
    #[prost(bytes, optional, tag = "15")]
    repository_branch: Option<Vec<u8>>,
    #[prost(uint64, tag = "16")]
    gaps: u64,
    #[prost(string, optional, tag = "17")]
    user_source: Option<String>,
    #[prost(bytes, optional, tag = "18")]
    cgroup: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "19")]
    pid_namespace: Option<u32>,
    #[prost(uint32, optional, tag = "20")]
    user_namespace: Option<u32>,
    #[prost(uint32, optional, tag = "21")]
    mount_namespace: Option<u32>,
    /// Of an agent of no family.
    #[prost(string, optional, tag = "22")]
    name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ProcessEntry {
    #[prost(uint32, tag = "1")]
    tgid: u32,
    #[prost(fixed64, tag = "2")]
    start_ns: u64,
    #[prost(bytes, tag = "3")]
    session: Vec<u8>,
    #[prost(bool, tag = "4")]
    core: bool,
    #[prost(uint32, optional, tag = "5")]
    ppid: Option<u32>,
    #[prost(fixed64, tag = "6")]
    executable: u64,
    /// Whose exec it was that gave it its image.
    #[prost(uint32, tag = "7")]
    image_pid: u32,
    #[prost(fixed64, optional, tag = "8")]
    image_start: Option<u64>,
    #[prost(uint32, optional, tag = "9")]
    image_ppid: Option<u32>,
    #[prost(bytes, optional, tag = "10")]
    exe: Option<Vec<u8>>,
    #[prost(bytes, repeated, tag = "11")]
    argv: Vec<Vec<u8>>,
    #[prost(bool, tag = "12")]
    argv_truncated: bool,
    #[prost(bytes, optional, tag = "13")]
    cwd: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "14")]
    uid: Option<u32>,
    #[prost(bool, tag = "15")]
    inferred: bool,
    #[prost(uint32, optional, tag = "16")]
    euid: Option<u32>,
    #[prost(bytes, optional, tag = "17")]
    cgroup: Option<Vec<u8>>,
    #[prost(bytes, optional, tag = "18")]
    container_id: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "19")]
    pid_namespace: Option<u32>,
    #[prost(uint32, optional, tag = "20")]
    user_namespace: Option<u32>,
    #[prost(uint32, optional, tag = "21")]
    mount_namespace: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ChildEntry {
    #[prost(uint32, tag = "1")]
    pub tgid: u32,
    #[prost(fixed64, tag = "2")]
    pub start_ns: u64,
    #[prost(uint32, optional, tag = "3")]
    pub ppid: Option<u32>,
    /// Pid of the process it is a copy of.
    #[prost(uint32, tag = "4")]
    pub parent: u32,
}

/// A session; what it holds must be redacted.
pub fn session(kept: &KeptSession) -> Entry {
    let KeptSession { id, agent, info } = kept;
    let Agent {
        family,
        version,
        confidence,
        evidence,
        install_path,
        name,
    } = &**agent;
    let SessionInfo {
        phase: _,
        parent,
        user,
        uid,
        login_uid,
        terminal,
        cwd,
        repository,
        gaps,
        found: _,
        user_source,
        cgroup,
        // The cgroup says both.
        container_runtime: _,
        container_id: _,
        pid_namespace,
        user_namespace,
        mount_namespace,
    } = info;
    let bytes = |text: &Option<Text>| text.as_ref().map(|text| text.as_bytes().to_vec());
    let repository = repository.as_ref();
    let entry = SessionEntry {
        id: id.0.to_vec(),
        family: family.clone(),
        version: version.clone(),
        confidence: u32::from(*confidence),
        evidence: evidence.clone(),
        install_path: bytes(install_path),
        name: name.clone(),
        parent: parent.map(|id| id.0.to_vec()),
        user: user.clone(),
        uid: *uid,
        login_uid: *login_uid,
        terminal: bytes(terminal),
        cwd: bytes(cwd),
        repository_root: repository.map(|repository| repository.root.as_bytes().to_vec()),
        repository_remote: repository.and_then(|repository| bytes(&repository.remote)),
        repository_branch: repository.and_then(|repository| bytes(&repository.branch)),
        gaps: *gaps,
        user_source: user_source.map(|source| source.name().to_owned()),
        cgroup: bytes(cgroup),
        pid_namespace: *pid_namespace,
        user_namespace: *user_namespace,
        mount_namespace: *mount_namespace,
    };
    Entry {
        kind: Some(Kind::Session(Box::new(entry))),
    }
}

/// A process; its image must be redacted. Without `image` only what finds it again is kept.
pub fn process(kept: &KeptProcess, with_image: bool) -> Entry {
    let KeptProcess {
        tgid,
        start_ns,
        session,
        core,
        ppid,
        executable,
        image,
    } = kept;
    let Process {
        pid,
        start,
        ppid: image_ppid,
        exe,
        argv,
        argv_truncated,
        cwd,
        uid,
        euid,
        inferred,
        cgroup,
        container_id,
        pid_namespace,
        user_namespace,
        mount_namespace,
    } = &**image;
    let bytes = |text: &Option<Text>| {
        let text = text.as_ref().filter(|_| with_image);
        text.map(|text| text.as_bytes().to_vec())
    };
    let mut room = if with_image { ARGV_KEPT } else { 0 };
    let fits = |arg: &&Text| {
        let whole = arg.as_bytes().len() < room;
        room = room.saturating_sub(arg.as_bytes().len() + 1);
        whole
    };
    let kept_argv: Vec<Vec<u8>> = argv
        .iter()
        .take_while(fits)
        .map(|arg| arg.as_bytes().to_vec())
        .collect();
    let entry = ProcessEntry {
        tgid: *tgid,
        start_ns: *start_ns,
        session: session.0.to_vec(),
        core: *core,
        ppid: *ppid,
        executable: *executable,
        image_pid: *pid,
        image_start: start.map(|time| time.0),
        image_ppid: *image_ppid,
        exe: bytes(exe),
        argv_truncated: *argv_truncated || kept_argv.len() < argv.len(),
        argv: kept_argv,
        cwd: bytes(cwd),
        uid: *uid,
        euid: *euid,
        inferred: *inferred,
        cgroup: bytes(cgroup),
        container_id: bytes(container_id),
        pid_namespace: *pid_namespace,
        user_namespace: *user_namespace,
        mount_namespace: *mount_namespace,
    };
    Entry {
        kind: Some(Kind::Process(Box::new(entry))),
    }
}

/// Puts records together to what they amount to.
#[derive(Default)]
pub struct Replay {
    sessions: HashMap<SessionId, KeptSession>,
    processes: HashMap<u32, KeptProcess>,
    bounds: Bounds,
}

impl Replay {
    /// Takes one record; false when it makes no sense.
    pub fn take(&mut self, payload: &[u8]) -> bool {
        let Ok(Entry { kind: Some(kind) }) = Entry::decode(payload) else {
            return false;
        };
        match kind {
            Kind::Session(entry) => self.session(*entry).is_some(),
            Kind::Ended(id) => session_id(&id)
                .map(|id| self.sessions.remove(&id))
                .is_some(),
            Kind::Process(entry) => self.process(*entry).is_some(),
            Kind::Child(entry) => {
                self.child(&entry);
                true
            }
            Kind::Gone(tgid) => {
                self.processes.remove(&tgid);
                true
            }
        }
    }

    fn session(&mut self, entry: SessionEntry) -> Option<()> {
        let id = session_id(&entry.id)?;
        let parent = match entry.parent {
            Some(parent) => Some(session_id(&parent)?),
            None => None,
        };
        if self.sessions.len() >= self.bounds.sessions && !self.sessions.contains_key(&id) {
            return None;
        }
        let text = |bytes: Option<Vec<u8>>| bytes.map(Text::from);
        let agent = Agent {
            family: entry.family,
            version: entry.version,
            confidence: u8::try_from(entry.confidence).ok().filter(|c| *c <= 100)?,
            evidence: entry.evidence,
            install_path: text(entry.install_path),
            name: entry.name,
        };
        let repository = entry.repository_root.map(|root| Repository {
            root: root.into(),
            remote: text(entry.repository_remote),
            branch: text(entry.repository_branch),
        });
        let cgroup = text(entry.cgroup);
        let container = cgroup.as_ref().and_then(container::of_cgroup);
        let info = SessionInfo {
            phase: Phase::Update,
            parent,
            user: entry.user,
            uid: entry.uid,
            login_uid: entry.login_uid,
            terminal: text(entry.terminal),
            cwd: text(entry.cwd),
            repository,
            gaps: entry.gaps,
            found: Found::Resumed,
            // One that is not known here is asked for again.
            user_source: entry.user_source.and_then(|source| source.parse().ok()),
            container_runtime: container.as_ref().and_then(|container| container.runtime),
            container_id: container.map(|container| container.id),
            cgroup,
            pid_namespace: entry.pid_namespace,
            user_namespace: entry.user_namespace,
            mount_namespace: entry.mount_namespace,
        };
        let agent = Arc::new(agent);
        self.sessions.insert(id, KeptSession { id, agent, info });
        Some(())
    }

    fn process(&mut self, entry: ProcessEntry) -> Option<()> {
        let session = session_id(&entry.session)?;
        if self.processes.len() >= self.bounds.processes
            && !self.processes.contains_key(&entry.tgid)
        {
            return None;
        }
        let image = Process {
            pid: entry.image_pid,
            start: entry.image_start.map(UnixNanos),
            ppid: entry.image_ppid,
            exe: entry.exe.map(Text::from),
            argv: entry.argv.into_iter().map(Text::from).collect(),
            argv_truncated: entry.argv_truncated,
            cwd: entry.cwd.map(Text::from),
            uid: entry.uid,
            euid: entry.euid,
            inferred: entry.inferred,
            cgroup: entry.cgroup.map(Text::from),
            container_id: entry.container_id.map(Text::from),
            pid_namespace: entry.pid_namespace,
            user_namespace: entry.user_namespace,
            mount_namespace: entry.mount_namespace,
        };
        let kept = KeptProcess {
            tgid: entry.tgid,
            start_ns: entry.start_ns,
            session,
            core: entry.core,
            ppid: entry.ppid,
            executable: entry.executable,
            image: Arc::new(image),
        };
        self.processes.insert(entry.tgid, kept);
        Some(())
    }

    /// Of a parent that is not known (it was refused) nothing can be told.
    fn child(&mut self, entry: &ChildEntry) {
        let full = self.processes.len() >= self.bounds.processes;
        if full && !self.processes.contains_key(&entry.tgid) {
            return;
        }
        if let Some(parent) = self.processes.get(&entry.parent) {
            let kept = KeptProcess {
                tgid: entry.tgid,
                start_ns: entry.start_ns,
                ppid: entry.ppid,
                ..parent.clone()
            };
            self.processes.insert(entry.tgid, kept);
        }
    }

    pub fn finish(self, until_ns: u64) -> Kept {
        Kept {
            sessions: self.sessions.into_values().collect(),
            processes: self.processes.into_values().collect(),
            until_ns,
        }
    }
}

fn session_id(bytes: &[u8]) -> Option<SessionId> {
    bytes.try_into().ok().map(SessionId)
}
