//! The files of the spool and the framing of messages, as the formats are documented and not as the
//! product reads them.

use std::{fs, path::Path};

use prost::Message;
use skep_proto::v1;

use crate::files::{Stream, escaped, unescaped};

/// Of each lane; the lowest bit is the lane's.
pub const EPOCHS: [(&str, u64); 2] = [
    ("findings", 1_763_626_400_000_000_001),
    ("bulk", 1_763_626_400_000_000_000),
];

/// Bytes of a slot of the state file, and of what is written there.
const SLOT: usize = 4096;
const STATE: usize = 64;
/// Bytes of a segment's header.
const HEADER: usize = 40;

/// State files of a spool that was just made, so that its epochs are not those of the clock.
pub fn begin(directory: &Path) {
    for (lane, epoch) in EPOCHS {
        let lane = directory.join(lane);
        fs::create_dir_all(&lane).unwrap();
        let mut state = vec![0; 2 * SLOT];
        let slot = &mut state[SLOT..SLOT + STATE];
        slot[..8].copy_from_slice(b"SKEPSTA1");
        // Generation, epoch, acknowledged, handed out, first segment, records of it acknowledged.
        for (word, at) in [1, epoch, 0, 0, 1, 0].into_iter().zip((8..56).step_by(8)) {
            slot[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
        }
        let crc = crc32fast::hash(&slot[..56]);
        slot[56..60].copy_from_slice(&crc.to_le_bytes());
        fs::write(lane.join("state"), state).unwrap();
    }
}

/// Every file of a spool: `state` by its slots, a segment by header and records.
pub fn shown(directory: &Path) -> String {
    let mut out = String::new();
    for (lane, _) in EPOCHS {
        let entries = fs::read_dir(directory.join(lane)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            out += &format!("file {lane}/{name} of {} bytes\n", bytes.len());
            let parts: Vec<&[u8]> = match name {
                "state" => bytes.chunks(SLOT).map(without_zeros).collect(),
                _ if bytes.len() > HEADER => {
                    let (header, records) = bytes.split_at(HEADER);
                    [vec![header], frames(records)].concat()
                }
                _ => vec![&bytes],
            };
            for part in parts {
                out += &format!("part {}\n", escaped(part));
            }
        }
    }
    out
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0);
    &bytes[..end.map_or(0, |end| end + 1)]
}

/// Makes the files that [`shown`] showed.
pub fn restore(text: &str, directory: &Path) {
    let mut file = None;
    for line in text.lines() {
        match line.split_once(' ').unwrap() {
            ("file", rest) => {
                let name = rest.split(' ').next().unwrap();
                let path = directory.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, b"").unwrap();
                file = Some(path);
            }
            ("part", rest) => {
                let file = file.as_ref().expect("a file before its parts");
                let mut bytes = fs::read(file).unwrap();
                let mut part = unescaped(rest);
                if file.ends_with("state") {
                    part.resize(SLOT, 0);
                }
                bytes.extend(part);
                fs::write(file, bytes).unwrap();
            }
            _ => panic!("no line of a spool: {line}"),
        }
    }
}

/// Records of `length u32 | crc32 u32 | payload`, each with its frame; what is no record is one part.
pub fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.first_chunk().map_or(usize::MAX, |length| {
            8 + u32::from_le_bytes(*length) as usize
        });
        let (frame, rest) = bytes.split_at(length.min(bytes.len()));
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// A message to a collector: what comes before the first event of a batch, and the events with their
/// tags; all of it if there is none.
pub fn split_batch(message: &[u8]) -> (&[u8], Vec<&[u8]>) {
    const BATCH: u8 = 2 << 3 | 2;
    const FIRST_SEQ: u8 = 1 << 3;
    let Some((&BATCH, rest)) = message.split_first() else {
        return (message, Vec::new());
    };
    let (_, mut batch) = varint(rest);
    if let Some((&FIRST_SEQ, rest)) = batch.split_first() {
        (_, batch) = varint(rest);
    }
    let head = &message[..message.len() - batch.len()];
    let mut events = Vec::new();
    while let Some((_, rest)) = batch.split_first() {
        let (length, rest) = varint(rest);
        let end = batch.len() - rest.len() + length;
        let (event, rest) = batch.split_at(end);
        events.push(event);
        batch = rest;
    }
    (head, events)
}

fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| *byte < 0x80).expect("it ends") + 1;
    let (digits, rest) = bytes.split_at(end);
    let value = digits
        .iter()
        .rev()
        .fold(0, |value, digit| value << 7 | usize::from(digit & 0x7f));
    (value, rest)
}

/// Answers as a collector does that stores everything: what is recorded until a real one has answered.
pub fn acknowledges_everything() -> impl FnMut(&Stream) -> Option<Vec<u8>> + Send + 'static {
    let mut stored: Vec<(u64, v1::Event)> = Vec::new();
    move |stream| {
        let decoded = stream.messages.iter().map(|message| {
            let message = v1::SensorMessage::decode(&message[..]).expect("a message");
            message.body.expect("hello or batch")
        });
        let mut epoch = 0;
        let mut said = Vec::new();
        for body in decoded {
            match body {
                v1::sensor_message::Body::Hello(hello) => epoch = hello.epoch,
                v1::sensor_message::Body::Outcome(_) => {}
                v1::sensor_message::Body::Batch(batch) => {
                    said = v1::Batch::decode(batch).expect("a batch").events;
                }
            }
        }
        let is_hello = said.is_empty();
        stored.extend(said.into_iter().map(|event| (epoch, event)));
        let of_epoch: Vec<_> = stored.iter().filter(|(of, _)| *of == epoch).collect();
        let seq = of_epoch.len() as u64;
        let last = of_epoch.last();
        let body = match is_hello {
            true => v1::collector_message::Body::Welcome(v1::Welcome {
                acked_seq: seq,
                acked_crc32: last.map(|(_, event)| crc32fast::hash(&event.encode_to_vec())),
            }),
            false => v1::collector_message::Body::Ack(v1::Ack { seq }),
        };
        Some(v1::CollectorMessage { body: Some(body) }.encode_to_vec())
    }
}
