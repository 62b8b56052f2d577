//! Evidence of Python distributions: the `METADATA` (PyPA core metadata) that was installed beside
//! the console script, module or file a Python interpreter was told to run.
//!
//! Bounds: 16 library directories of a prefix, 20,000 names in one of them, 1 MiB of metadata.

use skep_catalogue::{Catalogue, PythonDistribution};

use super::{
    access::Root,
    command::{base_name, parent},
    evidence::{Kind, Piece},
};

const LIBRARIES_MAX: usize = 16;
const NAMES_MAX: usize = 20_000;
const METADATA_BYTES_MAX: usize = 1 << 20;

/// What an interpreter runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run<'a> {
    /// A file: its real path and first bytes.
    File { real: &'a [u8], head: &'a [u8] },
    /// As `-m` runs it.
    Module(&'a [u8]),
    /// As `import` does: one of the files that are the agent, or nothing.
    Import(&'a [u8]),
}

/// Where an interpreter finds its distributions, the likeliest first.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Paths the interpreter may have been started by (a virtual environment is told by the link, not by where
    /// it leads).
    pub interpreters: Vec<Vec<u8>>,
    /// Directories that distributions lie in.
    pub sites: Vec<Vec<u8>>,
    /// Installation prefixes.
    pub prefixes: Vec<Vec<u8>>,
}

/// Evidence for what is run.
pub(super) fn distributions(
    catalogue: &Catalogue,
    root: &Root,
    run: Run<'_>,
    places: &Places,
) -> Vec<Piece> {
    let pieces = known(catalogue).filter_map(|(family, distribution)| {
        let (path, version, install) = find(root, run, distribution, places)?;
        Some(piece(family, distribution, &path, version, install))
    });
    pieces.collect()
}

/// Every distribution of the catalogue, with the index of its family.
pub(super) fn known(catalogue: &Catalogue) -> impl Iterator<Item = (usize, &PythonDistribution)> {
    let families = catalogue.families().iter().enumerate();
    families.flat_map(|(at, family)| family.python.iter().map(move |d| (at, d)))
}

/// The evidence that metadata at `path` gives.
pub(super) fn piece(
    family: usize,
    distribution: &PythonDistribution,
    path: &[u8],
    version: String,
    install: Vec<u8>,
) -> Piece {
    let text = format!(
        "Python distribution {} {version} at {}",
        distribution.name,
        String::from_utf8_lossy(path)
    );
    let (kind, weight, version) = (Kind::Python, distribution.weight, Some(version));
    Piece {
        family,
        kind,
        weight,
        version,
        text,
        install: Some(install),
        found_by: vec![path.to_vec()],
    }
}

/// Whether running or importing what has this name runs the agent of a distribution.
pub(super) fn is_agent(distribution: &PythonDistribution, run: Run<'_>) -> bool {
    let mut modules = distribution.modules.iter();
    match run {
        Run::Module(name) => modules.any(|module| module.as_bytes() == name),
        Run::Import(name) => {
            let path: Vec<u8> = name
                .iter()
                .map(|byte| if *byte == b'.' { b'/' } else { *byte })
                .collect();
            let files = [
                [&path, &b".py"[..]].concat(),
                [&path, &b"/__init__.py"[..]].concat(),
            ];
            let mut entries = distribution.entry.iter();
            entries.any(|entry| files.iter().any(|file| entry.matches(file)))
        }
        Run::File { .. } => false,
    }
}

/// The source of a compiled file: `a/__pycache__/b.cpython-313.pyc` is of `a/b.py` (PEP 3147).
pub(super) fn source_of(path: &[u8]) -> Option<Vec<u8>> {
    let stem = path.strip_suffix(b".pyc")?;
    let (directory, file) = (parent(stem), base_name(stem));
    let package = directory.strip_suffix(b"/__pycache__")?;
    let name = file.split(|byte| *byte == b'.').next()?;
    Some([package, b"/", name, b".py"].concat())
}

/// Path of the metadata, version, and the directory the distribution is installed in.
fn find(
    root: &Root,
    run: Run<'_>,
    distribution: &PythonDistribution,
    places: &Places,
) -> Option<(Vec<u8>, String, Vec<u8>)> {
    let mut prefixes: Vec<&[u8]> = Vec::new();
    match run {
        Run::Module(_) | Run::Import(_) => is_agent(distribution, run).then_some(())?,
        Run::File { real, head } => {
            if let Some((site, file)) = split_site(real)
                && distribution.entry.iter().any(|entry| entry.matches(file))
            {
                let (path, version) = metadata_in(root, site, distribution)?;
                return Some((path, version, site.to_vec()));
            }
            let holds = |text: &String| memchr::memmem::find(head, text.as_bytes()).is_some();
            if !distribution.script_text.iter().any(holds) {
                return None;
            }
            prefixes.push(parent(parent(real)));
        }
    }
    let on_path = places.sites.iter().find_map(|site| {
        let (path, version) = metadata_in(root, site, distribution)?;
        Some((path, version, site.clone()))
    });
    if on_path.is_some() {
        return on_path;
    }
    prefixes.extend(places.interpreters.iter().map(|path| parent(parent(path))));
    prefixes.extend(places.prefixes.iter().map(Vec::as_slice));
    if prefixes.contains(&b"/usr".as_slice()) {
        prefixes.push(b"/usr/local");
    }
    prefixes
        .into_iter()
        .filter(|prefix| !prefix.is_empty())
        .find_map(|prefix| {
            let (path, version) = sites(root, prefix)
                .iter()
                .find_map(|site| metadata_in(root, site, distribution))?;
            Some((path, version, prefix.to_vec()))
        })
}

/// `site-packages` directory and the path within it.
pub(super) fn split_site(real: &[u8]) -> Option<(&[u8], &[u8])> {
    [b"/site-packages/".as_slice(), b"/dist-packages/"]
        .iter()
        .find_map(|part| {
            let at = memchr::memmem::rfind(real, part)?;
            Some((&real[..at + part.len() - 1], &real[at + part.len()..]))
        })
}

/// The directories distributions of an installation prefix are in.
pub(super) fn sites(root: &Root, prefix: &[u8]) -> Vec<Vec<u8>> {
    let mut sites = Vec::new();
    for library in [b"lib".as_slice(), b"lib64"] {
        let library = [prefix, b"/", library].concat();
        let is_python = |name: &[u8]| name.starts_with(b"python3") || name.starts_with(b"pypy3");
        let names = root.names_in(&library, NAMES_MAX, is_python);
        for name in names.into_iter().take(LIBRARIES_MAX) {
            for leaf in [b"site-packages".as_slice(), b"dist-packages"] {
                sites.push([&library, b"/".as_slice(), &name, b"/", leaf].concat());
            }
        }
    }
    sites
}

fn metadata_in(
    root: &Root,
    site: &[u8],
    distribution: &PythonDistribution,
) -> Option<(Vec<u8>, String)> {
    let names = root.names_in(site, NAMES_MAX, |name| is_metadata_of(name, distribution));
    let directory = names.into_iter().next()?;
    let path = [site, b"/", &directory, b"/METADATA"].concat();
    let metadata = root.read_whole(&path, METADATA_BYTES_MAX)?;
    Some((path, version_in(&metadata, distribution)?))
}

/// The version that metadata of this distribution names.
pub(super) fn version_in(metadata: &[u8], distribution: &PythonDistribution) -> Option<String> {
    let fields = || {
        metadata
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.is_empty())
    };
    let field = |key: &str| {
        let value = fields().find_map(|line| line.strip_prefix(key.as_bytes()))?;
        Some(String::from_utf8_lossy(value).trim().to_owned())
    };
    let name = field("Name:")?;
    (normalised(name.as_bytes()) == distribution.name).then_some(())?;
    field("Version:").filter(|version| !version.is_empty())
}

/// Whether a directory of this name holds the metadata of a distribution.
pub(super) fn is_metadata_of(name: &[u8], distribution: &PythonDistribution) -> bool {
    let stem = name.strip_suffix(b".dist-info");
    let end = stem.and_then(|stem| Some(&stem[..stem.iter().position(|byte| *byte == b'-')?]));
    end.is_some_and(|end| normalised(end) == distribution.name)
}

/// PEP 503: lower case, runs of `-`, `_` and `.` are one hyphen.
pub(super) fn normalised(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'-' | b'_' | b'.' if out.ends_with('-') => {}
            b'-' | b'_' | b'.' => out.push('-'),
            byte => out.push(byte.to_ascii_lowercase() as char),
        }
    }
    out
}

/// The paths an interpreter may have been started by: as given to `execve`, as in `argv[0]`, as the
/// kernel has it.
pub(super) fn interpreters(given: [Option<&[u8]>; 3], cwd: Option<&[u8]>) -> Vec<Vec<u8>> {
    let with_directory = given
        .into_iter()
        .flatten()
        .filter(|path| base_name(path).len() < path.len());
    with_directory
        .filter_map(|path| super::command::absolute(path, cwd))
        .collect()
}
