//! One run of an agent: what it and the programs that it starts do.
//!
//! A session is a queue of acts, filled turn by turn: look for files, ask the model, run tools. An act
//! becomes one event, or none on a machine whose hooks do not see it.
//!
//! Past 600 lines with rustfmt's form of it: what an agent does and how each act is written stay together.

use std::collections::VecDeque;

use skep_proto::{
    tag::{self, connect, open, process},
    v1::{self, event::Detail},
};

use crate::{
    draw::Draw,
    encode::Fields,
    tally::{Class, Made},
    world::{CREDENTIALS, TOOLS, Tool, World},
};

use super::{
    Common, Identity, SECOND,
    told::{agent_field, credential_read, inode, io_uring, lost, throttled_begin, throttled_end},
};

const ENOENT: i32 = -2;
const ESRCH: i32 = -3;
const EACCES: i32 = -13;
/// `O_*` flags of opens: read, read with close-on-exec, write.
const READ: u32 = 0o100_000;
const READ_CLOEXEC: u32 = 0o2_100_000;
const WRITE: u32 = 0o2_101_101;
/// Between two turns: the model thinks, or its user.
const THINKING: u64 = 20 * SECOND;
/// The agent itself among the processes of its session.
const ROOT: usize = 0;

/// A process of the session.
struct Process {
    pid: u32,
    /// The encoded `skep.v1.Process`; empty when nothing runs in this place.
    fields: Fields,
}

/// A file, wherever it is.
#[derive(Clone, Copy)]
enum Place {
    /// By the number of the file in the project, the agent's own, the libraries.
    Project(usize),
    Own(usize),
    Library(usize),
    /// Below the home folder.
    Home(&'static str),
    /// `/proc/PID/stat`
    Stat(u32),
    /// In the folder of the agent's settings, by number.
    Settings(u32),
}

enum Act {
    Think,
    Start,
    End,
    /// Who starts it, in which place it runs.
    Exec {
        parent: usize,
        at: usize,
        what: Program,
    },
    Exit {
        at: usize,
        code: u32,
    },
    Open {
        by: usize,
        place: Place,
        flags: u32,
        result: i32,
    },
    Connect {
        by: usize,
        addr: &'static str,
        port: u32,
    },
    /// An event that is encoded the usual way.
    Tell {
        detail: fn(u64) -> Detail,
        class: Class,
        count: u64,
    },
}

#[derive(Clone, Copy)]
enum Program {
    Agent,
    Shell(&'static Tool),
    Tool(&'static Tool),
}

/// What came of an act.
pub enum Next {
    Event(Made),
    /// Nothing to tell, or only that time passed.
    Later,
    Over,
}

pub struct Session {
    id: String,
    agent: usize,
    project: usize,
    /// `/home/alice/src/PROJECT`
    folder: String,
    /// The field `agent` of every event, tag and length included.
    agent_field: Vec<u8>,
    processes: Vec<Process>,
    acts: VecDeque<Act>,
    turns: u64,
    over: bool,
}

impl Session {
    pub fn new(
        world: &World,
        identity: &Identity,
        draw: &mut Draw,
        [agent, project]: [usize; 2],
        time: u64,
        pid: u32,
    ) -> Self {
        let mut session = Self {
            id: draw.hex(32),
            agent,
            project,
            folder: format!("{}/src/{}", identity.home, world.projects[project].name),
            agent_field: agent_field(&world.agents[agent]),
            processes: Vec::new(),
            acts: VecDeque::new(),
            turns: 4 + draw.around(20),
            over: false,
        };
        session.run(
            ROOT,
            pid,
            time,
            900 + (pid & 63),
            Program::Agent,
            (world, identity),
        );
        let root = |what| Act::Exec {
            parent: ROOT,
            at: ROOT,
            what,
        };
        session.acts.extend([Act::Start, root(Program::Agent)]);
        session.begin(world, identity, draw);
        session
    }

    /// What happens at `time`, which is then set to when the next thing happens.
    pub fn next(&mut self, common: &mut Common, time: &mut u64) -> Next {
        let Some(act) = self.acts.pop_front() else {
            if self.over {
                return Next::Over;
            }
            self.turn(common);
            return Next::Later;
        };
        if matches!(act, Act::Think) {
            *time += common.pause(*time, THINKING);
            return Next::Later;
        }
        let Some(made) = self.event(common, *time, &act) else {
            return Next::Later;
        };
        // Between two events of one program: microseconds, now and then milliseconds.
        let mean = if common.draw.chance(30) {
            40_000_000
        } else {
            60_000
        };
        *time += 2_000 + common.draw.around(mean);
        Next::Event(made)
    }

    /// What an agent does first: its own files, its settings, a look around.
    fn begin(&mut self, world: &World, identity: &Identity, draw: &mut Draw) {
        let own = world.agents[self.agent].files.len();
        self.open_all((0..own).map(Place::Own), ROOT, READ_CLOEXEC);
        for place in ["/.gitconfig", "/.npmrc", "/.config/git/config"] {
            let result = if draw.chance(400) { 0 } else { ENOENT };
            self.open(ROOT, Place::Home(place), READ_CLOEXEC, result);
        }
        for number in 0..6 {
            let result = if draw.chance(500) { 0 } else { ENOENT };
            self.open(ROOT, Place::Settings(number), READ_CLOEXEC, result);
        }
        if identity.tracepoints {
            for _ in 0..draw.below(8) {
                self.acts.push_back(Act::Tell {
                    detail: io_uring,
                    class: Class::Coverage,
                    count: 0,
                });
            }
        }
        if draw.chance(20) {
            self.acts.push_back(Act::Tell {
                detail: lost,
                class: Class::Lost,
                count: 17,
            });
        }
        if draw.chance(10) {
            let tell = |detail, count| Act::Tell {
                detail,
                class: Class::Coverage,
                count,
            };
            self.acts
                .extend([tell(throttled_begin, 0), tell(throttled_end, 1200)]);
        }
    }

    /// One turn, or the end.
    fn turn(&mut self, common: &mut Common) {
        let Common { world, draw, .. } = common;
        if self.turns == 0 {
            self.over = true;
            let code = if draw.chance(50) { 130 } else { 0 };
            self.acts.extend([Act::Exit { at: ROOT, code }, Act::End]);
            return;
        }
        self.turns -= 1;
        self.acts.push_back(Act::Think);
        if draw.chance(700) {
            let addr = *draw.pick(world.agents[self.agent].model);
            self.acts.push_back(Act::Connect {
                by: ROOT,
                addr,
                port: 443,
            });
        }
        let files = world.projects[self.project].files.len();
        for _ in 0..draw.below(8) {
            let file = draw.skewed(files);
            self.open(ROOT, Place::Project(file), READ_CLOEXEC, 0);
            if draw.chance(150) {
                self.open(ROOT, Place::Project(file), WRITE, 0);
            }
        }
        if draw.chance(4) {
            let result = if draw.chance(300) { EACCES } else { 0 };
            self.open(
                ROOT,
                Place::Home(draw.pick::<&str>(CREDENTIALS)),
                READ_CLOEXEC,
                result,
            );
            if draw.chance(300) {
                self.acts.push_back(Act::Tell {
                    detail: credential_read,
                    class: Class::Finding,
                    count: 0,
                });
            }
        }
        if draw.chance(850) {
            let mut share = draw.below(1000);
            let tool = TOOLS.iter().find(|tool| {
                let found = share < tool.share;
                share = share.saturating_sub(tool.share);
                found
            });
            self.tool(world, draw, tool.unwrap_or(&TOOLS[0]));
        }
    }

    /// A shell that runs a program.
    fn tool(&mut self, world: &World, draw: &mut Draw, tool: &'static Tool) {
        const SHELL: usize = 1;
        const CHILD: usize = 2;
        self.acts.push_back(Act::Exec {
            parent: ROOT,
            at: SHELL,
            what: Program::Shell(tool),
        });
        let libraries = world.libraries.len();
        self.load(&world.libraries[..2], SHELL);
        self.acts.push_back(Act::Exec {
            parent: SHELL,
            at: CHILD,
            what: Program::Tool(tool),
        });
        self.load(&world.libraries[..libraries], CHILD);
        let files = world.projects[self.project].files.len();
        for _ in 0..draw.below(tool.project + 1) {
            let (file, missing) = (draw.skewed(files), draw.chance(60));
            let result = if missing { ENOENT } else { 0 };
            self.open(CHILD, Place::Project(file), READ, result);
        }
        if tool.lists {
            for _ in 0..80 + draw.below(120) {
                let pid = 1 + u32::try_from(draw.skewed(40_000)).expect("less than 40,000");
                let result = if draw.chance(250) { ESRCH } else { 0 };
                self.open(CHILD, Place::Stat(pid), READ, result);
            }
        }
        for _ in 0..tool.reaches.len().min(2) {
            let (addr, port) = *draw.pick(tool.reaches);
            self.acts.push_back(Act::Connect {
                by: CHILD,
                addr,
                port,
            });
        }
        if tool.exe.ends_with("ssh") {
            self.open(CHILD, Place::Home(CREDENTIALS[0]), READ, 0);
            self.open(CHILD, Place::Home(CREDENTIALS[1]), READ, 0);
        }
        let code = if draw.chance(120) { 1 } else { 0 };
        self.acts
            .extend([CHILD, SHELL].map(|at| Act::Exit { at, code }));
    }

    fn load(&mut self, libraries: &[(String, i32)], by: usize) {
        for (number, (_, result)) in libraries.iter().enumerate() {
            self.open(by, Place::Library(number), READ_CLOEXEC, *result);
        }
    }

    fn open_all(&mut self, places: impl Iterator<Item = Place>, by: usize, flags: u32) {
        for place in places {
            self.open(by, place, flags, 0);
        }
    }

    fn open(&mut self, by: usize, place: Place, flags: u32, result: i32) {
        self.acts.push_back(Act::Open {
            by,
            place,
            flags,
            result,
        });
    }

    /// Puts a program into its place.
    fn run(
        &mut self,
        at: usize,
        pid: u32,
        start: u64,
        ppid: u32,
        what: Program,
        (world, identity): (&World, &Identity),
    ) {
        while self.processes.len() <= at {
            self.processes.push(Process {
                pid: 0,
                fields: Fields::default(),
            });
        }
        let Process { pid: place, fields } = &mut self.processes[at];
        *place = pid;
        fields.clear();
        fields.plain(process::PID, pid.into());
        fields.fixed64(process::START_UNIX_NANO, start);
        fields.number(process::PPID, ppid.into());
        match what {
            Program::Agent => {
                let agent = &world.agents[self.agent];
                fields.text(process::EXE, agent.exe);
                for word in &agent.argv {
                    fields.text(process::ARGV, word);
                }
            }
            Program::Shell(tool) => {
                fields.text(process::EXE, "/usr/bin/dash");
                fields.text(process::ARGV, "/bin/sh");
                fields.text(process::ARGV, "-c");
                fields.text(process::ARGV, &tool.argv.join(" "));
            }
            Program::Tool(tool) => {
                fields.text(process::EXE, tool.exe);
                for word in tool.argv {
                    fields.text(process::ARGV, word);
                }
            }
        }
        fields.text(process::CWD, &self.folder);
        fields.number(process::UID, identity.uid.into());
    }

    fn event(&mut self, common: &mut Common, nanos: u64, act: &Act) -> Option<Made> {
        if let Act::Exec { parent, at, what } = act
            && !matches!(what, Program::Agent)
        {
            common.next_pid = common.next_pid % 4_000_000 + 1 + u32::from(common.draw.chance(500));
            let (pid, ppid) = (common.next_pid, self.processes[*parent].pid);
            let start = nanos - 900_000;
            self.run(
                *at,
                pid,
                start,
                ppid,
                *what,
                (&common.world, &common.identity),
            );
        }
        common.event.clear();
        common.detail.clear();
        common.event.fixed64(tag::event::TIME_UNIX_NANO, nanos);
        common.event.text(tag::event::SESSION, &self.id);
        common.event.0.extend_from_slice(&self.agent_field);
        let made = |class, by: usize| Made {
            class,
            nanos,
            count: 0,
            pid: self.processes[by].pid,
            path_bytes: 0,
        };
        match act {
            Act::Think => None,
            Act::Start | Act::End => {
                let start = matches!(act, Act::Start);
                if start {
                    common
                        .event
                        .message(tag::event::PROCESS, &self.processes[ROOT].fields.0);
                }
                common.event.text(
                    tag::event::HOOK,
                    if start {
                        "raw_tp/sched_process_exec"
                    } else {
                        "raw_tp/sched_process_exit"
                    },
                );
                let info = self.info(common, start);
                common.finish(&Detail::SessionInfo(info));
                let pid = if start { self.processes[ROOT].pid } else { 0 };
                Some(Made {
                    pid,
                    ..made(Class::Session, ROOT)
                })
            }
            Act::Exec { at, what, .. } => {
                self.head(common, *at, "raw_tp/sched_process_exec", Some(0));
                let name = match what {
                    Program::Agent => common.world.agents[self.agent].exe,
                    Program::Shell(_) => "/bin/sh",
                    Program::Tool(tool) => tool.exe,
                };
                common.detail.text(tag::exec::FILENAME, name);
                common.event.message(Class::Exec.tag(), &common.detail.0);
                Some(made(Class::Exec, *at))
            }
            Act::Exit { at, code } => {
                self.head(common, *at, "raw_tp/sched_process_exit", None);
                common.detail.number(tag::exit::CODE, u64::from(*code));
                common.event.message(Class::Exit.tag(), &common.detail.0);
                Some(made(Class::Exit, *at))
            }
            Act::Open {
                by,
                place,
                flags,
                result,
            } => {
                // What the look-up does not find never comes to vfs_open.
                if *result == ENOENT && !common.identity.tracepoints {
                    return None;
                }
                let hook = if common.identity.tracepoints {
                    "tp/sys_exit_openat"
                } else {
                    "fentry/vfs_open"
                };
                self.head(common, *by, hook, Some(*result));
                let (count, path_bytes) = self.file(common, nanos, *place, *flags, *result);
                common.event.message(Class::Open.tag(), &common.detail.0);
                Some(Made {
                    count,
                    path_bytes,
                    ..made(Class::Open, *by)
                })
            }
            Act::Connect { by, addr, port } => {
                let six = addr.contains(':');
                let hook = if six {
                    "cgroup/connect6"
                } else {
                    "cgroup/connect4"
                };
                self.head(common, *by, hook, None);
                let count = if common.draw.chance(150) {
                    2 + common.draw.around(3)
                } else {
                    1
                };
                let detail = &mut common.detail;
                detail.text(connect::FAMILY, if six { "inet6" } else { "inet" });
                detail.text(connect::ADDR, addr);
                detail.number(connect::PORT, u64::from(*port));
                detail.text(connect::PROTO, "tcp");
                detail.plain(connect::COUNT, count);
                if count > 1 {
                    detail.fixed64(connect::LAST_UNIX_NANO, nanos + 400_000_000);
                }
                common.event.message(Class::Connect.tag(), &common.detail.0);
                Some(Made {
                    count,
                    ..made(Class::Connect, *by)
                })
            }
            Act::Tell {
                detail,
                class,
                count,
            } => {
                common.finish(&detail(nanos));
                Some(Made {
                    count: *count,
                    pid: 0,
                    ..made(*class, ROOT)
                })
            }
        }
    }

    /// Process, hook and outcome.
    fn head(&self, common: &mut Common, by: usize, hook: &str, result: Option<i32>) {
        common
            .event
            .message(tag::event::PROCESS, &self.processes[by].fields.0);
        common.event.text(tag::event::HOOK, hook);
        if let Some(result) = result {
            common.event.signed(tag::event::RESULT, result);
        }
    }

    /// Fills in a `skep.v1.Open`; how many opens it stands for, and the length of the path.
    fn file(
        &self,
        common: &mut Common,
        nanos: u64,
        place: Place,
        flags: u32,
        result: i32,
    ) -> (u64, usize) {
        let Common {
            world,
            identity,
            draw,
            detail,
            ..
        } = common;
        let agent = &world.agents[self.agent];
        let settings;
        let [first, second, third]: [&str; 3] = match place {
            Place::Project(file) => [&self.folder, "/", &world.projects[self.project].files[file]],
            Place::Own(file) => ["", "", &agent.files[file]],
            Place::Library(file) => ["", "", &world.libraries[file].0],
            Place::Home(file) => [&identity.home, "", file],
            Place::Stat(pid) => {
                settings = format!("/proc/{pid}/stat");
                ["", "", &settings]
            }
            Place::Settings(number) => {
                settings = format!("{}/settings-{number}.json", agent.settings);
                [&identity.home, "", &settings]
            }
        };
        let path_bytes = detail.joined(open::PATH, &[first, second, third]);
        detail.plain(open::FLAGS, flags.into());
        if result == 0 {
            detail.number(open::MODE, 0o100_644);
        }
        let count = if draw.chance(150) {
            2 + draw.around(6)
        } else {
            1
        };
        detail.plain(open::COUNT, count);
        if count > 1 {
            detail.fixed64(
                open::LAST_UNIX_NANO,
                nanos + 1_000_000 + draw.around(300_000_000),
            );
        }
        detail.flag(open::PATH_RESOLVED, result == 0);
        if result == 0 {
            let inode = inode(&identity.sensor_id, [first, second, third]);
            detail.number(open::INODE, inode);
            detail.text(open::DEVICE, identity.device);
            detail.number(open::LINKS, 1);
        }
        (count, path_bytes)
    }

    fn info(&self, common: &Common, start: bool) -> v1::SessionInfo {
        use v1::session_info::{Found, Phase};
        let Common {
            world, identity, ..
        } = common;
        v1::SessionInfo {
            phase: if start { Phase::Start } else { Phase::End }.into(),
            parent: None,
            user: Some(identity.user.to_owned()),
            uid: Some(identity.uid),
            login_uid: Some(identity.uid),
            terminal: Some(format!("/dev/pts/{}", self.processes[ROOT].pid % 5)),
            cwd: Some(self.folder.clone()),
            repository: Some(v1::Repository {
                root: self.folder.clone(),
                remote: Some(world.projects[self.project].remote.clone()),
                branch: Some("main".to_owned()),
            }),
            gaps: Some(0),
            found: Found::Observed.into(),
            ..v1::SessionInfo::default()
        }
    }
}
