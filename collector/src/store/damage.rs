//! Finds files of the tables that cannot be read, and sets them aside.
//!
//! Invariants: only what cannot be decoded or is not there counts as damaged, never what could not be
//! reached; a file that is set aside is taken out of its table, kept in the folder `damaged` of the
//! data directory as far as it could be read, logged by name with its rows, counted, and shown in
//! health; everything else stays queryable.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use object_store::{Error as StoreError, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{DataFile, Shared, blocking};
use crate::{
    error::{Error, Result},
    schema::Class,
};

/// Reads files to their end; the names of those that were set aside.
pub(super) async fn check(
    shared: &Arc<Shared>,
    class: Class,
    files: &[DataFile],
) -> Result<Vec<String>> {
    let mut aside = Vec::new();
    for file in files {
        let (reason, bytes) = match shared.place.root().get(&file.path).await {
            Ok(found) => match found.bytes().await {
                Ok(bytes) => {
                    let read = {
                        let bytes = bytes.clone();
                        blocking(move || Ok(read(bytes))).await?
                    };
                    match read {
                        Ok(()) => continue,
                        Err(reason) => (reason, Some(bytes)),
                    }
                }
                Err(error) => return Err(shared.place.failed("read", &file.path, error)),
            },
            Err(error @ StoreError::NotFound { .. }) => (error.to_string(), None),
            Err(error) => return Err(shared.place.failed("read", &file.path, error)),
        };
        aside.push(set_aside(shared, class, file, &reason, bytes).await?);
    }
    Ok(aside)
}

fn read(bytes: Bytes) -> Result<(), String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.build())
        .map_err(|error| error.to_string())?;
    for batch in reader {
        batch.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn set_aside(
    shared: &Arc<Shared>,
    class: Class,
    file: &DataFile,
    reason: &str,
    bytes: Option<Bytes>,
) -> Result<String> {
    let folder = shared.options.directory.join("damaged");
    let base = file.path.filename().unwrap_or("file");
    let copy = folder.join(format!("{}-{base}", class.name()));
    if let Some(bytes) = bytes {
        keep(copy.clone(), bytes).await?;
    }
    {
        let mut table = shared.tables[class.index()].lock().await;
        table.refresh().await?;
        let known = table.files();
        // Another reader was faster.
        if known.iter().any(|other| other.path == file.path) {
            let why = "it is damaged".to_owned();
            table.remove(std::slice::from_ref(file), &why).await?;
        }
        shared.list(class, &table);
    }
    let name = shared.place.name_of(&file.path);
    tracing::error!(
        file = name, rows = file.rows, kept_as = %copy.display(), reason,
        "a stored file is damaged and was set aside; the other files stay queryable"
    );
    shared.counters.files_damaged.add(1);
    shared.counters.rows_damaged.add(file.rows);
    shared.health.add(
        "damage",
        format!(
            "{name} with {} rows was damaged and set aside: {reason}",
            file.rows
        ),
    );
    Ok(name)
}

async fn keep(copy: PathBuf, bytes: Bytes) -> Result<()> {
    blocking(move || {
        let folder = copy.parent().expect("a file in a folder");
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        std::fs::write(&copy, &bytes).map_err(Error::file("write", &copy))
    })
    .await
}
