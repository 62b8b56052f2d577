//! Nothing is lost between an exec and the verdict on it.
//!
//! Agents that are scripts need a runtime. Everywhere it is a stand-in: a copy of the demo agent without
//! its mark, in a file named `node`, which is judged like any runtime known by its name and really
//! interprets the script. Where the cache holds a real Node (`cargo xtask fetch`), that is used as well.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use skep_event::Detail;
use skep_testing::Finish;

use crate::sensor::{actor, scratch, sensor, shown, wait_or_explain};

/// Agents started in all; `SKEP_RACE_RUNS` for another number.
const RUNS: usize = 200;
/// How many of them at the same time.
const BATCH: usize = 20;

/// Every agent opens a file of its own and connects, first thing after its exec: while the sensor has
/// not even read that exec. `start` makes the command that starts it, given actions.
fn every_first_act_is_seen(name: &str, family: &str, start: impl Fn(&[&str]) -> Command) {
    so_many_first_acts_are_seen(runs(), name, family, start);
}

fn runs() -> usize {
    match std::env::var("SKEP_RACE_RUNS") {
        Ok(runs) => runs
            .parse()
            .unwrap_or_else(|error| panic!("SKEP_RACE_RUNS is {runs:?}: {error}")),
        Err(_) => RUNS,
    }
}

fn so_many_first_acts_are_seen(
    runs: usize,
    name: &str,
    family: &str,
    start: impl Fn(&[&str]) -> Command,
) {
    let sensor = sensor(); // attached before the first agent starts
    let mut known = sensor.known();
    let directory = scratch(name);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let accepting = std::thread::spawn(move || {
        for _ in 0..runs {
            drop(listener.accept());
        }
    });
    let paths: Vec<String> = (0..runs)
        .map(|number| format!("{}/{number}", directory.display()))
        .collect();
    for batch in paths.chunks(BATCH) {
        let port = port.to_string();
        let children: Vec<_> = batch
            .iter()
            .map(|path| {
                start(&["create", path, "connect4", "127.0.0.1", &port])
                    .spawn()
                    .expect("the actor")
            })
            .collect();
        for mut child in children {
            assert!(child.finish().success());
        }
    }
    accepting.join().expect("every agent connects");
    let prefix = format!("{}/", directory.display());
    // Should they not come: what did.
    let arrived = Cell::new((0, 0));
    let (mut opened, mut connected, mut sessions) = (Vec::new(), 0, BTreeSet::new());
    let found = || {
        known = sensor.each_since(known, |event| {
            match &event.detail {
                Detail::Open(file) if shown(file).starts_with(&prefix) => opened.push(shown(file)),
                Detail::Connect(net) if net.port == Some(port) => connected += 1,
                _ => return,
            }
            let agent = event.agent.as_ref().map(|agent| agent.family.as_str());
            assert_eq!(agent, Some(family), "{event:?}");
            sessions.extend(event.session);
        });
        arrived.set((opened.len(), connected));
        (opened.len() >= runs && connected >= runs).then_some(())
    };
    wait_or_explain("every agent's acts", found, || {
        let (opened, connected) = arrived.get();
        let (lost, dead) = (sensor.lost(), sensor.unjudged());
        format!("of {runs}: {opened} opened, {connected} connected; lost {lost:?}; unjudged {dead}")
    });
    opened.sort();
    let mut expected = paths;
    expected.sort();
    assert_eq!(opened, expected, "each file once");
    assert_eq!(connected, runs, "each connection once");
    assert_eq!(sessions.len(), runs, "each agent its own session");
    assert_eq!(sensor.lost(), Vec::<String>::new());
    fs::remove_dir_all(directory).expect("own directory");
}

/// The family of the acting program.
const DEMO: &str = "skep-demo-agent";
/// A family that is recognised by the package its script lies in.
const SCRIPTED: &str = "gemini-cli";

#[test]
fn an_agents_first_acts_are_seen_however_many_start_at_once() {
    every_first_act_is_seen("first-acts", DEMO, |actions| {
        let mut command = Command::new(actor());
        command.arg("do").args(actions);
        command
    });
}

/// No verdict exists for the runtime's file: the first of them have it judged while the others begin.
#[test]
fn scripts_whose_interpreter_nobody_has_judged_are_seen_from_their_first_act() {
    for named_by_script in [false, true] {
        let directory = scratch(&format!("fresh-{named_by_script}"));
        let runtime = Runtime::stand_in(&directory);
        let script = runtime.script(&directory);
        let name = format!("first-acts-fresh-{named_by_script}");
        so_many_first_acts_are_seen(BATCH, &name, SCRIPTED, |actions| {
            let mut command = match named_by_script {
                true => Command::new(&script),
                false => Command::new(&runtime.program),
            };
            if !named_by_script {
                command.arg(&script);
            }
            command.args(actions);
            command
        });
        fs::remove_dir_all(directory).expect("own directory");
    }
}

#[test]
fn the_stand_in_for_a_runtime_is_no_agent_by_itself() {
    let directory = scratch("runtime");
    let runtime = Runtime::stand_in(&directory);
    let (script, file) = (directory.join("script.js"), directory.join("opened"));
    fs::write(&script, "create \"$@\"\n").expect("own directory");
    let mut command = Command::new(&runtime.program);
    let mut child = command
        .arg(&script)
        .arg(&file)
        .spawn()
        .expect("the runtime");
    let pid = child.id();
    assert!(child.finish().success());
    assert!(file.exists(), "it does what the script says");
    // An agent after it: once that is reported, whatever there was of the script would be too.
    sensor().run(&[]);
    assert!(sensor().of_pid(pid).is_empty());
    fs::remove_dir_all(directory).expect("own directory");
}

/// Other ways to begin, with the same kernel programs.
mod once {
    use super::*;

    #[test]
    fn an_agent_that_replaces_an_unknown_program_is_seen_from_its_first_act() {
        // A copy of the shell that no verdict exists for: pending, then the agent, in the same process.
        let directory = scratch("unknown-shell");
        let shell = directory.join("unknown");
        let copied = Command::new("cp").arg("/bin/sh").arg(&shell).spawn();
        assert!(copied.expect("cp").finish().success());
        every_first_act_is_seen("first-acts-after-another", DEMO, |actions| {
            let mut command = Command::new(&shell);
            // busybox takes its applet from argv[0].
            std::os::unix::process::CommandExt::arg0(&mut command, "sh");
            command
                .args(["-c", "exec \"$0\" do \"$@\""])
                .arg(actor())
                .args(actions);
            command
        });
        fs::remove_dir_all(directory).expect("own directory");
    }

    #[test]
    fn a_script_given_to_its_interpreter_is_seen_from_its_first_act() {
        let directory = scratch("interpreter");
        for runtime in Runtime::all(&directory) {
            let script = runtime.script(&directory);
            runtime.is_known(&script);
            let name = format!("first-acts-interpreter-{}", runtime.label);
            every_first_act_is_seen(&name, SCRIPTED, |actions| {
                let mut command = Command::new(&runtime.program);
                command.arg(&script).args(actions);
                command
            });
        }
        fs::remove_dir_all(directory).expect("own directory");
    }

    #[test]
    fn a_script_that_names_its_interpreter_is_seen_from_its_first_act() {
        let directory = scratch("shebang");
        for runtime in Runtime::all(&directory) {
            let script = runtime.script(&directory);
            runtime.is_known(&script);
            let name = format!("first-acts-shebang-{}", runtime.label);
            every_first_act_is_seen(&name, SCRIPTED, |actions| {
                let mut command = Command::new(&script);
                command.args(actions);
                command
            });
        }
        fs::remove_dir_all(directory).expect("own directory");
    }
}

/// What runs an agent that is a script.
struct Runtime {
    label: &'static str,
    program: PathBuf,
    /// The script's text without its first line: it performs the actions in its arguments.
    text: &'static str,
}

// === impl Runtime ===

impl Runtime {
    /// The stand-in, and the real one where there is one.
    fn all(directory: &Path) -> Vec<Self> {
        let mut all = vec![Self::stand_in(directory)];
        match Self::real() {
            Some(real) => all.push(real),
            None => println!("no real Node in the cache: only the stand-in for it is used"),
        }
        for runtime in &all {
            println!("runtime, {}: {}", runtime.label, runtime.program.display());
        }
        all
    }

    /// The acting program without the mark it is recognised by, under a runtime's name.
    fn stand_in(directory: &Path) -> Self {
        const MARK: &[u8] = b".skep_agent\0";
        const BLANK: &[u8] = b".skep_blank\0";
        let mut bytes = fs::read(actor()).expect("the actor");
        let marks: Vec<_> = bytes
            .windows(MARK.len())
            .enumerate()
            .filter_map(|(at, window)| (window == MARK).then_some(at))
            .collect();
        assert!(!marks.is_empty(), "the actor has a mark");
        for at in marks {
            bytes[at..at + BLANK.len()].copy_from_slice(BLANK);
        }
        let program = directory.join("node");
        fs::write(&program, bytes).expect("own directory");
        executable(&program);
        Self {
            label: "stand-in",
            program,
            text: "\"$@\"\n",
        }
    }

    fn real() -> Option<Self> {
        let cache = std::env::var_os("SKEP_CACHE").map(PathBuf::from);
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/skep"));
        let agents = cache.or_else(home)?.join("agents");
        let packages = fs::read_dir(agents).ok()?.filter_map(Result::ok);
        let mut programs = packages
            .filter(|entry| {
                entry
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(b"node-linux-")
            })
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let package = name.split('@').next().unwrap_or_default().to_owned();
                entry
                    .path()
                    .join("node_modules")
                    .join(package)
                    .join("bin/node")
            });
        Some(Self {
            label: "real",
            program: programs.find(|program| program.is_file())?,
            text: "const [, , , file, , host, port] = process.argv;\n\
                   require('fs').writeFileSync(file, 'x');\n\
                   require('net').connect(port, host, function () { this.destroy(); });\n",
        })
    }

    /// Returns when the sensor has looked at the runtime's file. It reads all of it, once, and a real
    /// one has over a hundred megabytes: what starts meanwhile is the ring's to hold, which is a matter of
    /// its size and not of the race.
    fn is_known(&self, script: &Path) {
        let begun = Instant::now();
        let file = script.with_file_name(format!("first-{}", self.label));
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port().to_string();
        let mut command = Command::new(&self.program);
        command
            .arg(script)
            .args(["create", text(&file), "connect4", "127.0.0.1", &port]);
        sensor().run_command(command);
        println!("known after {} ms", begun.elapsed().as_millis());
    }

    /// The agent's script, in its package.
    fn script(&self, directory: &Path) -> PathBuf {
        let package = directory.join("node_modules/@google/gemini-cli");
        fs::create_dir_all(package.join("bundle")).expect("own directory");
        let metadata = r#"{"name": "@google/gemini-cli", "version": "0.0.1"}"#;
        fs::write(package.join("package.json"), metadata).expect("own directory");
        let script = package.join("bundle/gemini.js");
        let text = format!("#!{}\n{}", self.program.display(), self.text);
        fs::write(&script, text).expect("own directory");
        executable(&script);
        script
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("own names are text")
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("own directory");
}
