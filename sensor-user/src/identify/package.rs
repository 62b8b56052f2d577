//! Evidence of npm packages and of install layouts, by the real path of an executed file or script.
//!
//! A file counts when the nearest named `package.json` above it is a known package's *and* the file
//! is one the package starts by (a target of `bin`, or an entry the catalogue names): what else lies
//! in an agent's package (install scripts, vendored tools) is not the agent.
//!
//! Bounds: 8 directories up, 1 MiB of `package.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use skep_catalogue::{Catalogue, Family, NpmPackage};

use super::{
    access::Root,
    command::{base_name, parent},
    evidence::{Kind, Piece},
};

const LEVELS_MAX: usize = 8;
const MANIFEST_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Deserialize)]
struct Manifest {
    name: Option<String>,
    version: Option<String>,
    main: Option<String>,
    bin: Option<Bin>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Bin {
    One(String),
    Many(BTreeMap<String, String>),
    Other(serde::de::IgnoredAny),
}

/// Evidence that the file at `real` belongs to a known npm package.
pub(super) fn packages(catalogue: &Catalogue, root: &Root, real: &[u8]) -> Vec<Piece> {
    let mut directory = parent(real);
    for _ in 0..LEVELS_MAX {
        if directory.is_empty() || base_name(directory) == b"node_modules" {
            return Vec::new();
        }
        let path = [directory, b"/package.json"].concat();
        let manifest = read_manifest(root, &path);
        if let Some(Manifest {
            name: Some(name),
            version,
            bin,
            ..
        }) = manifest
        {
            let file = &real[directory.len() + 1..];
            let found = Found {
                name: &name,
                version: version.as_deref(),
                file,
                path: &path,
            };
            return found.pieces(catalogue, bin.as_ref());
        }
        directory = parent(directory);
    }
    Vec::new()
}

/// The file a directory given as a script stands for.
pub(super) fn main_of(root: &Root, directory: &[u8]) -> Vec<u8> {
    let manifest = read_manifest(root, &[directory, b"/package.json"].concat());
    let main = manifest.and_then(|manifest| manifest.main);
    [
        directory,
        b"/",
        main.as_deref().unwrap_or("index.js").as_bytes(),
    ]
    .concat()
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
