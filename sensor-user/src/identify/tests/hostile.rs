//! Files and trees made to mislead, block or exhaust whoever reads them.

use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};
use skep_catalogue::MarkerScope;
use skep_testing::eventually;

use super::{
    Exec, HANGS, World, assert_agent, assert_no_agent,
    elf_file::{ElfFile, bun_graph, bun_section},
    identifier,
};
use crate::identify::{content, elf::Range, source::Source};

fn node(world: &World) -> PathBuf {
    world.file("usr/bin/node", ElfFile::new().dynamic().bytes())
}

fn fifo(path: &Path) {
    fs::create_dir_all(path.parent().expect("has a parent")).expect("directories");
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("makes a FIFO");
}

#[test]
fn what_is_no_regular_file_is_no_script_and_does_not_block() {
    let mut world = World::new();
    let node = node(&world);
    fifo(&world.path("fifo.js"));
    world.link("loop.js", "loop.js");
    world.link("b/loop", "a/loop");
    world.link("../a/loop", "a/b/loop");
    world.link("nowhere", "dangling.js");
    world.link("/proc/self/exe", "magic.js");
    for script in [
        "fifo.js",
        "loop.js",
        "a/loop",
        "dangling.js",
        "magic.js",
        "/dev/null",
        "/dev/zero",
        "/dev/tty",
        "/proc/self/exe",
        "/dev/fd/99999",
        "/dev/fd/-1",
        "/proc/self/fd/0/x",
        "/",
        "",
    ] {
        assert_no_agent(&world.judge(&world.exec(&node, &["node", script])));
    }
}

#[test]
fn a_package_json_that_cannot_be_read_says_nothing() {
    let mut world = World::new();
    let node = node(&world);
    let link = world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let exec = world.exec(&node, &["node", link.to_str().expect("text")]);
    let manifest = world.path("node_modules/@google/gemini-cli/package.json");
    let valid = fs::read_to_string(&manifest).expect("reads");
    let padded = |spaces: usize| format!("{valid}{}", " ".repeat(spaces));
    let nested = format!(
        "{{\"name\":\"@google/gemini-cli\",\"x\":{}",
        "[".repeat(100_000)
    );
    for (contents, is_agent) in [
        (padded(1_000), true),
        (padded(2 << 20), false),
        (nested, false),
        (String::new(), false),
        ("[1, 2]".to_owned(), false),
        (valid.replace("\"0.61.0\"", "61"), false),
    ] {
        fs::write(&manifest, &contents).expect("writes");
        assert_eq!(
            world.judge(&exec).agent.is_some(),
            is_agent,
            "{:.60}",
            contents
        );
    }
    fs::write(
        &manifest,
        valid.replace("{\"gemini\":\"bundle/gemini.js\"}", "7"),
    )
    .expect("writes");
    assert_agent(world.judge(&exec), "gemini-cli", Some("0.61.0"));
    fs::remove_file(&manifest).expect("removes");
    fifo(&manifest);
    assert_no_agent(&world.judge(&exec));
}

#[test]
fn headers_that_promise_more_than_the_file_holds_cost_nothing() {
    let world = World::new();
    let path = world.file("sparse", []);
    let file = fs::File::options().write(true).open(&path).expect("opens");
    let elf = ElfFile::new()
        .dynamic()
        .section(".bun", u64::MAX.to_le_bytes());
    let mut bytes = elf.section(".skep_agent", [0; 32]).bytes();
    file.set_len(1 << 40).expect("a sparse file");
    // The section table is the last thing in the file: let each section claim a terabyte.
    let table = bytes.len() - 4 * 64;
    for section in 1..4 {
        let at = table + section * 64 + 0x20;
        bytes[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    }
    file.write_all_at(&bytes, 0).expect("writes");
    let before = resident();
    let identifier = identifier();
    let opened = fs::File::open(&path).expect("opens");
    let source = Source::new(opened, 1 << 40);
    assert!(elf_sections(&source) >= 3);
    let scope = identifier
        .markers
        .scope(&MarkerScope::Section(".skep_agent".to_owned()));
    let scope = scope.expect("the demonstration agent has one");
    assert_eq!(
        scope.scan(
            &source,
            Range {
                offset: u64::MAX - 8,
                len: u64::MAX
            }
        ),
        []
    );
    assert_eq!(
        scope.scan(
            &source,
            Range {
                offset: 1 << 39,
                len: 8 << 20
            }
        ),
        []
    );
    assert!(resident() < before + (8 << 20));
}

fn elf_sections(source: &Source) -> usize {
    crate::identify::elf::Elf::read(source)
        .expect("an ELF file")
        .sections
        .len()
}

/// Resident bytes of this process (`/proc/self/statm`, pages of 4 KiB on this architecture).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4_096
}

#[test]
fn a_file_that_shrinks_while_it_is_read_gives_what_is_left() {
    let world = World::new();
    let graph = bun_graph(
        "--user-agent=opencode/1.2.3 ",
        &[("/$bunfs/root/x", "1")],
        0,
    );
    let elf = ElfFile::new().section(".bun", bun_section(&graph)).bytes();
    let path = world.file("x", &elf);
    let identifier = identifier();
    for left in (0..elf.len()).step_by(7) {
        let opened = fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("opens");
        let source = Source::new(opened.try_clone().expect("clones"), elf.len() as u64);
        opened.set_len(left as u64).expect("shrinks");
        content::inspect(
            &identifier.catalogue,
            &identifier.markers,
            &identifier.texts,
            &source,
        );
        opened.set_len(0).expect("shrinks");
        opened.write_all_at(&elf, 0).expect("writes");
    }
}

#[test]
fn a_marker_across_a_chunk_boundary_is_found_with_its_version() {
    let world = World::new();
    let identifier = identifier();
    let scope = identifier
        .markers
        .scope(&MarkerScope::Bun)
        .expect("present");
    let text = b"--user-agent=opencode/1.2.3 ";
    for distance in [0, 1, 10, text.len(), 300, 1_000, 1_024, 1_025, 1_300] {
        let mut bytes = vec![b'.'; 600 << 10];
        let at = (256 << 10) - distance;
        bytes[at..at + text.len()].copy_from_slice(text);
        let path = world.file("x", &bytes);
        let source = Source::new(fs::File::open(path).expect("opens"), bytes.len() as u64);
        let hits = scope.scan(
            &source,
            Range {
                offset: 0,
                len: bytes.len() as u64,
            },
        );
        assert_eq!(hits.len(), 1, "{distance}");
        assert_eq!(hits[0].version.as_deref(), Some("1.2.3"), "{distance}");
    }
}

/// A child that has changed its root directory and waits; ended with the test.
struct Confined(libc::pid_t);

impl Confined {
    fn to(directory: &Path) -> Self {
        let directory = CString::new(directory.as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: the child calls only async-signal-safe functions before it ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above; the string was made before the fork.
            unsafe {
                if libc::geteuid() != 0 && libc::unshare(libc::CLONE_NEWUSER) != 0
                    || libc::chroot(directory.as_ptr()) != 0
                {
                    libc::_exit(1);
                }
                loop {
                    libc::pause();
                }
            }
        }
        let confined = Self(pid);
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        eventually("the child's own root", HANGS, || {
            let has_own = fs::read_link(&root).expect("the child runs") != Path::new("/");
            has_own.then_some(())
        });
        confined
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // SAFETY: the pid is of a child that has not been waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

#[test]
fn links_are_followed_within_the_root_of_the_process() {
    let mut world = World::new();
    let node = node(&world);
    world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    world.link(
        "/node_modules/@google/gemini-cli/bundle/gemini.js",
        "bin/gemini",
    );
    world.link("/../../../node_modules/.bin/gemini", "bin/up");
    let outside = tempfile::tempdir().expect("temporary directory");
    fs::write(outside.path().join("secret.js"), "1").expect("writes");
    world.link(
        outside.path().join("secret.js").to_str().expect("text"),
        "bin/out",
    );
    let confined = Confined::to(world.directory.path());
    let (file, file_size) = super::key(&node);
    let exe = skep_event::Text::from("/usr/bin/node");
    let cwd = skep_event::Text::from("/bin");
    for (script, is_agent) in [
        ("gemini", true),
        ("/bin/gemini", true),
        ("up", true),
        ("out", false),
    ] {
        let argv = [
            skep_event::Text::from("node"),
            skep_event::Text::from(script),
        ];
        let candidate = super::Candidate {
            pid: u32::try_from(confined.0).expect("positive"),
            file,
            file_size,
            exe: Some(&exe),
            filename: None,
            argv: &argv,
            argv_truncated: false,
            uid: None,
            switches: None,
            cwd: Some(&cwd),
            since: None,
        };
        let judgement = world.identifier.judge(&candidate);
        assert_eq!(judgement.agent.is_some(), is_agent, "{script}");
        if let Some(agent) = judgement.agent {
            let path = Some(skep_event::Text::from("/node_modules/@google/gemini-cli"));
            assert_eq!(agent.install_path, path, "as the process sees it");
        }
    }
}

fn samples() -> Vec<Vec<u8>> {
    let graph = bun_graph(
        "--user-agent=opencode/1.2.3 ",
        &[("/$bunfs/root/a", "// a"), ("/$bunfs/root/b", "// b")],
        1,
    );
    let total = (graph.len() as u64 + 8).to_le_bytes();
    let fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:1";
    vec![
        ElfFile::new()
            .dynamic()
            .section(".bun", bun_section(&graph))
            .bytes(),
        ElfFile::new().tail([&graph[..], &total].concat()).bytes(),
        ElfFile::new()
            .section(".rodata", fuse)
            .note("GNU", &[0; 20])
            .note("NODE_SEA_BLOB", b"COPILOT_CLI_BINARY_VERSION=\"1.0.0\"")
            .bytes(),
        ElfFile::new()
            .exports("_ZN4node5StartEiPPc")
            .imports("Py_Main", "libpython3.so")
            .bytes(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_the_reader_fail(
        which in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..3),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = samples().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in words {
            let at = at.index(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        inspect_bytes(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_arguments_make_the_judgement_fail(words in prop::collection::vec("[-a-zA-Z/=.]{0,6}", 0..6)) {
        let world = World::new();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut identifier = identifier();
        for name in ["node", "python3", "bun", "deno", "ld.so"] {
            let exe = world.file(name, ElfFile::new().dynamic().bytes());
            let judgement = Exec::new(&exe, &words, world.directory.path()).judged_by(&mut identifier);
            prop_assert_eq!(judgement.agent, None);
        }
    }
}

pub(super) fn inspect_bytes(bytes: &[u8]) {
    thread_local! {
        static SHARED: (crate::identify::Identifier, fs::File) =
            (identifier(), tempfile::tempfile().expect("temporary file"));
    }
    SHARED.with(|(identifier, file)| {
        file.set_len(0).expect("empties");
        file.write_all_at(bytes, 0).expect("writes");
        let source = Source::new(file.try_clone().expect("clones"), bytes.len() as u64);
        content::inspect(
            &identifier.catalogue,
            &identifier.markers,
            &identifier.texts,
            &source,
        );
    });
}
