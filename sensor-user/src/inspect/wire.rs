//! Questions to the inspector and answers, as bytes: one message a packet.
//!
//! An answer comes from a process that has read hostile files: it is taken apart like any other bytes from
//! outside. Bounds: [`PACKET_MAX`] a packet; what is longer is none.

mod image;
mod texts;

use std::sync::Arc;

use prost::Message;
use skep_abi::FileKey;
use skep_catalogue::{Catalogue, UNKNOWN};
use skep_event::{Agent, Repository, Text, UnixNanos};

use crate::{
    identify::{Candidate, CodeFrom, Judgement, Unjudged},
    proc::Image,
};
use image::FoundImage;
use texts::{all_bytes, bytes, texts};

/// Longest packet, bytes: arguments and four paths of 4 KiB fit many times. Below what a socket takes at
/// once everywhere (`net.core.wmem_default`).
pub const PACKET_MAX: usize = 128 << 10;
/// Longest text of an answer, and most pieces of evidence.
const TEXT_MAX: usize = 32 << 10;
const EVIDENCE_MAX: usize = 256;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether an exec is an agent.
    Judge,
    /// The repository around its working directory.
    Repository,
    /// What a process that runs already executes.
    Image { start_ns: u64 },
    /// Whether a file that an exec has opened since is an agent's.
    Opened,
}

/// What a question may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub millis: u64,
    pub bytes: u64,
    pub entries: u64,
    /// Memory beyond what the inspector itself has.
    pub memory: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Question {
    /// 1 judge, 2 repository, 3 image, 4 opened.
    #[prost(uint32, tag = "1")]
    ask: u32,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(uint64, tag = "3")]
    start_ns: u64,
    #[prost(uint32, optional, tag = "4")]
    pub uid: Option<u32>,
    #[prost(message, optional, tag = "5")]
    file: Option<File>,
    #[prost(uint64, tag = "6")]
    file_size: u64,
    #[prost(bytes = "vec", optional, tag = "7")]
    exe: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    filename: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    argv: Vec<Vec<u8>>,
    #[prost(bool, tag = "10")]
    argv_truncated: bool,
    #[prost(bytes = "vec", optional, tag = "11")]
    cwd: Option<Vec<u8>>,
    /// What was learned of the file before.
    #[prost(bytes = "vec", optional, tag = "12")]
    pub learned: Option<Vec<u8>>,
    #[prost(uint64, tag = "13")]
    millis: u64,
    #[prost(uint64, tag = "14")]
    bytes: u64,
    #[prost(uint64, tag = "15")]
    entries: u64,
    #[prost(uint64, tag = "16")]
    memory: u64,
    #[prost(uint32, optional, tag = "17")]
    switches: Option<u32>,
    /// Unix nanoseconds.
    #[prost(uint64, optional, tag = "18")]
    since: Option<u64>,
    /// What was learned of the script it probably runs.
    #[prost(bytes = "vec", optional, tag = "19")]
    script: Option<Vec<u8>>,
    /// Path of a file that was opened.
    #[prost(bytes = "vec", optional, tag = "20")]
    opened: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(uint64, tag = "1")]
    ino: u64,
    #[prost(int64, tag = "2")]
    ctime_sec: i64,
    #[prost(uint32, tag = "3")]
    ctime_nsec: u32,
    #[prost(uint32, tag = "4")]
    dev: u32,
}

/// The texts of a question, for a [`Candidate`] to borrow.
#[derive(Debug)]
pub struct Asked {
    pub ask: Ask,
    pub pid: u32,
    pub uid: Option<u32>,
    pub file: FileKey,
    file_size: u64,
    exe: Option<Text>,
    filename: Option<Text>,
    argv: Vec<Text>,
    argv_truncated: bool,
    switches: Option<u16>,
    pub cwd: Option<Text>,
    since: Option<UnixNanos>,
    pub learned: Option<Vec<u8>>,
    pub script: Option<Vec<u8>>,
    pub opened: Option<Vec<u8>>,
    pub allowed: Allowed,
}

#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    #[prost(message, optional, tag = "1")]
    judged: Option<Judged>,
    #[prost(message, optional, tag = "2")]
    repository: Option<FoundRepository>,
    #[prost(message, optional, tag = "3")]
    image: Option<FoundImage>,
    /// What was learned of the file's bytes.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub learned: Option<Vec<u8>>,
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    #[prost(uint64, tag = "6")]
    pub entries: u64,
    /// Why there is no answer to a question that is not about an exec.
    #[prost(message, optional, tag = "7")]
    failed: Option<Reason>,
    /// Set by [`Answer::packet`]: an answer that says nothing is still not an end of answers.
    #[prost(bool, tag = "8")]
    is_answer: bool,
    /// What was learned of the script it runs.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub script: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Judged {
    #[prost(string, optional, tag = "1")]
    family: Option<String>,
    #[prost(string, optional, tag = "2")]
    version: Option<String>,
    #[prost(uint32, tag = "3")]
    confidence: u32,
    #[prost(string, repeated, tag = "4")]
    evidence: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    install_path: Option<Vec<u8>>,
    #[prost(bool, tag = "6")]
    never: bool,
    #[prost(bool, tag = "7")]
    multicall: bool,
    #[prost(message, optional, tag = "8")]
    unjudged: Option<Reason>,
    #[prost(bytes = "vec", optional, tag = "9")]
    place: Option<Vec<u8>>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
    #[prost(bool, tag = "11")]
    waits: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Reason {
    #[prost(uint32, tag = "1")]
    reason: u32,
    #[prost(int32, tag = "2")]
    errno: i32,
}

#[derive(Clone, PartialEq, Message)]
struct FoundRepository {
    #[prost(bytes = "vec", tag = "1")]
    root: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    remote: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    branch: Option<Vec<u8>>,
}

// === impl Question ===

impl Question {
    pub fn new(
        ask: Ask,
        candidate: &Candidate<'_>,
        learned: Option<Vec<u8>>,
        allowed: Allowed,
    ) -> Self {
        let Candidate {
            pid,
            file,
            file_size,
            exe,
            filename,
            argv,
            argv_truncated,
            cwd,
            uid,
            switches,
            since,
        } = *candidate;
        let Allowed {
            millis,
            bytes: read,
            entries,
            memory,
        } = allowed;
        let (ask, start_ns) = match ask {
            Ask::Judge => (1, 0),
            Ask::Repository => (2, 0),
            Ask::Image { start_ns } => (3, start_ns),
            Ask::Opened => (4, 0),
        };
        Self {
            ask,
            pid,
            start_ns,
            uid,
            file: Some(File {
                ino: file.ino,
                ctime_sec: file.ctime_sec,
                ctime_nsec: file.ctime_nsec,
                dev: file.dev,
            }),
            file_size,
            exe: bytes(exe),
            filename: bytes(filename),
            argv: all_bytes(argv),
            argv_truncated,
            cwd: bytes(cwd),
            learned,
            millis,
            bytes: read,
            entries,
            memory,
            switches: switches.map(u32::from),
            since: since.map(|since| since.0),
            script: None,
            opened: None,
        }
    }

    /// The same with what was learned of the script it probably runs.
    pub fn with_script(self, script: Option<Vec<u8>>) -> Self {
        Self { script, ..self }
    }

    /// The same about a file that the candidate's process has opened.
    pub fn about(mut self, opened: Option<&[u8]>) -> Self {
        self.opened = opened.map(<[u8]>::to_vec);
        self
    }

    /// How long it may take, milliseconds.
    pub fn millis(&self) -> u64 {
        self.millis
    }

    /// `None`: it asks for nothing that is known here.
    pub fn asked(self) -> Option<Asked> {
        let ask = match self.ask {
            1 => Ask::Judge,
            2 => Ask::Repository,
            3 => Ask::Image {
                start_ns: self.start_ns,
            },
            4 => Ask::Opened,
            _ => return None,
        };
        let file = self.file?;
        Some(Asked {
            ask,
            pid: self.pid,
            uid: self.uid,
            file: FileKey {
                ino: file.ino,
                ctime_sec: file.ctime_sec,
                ctime_nsec: file.ctime_nsec,
                dev: file.dev,
            },
            file_size: self.file_size,
            exe: self.exe.map(Text::new),
            filename: self.filename.map(Text::new),
            argv: texts(self.argv),
            argv_truncated: self.argv_truncated,
            switches: self.switches.and_then(|bits| u16::try_from(bits).ok()),
            cwd: self.cwd.map(Text::new),
            since: self.since.map(UnixNanos),
            learned: self.learned,
            script: self.script,
            opened: self.opened,
            allowed: Allowed {
                millis: self.millis,
                bytes: self.bytes,
                entries: self.entries,
                memory: self.memory,
            },
        })
    }
}

// === impl Asked ===

impl Asked {
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            pid: self.pid,
            file: self.file,
            file_size: self.file_size,
            exe: self.exe.as_ref(),
            filename: self.filename.as_ref(),
            argv: &self.argv,
            argv_truncated: self.argv_truncated,
            cwd: self.cwd.as_ref(),
            uid: self.uid,
            switches: self.switches,
            since: self.since,
        }
    }
}

// === impl Answer ===

impl Answer {
    pub fn judged(judgement: &Judgement) -> Self {
        let Judgement {
            agent,
            never,
            multicall,
            unjudged,
            place,
            waits,
        } = judgement;
        let mut judged = Judged {
            waits: *waits,
            never: *never,
            multicall: *multicall,
            unjudged: unjudged.map(Reason::of),
            place: bytes(place.as_ref()),
            ..Judged::default()
        };
        if let Some(agent) = agent {
            let Agent {
                family,
                version,
                confidence,
                evidence,
                install_path,
                name,
            } = &**agent;
            judged.name = name.clone();
            judged.family = Some(family.clone());
            judged.version = version.clone();
            judged.confidence = u32::from(*confidence);
            judged.evidence = evidence.clone();
            judged.install_path = bytes(install_path.as_ref());
        }
        Self {
            judged: Some(judged),
            ..Self::default()
        }
    }

    pub fn repository(found: Option<&Repository>) -> Self {
        let repository = found.map(
            |Repository {
                 root,
                 remote,
                 branch,
             }| FoundRepository {
                root: root.as_bytes().to_vec(),
                remote: bytes(remote.as_ref()),
                branch: bytes(branch.as_ref()),
            },
        );
        Self {
            repository,
            ..Self::default()
        }
    }

    pub fn image(found: Option<&Image>) -> Self {
        Self {
            image: found.map(FoundImage::of),
            ..Self::default()
        }
    }

    /// As it is sent; never empty.
    pub fn packet(mut self) -> Vec<u8> {
        self.is_answer = true;
        self.encode_to_vec()
    }

    /// What was sent; `None` when that is no answer.
    pub fn of_packet(packet: &[u8]) -> Option<Self> {
        Self::decode(packet).ok().filter(|answer| answer.is_answer)
    }

    /// There is no answer.
    pub fn failed(why: Unjudged) -> Self {
        Self {
            failed: Some(Reason::of(why)),
            ..Self::default()
        }
    }

    /// Why there is no answer, if there is none.
    pub fn failure(&self) -> Option<Unjudged> {
        self.failed.as_ref().and_then(Reason::unjudged)
    }

    /// The judgement; `None` when it is none that can be.
    pub fn judgement(&self, catalogue: &Catalogue) -> Option<Judgement> {
        let Judged {
            family,
            version,
            confidence,
            evidence,
            install_path,
            never,
            multicall,
            unjudged,
            place,
            name,
            waits,
        } = self.judged.clone()?;
        let fits = |length: usize| length <= TEXT_MAX;
        let all_fit = evidence.len() <= EVIDENCE_MAX
            && evidence.iter().all(|text| fits(text.len()))
            && version.iter().all(|text| fits(text.len()))
            && name.iter().all(|text| fits(text.len()))
            && install_path.iter().all(|path| fits(path.len()))
            && place.iter().all(|path| fits(path.len()));
        if !all_fit || confidence > 99 {
            return None;
        }
        let agent = match family {
            Some(family) => {
                if family != UNKNOWN {
                    catalogue.family(&family)?;
                }
                Some(Arc::new(Agent {
                    family,
                    version,
                    confidence: u8::try_from(confidence).ok()?,
                    evidence,
                    install_path: install_path.map(Text::new),
                    name,
                }))
            }
            None => None,
        };
        let unjudged = match unjudged {
            Some(reason) => Some(reason.unjudged()?),
            None => None,
        };
        Some(Judgement {
            agent,
            never,
            multicall,
            unjudged,
            place: place.map(Text::new),
            waits,
        })
    }

    pub fn found_repository(&self) -> Option<Repository> {
        let FoundRepository {
            root,
            remote,
            branch,
        } = self.repository.clone()?;
        let all = [Some(&root), remote.as_ref(), branch.as_ref()];
        let all_fit = all.into_iter().flatten().all(|text| text.len() <= TEXT_MAX);
        all_fit.then(|| Repository {
            root: Text::new(root),
            remote: remote.map(Text::new),
            branch: branch.map(Text::new),
        })
    }

    pub fn found_image(&self) -> Option<Image> {
        self.image.clone()?.image()
    }
}

// === impl Reason ===

impl Reason {
    fn of(why: Unjudged) -> Self {
        let (reason, errno) = match why {
            Unjudged::Gone => (1, 0),
            Unjudged::Unreadable { errno } => (2, errno),
            Unjudged::Late => (3, 0),
            Unjudged::OverBudget => (4, 0),
            Unjudged::CutArguments => (5, 0),
            Unjudged::UnknownDirectory => (6, 0),
            Unjudged::NotLookedAt => (7, 0),
            Unjudged::Refused => (8, 0),
            Unjudged::UnreadEnvironment => (9, 0),
            Unjudged::UnseenCode(CodeFrom::Stream) => (10, 0),
            Unjudged::UnseenCode(CodeFrom::Terminal) => (11, 0),
            Unjudged::UnseenCode(CodeFrom::Descriptor) => (12, 0),
            Unjudged::UnseenCode(CodeFrom::Code) => (13, 0),
            Unjudged::UnseenCode(CodeFrom::Network) => (14, 0),
        };
        Self { reason, errno }
    }

    fn unjudged(&self) -> Option<Unjudged> {
        Some(match self.reason {
            1 => Unjudged::Gone,
            2 => Unjudged::Unreadable { errno: self.errno },
            3 => Unjudged::Late,
            4 => Unjudged::OverBudget,
            5 => Unjudged::CutArguments,
            6 => Unjudged::UnknownDirectory,
            7 => Unjudged::NotLookedAt,
            8 => Unjudged::Refused,
            9 => Unjudged::UnreadEnvironment,
            10 => Unjudged::UnseenCode(CodeFrom::Stream),
            11 => Unjudged::UnseenCode(CodeFrom::Terminal),
            12 => Unjudged::UnseenCode(CodeFrom::Descriptor),
            13 => Unjudged::UnseenCode(CodeFrom::Code),
            14 => Unjudged::UnseenCode(CodeFrom::Network),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
