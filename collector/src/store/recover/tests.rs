//! Files as other engines rewrite them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, LargeStringArray, StringViewArray, UInt64Array};
use parquet::arrow::ArrowWriter;

use super::*;

fn file(folder: &std::path::Path, columns: Vec<(&str, ArrayRef)>) -> DataFile {
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap();
    let path = folder.join("part.parquet");
    std::fs::write(&path, &bytes).unwrap();
    let mut file = DataFile::of("part", "2026-11-20".parse().unwrap(), bytes.len() as u64);
    file.path = object_store::path::Path::from_absolute_path(&path).unwrap();
    file
}

async fn read(columns: Vec<(&str, ArrayRef)>) -> Result<HashMap<Source, u64>, ParquetError> {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::folder(folder.path()).unwrap();
    last_sequences(&place, &file(folder.path(), columns)).await
}

fn source(sensor_id: &str, epoch: u64) -> Source {
    Source {
        sensor_id: sensor_id.to_owned(),
        epoch,
    }
}

#[tokio::test]
async fn texts_and_numbers_of_other_types_say_how_far_a_sensor_is() {
    let sensors = ["a", "b", "a"];
    let texts: [ArrayRef; 2] = [
        Arc::new(LargeStringArray::from_iter_values(sensors)),
        Arc::new(StringViewArray::from_iter_values(sensors)),
    ];
    for text in texts {
        let found = read(vec![
            (SENSOR, text),
            (EPOCH, Arc::new(Int32Array::from(vec![7, 7, 7]))),
            (SEQ, Arc::new(UInt64Array::from(vec![3, 9, 5]))),
        ]);
        let expected = HashMap::from([(source("a", 7), 5), (source("b", 7), 9)]);
        assert_eq!(found.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_file_that_does_not_say_whose_its_rows_are_is_an_error() {
    let number = || -> ArrayRef { Arc::new(Int32Array::from(vec![7])) };
    let missing = read(vec![(EPOCH, number()), (SEQ, number())]).await;
    assert!(missing.unwrap_err().to_string().contains(SENSOR));
    let null: ArrayRef = Arc::new(LargeStringArray::from(vec![None::<&str>]));
    let null = read(vec![(SENSOR, null), (EPOCH, number()), (SEQ, number())]).await;
    assert!(null.is_err());
}
