//! Finds files of the tables that cannot be read, and sets them aside; keeps entries of the log that
//! cannot be read, and tells of what an earlier run has set aside.
//!
//! Invariants: only what cannot be decoded or is not there counts as damaged, never what could not be
//! reached; a file that is set aside is taken out of its table, kept in the folder `damaged` of the
//! data directory as far as it could be read, logged by name with its rows, counted, and shown in
//! health; everything else stays queryable.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use object_store::{Error as StoreError, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{DataFile, Health, Shared, blocking};
use crate::{
    error::{Error, Result},
    schema::Class,
};

/// In the data directory: copies of what could not be read.
const FOLDER: &str = "damaged";

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
    let folder = shared.options.directory.join(FOLDER);
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

/// An entry of the log that cannot be read: kept before the log is cut.
pub(super) async fn entry(
    shared: &Arc<Shared>,
    position: u64,
    bytes: Bytes,
    damage: String,
) -> Result<()> {
    let folder = shared.options.directory.join(FOLDER);
    let copy = folder.join(format!("{}-entry-{position}", shared.log_id));
    keep(copy.clone(), bytes).await?;
    tracing::error!(
        damage, kept_as = %copy.display(),
        "part of the log is damaged and was set aside; the rest of it is there"
    );
    shared.counters.entries_damaged.add(1);
    let problem = format!(
        "{damage}; it was set aside as {}, and the rest of the log is there",
        copy.display()
    );
    shared.health.add("damage", problem);
    Ok(())
}

/// What was set aside before this start, and is still there.
pub(super) fn tell_earlier(directory: &Path, health: &Health) {
    let names = |folder: &Path| -> Vec<PathBuf> {
        // One that is not there, or cannot be read, has nothing to tell of.
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.contains(".redb.damaged"))
    };
    let mut found: Vec<PathBuf> = names(directory).into_iter().filter(is_aside).collect();
    found.extend(names(&directory.join(FOLDER)));
    found.sort();
    let Some(first) = found.first() else {
        return;
    };
    let problem = format!(
        "{} damaged files were set aside before this start ({}{}); move them elsewhere once they were \
         looked at",
        found.len(),
        first.display(),
        match found.len() {
            1 => "",
            _ => " …",
        }
    );
    health.set("set aside", problem);
}

async fn keep(copy: PathBuf, bytes: Bytes) -> Result<()> {
    blocking(move || {
        let folder = copy.parent().expect("a file in a folder");
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        std::fs::write(&copy, &bytes).map_err(Error::file("write", &copy))
    })
    .await
}
