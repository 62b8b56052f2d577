//! Generic evidence, tried on the published packages of `unknown_packages.toml`, where the cache holds them
//! (`$SKEP_CACHE` or `~/.cache/skep`, in `packages`). Ignored where nobody asks for them; `cargo xtask
//! test-packages` fetches them and runs this.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use skep_catalogue::UNKNOWN;

use super::{Judgement, World, elf_file::ElfFile};

const LIST: &str = include_str!("unknown_packages.toml");
/// Set: the packages with `more` as well.
const MORE: &str = "SKEP_MORE_PACKAGES";

#[derive(Deserialize)]
struct List {
    agent: Vec<Package>,
    other: Vec<Package>,
    family: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    npm: Option<String>,
    pypi: Option<String>,
    version: String,
    program: String,
    /// What the agent is called, if not as the package.
    name: Option<String>,
    family: Option<String>,
    reported: Option<String>,
    copy_version: Option<String>,
    #[serde(default)]
    more: bool,
}

// === impl Package ===

impl Package {
    fn name(&self) -> &str {
        let name = self.npm.as_ref().or(self.pypi.as_ref());
        name.expect("an npm package or a Python distribution")
    }

    fn folder(&self) -> PathBuf {
        let cache = std::env::var_os("SKEP_CACHE").map(PathBuf::from);
        let home =
            || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/skep");
        let kind = if self.npm.is_some() { "npm" } else { "pypi" };
        let name = self.name().replace('/', "+");
        let folder = cache.unwrap_or_else(home).join("packages");
        folder.join(format!("{kind}+{name}@{}", self.version))
    }

    /// The real path of the program.
    fn path(&self) -> PathBuf {
        let folder = self.folder();
        assert!(
            folder.is_dir(),
            "{} is not there: cargo xtask test-packages fetches it",
            folder.display()
        );
        let program = match &self.npm {
            Some(name) => folder.join("node_modules").join(name).join(&self.program),
            None if self.program.contains('/') => folder.join(&self.program),
            None => folder.join("bin").join(&self.program),
        };
        std::fs::canonicalize(&program).expect("the package has its program")
    }

    fn judged(&self) -> Judgement {
        let program = self.path();
        let mut world = World::new();
        if is_elf(&program) {
            return world.judge(&world.exec(&program, &[&self.program]));
        }
        let name = if self.npm.is_some() {
            "node"
        } else {
            "python3"
        };
        let runtime = world.file(name, ElfFile::new().dynamic().bytes());
        let words = [name, program.to_str().expect("text"), "--help"];
        world.judge(&world.exec(&runtime, &words))
    }
}

fn is_elf(path: &Path) -> bool {
    std::fs::read(path)
        .expect("readable")
        .starts_with(b"\x7fELF")
}

/// Each of them and the judgement.
fn judged(packages: Vec<Package>) -> impl Iterator<Item = (Package, Judgement)> {
    let more = std::env::var_os(MORE).is_some();
    let asked = packages
        .into_iter()
        .filter(move |package| more || !package.more);
    asked.map(|package| {
        let judgement = package.judged();
        println!(
            "{} {}: {:#?}",
            package.name(),
            package.version,
            judgement.agent
        );
        (package, judgement)
    })
}

fn list() -> List {
    toml::from_str(LIST).expect("the list is well-formed")
}

#[test]
#[ignore = "needs published packages: cargo xtask test-packages"]
fn agents_of_no_family_are_found() {
    let mut found = 0;
    let mut missed = Vec::new();
    for (package, judgement) in judged(list().agent) {
        let agent = judgement.agent.as_deref();
        let named = package.name.as_deref().unwrap_or(package.name());
        match agent.filter(|agent| agent.family == UNKNOWN) {
            Some(agent) => {
                assert_eq!(agent.name.as_deref(), Some(named));
                assert_eq!(agent.version.as_deref(), Some(package.version.as_str()));
                found += 1;
            }
            None => missed.push(package.name().to_owned()),
        }
    }
    assert_eq!(missed, [""; 0], "{found} were found");
    assert!(found >= 8);
}

#[test]
#[ignore = "needs published packages: cargo xtask test-packages"]
fn programs_that_use_models_and_are_no_agents_are_none() {
    let mut none = 0;
    let mut wrong = Vec::new();
    for (package, judgement) in judged(list().other) {
        assert_eq!(judgement.unjudged, None, "{}", package.name());
        match judgement.agent {
            None => none += 1,
            Some(agent) => wrong.push((package.name().to_owned(), agent)),
        }
    }
    assert!(wrong.is_empty(), "{none} were none: {wrong:#?}");
    assert!(none >= 30);
}

#[test]
#[ignore = "needs published packages: cargo xtask test-packages"]
fn packages_of_families_are_of_their_family_and_so_are_copies_of_their_programs() {
    let version = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    for (package, judgement) in judged(list().family) {
        let family = package.family.as_deref().expect("a family");
        let agent = judgement
            .agent
            .unwrap_or_else(|| panic!("{} is no agent", package.name()));
        let reported = package.reported.as_deref().unwrap_or(&package.version);
        assert_eq!(agent.family, family, "{agent:?}");
        assert_eq!(agent.version, version(reported), "{agent:?}");
        let Some(reported) = &package.copy_version else {
            continue;
        };
        let mut world = World::new();
        let copy = world.path("harmless");
        std::fs::copy(package.path(), &copy).expect("copies");
        let agent = world.judge(&world.exec(&copy, &["harmless"])).agent;
        let agent = agent.unwrap_or_else(|| panic!("a copy of {} is none", package.name()));
        println!("a copy of {}: {agent:#?}", package.name());
        assert_eq!(agent.family, family, "{agent:?}");
        assert_eq!(agent.version, version(reported), "{agent:?}");
    }
}
