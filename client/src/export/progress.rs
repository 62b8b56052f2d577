//! How far an export into a directory is: `export.json` in it.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    columns::from_columns,
    error::{ClientError, ExportError},
    place::PartialFile,
};

const NAME: &str = "export.json";

/// What `export.json` holds. It is written anew, whole, after each part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The options of the command.
    pub asked: Vec<String>,
    pub since: Option<Timestamp>,
    pub until: Timestamp,
    pub parts: Vec<Part>,
    /// The last event in the last part.
    pub last: Option<Key>,
    pub complete: bool,
}

/// A complete file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub file: String,
    pub events: u64,
}

/// Names an event, and its place in the order of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub time: Timestamp,
    pub sensor_id: String,
    pub epoch: u64,
    pub seq: u64,
}

from_columns!(Key {
    time,
    sensor_id,
    epoch,
    seq
});

// === impl Progress ===

impl Progress {
    /// `None` when no export was begun in the directory.
    pub fn load(directory: &Path) -> Result<Option<Self>, ClientError> {
        let path = directory.join(NAME);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ClientError::file(&path)(error)),
        };
        let progress = serde_json::from_slice(&json).map_err(|error| ExportError::Damaged {
            path,
            reason: error.to_string(),
        })?;
        Ok(Some(progress))
    }

    pub fn save(&self, directory: &Path) -> Result<(), ClientError> {
        let mut file = PartialFile::create(&directory.join(NAME))?;
        serde_json::to_writer_pretty(&mut file, self)?;
        writeln!(file)?;
        file.finish()
    }

    pub fn events(&self) -> u64 {
        self.parts.iter().map(|part| part.events).sum()
    }
}

// === impl Key ===

impl Key {
    /// A condition on events that come after this one; empty is none.
    pub fn after(&self) -> String {
        let Self {
            time,
            sensor_id,
            epoch,
            seq,
        } = self;
        let sensor = sensor_id.replace('\'', "''");
        format!(
            " AND (time > '{time}' OR sensor_id > '{sensor}' OR sensor_id = '{sensor}'
              AND (epoch > {epoch} OR epoch = {epoch} AND seq > {seq}))"
        )
    }
}
