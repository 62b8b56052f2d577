//! Recognition, tried on made-up files (here) and on the published packages (`real_packages`).

mod elf_file;
mod handed_over;
mod hostile;
mod native;
mod overflows;
mod real_packages;
mod runtimes;
mod scripts;
mod unjudged;
mod unknown;
mod unknown_packages;
mod versions;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use skep_abi::FileKey;
use skep_catalogue::Catalogue;

use super::{Candidate, Identifier, Judgement};
use skep_event::{Agent, Text, UnixNanos};

/// How long a test waits for what a process of its own does at once.
const HANGS: Duration = Duration::from_secs(60);

/// A directory tree and the identifier that is asked about it.
struct World {
    directory: tempfile::TempDir,
    identifier: Identifier,
}

/// An exec as the kernel would report it, of a program that is not running: the identifier finds
/// the file by its path. `pid` is this test's own, so paths resolve in its root.
#[derive(Clone)]
struct Exec {
    pid: u32,
    exe: PathBuf,
    argv: Vec<Text>,
    cwd: Text,
    filename: Text,
    switches: Option<u16>,
}

fn identifier() -> Identifier {
    Identifier::new(Arc::new(Catalogue::embedded()))
}

fn key(path: &Path) -> (FileKey, u64) {
    let stat = fs::metadata(path).expect("the executed file is there");
    let (major, minor) = (rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev()));
    let ctime_nsec = u32::try_from(stat.ctime_nsec()).expect("below a second");
    let dev = major << 20 | minor;
    (
        FileKey {
            ino: stat.ino(),
            ctime_sec: stat.ctime(),
            ctime_nsec,
            dev,
        },
        stat.size(),
    )
}

fn text(path: &Path) -> Text {
    use std::os::unix::ffi::OsStrExt;
    Text::from(path.as_os_str().as_bytes())
}

// === impl World ===

impl World {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("temporary directory"),
            identifier: identifier(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Writes an executable file, with the directories above it.
    fn file(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("directories");
        fs::write(&path, contents).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        path
    }

    fn link(&self, to: &str, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("directories");
        std::os::unix::fs::symlink(to, &path).expect("links");
        path
    }

    /// A package with one script, linked from `node_modules/.bin` as npm does.
    fn npm(&self, name: &str, version: &str, bin: &str, entry: &str) -> PathBuf {
        let manifest =
            format!(r#"{{"name":"{name}","version":"{version}","bin":{{"{bin}":"{entry}"}}}}"#);
        self.file(&format!("node_modules/{name}/package.json"), manifest);
        self.file(
            &format!("node_modules/{name}/{entry}"),
            "#!/usr/bin/env node\n1\n",
        );
        self.link(
            &format!("../{name}/{entry}"),
            &format!("node_modules/.bin/{bin}"),
        )
    }

    fn judge(&mut self, exec: &Exec) -> Judgement {
        exec.judged_by(&mut self.identifier)
    }

    /// Runs `words` by the executable `exe`, in the tree's root.
    fn exec(&self, exe: &Path, words: &[&str]) -> Exec {
        Exec::new(exe, words, self.directory.path())
    }
}

// === impl Exec ===

impl Exec {
    fn new(exe: &Path, words: &[&str], cwd: &Path) -> Self {
        let argv = words.iter().copied().map(Text::from).collect();
        let pid = std::process::id();
        Self {
            pid,
            exe: exe.to_owned(),
            argv,
            cwd: text(cwd),
            filename: text(exe),
            switches: None,
        }
    }

    /// What the kernel names is always free of symbolic links.
    fn judged_by(&self, identifier: &mut Identifier) -> Judgement {
        let exe = fs::canonicalize(&self.exe).expect("the executed file is there");
        let (file, file_size) = key(&exe);
        let exe = text(&exe);
        identifier.judge(&Candidate {
            pid: self.pid,
            file,
            file_size,
            exe: Some(&exe),
            filename: Some(&self.filename),
            argv: &self.argv,
            argv_truncated: false,
            uid: None,
            switches: self.switches,
            cwd: Some(&self.cwd),
            since: None,
        })
    }
}

#[track_caller]
fn agent(judgement: Judgement) -> Arc<Agent> {
    assert!(!judgement.never && !judgement.multicall, "{judgement:?}");
    judgement.agent.expect("an agent")
}

#[track_caller]
fn assert_agent(judgement: Judgement, family: &str, version: Option<&str>) -> Arc<Agent> {
    let agent = agent(judgement);
    assert_eq!(
        (agent.family.as_str(), agent.version.as_deref()),
        (family, version),
        "{agent:?}"
    );
    agent
}

#[track_caller]
fn assert_no_agent(judgement: &Judgement) {
    assert_eq!(judgement.agent, None);
    assert!(!judgement.multicall, "{judgement:?}");
}
