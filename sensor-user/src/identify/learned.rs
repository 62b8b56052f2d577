//! What was learned of a file's bytes, as bytes: for a memory that outlives who learned it.
//!
//! Whoever keeps them need not understand them. They come from a process that has read hostile files, so
//! that what does not fit the catalogue is as good as nothing.

use std::sync::Arc;

use prost::Message;
use skep_abi::FileKey;
use skep_catalogue::UNKNOWN;
use skep_event::{Agent, Text};

use super::{
    Identifier,
    access::Trust,
    content::Nature,
    evidence::{Kind, Piece},
    generic::{Sign, Signs, native::Unknown},
};

/// Longest text of a piece.
const TEXT_MAX: usize = 16 << 10;

#[derive(Clone, PartialEq, Message)]
struct Learned {
    /// 0 plain, 1 runtime, 2 bundle, 3 program, 4 unknown.
    #[prost(uint32, tag = "1")]
    nature: u32,
    /// Id of the runtime.
    #[prost(string, tag = "2")]
    runtime: String,
    #[prost(message, repeated, tag = "3")]
    pieces: Vec<LearnedPiece>,
    #[prost(bool, tag = "4")]
    exact: bool,
    /// Of nature 4.
    #[prost(message, optional, tag = "5")]
    unknown: Option<LearnedUnknown>,
}

#[derive(Clone, PartialEq, Message)]
struct LearnedUnknown {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    version: Option<String>,
    #[prost(string, tag = "3")]
    place: String,
    #[prost(message, repeated, tag = "4")]
    signs: Vec<LearnedSign>,
}

#[derive(Clone, PartialEq, Message)]
struct LearnedSign {
    /// Id of the kind.
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(uint32, optional, tag = "2")]
    list: Option<u32>,
    #[prost(string, tag = "3")]
    what: String,
}

/// What was learned of a script: which it is, and the agent it is, if it is one.
#[derive(Clone, PartialEq, Message)]
struct LearnedScript {
    #[prost(uint64, tag = "1")]
    ino: u64,
    #[prost(int64, tag = "2")]
    ctime_sec: i64,
    #[prost(uint32, tag = "3")]
    ctime_nsec: u32,
    #[prost(uint32, tag = "4")]
    dev: u32,
    #[prost(bool, tag = "5")]
    is_agent: bool,
    #[prost(string, optional, tag = "6")]
    name: Option<String>,
    #[prost(string, optional, tag = "7")]
    version: Option<String>,
    #[prost(uint32, tag = "8")]
    confidence: u32,
    #[prost(string, repeated, tag = "9")]
    evidence: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "10")]
    install: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct LearnedPiece {
    /// Id of the family.
    #[prost(string, tag = "1")]
    family: String,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    weight: u32,
    #[prost(string, optional, tag = "4")]
    version: Option<String>,
    #[prost(string, tag = "5")]
    text: String,
    #[prost(bytes = "vec", optional, tag = "6")]
    install: Option<Vec<u8>>,
}

/// The kinds, by their number.
const KINDS: [Kind; 6] = [
    Kind::Name,
    Kind::Layout,
    Kind::Hash,
    Kind::Python,
    Kind::Package,
    Kind::Marker,
];

// === impl Identifier ===

impl Identifier {
    /// What is remembered of a file, for [`Identifier::teach`].
    pub fn learned(&mut self, file: FileKey) -> Option<Vec<u8>> {
        let (nature, trust) = self.natures.get(file)?;
        let runtime = |index: usize| {
            let runtime = self.catalogue.runtimes().get(index);
            runtime.map(|runtime| runtime.id.clone())
        };
        let mut learned = Learned {
            exact: trust == Trust::Exact,
            ..Learned::default()
        };
        match nature {
            Nature::Plain => {}
            Nature::Runtime(index) => (learned.nature, learned.runtime) = (1, runtime(index)?),
            Nature::Bundle(index) => (learned.nature, learned.runtime) = (2, runtime(index)?),
            Nature::Program(pieces) => {
                learned.nature = 3;
                learned.pieces = pieces
                    .iter()
                    .map(|piece| self.learned_piece(piece))
                    .collect::<Option<_>>()?;
            }
            Nature::Unknown(unknown) => {
                learned.nature = 4;
                if let Some(index) = unknown.runtime {
                    learned.runtime = runtime(index)?;
                }
                learned.unknown = Some(self.learned_unknown(&unknown)?);
            }
        }
        Some(learned.encode_to_vec())
    }

    fn learned_unknown(&self, unknown: &Unknown) -> Option<LearnedUnknown> {
        let Unknown {
            runtime: _,
            signs,
            name,
            version,
            place,
        } = unknown;
        let kinds = &self.catalogue.generic()?.kinds;
        let sign = |sign: &Sign| {
            Some(LearnedSign {
                kind: kinds.get(sign.kind)?.id.clone(),
                list: sign.list.map(|list| list as u32),
                what: sign.what.clone(),
            })
        };
        Some(LearnedUnknown {
            name: name.clone(),
            version: version.clone(),
            place: place.clone(),
            signs: signs.0.iter().map(sign).collect::<Option<_>>()?,
        })
    }

    fn taught_unknown(&self, runtime: Option<usize>, learned: LearnedUnknown) -> Option<Unknown> {
        let LearnedUnknown {
            name,
            version,
            place,
            signs,
        } = learned;
        let kinds = &self.catalogue.generic()?.kinds;
        let sign = |sign: LearnedSign| {
            let kind = kinds.iter().position(|kind| kind.id == sign.kind)?;
            let list = match sign.list {
                Some(list) => Some(usize::try_from(list).ok()?),
                None => None,
            };
            let fits = list.is_none_or(|list| list < kinds[kind].texts.len());
            (fits && sign.what.len() <= TEXT_MAX).then_some(Sign {
                kind,
                list,
                what: sign.what,
            })
        };
        Some(Unknown {
            runtime,
            signs: Signs(signs.into_iter().map(sign).collect::<Option<_>>()?),
            name,
            version,
            place,
        })
    }

    /// What is remembered of the script that was looked at last, for [`Identifier::teach_script`].
    pub fn learned_script(&mut self) -> Option<Vec<u8>> {
        let file = self.scripts.last?;
        let agent = self.scripts.get(file)?;
        let mut learned = LearnedScript {
            ino: file.ino,
            ctime_sec: file.ctime_sec,
            ctime_nsec: file.ctime_nsec,
            dev: file.dev,
            is_agent: agent.is_some(),
            ..LearnedScript::default()
        };
        if let Some(agent) = agent {
            let Agent {
                family: _,
                version,
                confidence,
                evidence,
                install_path,
                name,
            } = Agent::clone(&agent);
            (learned.name, learned.version) = (name, version);
            learned.confidence = u32::from(confidence);
            learned.evidence = evidence;
            learned.install = install_path.map(|path| path.as_bytes().to_vec());
        }
        Some(learned.encode_to_vec())
    }

    /// Remembers of a script what was learned before; false when the bytes make no sense here.
    pub fn teach_script(&mut self, learned: &[u8]) -> bool {
        let Ok(learned) = LearnedScript::decode(learned) else {
            return false;
        };
        let file = FileKey {
            ino: learned.ino,
            ctime_sec: learned.ctime_sec,
            ctime_nsec: learned.ctime_nsec,
            dev: learned.dev,
        };
        let confidence = u8::try_from(learned.confidence)
            .ok()
            .filter(|sure| *sure <= 99);
        let (Some(confidence), true) = (confidence, file.ino != 0) else {
            return false;
        };
        let agent = learned.is_agent.then(|| {
            Arc::new(Agent {
                family: UNKNOWN.to_owned(),
                version: learned.version,
                confidence,
                evidence: learned.evidence,
                install_path: learned.install.map(Text::from),
                name: learned.name,
            })
        });
        self.scripts.insert(file, agent);
        true
    }

    fn learned_piece(&self, piece: &Piece) -> Option<LearnedPiece> {
        let Piece {
            family,
            kind,
            weight,
            version,
            text,
            install,
            found_by: _,
        } = piece;
        Some(LearnedPiece {
            family: self.catalogue.families().get(*family)?.id.clone(),
            kind: KINDS.iter().position(|known| known == kind)? as u32,
            weight: u32::from(*weight),
            version: version.clone(),
            text: text.clone(),
            install: install.clone(),
        })
    }

    /// Remembers of a file what was learned before; false when the bytes make no sense here.
    pub fn teach(&mut self, file: FileKey, learned: &[u8]) -> bool {
        let taught = Learned::decode(learned)
            .ok()
            .and_then(|learned| self.taught(learned));
        let is_taught = taught.is_some();
        if let Some(taught) = taught {
            self.natures.insert(file, taught);
        }
        is_taught
    }

    fn taught(&self, learned: Learned) -> Option<(Nature, Trust)> {
        let Learned {
            nature,
            runtime,
            pieces,
            exact,
            unknown,
        } = learned;
        let is_of_runtime = !runtime.is_empty();
        let runtime = || {
            let mut known = self.catalogue.runtimes().iter();
            known.position(|known| known.id == runtime)
        };
        let nature = match nature {
            0 => Nature::Plain,
            1 => Nature::Runtime(runtime()?),
            2 => Nature::Bundle(runtime()?),
            3 => {
                let pieces = pieces.into_iter().map(|piece| self.taught_piece(piece));
                Nature::Program(pieces.collect::<Option<Vec<_>>>()?.into())
            }
            4 => {
                let runtime = if is_of_runtime {
                    Some(runtime()?)
                } else {
                    None
                };
                Nature::Unknown(self.taught_unknown(runtime, unknown?)?.into())
            }
            _ => return None,
        };
        let trust = if exact {
            Trust::Exact
        } else {
            Trust::OtherDevice
        };
        Some((nature, trust))
    }

    fn taught_piece(&self, piece: LearnedPiece) -> Option<Piece> {
        let LearnedPiece {
            family,
            kind,
            weight,
            version,
            text,
            install,
        } = piece;
        let mut families = self.catalogue.families().iter();
        let fits = text.len() <= TEXT_MAX && weight <= 99;
        fits.then_some(Piece {
            family: families.position(|known| known.id == family)?,
            kind: *KINDS.get(usize::try_from(kind).ok()?)?,
            weight: u8::try_from(weight).ok()?,
            version,
            text,
            install,
            // It is what is executed itself.
            found_by: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skep_catalogue::Catalogue;

    use super::*;

    fn identifier() -> Identifier {
        Identifier::new(Arc::new(Catalogue::embedded()))
    }

    const FILE: FileKey = FileKey {
        ino: 7,
        ctime_sec: 1,
        ctime_nsec: 2,
        dev: 3,
    };

    fn unknown(runtime: Option<usize>) -> Unknown {
        let sign = |kind, list| Sign {
            kind,
            list,
            what: "a text".into(),
        };
        Unknown {
            runtime,
            signs: Signs(vec![sign(0, Some(0)), sign(1, Some(2)), sign(2, None)]),
            name: Some("some-agent".into()),
            version: None,
            place: "Go program".into(),
        }
    }

    #[test]
    fn what_one_learned_of_a_script_another_knows() {
        let agent = Agent {
            family: UNKNOWN.into(),
            version: Some("1.2".into()),
            confidence: 70,
            evidence: vec!["npm package".into()],
            install_path: Some(Text::from(&b"/opt/\xff"[..])),
            name: Some("some-agent".into()),
        };
        for agent in [None, Some(Arc::new(agent))] {
            let (mut one, mut other) = (identifier(), identifier());
            assert_eq!(one.learned_script(), None);
            one.scripts.insert(FILE, agent.clone());
            one.scripts.last = Some(FILE);
            let learned = one.learned_script().expect("known");
            assert!(other.teach_script(&learned));
            assert_eq!(other.scripts.get(FILE), Some(agent));
        }
    }

    #[test]
    fn what_one_learned_another_knows() {
        let piece = Piece {
            family: 1,
            kind: Kind::Marker,
            weight: 90,
            version: Some("1.2.3".into()),
            text: "ELF section .x with a marker".into(),
            install: Some(b"/opt/\xff".to_vec()),
            found_by: Vec::new(),
        };
        for nature in [
            Nature::Plain,
            Nature::Runtime(1),
            Nature::Bundle(0),
            Nature::Program(vec![piece].into()),
            Nature::Unknown(Arc::new(unknown(None))),
            Nature::Unknown(Arc::new(unknown(Some(1)))),
        ] {
            for trust in [Trust::OtherDevice, Trust::Exact] {
                let (mut one, mut other) = (identifier(), identifier());
                assert_eq!(one.learned(FILE), None);
                one.natures.insert(FILE, (nature.clone(), trust));
                let learned = one.learned(FILE).expect("known");
                assert!(other.teach(FILE, &learned));
                let known = other.natures.get(FILE).expect("taught");
                assert_eq!(format!("{known:?}"), format!("{:?}", (&nature, trust)));
            }
        }
    }

    #[test]
    fn what_the_catalogue_does_not_have_is_not_believed() {
        let piece = |family: &str, kind, weight| LearnedPiece {
            family: family.into(),
            kind,
            weight,
            ..LearnedPiece::default()
        };
        let runtime = |nature, runtime: &str| Learned {
            nature,
            runtime: runtime.into(),
            ..Learned::default()
        };
        let program = |piece| Learned {
            nature: 3,
            pieces: vec![piece],
            ..Learned::default()
        };
        for odd in [
            runtime(1, "perl"),
            runtime(2, ""),
            runtime(4, "node"),
            program(piece("no-agent", 5, 90)),
            program(piece("codex", 6, 90)),
            program(piece("codex", 5, 100)),
            program(piece("codex", 5, u32::MAX)),
        ] {
            let mut identifier = identifier();
            assert!(!identifier.teach(FILE, &odd.encode_to_vec()), "{odd:?}");
            assert_eq!(identifier.learned(FILE), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taught_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            identifier().teach(FILE, &bytes);
            identifier().teach_script(&bytes);
        }
    }
}
