//! Log of the kernel programs: what it says of a process, and that it says nothing when it is off.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use aya::maps::MapInfo;
use skep_abi::LogLine;
use skep_event::Detail;
use skep_sensor::log_level::{KERNEL_TARGET, KernelLevel};
use skep_testing::Finish;

use crate::sensor::{Run, Sensor, actor, attach_logging, file, scratch, wait_for, wait_or_explain};

/// In paths and arguments, and nowhere in the log.
const MARKER: &str = "marker-7f3a9c";
/// Bytes of the records' ring.
const RING: u32 = 4 << 20;

/// Everything logged in this process for the target of the kernel programs.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

/// A line of the log.
#[derive(Clone, Debug)]
struct Line {
    level: String,
    /// Words and numbers.
    says: String,
    hook: String,
    pid: u32,
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Logged ===

impl Logged {
    /// Takes the log of this process over, once.
    fn here() -> Self {
        static HERE: OnceLock<Logged> = OnceLock::new();
        let here = HERE.get_or_init(|| {
            let logged = Self::default();
            let writer = logged.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(format!("{KERNEL_TARGET}=trace"))
                .with_writer(move || writer.clone())
                .with_ansi(false)
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("no other test logs");
            logged
        });
        here.lock().clear();
        here.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    /// Lines of kernel programs.
    fn lines(&self) -> Vec<Line> {
        self.text().lines().filter_map(Line::read).collect()
    }
}

// === impl Line ===

impl Line {
    /// `TIME LEVEL TARGET: SAYS hook="HOOK" pid=PID`
    fn read(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(&format!(" {KERNEL_TARGET}: "))?;
        let (says, of) = after.split_once(" hook=\"")?;
        let (hook, pid) = of.split_once("\" pid=")?;
        Some(Self {
            level: before.split_whitespace().last()?.to_owned(),
            says: says.to_owned(),
            hook: hook.to_owned(),
            pid: pid.trim().parse().ok()?,
        })
    }

    fn is(&self, line: LogLine) -> bool {
        self.says.starts_with(line.words())
    }

    /// Whether it has the words and the numbers of a line, and nothing else.
    fn is_one(&self) -> bool {
        LogLine::ALL.into_iter().any(|line| {
            let Some(numbers) = self.says.strip_prefix(line.words()) else {
                return false;
            };
            let names = line.numbers().into_iter().filter(|name| !name.is_empty());
            let names: Vec<&str> = names.collect();
            let numbers: Vec<_> = numbers.split_whitespace().collect();
            numbers.len() == names.len()
                && numbers.iter().zip(names).all(|(number, name)| {
                    let number = number
                        .strip_prefix(name)
                        .and_then(|rest| rest.strip_prefix('='));
                    number.is_some_and(|number| match name {
                        "kind" => number
                            .bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                        _ => number
                            .bytes()
                            .all(|byte| byte.is_ascii_hexdigit() || byte == b'x'),
                    })
                })
        })
    }
}

/// One at a time: they share the log of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An agent that executes, opens and connects, with the marker in all it can be in.
fn act(sensor: &Sensor) -> Run {
    let directory = scratch(MARKER);
    let opened = file(&directory, MARKER);
    let path = |name: String| directory.join(name).into_os_string().into_string();
    let deep = path(format!("{MARKER}-deep")).expect("text");
    fs::create_dir(&deep).expect("own directory");
    let socket = path(format!("{MARKER}-socket")).expect("text");
    let _unix = UnixListener::bind(&socket).expect("own directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port().to_string();
    let run = sensor.run(&[
        "open",
        &opened,
        "deep-create",
        &deep,
        "70",
        "connect4",
        "127.0.0.1",
        &port,
        "unix",
        &socket,
        "exec",
        "/bin/sh",
        "-c",
        ":",
        MARKER,
        "--",
    ]);
    fs::remove_dir_all(directory).expect("own directory");
    assert!(run.describe().contains(MARKER), "{}", run.describe());
    run
}

/// Whether each family of hooks says that it has sent a record of this agent, and the steps on the way.
fn has_lines_of(run: &Run, lines: &[Line]) -> bool {
    let families: [fn(&Detail) -> bool; 3] = [
        |detail| matches!(detail, Detail::Exec(_)),
        |detail| matches!(detail, Detail::Open(_)),
        |detail| matches!(detail, Detail::Connect(_)),
    ];
    let agent = run.execs()[0].0.pid;
    let steps = [LogLine::ClaimMade, LogLine::SentPending, LogLine::PathCut];
    let has = |pid: u32, hook: Option<&str>, says: LogLine| {
        let is_it = |line: &Line| {
            line.pid == pid && hook.is_none_or(|hook| line.hook == hook) && line.is(says)
        };
        lines.iter().any(is_it)
    };
    families.iter().all(|is_of| {
        let mut events = run.events.iter().filter(|event| is_of(&event.detail));
        events.any(|event| {
            let pid = event.process.as_ref().map_or(0, |process| process.pid);
            event.hook.is_some() && has(pid, event.hook, LogLine::Sent)
        })
    }) && steps.into_iter().all(|says| has(agent, None, says))
}

/// Bytes of the rings that kernel programs log into, of which this process holds a descriptor.
fn rings() -> Vec<u64> {
    let mut rings = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo").expect("proc").flatten() {
        // One that was closed meanwhile is none.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let value = |key: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        let id = value("map_id:").and_then(|id| u32::try_from(id).ok());
        let info = id.and_then(|id| MapInfo::from_id(id).ok());
        if info.is_some_and(|info| info.name_as_str() == Some("AYA_LOGS")) {
            rings.extend(value("max_entries:"));
        }
    }
    rings
}

#[test]
fn a_line_names_its_hook_and_its_pid_and_nothing_of_the_data() {
    let _alone = alone();
    let logged = Logged::here();
    let sensor = Sensor::start_logging(KernelLevel::Debug, RING);
    // A 512th of the sensor's memory.
    assert!(rings().contains(&(128 << 10)), "{:?}", rings());
    // Again where others make more lines than are forwarded.
    wait_or_explain(
        "lines of every family of hooks",
        || {
            let run = act(&sensor);
            sensor.stall().round(false, drop);
            has_lines_of(&run, &logged.lines()).then_some(())
        },
        || logged.text(),
    );
    let text = logged.text();
    assert!(!text.contains(MARKER), "{text}");
    for line in logged.lines() {
        assert!(line.is_one(), "{line:?}");
    }
}

#[test]
fn at_level_warn_what_is_lost_is_said_and_nothing_else() {
    let _alone = alone();
    let logged = Logged::here();
    // A record or two, so that most are lost: more than the log takes.
    let sensor = Sensor::start_logging(KernelLevel::Warn, 4096);
    let directory = scratch("warned");
    let pid = {
        let _nothing_is_read = sensor.stall();
        let mut command = Command::new(actor());
        let command = command
            .args(["do", "create-storm"])
            .arg(&directory)
            .arg("3000");
        let mut child = command.stdin(Stdio::null()).spawn().expect("the actor");
        let pid = child.id();
        assert!(child.finish().success());
        pid
    };
    fs::remove_dir_all(directory).expect("own directory");
    wait_or_explain(
        "a line on a record of the agent that was lost",
        || {
            let of_it = |line: &Line| {
                let full = line.is(LogLine::RingFull) || line.is(LogLine::Throttled);
                line.pid == pid && full && line.says.ends_with("kind=open")
            };
            logged.lines().iter().any(of_it).then_some(())
        },
        || logged.text(),
    );
    wait_or_explain(
        "lines that the ring of the log did not take",
        || {
            let text = logged.text();
            let mut said = text
                .lines()
                .filter_map(|line| line.split_once(" were lost ring_full="));
            said.any(|(_, lost)| !lost.starts_with("0 ")).then_some(())
        },
        || logged.text(),
    );
    for line in logged.lines() {
        assert_eq!(line.level, "WARN", "{line:?}");
        assert!(line.is_one(), "{line:?}");
    }
}

#[test]
fn off_there_is_no_line_and_no_more_than_a_page_for_any() {
    let _alone = alone();
    let sensor = Sensor::start_logging(KernelLevel::Off, RING);
    // Those of the other tests are gone once their last round is over.
    wait_for("no ring but of a page", || {
        let rings = rings();
        (!rings.is_empty() && rings.iter().all(|bytes| *bytes == 4096)).then_some(())
    });
    let logged = Logged::here();
    act(&sensor);
    sensor.stall().round(false, drop);
    assert_eq!(logged.text(), "");
}

/// Tiers below the best, by the hooks that are avoided.
const TIERS: [&[&str]; 4] = [
    &["fentry/"],
    &["fentry/vfs_open", "fentry/unix_stream_connect", "lsm/"],
    &["lsm/", "fentry/", "cgroup/"],
    &[
        "lsm/",
        "fentry/",
        "cgroup/",
        "tp/sys_open",
        "tp/sys_connect",
        "tp/sys_socket",
    ],
];

#[test]
fn programs_that_log_are_refused_by_no_verifier_in_any_tier() {
    let _alone = alone();
    for avoid in TIERS {
        let mut pipeline = attach_logging(KernelLevel::Debug, RING, avoid);
        // By the one program that is not attached to anything.
        pipeline.adopt(None, drop);
        for hook in pipeline.hooks() {
            // A locked kernel takes no LSM and fentry programs at all: EPERM.
            let refused = hook.reason.matches("load refused: ").count();
            let locked = hook
                .reason
                .matches("load refused: Operation not permitted")
                .count();
            assert_eq!(refused, locked, "{hook:?}");
        }
    }
}
