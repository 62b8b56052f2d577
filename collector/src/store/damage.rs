//! Finds files of the tables that cannot be read, and sets them aside.
//!
//! Invariants: only what cannot be decoded, is not there, or fails to be read twice with `EIO` counts as
//! damaged, never what could not be reached; a file that is set aside is taken out of its table, kept in the folder `damaged` of the
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

async fn keep(copy: PathBuf, bytes: Bytes) -> Result<()> {
    blocking(move || {
        let folder = copy.parent().expect("a file in a folder");
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        std::fs::write(&copy, &bytes).map_err(Error::file("write", &copy))
    })
    .await
}
