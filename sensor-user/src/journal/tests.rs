use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use skep_event::{
    Agent, Found as HowFound, Phase, Process, Repository, SessionId, SessionInfo, Text, UnixNanos,
    UserSource,
};

use crate::track::kept::KeptSession;

const BOOT: &str = "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001";

/// What the tracker would know.
#[derive(Clone, Debug, Default)]
struct World(Kept);

impl Source for World {
    fn session(&self, id: SessionId) -> Option<KeptSession> {
        self.0.sessions.iter().find(|kept| kept.id == id).cloned()
    }

    fn everything(&self) -> Kept {
        self.0.clone()
    }
}

fn session(n: u8) -> KeptSession {
    KeptSession {
        id: SessionId([n; 16]),
        agent: Arc::new(Agent {
            family: "claude-code".into(),
            version: Some("2.1.91".into()),
            confidence: 95,
            evidence: vec!["package.json".into()],
            install_path: Some("/usr/lib/claude".into()),
            name: None,
        }),
        info: SessionInfo {
            phase: Phase::Update,
            parent: Some(SessionId([9; 16])),
            user: Some("dev".into()),
            uid: Some(1000),
            login_uid: None,
            terminal: Some("pts/3".into()),
            cwd: Some(Text::new(*b"/home/\xff")),
            repository: Some(Repository {
                root: "/home/dev/app".into(),
                remote: Some("https://example.com/a.git".into()),
                branch: None,
            }),
            gaps: 2,
            found: HowFound::Resumed,
            user_source: Some(UserSource::NameService),
            cgroup: Some("/lxc.payload.web1/x.service".into()),
            container_runtime: Some("lxc"),
            container_id: Some("web1".into()),
            pid_namespace: Some(7),
            user_namespace: None,
            mount_namespace: Some(9),
        },
    }
}

fn process(tgid: u32, n: u8) -> KeptProcess {
    KeptProcess {
        tgid,
        start_ns: u64::from(tgid) * 1_000 + 7,
        session: SessionId([n; 16]),
        core: true,
        ppid: Some(1),
        executable: 77,
        image: Arc::new(Process {
            pid: tgid,
            start: Some(UnixNanos(5)),
            ppid: Some(1),
            exe: Some("/usr/bin/node".into()),
            argv: vec!["node".into(), "cli.js".into()],
            argv_truncated: false,
            cwd: None,
            uid: Some(1000),
            euid: Some(0),
            inferred: false,
            cgroup: Some("/x".into()),
            container_id: None,
            pid_namespace: Some(8),
            user_namespace: None,
            mount_namespace: Some(u32::MAX),
        }),
    }
}

fn sorted(mut kept: Kept) -> Kept {
    kept.sessions.sort_by_key(|kept| kept.id);
    kept.processes.sort_by_key(|kept| kept.tgid);
    kept
}

fn journal(directory: &Path) -> (Journal, Found) {
    Journal::open(directory, BOOT, 10)
}

fn write(directory: &Path, world: &World, changes: Vec<Change>, seen_ns: u64) {
    let (mut journal, _) = journal(directory);
    journal.round(changes, seen_ns, world, &Redactor::new());
    journal.close(seen_ns);
    assert_eq!(journal.error(), None);
}

/// One session of three processes, one of which was forked by another.
fn story() -> (World, Vec<Change>) {
    let child = KeptProcess {
        tgid: 12,
        start_ns: 99,
        ppid: Some(11),
        ..process(11, 1)
    };
    let world = World(Kept {
        sessions: vec![session(1), session(2)],
        processes: vec![process(11, 1), child, process(13, 2)],
        until_ns: 0,
    });
    let changes = vec![
        Change::Session(SessionId([1; 16])),
        Change::Process(Box::new(process(11, 1))),
        Change::Child {
            tgid: 12,
            start_ns: 99,
            ppid: Some(11),
            parent: 11,
        },
        Change::Session(SessionId([2; 16])),
        Change::Process(Box::new(process(13, 2))),
    ];
    (world, changes)
}

#[test]
fn what_was_kept_is_found_again_with_the_time_up_to_which_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (world, changes) = story();
    write(dir.path(), &world, changes, 4_000);
    let (_, found) = journal(dir.path());
    assert_eq!(found.damage, None);
    let kept = sorted(found.kept.unwrap());
    assert_eq!(kept.until_ns, 4_000);
    assert_eq!(kept.sessions, world.0.sessions);
    assert_eq!(kept.processes, world.0.processes);
    // And by the life after that, which wrote nothing of its own.
    let (_, again) = journal(dir.path());
    assert_eq!(sorted(again.kept.unwrap()), kept);
}

#[test]
fn what_ended_is_not_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut changes) = story();
    changes.push(Change::Gone { tgid: 13 });
    changes.push(Change::Ended(SessionId([2; 16])));
    write(dir.path(), &world, changes, 4_000);
    let kept = sorted(journal(dir.path()).1.kept.unwrap());
    assert_eq!(kept.sessions, [session(1)]);
    let tgids: Vec<_> = kept.processes.iter().map(|kept| kept.tgid).collect();
    assert_eq!(tgids, [11, 12]);
}

#[test]
fn another_boots_journal_is_worth_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (world, changes) = story();
    write(dir.path(), &world, changes, 4_000);
    let (_, found) = Journal::open(dir.path(), "another", 10);
    assert!(found.kept.is_none() && found.damage.is_none());
    let (_, found) = journal(dir.path());
    assert!(found.kept.is_none(), "begun anew");
}

#[test]
fn a_journal_in_the_format_of_another_version_is_set_aside_unread() {
    let dir = tempfile::tempdir().unwrap();
    let (world, changes) = story();
    for version in [b'0', b'2'] {
        write(dir.path(), &world, changes.clone(), 4_000);
        let file = dir.path().join(FILE);
        let mut bytes = fs::read(&file).unwrap();
        bytes[7] = version;
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        fs::write(&file, &bytes).unwrap();
        let (_, found) = journal(dir.path());
        assert!(found.kept.is_none());
        assert!(found.damage.unwrap().contains("another version"));
        let aside = dir.path().join(format!("{FILE}.damaged"));
        assert_eq!(fs::read(aside).unwrap(), bytes);
        let (_, found) = journal(dir.path());
        assert!(found.kept.is_some() && found.damage.is_none(), "begun anew");
    }
}

#[test]
fn only_the_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(journal(dir.path()));
    let mode = fs::metadata(dir.path().join(FILE)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn secrets_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _) = story();
    let secret = ["ghp", "_", "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"].concat();
    let mut kept = process(11, 1);
    let image = Arc::make_mut(&mut kept.image);
    image
        .argv
        .push(Text::from(format!("--token={secret}").as_str()));
    let mut known = session(1);
    let remote = format!("https://dev:{secret}@example.com/a.git");
    known.info.repository.as_mut().unwrap().remote = Some(Text::from(remote.as_str()));
    let world = World(Kept {
        sessions: vec![known],
        processes: vec![kept.clone()],
        until_ns: 0,
    });
    let changes = vec![
        Change::Session(SessionId([1; 16])),
        Change::Process(Box::new(kept)),
    ];
    let holds = |what: &str| {
        let bytes = fs::read(dir.path().join(FILE)).unwrap();
        memchr::memmem::find(&bytes, what.as_bytes()).is_some()
    };
    let (mut journal, _) = journal(dir.path());
    journal.round(changes, 1, &world, &Redactor::new());
    assert!(holds("example.com") && holds("cli.js") && !holds(&secret));
    // The same when it is written anew.
    journal
        .rewrite(Some(&world.0), Some(&Redactor::new()))
        .unwrap();
    assert!(holds("example.com") && holds("cli.js") && !holds(&secret));
}

#[test]
fn a_record_torn_at_the_end_is_taken_off_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let (world, changes) = story();
    write(dir.path(), &world, changes, 4_000);
    let whole = fs::read(dir.path().join(FILE)).unwrap();
    let boot = boot_of(BOOT);
    for cut in 1..40 {
        let found = load(&whole[..whole.len() - cut], &boot);
        assert_eq!(found.damage, None, "{cut} bytes off");
        assert_eq!(found.kept.unwrap().processes.len(), 2, "{cut} bytes off");
    }
}

#[test]
fn damage_is_said_what_precedes_it_is_used_and_the_file_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (world, changes) = story();
    write(dir.path(), &world, changes, 4_000);
    let file = dir.path().join(FILE);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 5;
    bytes[last] ^= 0x10;
    fs::write(&file, &bytes).unwrap();
    let (_, found) = journal(dir.path());
    assert!(found.damage.is_some());
    let kept = found.kept.unwrap();
    assert_eq!((kept.sessions.len(), kept.processes.len()), (2, 2));
    assert_eq!(
        fs::read(dir.path().join("sessions.journal.damaged")).unwrap(),
        bytes
    );
    let (_, next) = journal(dir.path());
    assert_eq!(next.damage, None, "what was readable was written anew");
    assert_eq!(next.kept.unwrap().processes.len(), 2);
}

#[test]
fn a_damaged_heartbeat_is_replaced_by_the_time_the_journal_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (world, changes) = story();
    write(dir.path(), &world, changes, 4_000);
    let mut bytes = fs::read(dir.path().join(FILE)).unwrap();
    bytes[HEARTBEAT_AT] ^= 1;
    let found = load(&bytes, &boot_of(BOOT));
    assert!(found.damage.is_some());
    assert_eq!(found.kept.unwrap().until_ns, 10);
}

#[test]
fn a_link_or_a_directory_in_its_place_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join(FILE)).unwrap();
    let (journal_, found) = journal(dir.path());
    assert!(found.kept.is_none() && found.damage.is_some());
    assert_eq!(journal_.error(), None);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    drop(journal_);
    fs::remove_file(dir.path().join(FILE)).unwrap();
    fs::create_dir(dir.path().join(FILE)).unwrap();
    let (_, found) = journal(dir.path());
    assert!(found.damage.is_some());
}

#[test]
fn it_is_written_anew_when_it_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = story();
    let (mut journal_, _) = journal(dir.path());
    let redactor = Redactor::new();
    let mut longest = 0;
    for tgid in 0..40_000 {
        let forked = Change::Child {
            tgid: 1_000 + tgid,
            start_ns: 1,
            ppid: None,
            parent: 11,
        };
        let gone = Change::Gone { tgid: 1_000 + tgid };
        journal_.round(vec![forked, gone], 1, &world, &redactor);
        longest = longest.max(journal_.bytes);
    }
    assert!(longest <= SMALL, "{longest}");
    drop(journal_);
    let kept = sorted(journal(dir.path()).1.kept.unwrap());
    assert_eq!(kept.processes, world.0.processes);
}

#[test]
fn a_directory_that_cannot_be_written_is_said_and_nothing_else_happens() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal_, found) = journal(&dir.path().join("not/there"));
    assert!(found.kept.is_none());
    assert!(journal_.error().is_some());
    journal_.round(Vec::new(), 1, &World::default(), &Redactor::new());
    journal_.close(1);
    assert!(journal_.error().is_some());
}

#[test]
fn a_table_at_its_bound_still_fits() {
    let dir = tempfile::tempdir().unwrap();
    let long = |n: u32| Text::new(vec![b'a' + (n % 20) as u8; 4_000]);
    let processes = (0..crate::track::Bounds::default().processes as u32).map(|n| {
        let mut kept = process(n + 1, 1);
        let image = Arc::make_mut(&mut kept.image);
        (image.exe, image.cwd) = (Some(long(n)), Some(long(n)));
        kept
    });
    let world = World(Kept {
        sessions: vec![session(1)],
        processes: processes.collect(),
        until_ns: 0,
    });
    let (mut journal_, _) = journal(dir.path());
    journal_.rewrite(Some(&world.0), None).unwrap();
    assert!(journal_.bytes < MAX_BYTES, "{}", journal_.bytes);
    drop(journal_);
    let kept = journal(dir.path()).1.kept.unwrap();
    assert_eq!(
        kept.processes.len(),
        crate::track::Bounds::default().processes
    );
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0usize..600,
        byte in any::<u8>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (world, changes) = story();
        write(dir.path(), &world, changes, 4_000);
        let mut bytes = fs::read(dir.path().join(FILE)).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.extend(&tail);
        let found = load(&bytes, &boot_of(BOOT));
        if let Some(kept) = found.kept {
            prop_assert!(kept.processes.len() <= crate::track::Bounds::default().processes);
        }
        load(&tail, &boot_of(BOOT));
        // With a good frame around it.
        let mut framed = bytes[..HEADER].to_vec();
        framed.extend(frame(&tail));
        load(&framed, &boot_of(BOOT));
    }
}
