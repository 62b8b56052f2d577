//! Writes the Parquet files of a table.
//!
//! Rows are in the order of their time by blocks of [`BLOCK_ROWS`], and in a block each session's are
//! together, in the order of their time. A block is a page of the column `time`, so that a reader that
//! looks for a time is told as exactly as if the rows were in the order of their time altogether; and
//! most columns say the same for all rows of a session that follow each other, which makes files a
//! fifth smaller.
//!
//! What is chosen below was measured on events of the load generator: zstd 3; differences for what
//! counts up, dictionaries for the rest (the default of the writer, which gives up on a column whose
//! values differ); a bloom filter of `session`, by which a single session is looked for and whose values
//! say nothing of where they are; minima and maxima per page of `time` only, per column and row group
//! else.

use std::ops::Range;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::TimestampMicrosecondType,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use object_store::path::Path;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use super::table::NewFile;
use crate::{
    error::{Error, Result},
    schema::{Class, DAY, Rows, Stored},
};

/// Rows that a reader takes or leaves together.
pub(super) const ROW_GROUP_ROWS: usize = 128 << 10;
/// Rows among which those of a session are put together.
pub(super) const BLOCK_ROWS: usize = 8 << 10;
/// Room for the paths of most row groups: a text that is in the dictionary is decompressed once a group.
const DICTIONARY_BYTES: usize = 4 << 20;
/// Compared with more, 3 gives most of the gain for a fraction of the time.
const LEVEL: i32 = 3;
/// Chance that the filter of a row group says maybe for a session that is not in it.
const FALSE_POSITIVES: f64 = 0.001;
/// Rows of an event older than this, or from further ahead than a clock may go wrong, are kept under
/// the day they came: a wrong clock cannot make more partitions than there are days in between.
const OLDEST_DAYS: i64 = 400;
const NEWEST_DAYS: i64 = 2;
const DAY_MICROS: i64 = 86_400_000_000;

/// A file that is not stored yet.
pub(super) struct Encoded {
    pub file: NewFile,
    pub bytes: Vec<u8>,
}

/// Encodes rows, taken as they came, as one file a day.
pub(super) fn encode(class: Class, rows: Vec<Rows>, now: Timestamp) -> Result<Vec<Encoded>> {
    let rows = Rows::sorted(class, rows);
    by_day(&rows.times(), now)
        .into_iter()
        .map(|(day, ranges)| {
            let mut file = FileWriter::new(class, day)?;
            for range in ranges {
                for start in range.clone().step_by(BLOCK_ROWS) {
                    let end = range.end.min(start + BLOCK_ROWS);
                    file.write(&rows.block(start..end)?)?;
                }
            }
            file.finish()
        })
        .collect()
}

/// Ranges of sorted rows, by day; those of one day ascend.
fn by_day(times: &[i64], now: Timestamp) -> Vec<(Date, Vec<Range<usize>>)> {
    let mut days: Vec<(Date, Vec<Range<usize>>)> = Vec::new();
    let mut start = 0;
    for same in times.chunk_by(|a, b| day(*a, now) == day(*b, now)) {
        let range = start..start + same.len();
        start = range.end;
        let day = date(day(same[0], now));
        // Today comes again when there are wrong clocks besides.
        match days.iter_mut().find(|(known, _)| *known == day) {
            Some((_, ranges)) => ranges.push(range),
            None => days.push((day, vec![range])),
        }
    }
    days
}

fn times(rows: &RecordBatch) -> &[i64] {
    let column = rows.column_by_name("time").expect("every class has it");
    column.as_primitive::<TimestampMicrosecondType>().values()
}

/// The partition of an event, in days since the epoch.
fn day(micros: i64, now: Timestamp) -> i64 {
    let today = now.as_microsecond().div_euclid(DAY_MICROS);
    let day = micros.div_euclid(DAY_MICROS);
    match (today - OLDEST_DAYS..=today + NEWEST_DAYS).contains(&day) {
        true => day,
        false => today,
    }
}

fn date(day: i64) -> Date {
    let start = Timestamp::from_microsecond(day.saturating_mul(DAY_MICROS));
    let start = start.expect("a day near to that of the clock");
    start.to_zoned(TimeZone::UTC).date()
}

/// One file in the making.
pub(super) struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
    day: Date,
    rows: u64,
    first_time: i64,
    last_time: i64,
}

// === impl FileWriter ===

impl FileWriter {
    pub fn new(class: Class, day: Date) -> Result<Self> {
        let schema = class.schema();
        let session = ColumnPath::from("session");
        let time = ColumnPath::from("time");
        let seq = ColumnPath::from("seq");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(
                ZstdLevel::try_new(LEVEL).expect("a level that zstd has"),
            ))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_data_page_row_count_limit(BLOCK_ROWS)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_column_statistics_enabled(time.clone(), EnabledStatistics::Page)
            .set_column_dictionary_enabled(time.clone(), false)
            .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled(seq.clone(), false)
            .set_column_encoding(seq, Encoding::DELTA_BINARY_PACKED)
            .set_column_bloom_filter_enabled(session.clone(), true)
            .set_column_bloom_filter_fpp(session.clone(), FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(session, 4096)
            .set_created_by(concat!("skep-collector ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(Self {
            writer: ArrowWriter::try_new(Vec::new(), schema, Some(properties))
                .map_err(Error::Parquet)?,
            day,
            rows: 0,
            first_time: i64::MAX,
            last_time: i64::MIN,
        })
    }

    /// Adds the block that comes after those before.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for time in times(rows) {
            self.first_time = self.first_time.min(*time);
            self.last_time = self.last_time.max(*time);
        }
        self.rows += rows.num_rows() as u64;
        self.writer.write(rows).map_err(Error::Parquet)
    }

    pub fn finish(self) -> Result<Encoded> {
        let bytes = self.writer.into_inner().map_err(Error::Parquet)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| Error::Random {
            reason: error.to_string(),
        })?;
        let name = format!("part-{:032x}.parquet", u128::from_be_bytes(random));
        Ok(Encoded {
            file: NewFile {
                path: [format!("{DAY}={}", self.day), name]
                    .into_iter()
                    .map(object_store::path::PathPart::from)
                    .collect::<Path>(),
                bytes: bytes.len() as u64,
                rows: self.rows,
                first_time: self.first_time,
                last_time: self.last_time,
                day: self.day,
            },
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::{
        arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
        file::{
            properties::ReaderProperties,
            reader::FileReader,
            serialized_reader::{ReadOptionsBuilder, SerializedFileReader},
        },
    };
    use prost::Message;
    use skep_proto::v1::{Event, Exit, event::Detail};

    use super::*;
    use crate::{batch::Batch, schema::Origin, store::hot::rows_of};

    #[test]
    fn a_wrong_clock_makes_no_partition_of_its_own() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let of = |time: &str| {
            let time: Timestamp = time.parse().unwrap();
            date(day(time.as_microsecond(), now)).to_string()
        };
        assert_eq!(of("2026-11-19T23:59:59.999999Z"), "2026-11-19");
        assert_eq!(of("2026-11-20T00:00:00Z"), "2026-11-20");
        assert_eq!(of("2026-11-21T00:00:00Z"), "2026-11-21");
        assert_eq!(of("2025-12-01T00:00:00Z"), "2025-12-01");
        for wrong in [
            "1970-01-01T00:00:00Z",
            "2026-12-24T00:00:00Z",
            "2262-01-01T00:00:00Z",
        ] {
            assert_eq!(of(wrong), "2026-11-20", "{wrong}");
        }
    }

    /// A file of so many rows in no order, each of one of ten sessions.
    fn stored(count: u64) -> Bytes {
        let events = (0..count).map(|n| Event {
            // Coprime with the count: each number once.
            time_unix_nano: NOON + (n * 7919 % count) * 1_000_000,
            session: Some(session(n % 10)),
            detail: Some(Detail::Exit(Exit::default())),
            ..Event::default()
        });
        let batch = skep_proto::v1::Batch {
            first_seq: 1,
            events: events.collect(),
        };
        let batch = Batch::decode(batch.encode_to_vec().into()).unwrap();
        let origin = Origin {
            sensor_id: "a".repeat(32),
            epoch: 1,
            hostname: None,
            kernel: None,
        };
        let rows: Vec<_> = rows_of(&batch, &origin, 0).collect();
        let rows = Rows::encode(Class::Exit, &rows);
        let now = Timestamp::from_nanosecond(NOON.into()).unwrap();
        let files = encode(Class::Exit, vec![rows], now).unwrap();
        let [file] = files.try_into().ok().expect("a day");
        file.bytes.into()
    }

    const NOON: u64 = 1_763_640_000_000_000_000;

    fn session(n: u64) -> String {
        format!("{n:032x}")
    }

    #[test]
    fn rows_that_are_read_together_are_of_one_time() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(stored(20_000)).unwrap();
        let reader = reader.with_batch_size(BLOCK_ROWS).build().unwrap();
        let mut last = i64::MIN;
        let mut blocks = 0;
        for block in reader {
            let block = block.unwrap();
            let times = times(&block);
            let first = times.iter().min().unwrap();
            assert!(
                *first > last,
                "block {blocks} begins before the one before ends"
            );
            last = *times.iter().max().unwrap();
            blocks += 1;
        }
        assert_eq!(blocks, 3);
    }

    #[test]
    fn a_filter_tells_which_sessions_a_file_has() {
        let properties = ReaderProperties::builder().set_read_bloom_filter(true);
        let options = ReadOptionsBuilder::new().with_reader_properties(properties.build());
        let reader = SerializedFileReader::new_with_options(stored(1000), options.build()).unwrap();
        let group = reader.get_row_group(0).unwrap();
        let column = Class::Exit.schema().index_of("session").unwrap();
        let filter = group.get_column_bloom_filter(column).unwrap();
        for n in 0..10 {
            assert!(filter.check(&session(n).as_str()));
        }
        let wrong = (10..1010).filter(|n| filter.check(&session(*n).as_str()));
        assert!(wrong.count() < 20, "one in a thousand is meant to pass");
    }
}
