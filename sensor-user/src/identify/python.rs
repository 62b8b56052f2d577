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
    File {
        real: &'a [u8],
        head: &'a [u8],
    },
    Module(&'a [u8]),
}

/// Evidence for what is run; `interpreters` are the paths the interpreter may have been started by,
/// the likeliest first (a virtual environment is told by the link, not by where it leads).
pub(super) fn distributions(
    catalogue: &Catalogue,
    root: &Root,
    run: Run<'_>,
    interpreters: &[Vec<u8>],
) -> Vec<Piece> {
    let families = catalogue.families().iter().enumerate();
    let known = families.flat_map(|(at, family)| family.python.iter().map(move |d| (at, d)));
    let pieces = known.filter_map(|(family, distribution)| {
        let (path, version, install) = find(root, run, distribution, interpreters)?;
        let text = format!(
            "Python distribution {} {version} at {}",
            distribution.name,
            String::from_utf8_lossy(&path)
        );
        let (kind, weight, version) = (Kind::Python, distribution.weight, Some(version));
        Some(Piece {
            family,
            kind,
            weight,
            version,
            text,
            install: Some(install),
            found_by: vec![path],
        })
    });
    pieces.collect()
}

/// Path of the metadata, version, and the directory the distribution is installed in.
fn find(
    root: &Root,
    run: Run<'_>,
    distribution: &PythonDistribution,
    interpreters: &[Vec<u8>],
) -> Option<(Vec<u8>, String, Vec<u8>)> {
    let mut prefixes: Vec<&[u8]> = Vec::new();
    match run {
        Run::Module(name) => {
            if !distribution
                .modules
                .iter()
                .any(|module| module.as_bytes() == name)
            {
                return None;
            }
        }
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
    prefixes.extend(interpreters.iter().map(|path| parent(parent(path))));
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
fn split_site(real: &[u8]) -> Option<(&[u8], &[u8])> {
    [b"/site-packages/".as_slice(), b"/dist-packages/"]
        .iter()
        .find_map(|part| {
            let at = memchr::memmem::rfind(real, part)?;
            Some((&real[..at + part.len() - 1], &real[at + part.len()..]))
        })
}

/// The directories distributions of an installation prefix are in.
fn sites(root: &Root, prefix: &[u8]) -> Vec<Vec<u8>> {
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
    let is_it = |name: &[u8]| {
        let stem = name.strip_suffix(b".dist-info")?;
        let end = stem.iter().position(|byte| *byte == b'-')?;
        (normalised(&stem[..end]) == distribution.name).then_some(())
    };
    let names = root.names_in(site, NAMES_MAX, |name| is_it(name).is_some());
    let directory = names.into_iter().next()?;
    let path = [site, b"/", &directory, b"/METADATA"].concat();
    let metadata = root.read_whole(&path, METADATA_BYTES_MAX)?;
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
    Some((
        path,
        field("Version:").filter(|version| !version.is_empty())?,
    ))
}

/// PEP 503: lower case, runs of `-`, `_` and `.` are one hyphen.
fn normalised(name: &[u8]) -> String {
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
pub(super) fn interpreters(
    filename: Option<&[u8]>,
    argv0: Option<&[u8]>,
    exe: Option<&[u8]>,
    cwd: Option<&[u8]>,
) -> Vec<Vec<u8>> {
    let given = [filename, argv0, exe].into_iter().flatten();
    let with_directory = given.filter(|path| base_name(path).len() < path.len());
    with_directory
        .filter_map(|path| super::command::absolute(path, cwd))
        .collect()
}
