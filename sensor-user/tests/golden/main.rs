//! What is written and sent stays the same, to the byte: a recorded sequence of kernel records gives the
//! lines of `watch --json`, the spool, the journal and the conversation with a collector that are in
//! `tests/golden`. What a difference means, and how the files are made anew, is in its README.md.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../../tests/golden/files.rs"]
mod files;
mod product;
mod recording;
mod server;
mod spool;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use prost::Message;
use skep_proto::v1;

use self::{
    files::{Stream, escaped},
    product::{Events, Spool},
    server::Collector,
};

/// Nothing here takes nearly as long, unless it hangs.
pub const HANGS: Duration = Duration::from_secs(60);

/// So many of the last events are sent over a second connection.
const SENT_LATER: usize = 12;
/// So many events of each lane of the recorded spool are acknowledged, of all that were handed out.
const ACKNOWLEDGED: u64 = 10;

const RECORDS: &str = "records.txt";
const WATCH: &str = "watch.ndjson";
const JOURNAL: &str = "journal.txt";
const SPOOL: &str = "spool.txt";
const MESSAGES: &str = "messages.txt";
const ANSWERS: &str = "answers.txt";

/// What the recorded sequence gives, by a sensor that finds the recorded journal in `state`.
fn events_in(state: &Path) -> Events {
    let passwd = state.join("passwd");
    fs::write(&passwd, "dev:x:1000:1000::/home/dev:/bin/bash\n").unwrap();
    let before = journals()
        .remove("the life before")
        .expect("a recorded journal");
    fs::write(state.join("sessions.journal"), before).unwrap();
    let recorded = match files::is_blessing() {
        true => recording::recorded(),
        false => files::text(RECORDS),
    };
    product::events(&recording::steps(&recorded), state, &passwd)
}

fn wire() -> Vec<v1::Event> {
    let state = tempfile::tempdir().unwrap();
    events_in(state.path()).wire()
}

#[test]
fn the_kernel_records_are_the_recorded_ones() {
    files::check(&[(RECORDS, &recording::recorded())]);
}

#[test]
fn watch_prints_the_recorded_lines() {
    let state = tempfile::tempdir().unwrap();
    files::check(&[(WATCH, &events_in(state.path()).json())]);
}

// === the journal ===

/// The journals in the golden file, by the life they are of.
fn journals() -> BTreeMap<String, Vec<u8>> {
    let text = match files::is_blessing() {
        true => journal_of_the_life_before(),
        false => files::text(JOURNAL),
    };
    let streams = files::streams(&text).into_iter();
    let journals = streams.map(|journal| (journal.name, journal.messages.concat()));
    journals.collect()
}

fn journal_of_the_life_before() -> String {
    let state = tempfile::tempdir().unwrap();
    product::earlier_life(state.path());
    let journal = fs::read(state.path().join("sessions.journal")).unwrap();
    shown_journal("the life before", &journal)
}

/// Header and entries, each on a line of its own.
fn shown_journal(life: &str, journal: &[u8]) -> String {
    let (header, entries) = journal.split_at(64);
    let mut out = format!("stream {life}\nmessage {}\n", escaped(header));
    for frame in spool::frames(entries) {
        out += &format!("more {}\n", escaped(frame));
    }
    out
}

#[test]
fn the_journal_holds_the_recorded_bytes_and_is_read_from_them() {
    let state = tempfile::tempdir().unwrap();
    events_in(state.path());
    let journal = fs::read(state.path().join("sessions.journal")).unwrap();
    let both = journal_of_the_life_before() + &shown_journal("this life", &journal);
    files::check(&[(JOURNAL, &both)]);
}

// === the spool ===

#[test]
fn the_spool_holds_the_recorded_bytes() {
    let directory = tempfile::tempdir().unwrap();
    spool::begin(directory.path());
    let spool = Spool::open(directory.path());
    spool.append(&wire());
    for (lane, _) in spool::EPOCHS {
        spool.waiting(lane);
        spool.acknowledge(lane, ACKNOWLEDGED);
    }
    drop(spool);
    files::check(&[(SPOOL, &spool::shown(directory.path()))]);
}

#[test]
fn a_recorded_spool_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    if files::is_blessing() {
        return;
    }
    spool::restore(&files::text(SPOOL), directory.path());
    let spool = Spool::open(directory.path());
    let events = wire();
    for (lane, _) in spool::EPOCHS {
        let events = events.iter().filter(|event| product::lane(event) == lane);
        let numbered = (1..).zip(events.map(product::encoded));
        let expected = numbered_lines(numbered.skip(ACKNOWLEDGED as usize));
        let waiting = numbered_lines(spool.waiting(lane));
        let difference = files::difference(&expected, &waiting);
        assert!(waiting == expected, "{lane}:\n{difference}");
    }
    let positions = spool::EPOCHS.map(|(lane, epoch)| (lane.to_owned(), epoch, ACKNOWLEDGED));
    assert_eq!(spool.positions(), positions);
}

fn numbered_lines(records: impl IntoIterator<Item = (u64, Vec<u8>)>) -> String {
    let lines = records
        .into_iter()
        .map(|(seq, record)| format!("{seq} {}\n", escaped(&record)));
    lines.collect()
}

// === the conversation ===

/// `bulk 1` is the first stream of the lane.
fn named(begun: &mut BTreeMap<i32, u32>, hello: &[u8]) -> String {
    let message = v1::SensorMessage::decode(hello).expect("a message");
    let Some(v1::sensor_message::Body::Hello(hello)) = message.body else {
        panic!("the first message is no hello: {message:?}");
    };
    let lane = match hello.lane() {
        v1::Lane::Unspecified => "bulk",
        v1::Lane::Findings => "findings",
    };
    let number = begun.entry(hello.lane).or_default();
    *number += 1;
    format!("{lane} {number}")
}

/// The streams of a sensor that is answered by `answer`: at first with all but the last events, then,
/// connected anew, with the rest. Gives also how far each lane was acknowledged.
fn conversation(
    answer: impl FnMut(&Stream) -> Option<Vec<u8>> + Send + 'static,
) -> (Vec<Stream>, Vec<(String, u64, u64)>) {
    let directory = tempfile::tempdir().unwrap();
    spool::begin(directory.path());
    let spool = Spool::open(directory.path());
    let mut begun = BTreeMap::new();
    let collector = Collector::start(move |hello| named(&mut begun, hello), answer);
    let events = wire();
    let (first, rest) = events.split_at(events.len() - SENT_LATER);
    for events in [first, rest] {
        spool.append(events);
        spool.send(collector.port);
    }
    (collector.heard(), spool.positions())
}

/// A stream's messages, an event of a batch on a line.
fn shown(streams: &[Stream]) -> String {
    let mut out = String::new();
    for Stream { name, messages } in streams {
        out += &format!("stream {name}\n");
        for message in messages {
            let (head, events) = spool::split_batch(message);
            out += &format!("message {}\n", escaped(head));
            for event in events {
                out += &format!("more {}\n", escaped(event));
            }
        }
    }
    out
}

#[test]
fn a_recorded_collector_hears_the_recorded_messages_and_its_answers_are_understood() {
    if files::is_blessing() {
        let (heard, _) = conversation(spool::acknowledges_everything());
        files::check(&[(MESSAGES, &shown(&heard))]);
        return;
    }
    let recorded = files::streams(&files::text(ANSWERS));
    let (heard, positions) = conversation(move |stream| {
        let answers = recorded
            .iter()
            .find(|answers| answers.name == stream.name)?;
        answers.messages.get(stream.messages.len() - 1).cloned()
    });
    files::check(&[(MESSAGES, &shown(&heard))]);
    let count = |lane| {
        wire()
            .iter()
            .filter(|event| product::lane(event) == lane)
            .count()
    };
    let all = spool::EPOCHS.map(|(lane, epoch)| (lane.to_owned(), epoch, count(lane) as u64));
    assert_eq!(
        positions, all,
        "everything is acknowledged, and the epochs go on"
    );
}
