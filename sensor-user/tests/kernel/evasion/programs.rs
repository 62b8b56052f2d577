//! An agent, or a program it runs, that does not look like what it is.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    process::Command,
    time::{Duration, Instant},
};

use skep_event::{CoverageKind, Detail, Event};
use skep_testing::Finish;

use crate::sensor::{actor, shown};

use super::{
    Group, Technique,
    attempt::Attempt,
    stage::{Stage, agent, text},
    verdict::Verdict,
};

pub const GROUP: Group = Group {
    title: "Programs",
    techniques: &[
        Technique {
            id: "renamed-binary",
            title: "renamed binary",
            tries: "the agent's program moved to another name and place (`kworker`)",
            attempt: renamed,
        },
        Technique {
            id: "copied-binary",
            title: "copy of the binary",
            tries: "another file with the same content",
            attempt: copied,
        },
        Technique {
            id: "hard-link-binary",
            title: "hard link to the binary",
            tries: "a second name (`vim`) of the agent's program",
            attempt: hard_link,
        },
        Technique {
            id: "symlink-binary",
            title: "symbolic link to the binary",
            tries: "the agent started through a link named `ls`",
            attempt: symbolic_link,
        },
        Technique {
            id: "memfd-agent",
            title: "agent from a memfd, by `fexecve`",
            tries: "`memfd_create`, then `execveat` with `AT_EMPTY_PATH`: the agent has no path",
            attempt: agent_in_memory,
        },
        Technique {
            id: "proc-fd-agent",
            title: "agent through `/proc/self/fd`",
            tries: "the name given to exec says nothing, and the file is unlinked first",
            attempt: agent_through_descriptor,
        },
        Technique {
            id: "memfd-agent-gone",
            title: "agent from a memfd that ends at once",
            tries: "over before the sensor has looked at it, for certain: it is held still meanwhile",
            attempt: agent_in_memory_gone,
        },
        Technique {
            id: "shebang-chain",
            title: "shebang chain",
            tries: "a script whose interpreter is a script whose interpreter is the agent",
            attempt: shebang_chain,
        },
        Technique {
            id: "empty-environment",
            title: "`env -i`",
            tries: "the agent started without any environment",
            attempt: empty_environment,
        },
        Technique {
            id: "memfd-tool",
            title: "tool from a memfd, by `fexecve`",
            tries: "the agent runs a program that has no path",
            attempt: |stage| tool(stage, "memfd-execat"),
        },
        Technique {
            id: "proc-fd-tool",
            title: "tool through `/proc/self/fd`",
            tries: "the agent runs a program by a descriptor",
            attempt: |stage| tool(stage, "fd-exec"),
        },
        Technique {
            id: "static-binary",
            title: "static binary",
            tries: "a tool without C library or dynamic linker: nothing can be preloaded into it",
            attempt: static_binary,
        },
        Technique {
            id: "static-agent",
            title: "agent as a static binary",
            tries: "the agent itself without C library or dynamic linker",
            attempt: static_agent,
        },
    ],
};

/// How long an agent without a file waits for being seen at most. One that ends before the sensor has
/// looked at its process is another technique.
const LIVES: Duration = Duration::from_secs(30);

/// Sends out an agent that waits for the file `gate` once it has opened the secret: until that is
/// reported, or is not going to be.
fn act_until_seen(stage: &Stage, command: Command, secret: &str, gate: &str) -> Attempt {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            let is_it = |event: &Event| {
                matches!(&event.detail, Detail::Open(file) if shown(file) == secret)
            };
            while stage.sensor.find(is_it).is_none() && begun.elapsed() < LIVES {
                std::thread::sleep(Duration::from_millis(20));
            }
            fs::write(gate, "").expect("own folder");
        });
        stage.act_as(command)
    })
}

/// An agent started by this command line opens the secret.
fn opens_secret(stage: &Stage, mut command: Command) -> Verdict {
    let secret = stage.secret();
    command.args(["do", "open", &secret]);
    stage.act_as(command).recognised(&secret)
}

fn copy_of_actor(stage: &Stage, name: &str) -> String {
    let copy = stage.path(name);
    fs::copy(actor(), &copy).expect("own folder");
    copy
}

fn renamed(stage: &Stage) -> Verdict {
    let (copy, other) = (copy_of_actor(stage, "agent"), stage.path("kworker"));
    fs::rename(copy, &other).expect("own folder");
    opens_secret(stage, Command::new(other))
}

fn copied(stage: &Stage) -> Verdict {
    opens_secret(stage, Command::new(copy_of_actor(stage, "agent")))
}

fn hard_link(stage: &Stage) -> Verdict {
    let link = stage.path("vim");
    fs::hard_link(copy_of_actor(stage, "agent"), &link).expect("own folder");
    opens_secret(stage, Command::new(link))
}

fn symbolic_link(stage: &Stage) -> Verdict {
    let link = stage.path("ls");
    std::os::unix::fs::symlink(actor(), &link).expect("own folder");
    opens_secret(stage, Command::new(link))
}

fn agent_in_memory(stage: &Stage) -> Verdict {
    let (secret, gate) = (stage.secret(), stage.path("seen"));
    run_from_memory(
        &["dbus-daemon", "do", "open", &secret, "wait-for", &gate],
        |command| act_until_seen(stage, command, &secret, &gate).recognised(&secret),
    )
}

fn agent_in_memory_gone(stage: &Stage) -> Verdict {
    let secret = stage.secret();
    let before = unjudged(stage);
    run_from_memory(&["dbus-daemon", "do", "open", &secret], |mut command| {
        let held = stage.sensor.stall();
        let status = command.spawn().expect("a program in memory").finish();
        assert!(status.success(), "{status}");
        drop(held);
    });
    stage.fence();
    let attempt = Attempt::of(stage.sensor, stage.folder(), None);
    attempt.recognised(&secret).or(|| {
        (unjudged(stage) > before).then(|| {
            Verdict::gap(
                None,
                "not recognised: what it was can only be read from its process, which was gone. How many \
                 programs could not be judged is told for the machine as a whole, as a `coverage` event \
                 (`unjudged`)",
            )
        })
    })
}

/// Programs of which the sensor said so far that it could not judge them.
pub fn unjudged(stage: &Stage) -> u64 {
    stage.sensor.account();
    let mut count = 0;
    stage.sensor.each(|event| {
        if let Detail::Coverage(coverage) = &event.detail
            && coverage.what == CoverageKind::Unjudged
        {
            count += coverage.count;
        }
    });
    count
}

/// Has the agent run from memory, by a command line good for as long as `run` takes.
fn run_from_memory<T>(words: &[&str], run: impl FnOnce(Command) -> T) -> T {
    use rustix::fs::{MemfdFlags, memfd_create};
    let memory = memfd_create("dbus", MemfdFlags::CLOEXEC).expect("a memfd");
    let mut memory = File::from(memory);
    io::copy(&mut File::open(actor()).expect("the actor"), &mut memory).expect("memory");
    let words: Vec<_> = words
        .iter()
        .map(|word| std::ffi::CString::new(*word).expect("no zero byte"))
        .collect();
    let argv: Vec<_> = words
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect();
    let argv = argv.as_ptr() as usize;
    let descriptor = memory.as_raw_fd();
    // Never executed by this name: the child replaces itself first.
    let mut command = Command::new("/proc/self/exe");
    let replace = move || {
        let environment = [std::ptr::null::<libc::c_char>()];
        // SAFETY: the strings and arrays live in the parent's frame, which the child has a copy of;
        // the descriptor is open until the exec closes it.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                descriptor,
                c"".as_ptr(),
                argv as *const *const libc::c_char,
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        Err(io::Error::last_os_error())
    };
    // SAFETY: the closure makes one system call and touches no lock or allocator.
    unsafe { command.pre_exec(replace) };
    run(command)
}

fn agent_through_descriptor(stage: &Stage) -> Verdict {
    let copy = copy_of_actor(stage, "agent");
    let file = File::open(&copy).expect("own folder");
    fs::remove_file(copy).expect("own folder");
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("own descriptor");
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let (secret, gate) = (stage.secret(), stage.path("seen"));
    command
        .arg0("sshd")
        .args(["do", "open", &secret, "wait-for", &gate]);
    act_until_seen(stage, command, &secret, &gate).recognised(&secret)
}

fn shebang_chain(stage: &Stage) -> Verdict {
    let (secret, inner, outer) = (stage.secret(), stage.path("inner"), stage.path("outer"));
    let script = |path: &str, text: String| {
        fs::write(path, text).expect("own folder");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("own folder");
    };
    script(&inner, format!("#!{}\nopen {secret}\n", text(&actor())));
    script(&outer, format!("#!{inner}\n"));
    stage.act_as(Command::new(outer)).recognised(&secret)
}

fn empty_environment(stage: &Stage) -> Verdict {
    let mut command = Command::new("/usr/bin/env");
    command.arg("-i").arg(actor());
    opens_secret(stage, command)
}

/// The agent runs `cat` on the secret by the action of this name.
pub fn tool(stage: &Stage, action: &str) -> Verdict {
    let secret = stage.secret();
    stage
        .act(&[action, "cat", &secret])
        .executed("cat", &secret)
}

fn static_binary(stage: &Stage) -> Verdict {
    const BUSYBOX: &str = "/bin/busybox";
    let Ok(program) = fs::read(BUSYBOX) else {
        return Verdict::NotPossible {
            why: format!("there is no {BUSYBOX} here"),
        };
    };
    assert!(!has_interpreter(&program), "{BUSYBOX} is not static");
    let secret = stage.secret();
    let mut command = agent(&["exec", BUSYBOX, "cat"]);
    command.arg(&secret);
    stage.act_as(command).executed(BUSYBOX, &secret)
}

fn static_agent(stage: &Stage) -> Verdict {
    let program = fs::read(actor()).expect("the actor");
    if has_interpreter(&program) {
        return Verdict::NotPossible {
            why: "the acting program was built with a dynamic linker here".to_owned(),
        };
    }
    opens_secret(stage, Command::new(copy_of_actor(stage, "static-agent")))
}

/// Whether an ELF file of 64 bits asks for a dynamic linker (`PT_INTERP`, linux/elf.h).
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().expect("eight bytes"));
    let half = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]) as usize;
    assert_eq!(&elf[..5], b"\x7fELF\x02");
    let (table, size, count) = (word(32) as usize, half(54), half(56));
    (0..count).any(|n| elf[table + n * size..][..4] == PT_INTERP.to_le_bytes())
}
