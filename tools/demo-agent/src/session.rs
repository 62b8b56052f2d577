//! One session, as a terminal coding agent has it: read the configuration, look at the project, ask
//! the model, run the tool calls it asks for, report usage, end.
//!
//! Bounds: [`FILES_MAX`] project files read, [`DEPTH_MAX`] folders deep, [`TURNS_MAX`] requests.

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::mark;
use crate::model::{self, Step};

const FILES_MAX: usize = 200;
const DEPTH_MAX: usize = 6;
const TURNS_MAX: usize = 8;
/// Tool output sent back to the model, in bytes.
const OUTPUT_MAX: usize = 16 * 1024;
const DEFAULT_PROMPT: &str = "look at the project and do what is to be done";
/// Names the model's address, as `HOST:PORT`; wins over the configuration.
const MODEL_VARIABLE: &str = "SKEP_DEMO_MODEL";

/// Runs a session to its end.
pub fn run(prompt: Option<&str>) -> ExitCode {
    match converse(prompt.unwrap_or(DEFAULT_PROMPT)) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("skep-demo-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn converse(prompt: &str) -> io::Result<String> {
    let configuration = Configuration::read()?;
    let model = configuration.model()?;
    let files = read_project(Path::new("."), DEPTH_MAX, FILES_MAX)?;
    println!("{}: read {files} project files", mark::name_and_version());
    reach_neighbours(model, &configuration);

    let mut tool_output = None;
    for _ in 0..TURNS_MAX {
        match model::ask(model, prompt, tool_output.as_deref())? {
            Step::Finish(answer) => return Ok(answer),
            Step::Run(command) => tool_output = Some(run_tool(&command)?),
        }
    }
    Err(io::Error::other(format!(
        "no final answer after {TURNS_MAX} turns"
    )))
}

/// Reads every file below a folder, up to the bounds, and says how many.
fn read_project(folder: &Path, depth: usize, most: usize) -> io::Result<usize> {
    let mut read = 0;
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if read == most {
            break;
        }
        let kind = entry.file_type()?;
        if kind.is_file() {
            fs::File::open(entry.path())?.read_to_end(&mut Vec::new())?;
            read += 1;
        } else if kind.is_dir() && depth > 0 {
            read += read_project(&entry.path(), depth - 1, most - read)?;
        }
    }
    Ok(read)
}

/// Runs a shell command as a tool and returns what it printed, shortened to [`OUTPUT_MAX`].
fn run_tool(command: &str) -> io::Result<String> {
    println!("$ {command}");
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .output()?;
    let mut bytes = output.stdout;
    bytes.extend_from_slice(&output.stderr);
    bytes.truncate(OUTPUT_MAX);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    print!("{text}");
    Ok(text)
}

/// The other connections an agent makes: the model's IPv6 address, a usage datagram, the
/// ssh-agent. Each is optional; one that fails is mentioned and does not end the session.
fn reach_neighbours(model: SocketAddr, configuration: &Configuration) {
    let timeout = Duration::from_secs(2);
    if model.ip().is_loopback() {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, model.port()));
        mention(
            "IPv6",
            TcpStream::connect_timeout(&address, timeout).map(drop),
        );
    }
    if let Some(telemetry) = configuration.telemetry {
        let sent = UdpSocket::bind("0.0.0.0:0")
            .and_then(|socket| socket.send_to(b"skep.demo.session:1|c", telemetry));
        mention("telemetry", sent.map(drop));
    }
    if let Some(socket) = std::env::var_os("SSH_AUTH_SOCK") {
        mention("ssh-agent", UnixStream::connect(socket).map(drop));
    }
}

fn mention(what: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        println!("{what}: {error}");
    }
}

/// The agent's own configuration, `~/.config/skep-demo-agent/config.toml`: two optional keys,
/// `model` and `telemetry`, each an address as `"HOST:PORT"`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Configuration {
    model: Option<SocketAddr>,
    telemetry: Option<SocketAddr>,
}

impl Configuration {
    fn read() -> io::Result<Self> {
        let Some(home) = std::env::var_os("HOME") else {
            return Ok(Self::default());
        };
        let path = PathBuf::from(home).join(".config/skep-demo-agent/config.toml");
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}:{error}", path.display()),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut configuration = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let expected = || format!("{}: expected KEY = \"IP:PORT\"", index + 1);
            let (key, value) = line.split_once('=').ok_or_else(expected)?;
            let address = value
                .trim()
                .trim_matches('"')
                .parse()
                .map_err(|_| expected())?;
            match key.trim() {
                "model" => configuration.model = Some(address),
                "telemetry" => configuration.telemetry = Some(address),
                other => return Err(format!("{}: {other}: no such key", index + 1)),
            }
        }
        Ok(configuration)
    }

    fn model(&self) -> io::Result<SocketAddr> {
        let invalid = |text: &str| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{MODEL_VARIABLE}={text}: expected IP:PORT"),
            )
        };
        match std::env::var(MODEL_VARIABLE) {
            Ok(text) => text.parse().map_err(|_| invalid(&text)),
            Err(_) => self.model.ok_or_else(|| invalid("")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_model_and_telemetry() {
        let text = "# demo\nmodel = \"127.0.0.1:80\"\ntelemetry = \"[::1]:8125\"\n";
        let configuration = Configuration::parse(text).unwrap();
        assert_eq!(configuration.model, Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(configuration.telemetry, Some("[::1]:8125".parse().unwrap()));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = Configuration::parse("\nmodle = \"127.0.0.1:80\"").unwrap_err();
        assert_eq!(error, "2: modle: no such key");
    }

    #[test]
    fn the_project_is_read_up_to_the_bound_of_files() {
        let folder = std::env::temp_dir().join(format!("skep-session-{}", std::process::id()));
        fs::create_dir_all(folder.join("deep")).unwrap();
        for name in ["a", "b", "deep/c"] {
            fs::write(folder.join(name), name).unwrap();
        }
        let counts = [2, 10].map(|most| read_project(&folder, DEPTH_MAX, most).unwrap());
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(counts, [2, 3]);
    }

    #[test]
    fn a_tool_call_returns_both_output_streams() {
        assert_eq!(run_tool("echo out; echo err >&2").unwrap(), "out\nerr\n");
    }
}
