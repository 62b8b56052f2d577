//! Evidence of npm packages and of install layouts, by the real path of an executed file or script.
//!
//! A file counts when the nearest named `package.json` above it is a known package's *and* the file
//! is one the package starts by (a target of `bin`, or an entry the catalogue names): what else lies
//! in an agent's package (install scripts, vendored tools) is not the agent.
//!
//! Bounds: 8 directories up, 1 MiB of `package.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use skep_catalogue::{Catalogue, Family, NpmPackage};

use super::{
    access::Root,
    command::{base_name, parent},
    evidence::{Kind, Piece},
};

/// What a registry has under a name cannot be chosen by who runs it, but it was not seen.
const SPECIFIER_WEIGHT: u8 = 60;
const LEVELS_MAX: usize = 8;
const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// Files that `exports` may name for one path, at most.
const TARGETS_MAX: usize = 32;
/// Conditions within conditions.
const CONDITIONS_MAX: usize = 8;

#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    name: Option<String>,
    version: Option<String>,
    main: Option<String>,
    bin: Option<Bin>,
    description: Option<Lenient<String>>,
    exports: Option<serde_json::Value>,
    dependencies: Option<Lenient<BTreeMap<String, IgnoredAny>>>,
    #[serde(rename = "optionalDependencies")]
    optional: Option<Lenient<BTreeMap<String, IgnoredAny>>>,
}

/// What generic evidence looks at: of another form, it is as good as not there.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Fits(T),
    Other(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Bin {
    One(String),
    Many(BTreeMap<String, String>),
    Other(IgnoredAny),
}

/// The nearest named `package.json` above a file.
#[derive(Debug)]
pub(super) struct Nearest {
    manifest: Manifest,
    pub name: String,
    /// Of the `package.json`.
    pub path: Vec<u8>,
}

/// Finds the nearest named `package.json` above the file at `real`.
pub(super) fn nearest(root: &Root, real: &[u8]) -> Option<Nearest> {
    let mut directory = parent(real);
    for _ in 0..LEVELS_MAX {
        if directory.is_empty() || base_name(directory) == b"node_modules" {
            return None;
        }
        let path = [directory, b"/package.json"].concat();
        let manifest = read_manifest(root, &path);
        if let Some((manifest, name)) = manifest.and_then(|m| m.name.clone().map(|name| (m, name)))
        {
            return Some(Nearest {
                manifest,
                name,
                path,
            });
        }
        directory = parent(directory);
    }
    None
}

/// Evidence that the file at `real` belongs to a known npm package.
pub(super) fn packages(catalogue: &Catalogue, root: &Root, real: &[u8]) -> Vec<Piece> {
    let Some(nearest) = nearest(root, real) else {
        return Vec::new();
    };
    let found = Found {
        name: &nearest.name,
        version: nearest.version(),
        file: nearest.file(real),
        path: &nearest.path,
    };
    found.pieces(catalogue, nearest.manifest.bin.as_ref())
}

/// The same of a file within an archive at `archive`: `manifests` are the `package.json` files above it, the
/// nearest first, by their paths in it.
pub(super) fn packages_within(
    catalogue: &Catalogue,
    archive: &[u8],
    member: &[u8],
    manifests: &[(Vec<u8>, Vec<u8>)],
) -> Vec<Piece> {
    for (path, bytes) in manifests {
        let manifest: Option<Manifest> = serde_json::from_slice(bytes).ok();
        let Some(Manifest {
            name: Some(name),
            version,
            bin,
            ..
        }) = manifest
        else {
            continue;
        };
        let directory = path.len() - b"package.json".len();
        let found = Found {
            name: &name,
            version: version.as_deref(),
            file: member.get(directory..).unwrap_or_default(),
            path: &[archive, b"/", path.as_slice()].concat(),
        };
        return found.pieces(catalogue, bin.as_ref());
    }
    Vec::new()
}

/// A piece of evidence by nothing but the name of a package that a runtime was told to fetch and run.
pub(super) fn by_specifier(catalogue: &Catalogue, name: &str, version: Option<&str>) -> Vec<Piece> {
    let of_family = |(at, family): (usize, &Family)| {
        let mut packages = family.packages.iter();
        packages.find(|package| package.name.as_str() == name)?;
        Some(Piece {
            family: at,
            kind: Kind::Package,
            weight: SPECIFIER_WEIGHT,
            version: version.map(str::to_owned),
            text: format!("npm package {name} by its specifier; nothing of it is there to be read"),
            install: None,
            found_by: Vec::new(),
        })
    };
    let families = catalogue.families().iter().enumerate();
    families.filter_map(of_family).collect()
}

/// The file a directory given as a script stands for.
pub(super) fn main_of(root: &Root, directory: &[u8]) -> Vec<u8> {
    let main = manifest_in(root, directory).and_then(|manifest| manifest.main);
    [
        directory,
        b"/",
        main.as_deref().unwrap_or("index.js").as_bytes(),
    ]
    .concat()
}

/// The `package.json` of a directory.
pub(super) fn manifest_in(root: &Root, directory: &[u8]) -> Option<Manifest> {
    read_manifest(root, &[directory, b"/package.json"].concat())
}

/// Evidence that `real` is where an installer of a family puts its files.
pub(super) fn layouts(catalogue: &Catalogue, root: &Root, real: &[u8]) -> Vec<Piece> {
    let families = catalogue.families().iter().enumerate();
    let layouts = families.flat_map(|(at, family)| family.layouts.iter().map(move |l| (at, l)));
    let matching = layouts.filter(|(_, layout)| {
        let beside = |name: &String| root.is_file(&[parent(real), b"/", name.as_bytes()].concat());
        layout.path.matches(real) && layout.beside.iter().all(beside)
    });
    matching
        .map(|(family, layout)| Piece {
            family,
            kind: Kind::Layout,
            weight: layout.weight,
            version: layout.path.version(real).map(str::to_owned),
            text: format!(
                "install layout {} at {}",
                layout.path.as_str(),
                String::from_utf8_lossy(real)
            ),
            install: None,
            found_by: Vec::new(),
        })
        .collect()
}

/// Whether a path is one that package or layout evidence may exist for.
pub(super) fn is_telling(catalogue: &Catalogue, path: &[u8]) -> bool {
    let layouts = catalogue
        .families()
        .iter()
        .flat_map(|family| &family.layouts);
    memchr::memmem::find(path, b"/node_modules/").is_some()
        || layouts.into_iter().any(|layout| layout.path.matches(path))
}

fn read_manifest(root: &Root, path: &[u8]) -> Option<Manifest> {
    serde_json::from_slice(&root.read_whole(path, MANIFEST_BYTES_MAX)?).ok()
}

// === impl Nearest ===

impl Nearest {
    pub(super) fn version(&self) -> Option<&str> {
        self.manifest.version.as_deref()
    }

    pub(super) fn description(&self) -> Option<&str> {
        match &self.manifest.description {
            Some(Lenient::Fits(description)) => Some(description),
            Some(Lenient::Other(_)) | None => None,
        }
    }

    /// The path of a file below the package, relative to it.
    pub(super) fn file<'p>(&self, real: &'p [u8]) -> &'p [u8] {
        real.get(parent(&self.path).len() + 1..).unwrap_or_default()
    }

    /// Whether the file is one of the package's commands, or what a package with commands gives as its main file.
    pub(super) fn is_command(&self, file: &[u8]) -> bool {
        let Some(bin) = &self.manifest.bin else {
            return false;
        };
        let main = self.manifest.main.as_deref();
        let is_main =
            main.is_some_and(|main| main.strip_prefix("./").unwrap_or(main).as_bytes() == file);
        bin.has(file) || is_main && !matches!(bin, Bin::Other(_))
    }

    /// Names of the packages it depends on.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = &String> + Clone {
        let all = [&self.manifest.dependencies, &self.manifest.optional];
        all.into_iter()
            .flatten()
            .flat_map(|list| match list {
                Lenient::Fits(list) => Some(list.keys()),
                Lenient::Other(_) => None,
            })
            .flatten()
    }

    /// A package it depends on, where Node looks for it.
    pub(super) fn dependency(&self, root: &Root, name: &str) -> Option<Nearest> {
        let is_name = !name.split('/').any(|part| part.is_empty() || part == "..");
        let mut directory = parent(&self.path);
        for _ in 0..LEVELS_MAX {
            if !is_name || directory.is_empty() {
                return None;
            }
            let path = match base_name(directory) {
                b"node_modules" => [directory, b"/", name.as_bytes(), b"/package.json"].concat(),
                _ => [
                    directory,
                    b"/node_modules/",
                    name.as_bytes(),
                    b"/package.json",
                ]
                .concat(),
            };
            if let Some(manifest) = read_manifest(root, &path) {
                let name = name.to_owned();
                return Some(Nearest {
                    manifest,
                    name,
                    path,
                });
            }
            directory = parent(directory);
        }
        None
    }
}

/// A named `package.json` above a file.
struct Found<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// Relative to the package.
    file: &'a [u8],
    /// Of the `package.json`.
    path: &'a [u8],
}

// === impl Found ===

impl Found<'_> {
    fn pieces(&self, catalogue: &Catalogue, bin: Option<&Bin>) -> Vec<Piece> {
        let of_family = |(at, family): (usize, &Family)| {
            let package = family
                .packages
                .iter()
                .find(|package| self.starts(package, bin))?;
            Some(self.piece(at, package))
        };
        catalogue
            .families()
            .iter()
            .enumerate()
            .filter_map(of_family)
            .collect()
    }

    fn starts(&self, package: &NpmPackage, bin: Option<&Bin>) -> bool {
        if !package.name.matches(self.name.as_bytes()) {
            return false;
        }
        // A pattern of names may take in a package that is no agent: its commands say nothing.
        let is_named_in_full = package.name.as_str() == self.name;
        let is_command = is_named_in_full && bin.is_some_and(|bin| bin.has(self.file));
        is_command || package.entry.iter().any(|entry| entry.matches(self.file))
    }

    fn piece(&self, family: usize, package: &NpmPackage) -> Piece {
        let version = self.version.map(|version| match &package.version_suffix {
            None => version.to_owned(),
            Some(suffix) => {
                let cut = suffix.replace(version.as_bytes(), &b""[..]);
                String::from_utf8_lossy(&cut).into_owned()
            }
        });
        // All of it was cut off: it is not the agent's.
        let version = version.filter(|version| !version.is_empty());
        let text = format!(
            "npm package {} {} at {} (entry {})",
            self.name,
            self.version.unwrap_or("without a version"),
            String::from_utf8_lossy(self.path),
            String::from_utf8_lossy(self.file),
        );
        let install = Some(parent(self.path).to_vec());
        Piece {
            family,
            kind: Kind::Package,
            weight: package.weight,
            version,
            text,
            install,
            found_by: vec![self.path.to_vec()],
        }
    }
}

// === impl Manifest ===

impl Manifest {
    /// The files, relative to the package, that `subpath` of it may stand for (empty: the package itself). Which
    /// of them it is depends on conditions of the runtime: any may be it.
    pub(super) fn targets(&self, subpath: &str) -> Vec<String> {
        let mut targets = Vec::new();
        if let Some(exports) = &self.exports {
            let key = if subpath.is_empty() {
                ".".to_owned()
            } else {
                format!("./{subpath}")
            };
            let by_path = exports
                .as_object()
                .filter(|paths| paths.keys().any(|path| path.starts_with('.')));
            match by_path {
                Some(paths) => {
                    let exact = paths.get(&key).map(|target| (target, ""));
                    let by_pattern = || {
                        paths.iter().find_map(|(path, target)| {
                            let (before, after) = path.split_once('*')?;
                            let middle = key.strip_prefix(before)?.strip_suffix(after)?;
                            Some((target, middle))
                        })
                    };
                    if let Some((target, middle)) = exact.or_else(by_pattern) {
                        collect(target, middle, CONDITIONS_MAX, &mut targets);
                    }
                }
                None if subpath.is_empty() => collect(exports, "", CONDITIONS_MAX, &mut targets),
                None => {}
            }
        }
        if subpath.is_empty() {
            targets.extend(self.main.clone());
            targets.push("index.js".to_owned());
        } else {
            targets.push(subpath.to_owned());
        }
        targets
    }

    /// The file of the command `command`; without one, of that called as the package, or of its only one.
    pub(super) fn command(&self, command: Option<&str>) -> Option<String> {
        match self.bin.as_ref()? {
            Bin::One(target) => Some(target.clone()),
            Bin::Many(targets) => {
                let own = self.name.as_deref()?.rsplit('/').next()?;
                let found = targets.get(command.unwrap_or(own));
                let only = targets.values().next().filter(|_| targets.len() == 1);
                found.or(only.filter(|_| command.is_none())).cloned()
            }
            Bin::Other(_) => None,
        }
    }
}

/// The strings in a target of `exports`, with a star replaced.
fn collect(target: &serde_json::Value, star: &str, depth: usize, targets: &mut Vec<String>) {
    use serde_json::Value;
    let Some(depth) = depth.checked_sub(1).filter(|_| targets.len() < TARGETS_MAX) else {
        return;
    };
    match target {
        Value::String(target) => targets.push(target.replace('*', star)),
        Value::Array(all) => all
            .iter()
            .for_each(|one| collect(one, star, depth, targets)),
        Value::Object(all) => all
            .values()
            .for_each(|one| collect(one, star, depth, targets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

// === impl Bin ===

impl Bin {
    fn has(&self, file: &[u8]) -> bool {
        let is = |target: &str| target.strip_prefix("./").unwrap_or(target).as_bytes() == file;
        match self {
            Bin::One(target) => is(target),
            Bin::Many(targets) => targets.values().any(|target| is(target)),
            Bin::Other(_) => false,
        }
    }
}
