//! The files of a spool: segments, state, and those of a loss that is being handed over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prost::Message;
use skep_proto::v1;
use skep_spool::{Lane, Place, Spool, frame};

use crate::input::Input;

const MAX_BYTES: u64 = 1 << 20;
/// Bytes of a slot of the state file, of which there are two.
const SLOT: usize = 4096;
/// Files of a directory: more say nothing new.
const FILES_MAX: usize = 4;
/// What is numbered near this or above may be refused at the next start, which is the point of it.
const LARGE: u64 = 1 << 61;
/// Marks the event that is appended.
const MARK: u64 = 0x5eed_5eed;

/// Whatever is in the directory, the spool is used: what is appended comes out, the newest, under dense
/// numbers, and what was not acknowledged comes out again after a restart.
pub fn check(bytes: &[u8]) {
    // In memory where there is such a place: the spool syncs its files.
    let memory = Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let directory = directory.expect("a temporary directory");
    let mut files = Files {
        directory: directory.path().to_owned(),
        are_large: false,
    };
    files.write(Input(bytes));

    let spool = open(directory.path());
    assert_eq!(spool.stats().error, None);
    spool.append(&event());
    spool.sync();
    let records = read(&spool);
    let sequences: Vec<u64> = records.iter().map(|(seq, _)| *seq).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let (_, newest) = records.last().expect("what was appended");
    assert_eq!(newest, &event().encode_to_vec(), "what was appended");
    let (acked, last) = (
        spool.stats().acked_seq,
        sequences.last().copied().unwrap_or_default(),
    );
    assert_eq!(sequences.first(), Some(&(acked + 1)));
    let middle = acked + (last - acked) / 2;
    spool.ack(middle).expect("it was handed out");
    let position = spool.position();
    drop(spool);
    if files.are_large {
        return;
    }

    let spool = open(directory.path());
    assert_eq!(spool.position(), position, "after a restart");
    let left: Vec<_> = records
        .into_iter()
        .filter(|(seq, _)| *seq > middle)
        .collect();
    assert_eq!(read(&spool), left);
}

fn open(directory: &Path) -> Spool {
    Spool::open(Place {
        directory: directory.to_owned(),
        max_bytes: MAX_BYTES,
        lane: Lane::Findings,
    })
}

fn event() -> v1::Event {
    let exit = v1::event::Detail::Exit(v1::Exit::default());
    v1::Event {
        time_unix_nano: MARK,
        detail: Some(exit),
        ..v1::Event::default()
    }
}

fn read(spool: &Spool) -> Vec<(u64, Vec<u8>)> {
    let records = spool.read_from(0, usize::MAX, usize::MAX);
    records.expect("the spool can be read")
}

/// Files as an input describes them.
struct Files {
    directory: PathBuf,
    are_large: bool,
}

impl Files {
    fn write(&mut self, mut input: Input<'_>) {
        for _ in 0..FILES_MAX {
            match input.byte() % 6 {
                0 => return,
                1 => self.state(&mut input),
                2 => self.segment("seg", &mut input),
                3 => self.segment("gap", &mut input),
                4 => self.segment("told", &mut input),
                _ => {
                    let name = match input.byte() % 3 {
                        0 => "state",
                        1 => "0000000000000001.seg",
                        _ => "0000000000000002.told",
                    };
                    let bytes = input.counted();
                    self.are_large |= name == "state";
                    self.put(name, bytes);
                }
            }
        }
    }

    fn number(&mut self, input: &mut Input<'_>) -> u64 {
        // Small ones, which fit together, are as likely as any.
        let number = match input.byte() {
            small @ 0..128 => u64::from(small % 8),
            _ => input.word(),
        };
        self.are_large |= number >= LARGE;
        number
    }

    fn state(&mut self, input: &mut Input<'_>) {
        let mut file = vec![0; 2 * SLOT];
        for slot in file.chunks_exact_mut(SLOT) {
            slot[..8].copy_from_slice(b"SKEPSTA1");
            for at in (8..56).step_by(8) {
                slot[at..at + 8].copy_from_slice(&self.number(input).to_le_bytes());
            }
            let crc = crc32fast::hash(&slot[..56]) ^ u32::from(input.byte() == 255);
            slot[56..60].copy_from_slice(&crc.to_le_bytes());
        }
        self.put("state", &file);
    }

    fn segment(&mut self, kind: &str, input: &mut Input<'_>) {
        let mut file = b"SKEPSPL1".to_vec();
        let id = self.number(input);
        let covers = match input.byte() % 2 {
            0 => id,
            _ => self.number(input),
        };
        let tombstone = u32::from(input.byte() % 2);
        for number in [id, covers, self.number(input)] {
            file.extend(number.to_le_bytes());
        }
        file.extend(tombstone.to_le_bytes());
        let crc = crc32fast::hash(&file) ^ u32::from(input.byte() == 255);
        file.extend(crc.to_le_bytes());
        for _ in 0..input.byte() % 8 {
            file.extend(frame(input.counted()));
        }
        file.extend(input.counted());
        self.put(&format!("{id:016x}.{kind}"), &file);
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.directory.join(name), bytes).expect("writes a temporary file");
    }
}
