//! An agent that reaches its interpreter in another way than as its script.
//!
//! The agent is a stand-in with the name and the files of a package that the catalogue knows; it reads the secret.
//! The interpreters are those of the machine: without one nothing can be tried.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use skep_event::{Detail, Event, Text};
use skep_testing::Finish;

use crate::sensor::shown;

use super::{
    Group, Technique,
    programs::unjudged,
    stage::{Stage, text},
    verdict::Verdict,
};

pub const GROUP: Group = Group {
    title: "Interpreters",
    techniques: &[
        Technique {
            id: "node-require",
            title: "`node --require`",
            tries: "the agent is loaded by an option, and the script is another",
            attempt: |stage| node(stage, &["--require", AGENT, "-e", "0"], Given::Arguments),
        },
        Technique {
            id: "node-options",
            title: "`NODE_OPTIONS`",
            tries: "the agent is loaded by an option that stands in the environment",
            attempt: |stage| node(stage, &["-e", "0"], Given::Environment),
        },
        Technique {
            id: "node-import-url",
            title: "`node --import data:`",
            tries: "the agent is imported by code in a URL",
            attempt: |stage| {
                let url = "data:text/javascript,import%20%22file://AGENT%22";
                node(stage, &["--import", url, "-e", "0"], Given::Arguments)
            },
        },
        Technique {
            id: "node-code",
            title: "`node -e \"require(…)\"`",
            tries: "the agent is loaded by code in an argument",
            attempt: |stage| node(stage, &["-e", "require('AGENT')"], Given::Arguments),
        },
        Technique {
            id: "node-made-name",
            title: "a name that is put together",
            tries: "code in an argument makes the path of the agent while it runs",
            attempt: |stage| {
                let code = "require(Buffer.from(process.argv[1], 'hex') + '')";
                node(stage, &["-e", code, "HEX"], Given::Arguments)
            },
        },
        Technique {
            id: "node-far-argument",
            title: "script behind 9,000 bytes of arguments",
            tries: "the script stands behind what the record of the exec holds of the arguments",
            attempt: |stage| {
                // One that node does not write over its own arguments, as it does with `--title`.
                let condition = "x".repeat(9_000);
                node(
                    stage,
                    &["--conditions", &condition, AGENT],
                    Given::Arguments,
                )
            },
        },
        Technique {
            id: "node-stdin",
            title: "code that loads the agent, through a pipe",
            tries: "the script is on standard input, and names the agent",
            attempt: |stage| node(stage, &["-"], Given::Pipe("require('AGENT')")),
        },
        Technique {
            id: "node-whole-stdin",
            title: "the agent itself through a pipe",
            tries: "nothing that is opened and no argument names the agent",
            attempt: |stage| node(stage, &["-"], Given::Pipe(SCRIPT)),
        },
        Technique {
            id: "python-code",
            title: "`python3 -c \"from … import main\"`",
            tries: "the agent's module is imported by code in an argument",
            attempt: |stage| python(stage, &["-c", "from aider.main import main; main()"], None),
        },
        Technique {
            id: "python-path",
            title: "`sys.path` in code through a pipe",
            tries: "the agent's module is imported from a directory that only the code knows",
            attempt: |stage| {
                let code =
                    "import sys; sys.path.insert(0, 'SITE'); from aider.main import main; main()";
                python(stage, &["-"], Some(code))
            },
        },
    ],
};

/// Stands for the path of the agent's script.
const AGENT: &str = "AGENT";
/// What it does.
const SCRIPT: &str = "require('fs').readFileSync('SECRET')";
/// How long the sensor lets a program wait for what it opens, and more.
const DECIDED_WITHIN: Duration = Duration::from_secs(60);

/// How the agent is handed over.
enum Given {
    Arguments,
    Environment,
    Pipe(&'static str),
}

/// Runs node with these arguments.
fn node(stage: &Stage, words: &[&str], given: Given) -> Verdict {
    let Some(mut command) = interpreter("node") else {
        return missing("node");
    };
    let secret = stage.secret();
    let package = stage.subfolder("node_modules/@google/gemini-cli/bundle");
    let script = format!("{package}/gemini.js");
    let manifest =
        r#"{"name":"@google/gemini-cli","version":"9.9.9","bin":{"gemini":"bundle/gemini.js"}}"#;
    fs::write(
        stage.path("node_modules/@google/gemini-cli/package.json"),
        manifest,
    )
    .expect("own folder");
    fs::write(&script, SCRIPT.replace("SECRET", &secret)).expect("own folder");
    let hex: String = script.bytes().map(|byte| format!("{byte:02x}")).collect();
    let put = |text: &str| {
        text.replace(AGENT, &script)
            .replace("HEX", &hex)
            .replace("SECRET", &secret)
    };
    command.args(words.iter().map(|word| put(word)));
    match given {
        Given::Arguments => run(stage, command, &secret, None),
        Given::Environment => {
            command.env("NODE_OPTIONS", format!("--require {script}"));
            run(stage, command, &secret, None)
        }
        Given::Pipe(code) => run(stage, command, &secret, Some(put(code))),
    }
}

/// Runs Python with these arguments, and this code on its standard input.
fn python(stage: &Stage, words: &[&str], code: Option<&str>) -> Verdict {
    let Some(mut command) = interpreter("python3") else {
        return missing("python3");
    };
    let secret = stage.secret();
    let site = stage.subfolder("lib/python3/site-packages");
    for folder in ["aider", "aider_chat-9.9.9.dist-info"] {
        fs::create_dir_all(format!("{site}/{folder}")).expect("own folder");
    }
    let metadata = "Metadata-Version: 2.1\nName: aider-chat\nVersion: 9.9.9\n\n";
    fs::write(
        format!("{site}/aider_chat-9.9.9.dist-info/METADATA"),
        metadata,
    )
    .expect("own folder");
    fs::write(format!("{site}/aider/__init__.py"), "").expect("own folder");
    let main = format!("def main():\n    open('{secret}').read()\n");
    fs::write(format!("{site}/aider/main.py"), main).expect("own folder");
    command.args(words);
    if code.is_none() {
        command.env("PYTHONPATH", &site);
    }
    run(
        stage,
        command,
        &secret,
        code.map(|code| code.replace("SITE", &site)),
    )
}

/// The first of this name on the path that is a program: a wrapper script would start another process.
fn interpreter(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH")?;
    let is_program = |file: &PathBuf| {
        let mut head = [0; 4];
        let read = File::open(file).and_then(|mut file| file.read_exact(&mut head));
        read.is_ok() && head == *b"\x7fELF"
    };
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    let real = found.filter_map(|file| fs::canonicalize(file).ok());
    let mut command = Command::new(real.into_iter().find(is_program)?);
    command.env_remove("NODE_OPTIONS").env_remove("PYTHONPATH");
    Some(command)
}

fn missing(name: &str) -> Verdict {
    Verdict::NotPossible {
        why: format!("there is no {name} here"),
    }
}

/// Runs it, and looks for the secret in a session of an agent that is installed in the stage's folder.
fn run(stage: &Stage, mut command: Command, secret: &str, code: Option<String>) -> Verdict {
    let before = unjudged(stage);
    command.current_dir(stage.folder()).stdin(Stdio::null());
    let status = match code {
        None => command.status().expect("it starts"),
        Some(code) => {
            let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
            let mut pipe = child.stdin.take().expect("a pipe");
            std::io::Write::write_all(&mut pipe, code.as_bytes()).expect("it reads");
            drop(pipe);
            child.finish()
        }
    };
    assert!(status.success(), "{command:?}: {status}");
    stage.fence();
    let folder = text(stage.folder());
    let is_of_agent = |event: &Event| {
        let agent = event.agent.as_deref();
        let installed = agent.and_then(|agent| agent.install_path.as_ref());
        installed.is_some_and(|path| Text::escaped(path).starts_with(&folder))
    };
    let opens_secret = |event: &Event| {
        matches!(&event.detail, Detail::Open(file) if shown(file) == secret) && is_of_agent(event)
    };
    let begun = Instant::now();
    loop {
        if let Some(event) = stage.sensor.find(opens_secret) {
            return Verdict::seen(event.hook);
        }
        if unjudged(stage) > before {
            return Verdict::gap(
                None,
                "not recognised: its code came through a pipe. That it was not judged is told by a \
                 `coverage` event (`unjudged`), with its program and user",
            );
        }
        if begun.elapsed() > DECIDED_WITHIN {
            return Verdict::not_seen("no session of the agent tells of it");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
