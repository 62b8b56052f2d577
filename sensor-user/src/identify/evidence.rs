//! Pieces of evidence and what they amount to.
//!
//! A family's confidence is `100 - Π(100 - weight) / 100ⁿ⁻¹`: each piece takes away its share of
//! the doubt that the others left. It is lowered by what could not be verified, never exceeds 99,
//! and below [`MIN_CONFIDENCE`], or with nothing but names, there is no agent.

use skep_catalogue::{Catalogue, MIN_CONFIDENCE};
use skep_event::{Agent, Text};

const CONFIDENCE_MAX: f64 = 99.0;

/// What a piece of evidence rests on, in the order in which its version is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Name,
    Layout,
    Hash,
    Python,
    Package,
    /// Embedded in what is executed, so it moves with the file.
    Marker,
}

/// One piece of evidence for one family.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Index in the catalogue.
    pub family: usize,
    pub kind: Kind,
    pub weight: u8,
    pub version: Option<String>,
    /// For a person to check.
    pub text: String,
    /// Directory the family's files are installed in.
    pub install: Option<Vec<u8>>,
    /// Paths that its version was found by, within the root of the process. None: by what is executed itself.
    pub found_by: Vec<Vec<u8>>,
}

/// Of a piece whose files are not what they were when the process began.
const CHANGED: &str = "changed since the process began, which may run another version";

/// A reason to be less sure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    pub points: u8,
    pub text: &'static str,
}

pub(super) const OTHER_DEVICE: Doubt = Doubt {
    points: 5,
    text: "weaker: stat names another device for the file than the kernel (btrfs, overlayfs)",
};
pub(super) const UNVERIFIED: Doubt = Doubt {
    points: 15,
    text: "weaker: the kernel's inode of the file could not be compared",
};
pub(super) const PROCESS_ENDED: Doubt = Doubt {
    points: 10,
    text: "weaker: the process had ended, its script was looked up in the sensor's own root",
};
pub(super) const ENVIRONMENT_UNREADABLE: Doubt = Doubt {
    points: 15,
    text: "weaker: environment not readable, the file may have run as a plain runtime",
};

pub(super) const OPENED: Doubt = Doubt {
    points: 10,
    text: "weaker: told by a file that was opened before anything else told what runs; it may only have been read",
};
pub(super) const CALLED_AS_TOOL: Doubt = Doubt {
    points: 25,
    text: "weaker: called as one of its tools by its first arguments, outside a session of the family",
};

impl Piece {
    /// Says no version: what tells it has changed.
    pub(super) fn forget_version(&mut self) {
        self.version = None;
        self.text = format!("{}: {CHANGED}", self.text);
    }
}

/// The family the pieces speak for most, if they say enough.
pub(super) fn conclude(
    catalogue: &Catalogue,
    pieces: Vec<Piece>,
    doubts: &[Doubt],
    executable: Option<&[u8]>,
) -> Option<Agent> {
    let families = 0..catalogue.families().len();
    let strongest = families
        .filter(|family| decisive(&pieces, *family).next().is_some())
        .map(|family| (family, confidence(&pieces, family, doubts)))
        .max_by_key(|(_, confidence)| *confidence);
    let (family, confidence) = strongest.filter(|(_, found)| *found >= MIN_CONFIDENCE)?;
    let mut pieces: Vec<Piece> = pieces.into_iter().filter(|p| p.family == family).collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse((piece.weight, piece.kind)));
    let believed = pieces
        .iter()
        .filter(|piece| piece.version.is_some())
        .max_by_key(|p| p.kind);
    let version = believed.and_then(|piece| piece.version.clone());
    let install = pieces.iter().find_map(|piece| piece.install.clone());
    let install_path = install
        .or_else(|| executable.map(<[u8]>::to_vec))
        .map(Text::from);
    let doubts = doubts.iter().map(|doubt| doubt.text.to_owned());
    Some(Agent {
        family: catalogue.families()[family].id.clone(),
        version,
        confidence,
        evidence: pieces
            .into_iter()
            .map(|piece| piece.text)
            .chain(doubts)
            .collect(),
        install_path,
        name: None,
    })
}

fn decisive(pieces: &[Piece], family: usize) -> impl Iterator<Item = &Piece> {
    pieces
        .iter()
        .filter(move |piece| piece.family == family && piece.kind != Kind::Name)
}

fn confidence(pieces: &[Piece], family: usize, doubts: &[Doubt]) -> u8 {
    let own = pieces.iter().filter(|piece| piece.family == family);
    let doubt = own.fold(1.0, |doubt, piece| {
        doubt * f64::from(100 - piece.weight.min(100)) / 100.0
    });
    let believed = (100.0 * (1.0 - doubt)).min(CONFIDENCE_MAX).round();
    let lowered = doubts
        .iter()
        .fold(believed, |left, doubt| left - f64::from(doubt.points));
    // Between 0 and 99 by the two bounds.
    lowered.max(0.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: Kind, weight: u8, version: Option<&str>) -> Piece {
        let text = format!("{kind:?} {weight}");
        Piece {
            family: 0,
            kind,
            weight,
            version: version.map(str::to_owned),
            text,
            install: None,
            found_by: Vec::new(),
        }
    }

    fn judged(pieces: Vec<Piece>, doubts: &[Doubt]) -> Option<Agent> {
        conclude(&Catalogue::embedded(), pieces, doubts, Some(b"/x/exe"))
    }

    #[test]
    fn names_alone_are_never_enough_however_many() {
        let names = (0..50)
            .map(|_| piece(Kind::Name, 15, Some("1.0")))
            .collect();
        assert_eq!(judged(names, &[]), None);
    }

    #[test]
    fn each_piece_takes_its_share_of_the_doubt_that_is_left() {
        let pieces = vec![
            piece(Kind::Marker, 50, None),
            piece(Kind::Package, 80, Some("1.2")),
        ];
        let agent = judged(pieces, &[]).expect("an agent");
        assert_eq!(agent.confidence, 90);
        assert_eq!(agent.evidence, ["Package 80", "Marker 50"]);
        assert_eq!(agent.version.as_deref(), Some("1.2"));
        assert_eq!(agent.install_path, Some(Text::from("/x/exe")));
    }

    #[test]
    fn what_is_embedded_is_believed_about_the_version() {
        let pieces = vec![
            piece(Kind::Package, 80, Some("1.0")),
            piece(Kind::Marker, 75, Some("2.0")),
        ];
        assert_eq!(
            judged(pieces, &[]).expect("an agent").version.as_deref(),
            Some("2.0")
        );
    }

    #[test]
    fn a_doubt_lowers_confidence_is_said_and_may_decide() {
        let pieces = vec![piece(Kind::Layout, 60, None)];
        let agent = judged(pieces.clone(), &[OTHER_DEVICE]).expect("an agent");
        assert_eq!(agent.confidence, 55);
        assert_eq!(agent.evidence[1], OTHER_DEVICE.text);
        assert_eq!(judged(pieces, &[UNVERIFIED]), None);
    }

    #[test]
    fn nothing_is_certain() {
        let pieces = (0..9).map(|_| piece(Kind::Marker, 95, None)).collect();
        assert_eq!(judged(pieces, &[]).expect("an agent").confidence, 99);
    }
}
