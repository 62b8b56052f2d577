//! Where data of the benchmark are, and how much there is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::collector::Collector;
use crate::workspace;

/// A folder for data on the disk that cargo's target folder is on; `/tmp` may be memory.
pub fn scratch() -> Result<tempfile::TempDir> {
    let folder = workspace::target()?.join("bench");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(tempfile::tempdir_in(folder)?)
}

/// Bytes of the files that are in the tables, and how many they are. (Those that were merged into others
/// stay on the disk for a day more.)
pub fn stored(collector: &Collector) -> Result<(u64, u64)> {
    let rows = collector.query("SELECT sum(bytes) AS bytes, sum(files) AS files FROM storage")?;
    let number = |name: &str| -> Result<u64> {
        let value = rows.first().and_then(|row| row.get(name)?.as_u64());
        value.with_context(|| format!("no {name} in {rows:?}"))
    };
    Ok((number("bytes")?, number("files")?))
}

/// Bytes of all files below a folder with this ending, and how many they are.
pub fn files(folder: &Path, ending: &str) -> Result<(u64, u64)> {
    let (mut bytes, mut count) = (0, 0);
    let mut folders: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(ending) {
                bytes += entry.metadata()?.len();
                count += 1;
            }
        }
    }
    Ok((bytes, count))
}
