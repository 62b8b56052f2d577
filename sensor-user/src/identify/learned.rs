//! What was learned of a file's bytes, as bytes: for a memory that outlives who learned it.
//!
//! Whoever keeps them need not understand them. They come from a process that has read hostile files, so
//! that what does not fit the catalogue is as good as nothing.

use prost::Message;
use skep_abi::FileKey;

use super::{
    Identifier,
    access::Trust,
    content::Nature,
    evidence::{Kind, Piece},
};

/// Longest text of a piece.
const TEXT_MAX: usize = 16 << 10;

#[derive(Clone, PartialEq, Message)]
struct Learned {
    /// 0 plain, 1 runtime, 2 bundle, 3 program.
    #[prost(uint32, tag = "1")]
    nature: u32,
    /// Id of the runtime.
    #[prost(string, tag = "2")]
    runtime: String,
    #[prost(message, repeated, tag = "3")]
    pieces: Vec<LearnedPiece>,
    #[prost(bool, tag = "4")]
    exact: bool,
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
        }
        Some(learned.encode_to_vec())
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
        } = learned;
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
    use std::sync::Arc;

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
        }
    }
}
