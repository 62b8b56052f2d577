//! Agents that can be run here: the project's own demo agent, and real ones from their published
//! packages, of fixed versions.
//!
//! Each entry says how one session runs to its end without a person and without a network, in a
//! fresh home folder and with an environment that holds nothing else. Keys are dummies: the model
//! is the stand-in.

mod fetch;
mod unknown;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::setup;

pub use fetch::fetch_runtime;
pub use unknown::fetch_all as fetch_unknown;

/// Prompt of every session.
const PROMPT: &str = "run the command";
/// The demo agent, which is built and not fetched.
pub const DEMO: &str = "skep-demo-agent";

/// An agent that can be run.
#[derive(Debug)]
pub struct Agent {
    /// Family name, as in the catalogue of the sensor.
    pub family: &'static str,
    /// Version of the package; of the demo agent, that of the workspace.
    pub version: &'static str,
    /// Package name; empty for the demo agent.
    pub npm: &'static str,
    /// Name of the command the package installs.
    program: &'static str,
    /// The agent's own configuration: a file below the home folder and its content, where
    /// `{model}` stands for the address of the stand-in. The session opens it.
    pub configuration: (&'static str, &'static str),
    /// Arguments; `{model}` and `{prompt}` are replaced.
    arguments: &'static [&'static str],
    /// Environment; `{model}` is replaced.
    environment: &'static [(&'static str, &'static str)],
}

/// Every agent that can be run. The first entry of a family is the one taken without a version.
static AGENTS: [Agent; 8] = [
    Agent {
        family: DEMO,
        version: env!("CARGO_PKG_VERSION"),
        npm: "",
        program: DEMO,
        configuration: (
            ".config/skep-demo-agent/config.toml",
            "model = \"{model}\"\ntelemetry = \"127.0.0.1:8125\"\n",
        ),
        arguments: &["session", "{prompt}"],
        environment: &[("SKEP_DEMO_MODEL", "{model}")],
    },
    claude_code("2.1.91"),
    claude_code("2.1.328"),
    Agent {
        family: "gemini-cli",
        version: "0.61.0",
        npm: "@google/gemini-cli",
        program: "gemini",
        configuration: (
            ".gemini/settings.json",
            r#"{"security": {"auth": {"selectedType": "gemini-api-key"}}}"#,
        ),
        arguments: &["-p", "{prompt}", "--yolo", "--skip-trust"],
        environment: &[
            ("GOOGLE_GEMINI_BASE_URL", "http://{model}"),
            ("GEMINI_API_KEY", "dummy"),
        ],
    },
    Agent {
        family: "codex",
        version: "0.169.0",
        npm: "@openai/codex",
        program: "codex",
        configuration: (
            ".codex/config.toml",
            "openai_base_url = \"http://{model}/v1\"\n",
        ),
        arguments: &[
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "{prompt}",
        ],
        environment: &[("CODEX_API_KEY", "dummy")],
    },
    Agent {
        family: "opencode",
        version: "1.18.33",
        npm: "opencode-ai",
        program: "opencode",
        configuration: (
            ".config/opencode/opencode.json",
            r#"{
  "model": "stand-in/mock-model",
  "provider": {
    "stand-in": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "http://{model}/v1", "apiKey": "dummy"},
      "models": {"mock-model": {"name": "mock-model"}}
    }
  }
}
"#,
        ),
        arguments: &["run", "{prompt}"],
        environment: &[],
    },
    Agent {
        family: "qwen-code",
        version: "0.24.4",
        npm: "@qwen-code/qwen-code",
        program: "qwen",
        configuration: (
            ".qwen/settings.json",
            r#"{"security": {"auth": {"selectedType": "openai"}}}"#,
        ),
        arguments: &["-p", "{prompt}", "--yolo", "--auth-type", "openai"],
        environment: &[
            ("OPENAI_BASE_URL", "http://{model}/v1"),
            ("OPENAI_API_KEY", "dummy"),
            ("OPENAI_MODEL", "mock-model"),
        ],
    },
    Agent {
        family: "github-copilot-cli",
        version: "1.0.102",
        npm: "@github/copilot",
        program: "copilot",
        configuration: (".copilot/settings.json", "{}"),
        arguments: &["-p", "{prompt}", "--allow-all-tools", "--allow-all-paths"],
        environment: &[
            ("COPILOT_PROVIDER_BASE_URL", "http://{model}/v1"),
            ("COPILOT_PROVIDER_TYPE", "openai"),
            ("COPILOT_PROVIDER_API_KEY", "dummy"),
            ("COPILOT_MODEL", "mock-model"),
            ("COPILOT_OFFLINE", "true"),
        ],
    },
];

/// Packages that tests recognise and that are not run: this one has no offline mode.
const RECOGNISED_ONLY: [(&str, &str); 1] = [("@qoder-ai/qodercli", "1.1.52")];
/// The same of Python; this one depends on half a gigabyte of packages.
const RECOGNISED_ONLY_IN_PYTHON: [(&str, &str); 1] = [("aider-chat", "0.86.2")];

/// Claude Code takes the same settings as a script (2.1.91) and as a native program (2.1.328).
const fn claude_code(version: &'static str) -> Agent {
    Agent {
        family: "claude-code",
        version,
        npm: "@anthropic-ai/claude-code",
        program: "claude",
        configuration: (".claude/settings.json", "{}"),
        arguments: &["-p", "{prompt}", "--dangerously-skip-permissions"],
        environment: &[
            // It refuses to skip permissions as root unless told that the machine is a sandbox.
            ("IS_SANDBOX", "1"),
            ("ANTHROPIC_BASE_URL", "http://{model}"),
            ("ANTHROPIC_API_KEY", "dummy"),
        ],
    }
}

/// How an agent's program is started.
#[derive(Debug)]
pub struct Launch {
    /// Absolute path of the program.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
}

/// Fetches an agent's package, unless it is in the cache, and returns its folder.
pub fn fetch(agent: &Agent) -> Result<PathBuf> {
    fetch::package(agent.npm, agent.version)
}

/// Fetches everything that running or recognising real agents needs.
pub fn fetch_all() -> Result<()> {
    setup::packages()?;
    fetch_runtime()?;
    for agent in AGENTS.iter().filter(|agent| !agent.is_demo()) {
        let folder = fetch(agent)?;
        println!("{}: {}", agent.name(), folder.display());
    }
    for (name, version) in RECOGNISED_ONLY {
        let folder = fetch::package(name, version)?;
        println!("{name}@{version}: {}", folder.display());
    }
    for (name, version) in RECOGNISED_ONLY_IN_PYTHON {
        let folder = fetch::python_package(name, version)?;
        println!("{name}@{version}: {}", folder.display());
    }
    Ok(())
}

impl Agent {
    /// Every agent that can be run.
    pub fn all() -> &'static [Self] {
        &AGENTS
    }

    /// The agent of a name like `codex` or `codex@0.169.0`.
    pub fn named(name: &str) -> Result<&'static Self> {
        let (family, version) = match name.split_once('@') {
            Some((family, version)) => (family, Some(version)),
            None => (name, None),
        };
        let found = AGENTS.iter().find(|agent| {
            agent.family == family && version.is_none_or(|version| agent.version == version)
        });
        match found {
            Some(agent) => Ok(agent),
            None => {
                let known: Vec<_> = AGENTS.iter().map(Self::name).collect();
                bail!(
                    "no agent {name} can be run here; there are {}",
                    known.join(", ")
                )
            }
        }
    }

    /// `FAMILY@VERSION`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.family, self.version)
    }

    /// Whether this is the project's own agent.
    pub fn is_demo(&self) -> bool {
        self.npm.is_empty()
    }

    /// Writes the agent's configuration into a home folder.
    pub fn configure(&self, home: &Path, model: SocketAddr) -> Result<()> {
        let (name, content) = self.configuration;
        let path = home.join(name);
        let folder = path
            .parent()
            .expect("a configuration file is below the home folder");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, with_model(content, model)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// How to start a session; `programs` is the folder of the demo agent, or of the package's
    /// commands.
    pub fn launch(&self, programs: &Path, model: SocketAddr) -> Launch {
        let arguments = self.arguments.iter();
        let arguments = arguments
            .map(|argument| with_model(&argument.replace("{prompt}", PROMPT), model))
            .collect();
        let environment = self.environment.iter();
        let environment = environment
            .map(|(name, value)| (*name, with_model(value, model)))
            .collect();
        Launch {
            program: programs.join(self.program),
            arguments,
            environment,
        }
    }
}

fn with_model(text: &str, model: SocketAddr) -> String {
    text.replace("{model}", &model.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_without_a_version_is_its_first_entry() {
        assert_eq!(Agent::named("claude-code").unwrap().version, "2.1.91");
        assert_eq!(
            Agent::named("claude-code@2.1.328").unwrap().version,
            "2.1.328"
        );
    }

    #[test]
    fn an_unknown_version_is_refused_with_the_known_ones() {
        let error = Agent::named("codex@1.0.0").unwrap_err().to_string();
        assert!(error.contains("codex@0.169.0"), "{error}");
    }

    #[test]
    fn a_launch_names_the_stand_in_wherever_the_agent_looks_for_it() {
        let model = "127.0.0.1:4000".parse().unwrap();
        for agent in &AGENTS {
            let launch = agent.launch(Path::new("/bin"), model);
            let text = format!("{launch:?}{}", with_model(agent.configuration.1, model));
            assert!(
                text.contains("127.0.0.1:4000"),
                "{} is not told its model",
                agent.name()
            );
            assert!(!text.contains("{model}"), "{text}");
        }
    }
}
