//! What each sensor last said of itself in its `Hello`: one small JSON file a sensor.
//!
//! Invariants: a file is replaced whole (temporary name, fsync, rename, fsync of the folder); the
//! facts are durable before the sensor is welcomed. Bound: [`LIMIT`] sensors, all in memory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde::{Deserialize, Serialize};

use super::segment;
use crate::{
    counters::Counters,
    error::{Error, Result},
};

/// Sensors that one collector keeps facts of.
const LIMIT: usize = 100_000;

/// Facts of a sensor and its host, as of its last `Hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorFacts {
    pub sensor_id: String,
    pub epoch: u64,
    pub sensor_version: Option<String>,
    pub hostname: Option<String>,
    pub os: Option<String>,
    pub kernel: Option<String>,
    pub arch: Option<String>,
    pub boot_id: Option<String>,
    pub hooks: Vec<Hook>,
    /// Unix nanoseconds.
    pub first_hello: u64,
    pub last_hello: u64,
}

/// How a sensor observes one kind of fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub fact: String,
    pub hook: Option<String>,
    /// live, fallback, off; `None` when the sensor did not say.
    pub status: Option<String>,
    pub reason: Option<String>,
}

pub(super) struct Sensors {
    directory: PathBuf,
    known: Mutex<BTreeMap<String, SensorFacts>>,
}

// === impl Sensors ===

impl Sensors {
    pub fn open(directory: PathBuf, counters: &Counters) -> Result<Self> {
        fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
        let mut known = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(Error::file("list", &directory))? {
            let path = entry.map_err(Error::file("list", &directory))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("tmp") => fs::remove_file(&path).map_err(Error::file("remove", &path))?,
                Some("json") => match read(&path) {
                    Ok(facts) => drop(known.insert(facts.sensor_id.clone(), facts)),
                    Err(damage @ Error::Damaged { .. }) => {
                        segment::set_aside(&path, &damage, counters)?;
                    }
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        Ok(Self {
            directory,
            known: Mutex::new(known),
        })
    }

    /// Durable on return. Blocks.
    pub fn remember(&self, mut facts: SensorFacts) -> Result<()> {
        let mut known = self.known.lock().expect("no holder of the sensors panics");
        if let Some(before) = known.get(&facts.sensor_id) {
            facts.first_hello = before.first_hello;
        } else if known.len() >= LIMIT {
            return Err(Error::TooManySensors { limit: LIMIT });
        }
        let path = self.directory.join(format!("{}.json", facts.sensor_id));
        let temporary = path.with_extension("tmp");
        let json = serde_json::to_vec_pretty(&facts).expect("a plain struct is JSON");
        File::create(&temporary)
            .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()))
            .map_err(Error::file("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::file("rename to", &path))?;
        segment::sync_directory(&self.directory)?;
        known.insert(facts.sensor_id.clone(), facts);
        Ok(())
    }

    pub fn all(&self) -> Vec<SensorFacts> {
        let known = self.known.lock().expect("no holder of the sensors panics");
        known.values().cloned().collect()
    }
}

fn read(path: &Path) -> Result<SensorFacts> {
    let json = fs::read(path).map_err(Error::file("read", path))?;
    serde_json::from_slice(&json).map_err(|error| Error::Damaged {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}
