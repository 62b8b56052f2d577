//! An inspector, processes to be looked at, and execs to be judged.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use skep_abi::FileKey;
use skep_catalogue::Catalogue;
use skep_event::Text;
use skep_sensor::{
    identify::{Candidate, Judgement},
    inspect::{Inspector, Launch, Limits},
    track::Judge,
};
use skep_testing::test_program;

/// Nobody in particular.
pub const NOBODY: u32 = 65_534;
/// Another.
pub const SOMEBODY: u32 = 54_321;

pub fn limits() -> Limits {
    Limits::within(64 << 20)
}

pub fn inspector(limits: Limits) -> Inspector {
    let launch = Launch {
        program: test_program(),
        arguments: vec!["inspector".into(), "/nowhere".into()],
    };
    Inspector::start(launch, limits, Arc::new(Catalogue::embedded())).expect("it starts")
}

pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("not root: nothing is proved");
    }
    is_root
}

/// A directory that everybody may enter.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody).expect("mode");
        Self(directory)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn file(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("directories");
        fs::write(&path, contents).expect("writes");
        path
    }

    /// A program by this name that does nothing for a while.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.file(name, fs::read("/bin/sleep").expect("every system sleeps"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        path
    }

    /// An npm package of an agent, all of it this user's and nobody else's to read.
    pub fn agent_of(&self, uid: u32) -> PathBuf {
        let package = "home/node_modules/@google/gemini-cli";
        let manifest = r#"{"name":"@google/gemini-cli","version":"0.9.1","bin":{"gemini":"g.js"}}"#;
        self.file(&format!("{package}/package.json"), manifest);
        let script = self.file(&format!("{package}/g.js"), "1\n");
        let home = self.path("home");
        chown(&home, Some(uid), Some(uid)).expect("owner");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("mode");
        script
    }
}

/// A process that is ended with the test.
pub struct Running(pub Child);

impl Running {
    pub fn start(program: &Path, uid: Option<u32>) -> Self {
        let mut command = Command::new(program);
        command.arg("600").stdin(Stdio::null()).current_dir("/");
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        Self(command.spawn().expect("starts"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn key(path: &Path) -> (FileKey, u64) {
    let stat = fs::metadata(path).expect("the executed file is there");
    let (major, minor) = (rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev()));
    let key = FileKey {
        ino: stat.ino(),
        ctime_sec: stat.ctime(),
        ctime_nsec: u32::try_from(stat.ctime_nsec()).expect("below a second"),
        dev: major << 20 | minor,
    };
    (key, stat.size())
}

pub fn text(path: &Path) -> Text {
    Text::from(path.as_os_str().as_encoded_bytes())
}

/// What `words`, run by `program` in the process `pid` of `uid`, is judged to be, and how often the one who
/// asks could do something else meanwhile.
pub fn judge_counting(
    inspector: &mut Inspector,
    program: &Path,
    (pid, uid): (u32, u32),
    words: &[&str],
) -> (Judgement, u32) {
    let (file, file_size) = key(program);
    let exe = text(program);
    let argv: Vec<Text> = words.iter().copied().map(Text::from).collect();
    let candidate = Candidate {
        pid,
        file,
        file_size,
        exe: Some(&exe),
        filename: Some(&exe),
        argv: &argv,
        argv_truncated: false,
        cwd: Some(&Text::from("/")),
        uid: Some(uid),
        switches: None,
        since: None,
    };
    let mut meanwhile = 0;
    let judgement = inspector.judge(&candidate, &mut || meanwhile += 1);
    (judgement, meanwhile)
}

pub fn judge(
    inspector: &mut Inspector,
    program: &Path,
    who: (u32, u32),
    words: &[&str],
) -> Judgement {
    judge_counting(inspector, program, who, words).0
}

pub fn str_of(path: &Path) -> &str {
    path.to_str().expect("own names are text")
}

pub fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}
