//! How long it takes to judge an executable, the first time and again, and what memory that leaves:
//! `cargo run --release -p skep-sensor --example judgement_cost -- FILE…`
//!
//! A script (`#!`) is judged as what node or python3 runs, whichever its first line names, found by `PATH`.
//! "First" is with none of the file in memory. Prints; judges nothing about the times.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use skep_abi::FileKey;
use skep_catalogue::Catalogue;
use skep_event::Text;

use skep_sensor::{
    identify::{Candidate, Identifier},
    status::resident_bytes,
};

const AGAIN: usize = 9;

fn main() -> io::Result<()> {
    let mut files: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        files.push(PathBuf::from("/bin/ls"));
    }
    let mut identifier = Identifier::new(Arc::new(Catalogue::embedded()));
    println!("catalogue loaded: {} resident", mebibytes());
    for path in files {
        let path = fs::canonicalize(path)?;
        let (first, agent, never) = judge(&mut identifier, &path, true)?;
        let mut again = first;
        for _ in 0..AGAIN {
            again = again.min(judge(&mut identifier, &path, false)?.0);
        }
        println!(
            "{}: {} first {first:?}, again {again:?}, {} resident",
            path.display(),
            agent.unwrap_or_else(|| (if never {
                "never an agent,"
            } else {
                "no agent,"
            })
            .into()),
            mebibytes(),
        );
    }
    Ok(())
}

type Judged = (std::time::Duration, Option<String>, bool);

fn judge(identifier: &mut Identifier, path: &Path, drop_pages: bool) -> io::Result<Judged> {
    let file = fs::File::open(path)?;
    if drop_pages {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    let script = script_of(path)?;
    let path = script.as_ref().map_or(path, |(runtime, _)| runtime);
    let metadata = fs::metadata(path)?;
    let (major, minor) = (
        rustix::fs::major(metadata.dev()),
        rustix::fs::minor(metadata.dev()),
    );
    let exe = Text::from(path.as_os_str().as_bytes());
    let mut argv = vec![exe.clone()];
    argv.extend(script.as_ref().map(|(_, script)| script.clone()));
    let candidate = Candidate {
        pid: std::process::id(),
        file: FileKey {
            ino: metadata.ino(),
            ctime_sec: metadata.ctime(),
            ctime_nsec: metadata.ctime_nsec() as u32,
            dev: major << 20 | minor,
        },
        file_size: metadata.len(),
        exe: Some(&exe),
        filename: Some(&exe),
        argv: &argv,
        argv_truncated: false,
        uid: None,
        switches: None,
        cwd: None,
        since: None,
    };
    let start = Instant::now();
    let judgement = identifier.judge(&candidate);
    let took = start.elapsed();
    let agent = judgement.agent.map(|agent| {
        format!(
            "{} {},",
            agent.family,
            agent.version.as_deref().unwrap_or("of unknown version")
        )
    });
    Ok((took, agent, judgement.never))
}

/// The runtime of a script, and the script as its argument.
fn script_of(path: &Path) -> io::Result<Option<(PathBuf, Text)>> {
    let mut head = [0; 128];
    let read = io::Read::read(&mut fs::File::open(path)?, &mut head)?;
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    let Some(line) = head.strip_prefix("#!").and_then(|head| head.lines().next()) else {
        return Ok(None);
    };
    let name = if line.contains("python") {
        "python3"
    } else {
        "node"
    };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).find_map(|folder| {
        let program = fs::canonicalize(folder.join(name)).ok()?;
        // A wrapper that picks a version is a script itself.
        let is_elf = fs::read(&program).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
        is_elf.then_some(program)
    });
    let argument = Text::from(path.as_os_str().as_bytes());
    Ok(found.map(|runtime| (runtime, argument)))
}

fn mebibytes() -> String {
    resident_bytes().map_or_else(
        || "unknown".to_owned(),
        |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    )
}
