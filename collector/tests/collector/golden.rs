//! What is answered and stored stays the same, to the byte: the recorded messages of a sensor get the
//! recorded answers, and end up as the recorded rows. `tests/golden/README.md` says what a difference
//! means.

#[path = "../../../tests/golden/files.rs"]
mod files;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{
    datatypes::{Fields, Schema},
    json::{LineDelimitedWriter, WriterBuilder, writer::LineDelimited},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::bytes::{Buf, BufMut};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Endpoint,
};

use self::files::{Stream, escaped};
use crate::scene::{Collector, HANG, ask};

/// Those whose rows depend on the events alone.
const VIEWS: [&str; 7] = [
    "agents",
    "coverage",
    "findings",
    "hooks",
    "session_activity",
    "session_gaps",
    "sessions",
];

#[tokio::test(flavor = "multi_thread")]
async fn recorded_messages_get_the_recorded_answers_and_become_the_recorded_rows() {
    let data = tempfile::tempdir().unwrap();
    // All rows of a class in one file.
    let collector = Collector::with(data.path(), |options| {
        options.store.flush_every = Duration::from_secs(3600);
    });
    let url = collector.url();
    let mut answers = String::new();
    // In the order in which a sensor opens them: each lane goes on where it was acknowledged.
    let mut streams = files::streams(&files::text("messages.txt"));
    streams.sort_by_key(|stream| stream.name.split(' ').rev().collect::<String>());
    for stream in &streams {
        writeln!(answers, "stream {}", stream.name).unwrap();
        for answer in say(&url, stream).await {
            writeln!(answers, "message {}", escaped(&answer)).unwrap();
        }
    }

    let mut schemas = String::new();
    let events = ask(&url, "SELECT * FROM events ORDER BY epoch, seq").await;
    let events = known(events.unwrap());
    let mut views = String::new();
    for view in VIEWS {
        let described = ask(&url, &format!("DESCRIBE {view}")).await.unwrap();
        describe(&mut schemas, &format!("view {view}"), &described);
        let rows = ask(&url, &format!("SELECT * FROM {view}")).await.unwrap();
        let mut lines: Vec<_> = known(rows)
            .into_iter()
            .map(Value::from)
            .map(|row| row.to_string())
            .collect();
        lines.sort();
        for line in lines {
            writeln!(views, "{view} {line}").unwrap();
        }
    }
    let described = ask(&url, "DESCRIBE events").await.unwrap();
    describe(&mut schemas, "view events", &described);
    collector.stop();

    let mut rows = String::new();
    let mut stored = Vec::new();
    for (class, file) in files_of_classes(data.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let sum = crc32fast::hash(&bytes);
        writeln!(
            schemas,
            "file of {class}: {} bytes, crc32 {sum:08x}",
            bytes.len()
        )
        .unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        fields(&mut schemas, reader.schema());
        delta_schema(&mut schemas, &data.path().join("table").join(&class));
        let mut lines = json_lines();
        for batch in reader.build().unwrap() {
            lines.write(&batch.unwrap()).unwrap();
        }
        lines.finish().unwrap();
        for line in String::from_utf8(lines.into_inner()).unwrap().lines() {
            writeln!(rows, "{class} {line}").unwrap();
            let mut row: Map<String, Value> = serde_json::from_str(line).unwrap();
            row.insert("class".to_owned(), class.as_str().into());
            stored.push(row);
        }
    }
    files::check(&[
        ("answers.txt", &answers),
        ("schemas.txt", &schemas),
        ("rows.ndjson", &rows),
        ("views.ndjson", &views),
    ]);

    stored.sort_by_key(|row| (row["epoch"].as_u64(), row["seq"].as_u64()));
    assert_eq!(stored.len(), events.len());
    let lines = |rows: &[Map<String, Value>]| -> String {
        let lines = rows
            .iter()
            .map(|row| Value::from(row.clone()).to_string() + "\n");
        lines.collect()
    };
    let (stored, asked) = (lines(&stored), lines(&events));
    let difference = files::difference(&stored, &asked);
    assert!(
        stored == asked,
        "a query sees what is stored:\n{difference}"
    );
}

/// Says a stream's messages one by one; what each is answered.
async fn say(url: &str, stream: &Stream) -> Vec<Vec<u8>> {
    let channel = Endpoint::from_shared(url.to_owned()).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap())
        .send_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Zstd);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/skep.v1.Ingest/Stream");
    let (up, messages) = mpsc::channel(1);
    let messages = Request::new(ReceiverStream::new(messages));
    let mut answers = Vec::new();
    let (first, rest) = stream.messages.split_first().unwrap();
    up.send(first.clone()).await.unwrap();
    let down = grpc.streaming(messages, path, Bytes).await.unwrap();
    let mut down = down.into_inner();
    let mut rest = rest.iter();
    loop {
        let answer = tokio::time::timeout(HANG, down.message()).await;
        answers.push(
            answer
                .expect("an answer")
                .unwrap()
                .expect("the stream goes on"),
        );
        match rest.next() {
            Some(message) => up.send(message.clone()).await.unwrap(),
            None => break,
        }
    }
    drop(up);
    let end = tokio::time::timeout(HANG, down.message()).await;
    assert_eq!(end.expect("an end").unwrap(), None, "{}", stream.name);
    answers
}

/// Rows without what is null, as a line of the files has them.
fn known(rows: Value) -> Vec<Map<String, Value>> {
    let Value::Array(rows) = rows else {
        panic!("no rows: {rows}");
    };
    let known = |row: Value| {
        let Value::Object(row) = row else {
            panic!("no row: {row}");
        };
        row.into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect()
    };
    rows.into_iter().map(known).collect()
}

/// The one file that each class has.
fn files_of_classes(data: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for class in std::fs::read_dir(data.join("table")).unwrap() {
        let class = class.unwrap();
        let name = class.file_name().into_string().unwrap();
        let days = std::fs::read_dir(class.path()).unwrap();
        let days = days.map(|day| day.unwrap().path());
        let days = days.filter(|day| !day.ends_with("_delta_log"));
        for file in days.flat_map(|day| std::fs::read_dir(day).unwrap()) {
            let before = files.insert(name.clone(), file.unwrap().path());
            assert_eq!(before, None, "one file a class");
        }
    }
    files
}

fn json_lines() -> LineDelimitedWriter<Vec<u8>> {
    WriterBuilder::new().build::<_, LineDelimited>(Vec::new())
}

fn fields(out: &mut String, schema: &Arc<Schema>) {
    let fields: &Fields = schema.fields();
    for field in fields {
        let null = if field.is_nullable() {
            ""
        } else {
            ", never null"
        };
        writeln!(out, "  {}: {}{null}", field.name(), field.data_type()).unwrap();
    }
}

/// What the table's log says of its columns.
fn delta_schema(out: &mut String, table: &Path) {
    let log = std::fs::read_to_string(table.join("_delta_log/00000000000000000000.json")).unwrap();
    let actions = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    for action in actions {
        let Value::Object(metadata) = &action["metaData"] else {
            continue;
        };
        for key in ["partitionColumns", "configuration", "schemaString"] {
            let value = &metadata[key];
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            writeln!(out, "  delta {key} {text}").unwrap();
        }
    }
}

fn describe(out: &mut String, name: &str, columns: &Value) {
    writeln!(out, "{name}").unwrap();
    for column in columns.as_array().unwrap() {
        writeln!(out, "  {column}").unwrap();
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; bytes.remaining()];
        bytes.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
