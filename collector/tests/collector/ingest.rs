//! Streams: what is acknowledged, what is refused, and that others do not notice.

use std::time::Duration;

use prost::Message;
use skep_proto::v1::{
    CollectorMessage, Event, Hello, SensorMessage, collector_message::Body as Down,
    sensor_message::Body as Up,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

use crate::scene::{
    Collector, EPOCH, OTHER_SENSOR, SENSOR, Sensor, encoded, event, hello, opens, until, value,
};

const COUNT: &str = "SELECT count(*) FROM events";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_no_table_yet_outlives_the_collector() {
    let data = tempfile::tempdir().unwrap();
    let never = |o: &mut skep_collector::serve::Options| {
        o.store.flush_every = Duration::from_secs(3600);
    };
    let collector = Collector::with(data.path(), never);
    let url = collector.url();
    let (mut sensor, acked) = Sensor::connect(&url, SENSOR).await;
    assert_eq!(acked, 0);
    sensor.send(1, opens(1, 5)).await;
    sensor.acked(5).await;
    assert_eq!(value(&url, COUNT).await, 5, "visible at once");
    assert_eq!(collector.counter("files_written"), 0);
    collector.lose();

    let collector = Collector::with(data.path(), never);
    assert_eq!(value(&collector.url(), COUNT).await, 5);
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 5);
    sensor.send(6, opens(6, 5)).await;
    sensor.acked(10).await;
    collector.stop();

    let collector = Collector::start(data.path());
    let sql = "SELECT count(*) = 10 AND count(DISTINCT seq) = 10 FROM events";
    assert_eq!(value(&collector.url(), sql).await, true);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_stream_of_a_source_is_listened_to() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut first, _) = Sensor::connect(&url, SENSOR).await;
    first.send(1, opens(1, 10)).await;
    first.acked(10).await;
    let last = opens(10, 1).remove(0).encode_to_vec();
    let (mut second, welcome) = Sensor::welcome(&url, hello(SENSOR)).await;
    assert_eq!(welcome.acked_seq, 10);
    assert_eq!(welcome.acked_crc32, Some(crc32fast::hash(&last)));
    first.send(11, opens(11, 10)).await;
    let (code, reason) = first.refused().await;
    assert_eq!(code, "superseded", "{reason}");
    second.send(11, opens(111, 5)).await;
    second.acked(15).await;
    assert_eq!(value(&url, COUNT).await, 15);
    let paths = "SELECT max(file_path) FROM events WHERE seq = 11";
    assert!(value(&url, paths).await.as_str().unwrap().contains("111"));
    // Another epoch is another source: nobody is in the way.
    let other = Hello {
        epoch: EPOCH + 1,
        ..hello(SENSOR)
    };
    let (mut third, welcome) = Sensor::welcome(&url, other).await;
    assert_eq!((welcome.acked_seq, welcome.acked_crc32), (0, None));
    third.send(1, opens(1, 1)).await;
    third.acked(1).await;
    second.send(16, opens(16, 1)).await;
    second.acked(16).await;
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_there_after_the_collector_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    for batch in 0..20 {
        sensor.send(batch * 10 + 1, opens(batch * 10 + 1, 10)).await;
    }
    sensor.acked(200).await;
    collector.lose();

    let collector = Collector::start(data.path());
    let (_sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 200);
    let url = collector.url();
    assert_eq!(value(&url, COUNT).await, 200);
    assert_eq!(
        value(&url, "SELECT count(DISTINCT seq) FROM events").await,
        200
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_writes_and_acknowledges_what_was_taken() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::with(data.path(), |options| {
        options.store.flush_every = Duration::from_millis(300);
    });
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    sensor.send(1, opens(1, 3)).await;
    until(&url, COUNT, 3).await;
    let stopping = tokio::task::spawn_blocking(|| collector.stop());
    sensor.acked(3).await;
    assert!(sensor.hear().await.is_none());
    stopping.await.unwrap();

    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 3);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut first, _) = Sensor::connect(&url, SENSOR).await;
    first.send(1, opens(1, 10)).await;
    first.acked(10).await;
    // The same again, then half known and half new, from a second stream of the same sensor.
    let (mut second, acked) = Sensor::connect(&url, SENSOR).await;
    assert_eq!(acked, 10);
    second.send(1, opens(1, 10)).await;
    second.send(6, opens(6, 10)).await;
    second.acked(15).await;
    assert_eq!(value(&url, COUNT).await, 15);
    assert_eq!(
        value(&url, "SELECT count(DISTINCT file_path) FROM events").await,
        15
    );
    assert_eq!(collector.counter("duplicates"), 15);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_epoch_counts_from_one_again() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    sensor.send(1, opens(1, 10)).await;
    sensor.acked(10).await;
    let mut again = Sensor::silent(&url).await;
    again
        .say(Up::Hello(Hello {
            epoch: EPOCH + 1,
            ..hello(SENSOR)
        }))
        .await;
    assert!(matches!(again.hear().await, Some(Down::Welcome(w)) if w.acked_seq == 0));
    again.send(1, opens(11, 10)).await;
    again.acked(10).await;
    assert_eq!(value(&url, COUNT).await, 20);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_buffer_slows_the_sensor_down_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::with(data.path(), |options| {
        options.store.flush_every = Duration::from_millis(20);
        options.store.buffer_bytes = 64 << 10;
    });
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    for batch in 0..60 {
        sensor.send(batch * 50 + 1, opens(batch * 50 + 1, 50)).await;
    }
    sensor.acked(3000).await;
    assert_eq!(value(&collector.url(), COUNT).await, 3000);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_do_not_read_their_answers_hold_up_nobody_else() {
    // Four messages have a turn at the same time.
    const DEAF: u64 = 16;
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let mut deaf = Vec::new();
    for number in 0..DEAF {
        deaf.push(Sensor::deaf(&url, &format!("{number:032x}")).await);
    }
    // An answer to each event, until only a few more can wait to be read.
    for seq in 1..=14 {
        for sensor in &deaf {
            sensor.send(seq, opens(seq, 1)).await;
        }
        until(&url, COUNT, seq * DEAF).await;
    }
    for sensor in &deaf {
        for seq in 15..=60 {
            sensor.send(seq, opens(seq, 1)).await;
        }
    }
    let (mut good, _) = Sensor::connect(&url, SENSOR).await;
    for seq in 1..=20 {
        good.send(seq, opens(seq, 1)).await;
        good.acked(seq).await;
    }
    drop(deaf);
    collector.lose();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_the_protocol_is_refused_alone() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut good, _) = Sensor::connect(&url, OTHER_SENSOR).await;
    good.send(1, opens(1, 5)).await;
    good.acked(5).await;

    let batch = |first: u64, events| Some(Up::Batch(encoded(first, events)));
    let greeting = || Some(Up::Hello(hello(SENSOR)));
    let bare = Event {
        detail: None,
        ..opens(1, 1).remove(0)
    };
    let late = Event {
        time_unix_nano: u64::MAX,
        ..opens(1, 1).remove(0)
    };
    let nameless = Event {
        session: Some("somewhere".to_owned()),
        ..opens(1, 1).remove(0)
    };
    let exit = event(
        1,
        skep_proto::v1::event::Detail::Exit(skep_proto::v1::Exit {
            code: Some(256),
            signal: None,
        }),
    );
    let coverage = |phase: i32, last_unix_nano| {
        let change = skep_proto::v1::Coverage {
            phase,
            last_unix_nano,
            ..skep_proto::v1::Coverage::default()
        };
        event(1, skep_proto::v1::event::Detail::Coverage(change))
    };
    let found = skep_proto::v1::SessionInfo {
        phase: 1,
        found: 99,
        ..skep_proto::v1::SessionInfo::default()
    };
    let found = event(1, skep_proto::v1::event::Detail::SessionInfo(found));
    let id = |id: &str| {
        Some(Up::Hello(Hello {
            sensor_id: id.to_owned(),
            ..hello(SENSOR)
        }))
    };
    let cases: Vec<(&str, &str, Vec<Option<Up>>)> = vec![
        (
            "malformed",
            "first message must be hello",
            vec![batch(1, opens(1, 1))],
        ),
        ("malformed", "second hello", vec![greeting(), greeting()]),
        ("malformed", "neither", vec![greeting(), None]),
        ("malformed", "sensor_id", vec![id("host-17")]),
        ("malformed", "sensor_id", vec![id(&SENSOR.to_uppercase())]),
        // Not even decoded.
        ("too_large", "262144 bytes", vec![id(&"0".repeat(300_000))]),
        (
            "wrong_epoch",
            "epoch",
            vec![Some(Up::Hello(Hello {
                epoch: 0,
                ..hello(SENSOR)
            }))],
        ),
        (
            "sequence_gap",
            "2, and 1",
            vec![greeting(), batch(2, opens(1, 1))],
        ),
        (
            "malformed",
            "sequence",
            vec![greeting(), batch(0, opens(1, 1))],
        ),
        (
            "malformed",
            "sequence",
            vec![greeting(), batch(u64::MAX, opens(1, 2))],
        ),
        (
            "malformed",
            "without events",
            vec![greeting(), batch(1, vec![])],
        ),
        (
            "malformed",
            "event 1: it has no detail",
            vec![greeting(), batch(1, vec![bare])],
        ),
        ("malformed", "2262", vec![greeting(), batch(1, vec![late])]),
        (
            "malformed",
            "session id",
            vec![greeting(), batch(1, vec![nameless])],
        ),
        (
            "malformed",
            "exit.code",
            vec![greeting(), batch(1, vec![exit])],
        ),
        (
            "malformed",
            "coverage.phase",
            vec![greeting(), batch(1, vec![coverage(0, 1)])],
        ),
        (
            "malformed",
            "2262",
            vec![greeting(), batch(1, vec![coverage(1, u64::MAX)])],
        ),
        (
            "malformed",
            "session.found",
            vec![greeting(), batch(1, vec![found])],
        ),
        (
            "too_large",
            "more than 20000 events",
            vec![greeting(), batch(1, opens(1, 20_001))],
        ),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (code, reason, messages) in cases {
        let mut bad = Sensor::silent(&url).await;
        for message in messages {
            bad.say_message(SensorMessage { body: message }).await;
        }
        let (got, why) = bad.refused().await;
        assert_eq!(got, code, "{why}");
        assert!(why.contains(reason), "{why}");
        *expected.entry(format!("refused_{code}")).or_insert(0) += 1;
    }
    for (counter, count) in expected {
        assert_eq!(collector.counter(&counter), count, "{counter}");
    }
    good.send(6, opens(6, 5)).await;
    good.acked(10).await;
    assert_eq!(
        value(&url, COUNT).await,
        10,
        "nothing of a refused stream is stored"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_after_what_came_before_it_was_taken() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(1, opens(1, 5)).await;
    sensor.send(7, opens(7, 1)).await;
    let (code, reason) = sensor.refused().await;
    assert_eq!(code, "sequence_gap");
    assert_eq!(
        reason,
        "the batch starts at sequence 7, and 6 is the next one to come"
    );
    until(&collector.url(), COUNT, 5).await;
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused_and_counted() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let (mut good, _) = Sensor::connect(&collector.url(), OTHER_SENSOR).await;

    assert_eq!(
        raw_stream(&collector.url(), vec![0xff; 40]).await,
        "malformed"
    );
    let large = vec![0; skep_proto::MAX_MESSAGE_BYTES + 1];
    assert_eq!(raw_stream(&collector.url(), large).await, "too_large");
    assert_eq!(collector.counter("refused_malformed"), 1);
    assert_eq!(collector.counter("refused_too_large"), 1);

    let mut stream = tokio::net::TcpStream::connect(collector.address())
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    collector.counted("refused_not_http2", 1).await;

    good.send(1, opens(1, 5)).await;
    good.acked(5).await;
    collector.stop();
}

/// Sends one message of any bytes; the code of the refusal.
async fn raw_stream(url: &str, message: Vec<u8>) -> String {
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/skep.v1.Ingest/Stream");
    let messages = tokio_stream::iter([message]);
    let answer = grpc
        .streaming(Request::new(messages), path, Raw)
        .await
        .unwrap();
    let message = answer.into_inner().message().await.unwrap().unwrap();
    match message.body {
        Some(Down::Refusal(refusal)) => refusal.code,
        other => panic!("not refused but {other:?}"),
    }
}

/// Bytes up, messages down.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = CollectorMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = CollectorMessage;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<CollectorMessage>, Status> {
        CollectorMessage::decode(bytes)
            .map(Some)
            .map_err(|e| Status::internal(e.to_string()))
    }
}
