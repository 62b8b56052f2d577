//! The agent catalogue: one TOML file per family, embedded in the binary, replaceable and
//! extendable by a directory of files of the same form.
//!
//! Invariants:
//! - loading is all or nothing: one bad file refuses the whole set, with file, line and what was
//!   expected; a running catalogue is never changed in place;
//! - a family or runtime read from the directory replaces the embedded one of the same id; two
//!   files of one directory never define the same id;
//! - no family can be recognised by names alone: name hints weigh at most [`NAME_WEIGHT_MAX`], and
//!   a family without any other kind of evidence is refused.
//!
//! Bounds: a catalogue file has at most 1 MiB, a directory at most 1,000 files.

#![forbid(unsafe_code)]

mod check;
mod error;
mod generic;
mod pattern;
mod raw;
mod value;

use std::{fs, io, path::Path};

use regex::bytes::Regex;

pub use error::{CatalogueError, Problem};
pub use generic::{Against, Generic, GenericKind};
pub use pattern::Pattern;

/// The confidence (0 to 100) below which a program is not called an agent.
pub const MIN_CONFIDENCE: u8 = 50;
/// The most a name may weigh: far enough below [`MIN_CONFIDENCE`] that it never tips the scale alone.
pub const NAME_WEIGHT_MAX: u8 = 15;

/// The family of an agent that no family describes. No catalogue file defines it.
pub const UNKNOWN: &str = "unknown";

const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 1_000;

const EMBEDDED: &[(&str, &str)] = &[
    ("aider.toml", include_str!("../families/aider.toml")),
    (
        "antigravity-cli.toml",
        include_str!("../families/antigravity-cli.toml"),
    ),
    (
        "claude-code.toml",
        include_str!("../families/claude-code.toml"),
    ),
    ("cline.toml", include_str!("../families/cline.toml")),
    ("codex.toml", include_str!("../families/codex.toml")),
    ("continue.toml", include_str!("../families/continue.toml")),
    ("crush.toml", include_str!("../families/crush.toml")),
    (
        "cursor-agent.toml",
        include_str!("../families/cursor-agent.toml"),
    ),
    (
        "gemini-cli.toml",
        include_str!("../families/gemini-cli.toml"),
    ),
    (
        "github-copilot-cli.toml",
        include_str!("../families/github-copilot-cli.toml"),
    ),
    ("goose.toml", include_str!("../families/goose.toml")),
    ("kilo-code.toml", include_str!("../families/kilo-code.toml")),
    ("kiro-cli.toml", include_str!("../families/kiro-cli.toml")),
    ("opencode.toml", include_str!("../families/opencode.toml")),
    ("openhands.toml", include_str!("../families/openhands.toml")),
    ("qoder-cli.toml", include_str!("../families/qoder-cli.toml")),
    ("qwen-code.toml", include_str!("../families/qwen-code.toml")),
    ("runtimes.toml", include_str!("../families/runtimes.toml")),
    (
        "skep-demo-agent.toml",
        include_str!("../families/skep-demo-agent.toml"),
    ),
];

const GENERIC_NAME: &str = "generic.toml";
/// The generic evidence, masked: a program that holds its texts as they are would be taken for an agent itself.
const GENERIC: [u8; include_bytes!("../families/generic.toml").len()] =
    masked(*include_bytes!("../families/generic.toml"));

const fn masked<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    let mut at = 0;
    while at < N {
        bytes[at] ^= 0xa5;
        at += 1;
    }
    bytes
}

/// Families of agents and the runtimes they are written for.
#[derive(Clone, Debug)]
pub struct Catalogue {
    families: Vec<Family>,
    runtimes: Vec<Runtime>,
    generic: Option<Generic>,
}

/// One family of agents and the evidence it is recognised by.
#[derive(Clone, Debug)]
pub struct Family {
    /// Stable id, e.g. `claude-code`.
    pub id: String,
    /// Name for people.
    pub title: String,
    pub vendor: String,
    /// Environment variables that turn a binary of this family into a plain runtime.
    pub plain_runtime_env: Vec<String>,
    pub multicall: Multicall,
    pub packages: Vec<NpmPackage>,
    pub markers: Vec<Marker>,
    pub hashes: Vec<KnownHash>,
    pub layouts: Vec<Layout>,
    pub python: Vec<PythonDistribution>,
    pub names: Vec<NameHint>,
}

/// How a binary of a family is told to be one of its tools instead of the agent.
#[derive(Clone, Debug, Default)]
pub struct Multicall {
    /// Base names of `argv[0]`.
    pub argv0: Vec<String>,
    /// Whole values of `argv[1]`.
    pub argv1: Vec<String>,
}

/// An npm package; evidence is its `package.json` up the real path of the executed file.
#[derive(Clone, Debug)]
pub struct NpmPackage {
    pub name: Pattern,
    /// Files of the package that are the agent, relative to its root. Targets of `bin` in
    /// `package.json` count as well.
    pub entry: Vec<Pattern>,
    /// Cut off the end of the package's version, e.g. `-linux-x64`.
    pub version_suffix: Option<Regex>,
    pub weight: u8,
}

/// Where in an executed file a [`Marker`] is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MarkerScope {
    /// The module graph of a Bun single-file executable.
    Bun,
    /// The blob of a Node single-executable application.
    NodeSea,
    /// A section of an ELF file.
    Section(String),
    /// The first bytes of a script run by a runtime.
    Script,
}

/// What a compiled program was written in, as its file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// Its build information is there.
    Go,
    /// `.comment` names rustc.
    Rust,
}

/// Bytes that only this family's programs hold.
#[derive(Clone, Debug)]
pub struct Marker {
    pub scope: MarkerScope,
    /// Literal bytes, at least 8 of them.
    pub text: String,
    /// Searched from 256 bytes before the text to 1,024 after; group 1 is the version.
    pub version: Option<Regex>,
    /// Sections: only files of at least this many bytes are read.
    pub min_size: u64,
    /// Sections: only files without a dynamic linker (no `PT_INTERP`) are read.
    pub static_only: bool,
    /// Sections: only files that were written in this language are read.
    pub language: Option<Compiled>,
    pub weight: u8,
}

/// SHA-256 of a published file.
#[derive(Clone, Debug)]
pub struct KnownHash {
    pub sha256: [u8; 32],
    /// Bytes of the file: only a file of exactly this size is hashed.
    pub size: u64,
    pub version: String,
    pub weight: u8,
}

/// Where an installer puts the family's files.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Matched against the real path of the executed file or script.
    pub path: Pattern,
    /// Files that must stand in the same directory.
    pub beside: Vec<String>,
    pub weight: u8,
}

/// A Python distribution (`*.dist-info/METADATA`) that belongs to the script or module run.
#[derive(Clone, Debug)]
pub struct PythonDistribution {
    /// Normalised distribution name (PEP 503), e.g. `aider-chat`.
    pub name: String,
    /// Names of its console scripts.
    pub scripts: Vec<String>,
    /// Literal text a console script of it holds.
    pub script_text: Vec<String>,
    /// Modules run with `-m`.
    pub modules: Vec<String>,
    /// Its files that are the agent when run by path, relative to `site-packages`.
    pub entry: Vec<Pattern>,
    pub weight: u8,
}

/// A base name of the executed file, the script or `argv[0]`: supports other evidence, never more.
#[derive(Clone, Debug)]
pub struct NameHint {
    pub name: Pattern,
    pub weight: u8,
}

/// A program that runs agents written as scripts, and how it finds its script.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub id: String,
    /// Base names of the executable.
    pub file_name: Vec<Pattern>,
    /// Symbols a renamed copy defines for its extensions to use.
    pub defines: Vec<String>,
    /// Symbols a renamed copy imports ...
    pub imports: Vec<String>,
    /// ... from a library of this name.
    pub needs: Option<Pattern>,
    /// Words that stand before the script, e.g. `run`.
    pub subcommands: Vec<String>,
    /// Words in that place after which no script of the user's is run.
    pub no_script_words: Vec<String>,
    /// Options that take the next argument as their value.
    pub value_options: Vec<String>,
    /// Options after which there is no script file.
    pub no_script_options: Vec<String>,
    /// What its code is written in, where recognition reads it.
    pub language: Option<Language>,
    /// Options whose value is code to run.
    pub code_options: Vec<String>,
    /// Words in the place of a subcommand after which the first argument is code to run.
    pub code_words: Vec<String>,
    /// Options whose value is a file or package to load before the program.
    pub load_options: Vec<String>,
    /// Options whose value is a file of environment variables, those with more options among them.
    pub env_file_options: Vec<String>,
    /// Options that make it read commands from a person.
    pub interactive_options: Vec<String>,
    /// Whether it reads a program from standard input when no argument names one.
    pub reads_stdin: bool,
    /// Words in the place of a subcommand after which it reads standard input.
    pub stdin_words: Vec<String>,
    /// Environment variables that hold more options.
    pub options_env: Vec<String>,
    /// Environment variable that names a file to run before a person's first command.
    pub startup_env: Option<String>,
    /// Environment variable with more directories in which packages are looked for, joined by colons.
    pub path_env: Option<String>,
    /// Folder of the home directory that is an installation prefix of its user's own (PEP 370).
    pub user_base: Option<String>,
    /// Words in the place of a subcommand after which the first argument is an npm package.
    pub specifier_words: Vec<String>,
    /// Where it keeps the npm packages it runs by their specifiers (`npm:name@version`). Without one it
    /// knows no such specifiers.
    pub npm_cache: Option<NpmCache>,
    /// Option whose value is a module to run.
    pub module_option: Option<String>,
    /// Single-letter options may be joined (`-Im mod`).
    pub clustered: bool,
    /// Extensions tried when the script is named without one.
    pub extensions: Vec<String>,
    /// What follows is a program of its own with its own arguments (a dynamic linker).
    pub loads_programs: bool,
    /// Environment variable that makes a single-file executable of this runtime the plain runtime.
    pub plain_env: Option<String>,
}

/// A language in which recognition looks for what a piece of code loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    JavaScript,
    Python,
}

/// A runtime's own store of npm packages.
#[derive(Clone, Debug)]
pub struct NpmCache {
    /// Environment variable that names its directory.
    pub env: String,
    /// Its name in the user's cache directory, where the variable is not set.
    pub folder: String,
}

// === impl Catalogue ===

impl Catalogue {
    /// The catalogue this program was built with.
    pub fn embedded() -> Self {
        let mut set = check::Set::default();
        for (name, text) in EMBEDDED {
            set.add(Path::new(name), text)
                .expect("the embedded catalogue is loaded by a test");
        }
        let generic = String::from_utf8(masked(GENERIC).to_vec())
            .expect("the embedded catalogue is loaded by a test");
        set.add(Path::new(GENERIC_NAME), &generic)
            .expect("the embedded catalogue is loaded by a test");
        set.finish()
    }

    /// The embedded catalogue with the `*.toml` files of `directory` added; a family or runtime of
    /// the same id is replaced as a whole.
    ///
    /// # Errors
    /// The first file that cannot be read or does not hold what a catalogue holds. Nothing is kept
    /// of the directory then.
    pub fn with_directory(directory: &Path) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::embedded();
        let mut set = check::Set::default();
        for path in catalogue_files(directory)? {
            let text = read_file(&path)?;
            set.add(&path, &text)?;
        }
        let Self {
            families,
            runtimes,
            generic,
        } = set.finish();
        catalogue.generic = generic.or(catalogue.generic);
        for family in families {
            match catalogue
                .families
                .iter_mut()
                .find(|known| known.id == family.id)
            {
                Some(known) => *known = family,
                None => catalogue.families.push(family),
            }
        }
        for runtime in runtimes {
            match catalogue
                .runtimes
                .iter_mut()
                .find(|known| known.id == runtime.id)
            {
                Some(known) => *known = runtime,
                None => catalogue.runtimes.push(runtime),
            }
        }
        Ok(catalogue)
    }

    /// What one file holds, by its text; its name is for errors.
    ///
    /// # Errors
    /// The text does not hold what a catalogue file holds.
    pub fn of_text(name: &Path, text: &str) -> Result<Self, CatalogueError> {
        let mut set = check::Set::default();
        set.add(name, text)?;
        Ok(set.finish())
    }

    pub fn families(&self) -> &[Family] {
        &self.families
    }

    pub fn family(&self, id: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.id == id)
    }

    /// By what agents are known that no family describes, if they are looked for.
    pub fn generic(&self) -> Option<&Generic> {
        self.generic.as_ref()
    }

    pub fn runtimes(&self) -> &[Runtime] {
        &self.runtimes
    }

    /// Names of the environment variables that are switches, sorted. Only whether they are on is looked at, and
    /// nothing of them is kept.
    pub fn environment_names(&self) -> Vec<&str> {
        let families = self
            .families
            .iter()
            .flat_map(|family| &family.plain_runtime_env);
        let runtimes = self
            .runtimes
            .iter()
            .filter_map(|runtime| runtime.plain_env.as_ref());
        let mut names: Vec<&str> = families.chain(runtimes).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Runtime {
    /// Names of the environment variables whose values say what this runtime loads, sorted: files and packages,
    /// and the directories they are looked for in.
    pub fn environment_values(&self) -> Vec<&str> {
        let own = self.options_env.iter().chain(&self.startup_env);
        let own = own.chain(&self.path_env).map(String::as_str);
        let cache = self.npm_cache.iter();
        let cache = cache.flat_map(|cache| [cache.env.as_str(), "XDG_CACHE_HOME", "HOME"]);
        let home = self.user_base.iter().map(|_| "HOME");
        let mut names: Vec<&str> = own.chain(cache).chain(home).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The directory's catalogue files, sorted, so that errors do not depend on the file system.
fn catalogue_files(directory: &Path) -> Result<Vec<std::path::PathBuf>, CatalogueError> {
    let unreadable = |source: io::Error| CatalogueError::Unreadable {
        path: directory.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(CatalogueError::TooMany {
                path: directory.to_owned(),
                max: FILES_MAX,
            });
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<String, CatalogueError> {
    let unreadable = |source: io::Error| CatalogueError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(CatalogueError::TooLarge {
            path: path.to_owned(),
            max: FILE_BYTES_MAX,
        });
    }
    fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests;
