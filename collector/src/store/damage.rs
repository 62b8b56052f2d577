//! Finds files of the tables that cannot be read, and sets them aside; keeps entries of the log that
//! cannot be read, and tells of what an earlier run has set aside.
//!
//! Invariants: only what cannot be decoded, is not there, or fails to be read twice with `EIO` counts as
//! damaged, never what could not be reached; a file that is set aside is taken out of its table, kept in the folder `damaged` of the
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

/// What became of the files that were read.
#[derive(Default)]
pub(super) struct Found {
    aside: Vec<String>,
    /// The last file that could not be reached; it may be damaged or not.
    unreached: Option<Error>,
}

// === impl Found ===

impl Found {
    /// The names of those that were set aside.
    pub fn names(self) -> Result<Vec<String>> {
        match self.unreached {
            Some(error) if self.aside.is_empty() => Err(error),
            _ => Ok(self.aside),
        }
    }
}

/// Reads files to their end; the names of those that were set aside.
pub(super) async fn check(
    shared: &Arc<Shared>,
    class: Class,
    files: &[DataFile],
) -> Result<Vec<String>> {
    let mut found = Found::default();
    for file in files {
        look_at(shared, class, file, &mut found).await;
    }
    found.names()
}

/// Reads a file to its end, and sets it aside if it is damaged.
pub(super) async fn look_at(
    shared: &Arc<Shared>,
    class: Class,
    file: &DataFile,
    found: &mut Found,
) {
    let aside = match damaged(shared, file).await {
        Ok(None) => return,
        Ok(Some((reason, bytes))) => set_aside(shared, class, file, &reason, bytes).await,
        Err(error) => Err(error),
    };
    match aside {
        Ok(name) => found.aside.push(name),
        Err(error) => found.unreached = Some(error),
    }
}

/// Why a file is damaged, and what could be read of it.
async fn damaged(shared: &Shared, file: &DataFile) -> Result<Option<(String, Option<Bytes>)>> {
    let mut again = false;
    let bytes = loop {
        match fetch(shared, file).await {
            Ok(bytes) => break bytes,
            Err(error @ StoreError::NotFound { .. }) => return Ok(Some((error.to_string(), None))),
            // Once may be chance.
            Err(error) if is_io_error(&error) && again => {
                return Ok(Some((error.to_string(), None)));
            }
            Err(error) if is_io_error(&error) => again = true,
            Err(error) => return Err(shared.place.failed("read", &file.path, error)),
        }
    };
    let read = {
        let bytes = bytes.clone();
        blocking(move || Ok(read(bytes))).await?
    };
    Ok(read.err().map(|reason| (reason, Some(bytes))))
}

async fn fetch(shared: &Shared, file: &DataFile) -> Result<Bytes, StoreError> {
    shared.place.root().get(&file.path).await?.bytes().await
}

/// The disk cannot read what is on it (`EIO`).
fn is_io_error(error: &StoreError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        }
        cause = error.source();
    }
    false
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
    let name = shared.place.name_of(&file.path);
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
        let is_known = known.iter().any(|other| other.path == file.path);
        if is_known {
            let why = "it is damaged".to_owned();
            table.remove(std::slice::from_ref(file), &why).await?;
        }
        shared.list(class, &table);
        if !is_known {
            // Another reader was faster.
            return Ok(name);
        }
    }
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
