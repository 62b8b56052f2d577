//! What the simulated machines have in common: agents, projects, tools, destinations.
//!
//! Made once from the seed and shared. Families are those of `crates/catalogue/families`. The kinds of paths and
//! outcomes are modelled on what the sensor reported of two real sessions against a stand-in model
//! (`cargo xtask session` beside `skep-sensor watch`): most opens are not of the project but of
//! libraries, locales and `/proc` by the tools that the agent starts. There 95 % of events were opens,
//! one in seven of these stood for several, and a fifth found no file. The shares here are near that,
//! not equal to it (about 89 % opens, more execs and connects): `skep-load describe` prints them.

use crate::draw::Draw;

/// An agent as it is installed.
pub struct Agent {
    pub family: &'static str,
    pub version: &'static str,
    pub confidence: u32,
    pub evidence: Vec<String>,
    pub install_path: String,
    pub exe: &'static str,
    /// Arguments before those of the user.
    pub argv: Vec<String>,
    /// Folder of its own files below the home folder.
    pub settings: &'static str,
    /// Addresses of its model and of its vendor's telemetry.
    pub model: &'static [&'static str],
    /// Files it reads of its own when it starts.
    pub files: Vec<String>,
}

/// A program that agents start.
pub struct Tool {
    pub exe: &'static str,
    pub argv: &'static [&'static str],
    /// Opens of files of the project, at most.
    pub project: u64,
    /// A process listing: opens of `/proc/PID/stat`.
    pub lists: bool,
    /// Where it connects.
    pub reaches: &'static [(&'static str, u32)],
    /// In a thousand tools.
    pub share: u64,
}

/// A repository.
pub struct Project {
    pub name: String,
    pub remote: String,
    /// Below its root, often used ones first.
    pub files: Vec<String>,
}

pub struct World {
    pub agents: Vec<Agent>,
    pub projects: Vec<Project>,
    /// Every program that starts opens these, with the outcome.
    pub libraries: Vec<(String, i32)>,
}

const NODE: &str = "/usr/local/bin/node";
const ANTHROPIC: &[&str] = &["160.79.104.10", "2607:6bc0::10", "34.36.57.103"];
const GOOGLE: &[&str] = &["142.250.185.74", "2a00:1450:4001:82f::200a"];
const OPENAI: &[&str] = &["104.18.32.47", "172.64.155.209"];
const GITHUB: &[&str] = &["140.82.112.21", "140.82.114.22"];
const ALIBABA: &[&str] = &["47.89.250.17", "8.219.34.101"];
const CODE_HOST: &[(&str, u32)] = &[("140.82.121.4", 443)];
const REGISTRY: &[(&str, u32)] = &[("104.16.3.34", 443), ("104.16.25.35", 443)];
const INDEX: &[(&str, u32)] = &[("151.101.0.223", 443), ("151.101.64.223", 443)];
const ELSEWHERE: &[(&str, u32)] = &[
    ("93.184.215.14", 443),
    ("185.199.108.153", 443),
    ("10.20.30.40", 8080),
];
const SSH: &[(&str, u32)] = &[("10.20.30.41", 22), ("140.82.121.3", 22)];
const NOWHERE: &[(&str, u32)] = &[];

macro_rules! tool {
    ($exe:literal, $argv:expr, $project:literal, $reaches:expr, $share:literal) => {
        Tool {
            exe: $exe,
            argv: &$argv,
            project: $project,
            lists: false,
            reaches: $reaches,
            share: $share,
        }
    };
}

/// What agents run, in shares of a thousand.
pub const TOOLS: &[Tool] = &[
    tool!(
        "/usr/bin/rg",
        [
            "rg",
            "--files",
            "--hidden",
            "--no-ignore",
            "--glob",
            "!.git"
        ],
        40,
        NOWHERE,
        150
    ),
    tool!(
        "/usr/bin/rg",
        ["rg", "-n", "--color=never", "-e", "fn main|def main|TODO"],
        60,
        NOWHERE,
        130
    ),
    tool!(
        "/usr/bin/git",
        ["git", "--no-optional-locks", "status", "--short"],
        30,
        NOWHERE,
        120
    ),
    tool!(
        "/usr/bin/git",
        ["git", "log", "--oneline", "-n", "5"],
        6,
        NOWHERE,
        60
    ),
    tool!("/usr/bin/git", ["git", "fetch", "origin"], 8, CODE_HOST, 20),
    tool!(
        "/usr/bin/grep",
        ["grep", "-rn", "TODO", "."],
        60,
        NOWHERE,
        80
    ),
    tool!("/usr/bin/ls", ["ls", "-la"], 1, NOWHERE, 90),
    tool!("/usr/bin/cat", ["cat", "README.md"], 1, NOWHERE, 70),
    tool!(
        "/usr/bin/sed",
        ["sed", "-n", "1,200p", "src/main.rs"],
        1,
        NOWHERE,
        50
    ),
    Tool {
        exe: "/usr/bin/ps",
        argv: &["ps", "aux"],
        project: 0,
        lists: true,
        reaches: NOWHERE,
        share: 25,
    },
    tool!(
        "/usr/local/bin/node",
        ["node", "/usr/local/bin/npm", "test"],
        90,
        NOWHERE,
        50
    ),
    tool!(
        "/usr/local/bin/node",
        ["node", "/usr/local/bin/npm", "install"],
        90,
        REGISTRY,
        15
    ),
    tool!(
        "/usr/local/bin/cargo",
        ["cargo", "build", "--quiet"],
        120,
        NOWHERE,
        40
    ),
    tool!(
        "/usr/bin/python3.11",
        ["python3", "-m", "pytest", "-q"],
        90,
        NOWHERE,
        50
    ),
    tool!(
        "/usr/bin/python3.11",
        ["python3", "-m", "pip", "install", "-r", "requirements.txt"],
        20,
        INDEX,
        10
    ),
    tool!(
        "/usr/bin/curl",
        ["curl", "-sS", "-L", "https://example.com/install.sh"],
        0,
        ELSEWHERE,
        10
    ),
    tool!(
        "/usr/bin/wget",
        ["wget", "-q", "https://example.com/archive.tar.gz"],
        0,
        ELSEWHERE,
        4
    ),
    tool!(
        "/usr/bin/ssh",
        ["ssh", "-o", "BatchMode=yes", "build@10.20.30.41", "uptime"],
        0,
        SSH,
        3
    ),
    tool!("/usr/bin/make", ["make", "-j2", "check"], 40, NOWHERE, 23),
];

/// Paths below the home folder that nobody but their owner should read.
pub const CREDENTIALS: &[&str] = &[
    "/.ssh/id_ed25519",
    "/.ssh/known_hosts",
    "/.aws/credentials",
    "/.config/gh/hosts.yml",
    "/.netrc",
];

pub const USERS: &[&str] = &[
    "alice", "bob", "chen", "dana", "emeka", "fatima", "goran", "hana", "ivan", "jane", "kofi",
    "lena", "marta", "nils", "olu", "priya",
];

const WORDS: &[&str] = &[
    "account", "admin", "agent", "api", "auth", "batch", "billing", "cache", "client", "config",
    "core", "customer", "data", "event", "export", "feed", "form", "gateway", "graph", "handler",
    "import", "index", "invoice", "job", "ledger", "list", "log", "mail", "map", "metrics",
    "model", "order", "page", "parser", "payment", "price", "queue", "report", "route", "search",
    "server", "session", "shop", "store", "sync", "table", "task", "token", "user", "view",
    "worker",
];
const FOLDERS: &[&str] = &[
    "src",
    "lib",
    "tests",
    "docs",
    "app",
    "internal",
    "scripts",
    "web/components",
];
const KINDS: &[&str] = &["rs", "ts", "py", "go", "tsx", "json", "md", "yaml"];

impl World {
    pub fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed, u64::MAX);
        Self {
            agents: agents(&mut draw),
            projects: (0..40).map(|_| project(&mut draw)).collect(),
            libraries: libraries(),
        }
    }
}

fn project(draw: &mut Draw) -> Project {
    let name = format!("{}-{}", draw.pick(WORDS), draw.pick(WORDS));
    let mut files: Vec<String> = [
        ".git/HEAD",
        ".git/config",
        "README.md",
        ".gitignore",
        "package.json",
    ]
    .map(str::to_owned)
    .to_vec();
    let kind = *draw.pick(KINDS);
    for _ in 0..200 + draw.below(2800) {
        let kind = if draw.chance(700) {
            kind
        } else {
            *draw.pick(KINDS)
        };
        let folder = draw.pick(FOLDERS);
        let (one, two, three) = (draw.pick(WORDS), draw.pick(WORDS), draw.pick(WORDS));
        files.push(match draw.below(4) {
            0 => format!("{folder}/{one}.{kind}"),
            1 => format!("{folder}/{one}/{two}.{kind}"),
            2 => format!("{folder}/{one}/{two}_{three}.{kind}"),
            // A name that is not ASCII, as some are.
            _ if draw.chance(20) => format!("{folder}/{one}/übersicht-{two}.{kind}"),
            _ => format!("{folder}/{one}/{two}/{three}.{kind}"),
        });
    }
    Project {
        remote: format!("git@git.example.com:acme/{name}.git"),
        name,
        files,
    }
}

fn agents(draw: &mut Draw) -> Vec<Agent> {
    // Family, npm package, version, entry, confidence, settings, model.
    type Script = (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        u32,
        &'static str,
        &'static [&'static str],
    );
    let scripts: [Script; 6] = [
        (
            "claude-code",
            "@anthropic-ai/claude-code",
            "2.1.91",
            "cli.js",
            94,
            "/.claude",
            ANTHROPIC,
        ),
        (
            "claude-code",
            "@anthropic-ai/claude-code",
            "2.1.90",
            "cli.js",
            94,
            "/.claude",
            ANTHROPIC,
        ),
        (
            "gemini-cli",
            "@google/gemini-cli",
            "0.61.0",
            "bundle/gemini.js",
            80,
            "/.gemini",
            GOOGLE,
        ),
        (
            "github-copilot-cli",
            "@github/copilot",
            "1.0.102",
            "index.js",
            88,
            "/.copilot",
            GITHUB,
        ),
        (
            "qwen-code",
            "@qwen-code/qwen-code",
            "0.24.4",
            "cli.js",
            80,
            "/.qwen",
            ALIBABA,
        ),
        (
            "qoder-cli",
            "@qoder-ai/qodercli",
            "1.1.52",
            "bundle/qodercli.js",
            80,
            "/.qoder",
            ALIBABA,
        ),
    ];
    let mut agents: Vec<Agent> = scripts
        .into_iter()
        .map(|(family, package, version, entry, confidence, settings, model)| {
            let install_path = format!("/usr/local/lib/node_modules/{package}");
            Agent {
                family,
                version,
                confidence,
                evidence: vec![format!(
                    "npm package {package} {version} at {install_path}/package.json (entry {entry})"
                )],
                exe: NODE,
                argv: vec!["node".to_owned(), format!("{install_path}/{entry}")],
                settings,
                model,
                files: own_files(draw, &install_path),
                install_path,
            }
        })
        .collect();
    agents[0].evidence.extend([
        "script with marker \"// (c) Anthropic PBC. All rights reserved.\", version 2.1.91"
            .to_owned(),
        "script with marker \"// Want to see the unminified source? We're hiring!\"".to_owned(),
    ]);
    // Family, version, executable, evidence, settings, model.
    type Binary = (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static [&'static str],
    );
    let binaries: [Binary; 3] = [
        (
            "claude-code",
            "2.1.328",
            "/opt/claude/versions/2.1.328",
            "bun executable with PACKAGE_URL:\"@anthropic-ai/claude-code\", version 2.1.328",
            "/.claude",
            ANTHROPIC,
        ),
        (
            "codex",
            "0.169.0",
            "/usr/local/lib/codex/codex",
            "npm package @openai/codex 0.169.0 at /usr/local/lib/codex/package.json",
            "/.codex",
            OPENAI,
        ),
        (
            "opencode",
            "1.18.33",
            "/usr/local/lib/opencode/bin/opencode",
            "npm package opencode-ai 1.18.33 at /usr/local/lib/opencode/package.json",
            "/.config/opencode",
            ANTHROPIC,
        ),
    ];
    agents.extend(
        binaries
            .into_iter()
            .map(|(family, version, exe, evidence, settings, model)| Agent {
                family,
                version,
                confidence: 90,
                evidence: vec![evidence.to_owned()],
                install_path: exe.to_owned(),
                exe,
                argv: vec![exe.rsplit('/').next().unwrap_or(exe).to_owned()],
                settings,
                model,
                files: own_files(draw, exe.rsplit_once('/').map_or(exe, |(folder, _)| folder)),
            }),
    );
    agents
}

fn own_files(draw: &mut Draw, folder: &str) -> Vec<String> {
    let modules = (0..60).map(|_| {
        let [one, two] = [0; 2].map(|_| *draw.pick(WORDS));
        format!("{folder}/node_modules/{one}-{two}/package.json")
    });
    [
        format!("{folder}/package.json"),
        format!("{folder}/vendor/ripgrep/x64-linux/rg"),
    ]
    .into_iter()
    .chain(modules)
    .collect()
}

fn libraries() -> Vec<(String, i32)> {
    const ENOENT: i32 = -2;
    let mut files = vec![
        ("/etc/ld.so.cache".to_owned(), 0),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned(), 0),
        (
            "/usr/lib/x86_64-linux-gnu/libpcre2-8.so.0.11.2".to_owned(),
            0,
        ),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1.2.13".to_owned(), 0),
        ("/usr/lib/locale/locale-archive".to_owned(), ENOENT),
    ];
    for part in [
        "IDENTIFICATION",
        "MEASUREMENT",
        "TELEPHONE",
        "ADDRESS",
        "NAME",
        "PAPER",
        "MESSAGES",
        "MONETARY",
        "COLLATE",
        "TIME",
        "NUMERIC",
        "CTYPE",
    ] {
        files.push((format!("/usr/lib/locale/C.UTF-8/LC_{part}"), ENOENT));
    }
    files.push(("/dev/null".to_owned(), 0));
    files
}
