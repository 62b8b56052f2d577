//! Generic evidence of a console script, or a module, of a Python distribution: what the distribution requires,
//! and texts in its modules.
//!
//! The distribution is the one whose `entry_points.txt` has the script; its files are those of its `RECORD`.

use skep_catalogue::{Catalogue, Generic};
use skep_event::Agent;

use super::{
    super::{
        access::Root,
        command::{base_name, parent},
        elf::Range,
        python::{self, Run, normalised},
    },
    Subject, conclude, is_of_family, short,
    texts::{Search, Texts},
};

const DISTRIBUTIONS_MAX: usize = 512;
const ENTRY_POINTS_MAX: usize = 64 << 10;
/// The fields come before the description.
const METADATA_MAX: usize = 256 << 10;
/// A question may take no more than a few MiB of memory: of a longer record the beginning counts.
const RECORD_MAX: usize = 1 << 20;
const FILES_MAX: usize = 400;
const BYTES_MAX: u64 = 8 << 20;
const MODULE_MAX: u64 = 2 << 20;
const NAMES_MAX: usize = 20_000;

/// An installed distribution.
struct Found {
    /// `site-packages`.
    site: Vec<u8>,
    /// Its `.dist-info` directory.
    directory: Vec<u8>,
    /// First part of the name of the module that is run.
    top: Vec<u8>,
}

/// The agent that is run, if a distribution says that it is a command and the signs are there.
pub(in super::super) fn run(
    catalogue: &Catalogue,
    generic: &Generic,
    texts: &Texts,
    root: &Root,
    run: Run<'_>,
    interpreters: &[Vec<u8>],
) -> Option<Agent> {
    let (found, what) = match run {
        Run::File { real, head } => {
            let top = imported(head)?;
            let name = base_name(real);
            let mut prefixes = vec![parent(parent(real))];
            prefixes.extend(interpreters.iter().map(|path| parent(parent(path))));
            let found = find(root, &prefixes, top, |root, directory| {
                has_script(root, directory, name, top)
            })?;
            (
                found,
                format!("console script {}", String::from_utf8_lossy(name)),
            )
        }
        // What is imported is no command.
        Run::Import(_) => return None,
        Run::Module(name) => {
            let top = name.split(|byte| *byte == b'.').next()?;
            let prefixes: Vec<&[u8]> = interpreters
                .iter()
                .map(|path| parent(parent(path)))
                .collect();
            let is_it = |_: &Root, directory: &[u8]| named(directory) == normalised(top);
            let found = find(root, &prefixes, top, is_it)?;
            (found, format!("module {}", String::from_utf8_lossy(name)))
        }
    };
    let path = [&found.directory, b"/METADATA".as_slice()].concat();
    let metadata = Metadata::read(&root.read_start(&path, METADATA_MAX)?)?;
    if is_of_family(catalogue, &normalised(metadata.name.as_bytes())) {
        return None;
    }
    let mut search = texts.search(generic);
    modules(root, &found, &mut search);
    let mut signs = search.signs;
    let names = || metadata.requires.iter().map(String::as_str);
    signs.depends(generic, names(), |kind| &kind.pypi);
    let text = format!(
        "Python distribution {} {} at {} ({what})",
        short(&metadata.name),
        metadata.version.as_deref().unwrap_or("without a version"),
        String::from_utf8_lossy(&path)
    );
    let words = metadata.name.replace(['-', '_'], " ");
    let subject = Subject {
        described: format!("{words}. {}. {what}", metadata.summary),
        name: Some(metadata.name),
        version: metadata.version,
        text,
        install: Some(found.site),
    };
    conclude(generic, signs, subject)
}

/// The module that a console script imports its function from.
fn imported(head: &[u8]) -> Option<&[u8]> {
    memchr::memmem::find(head, b"sys.exit(")?;
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut imports = lines.filter_map(|line| line.strip_prefix(b"from "));
    imports.find_map(|rest| {
        let end = memchr::memmem::find(rest, b" import ")?;
        let top = rest[..end].split(|byte| *byte == b'.').next()?;
        (!top.is_empty()).then_some(top)
    })
}

/// The distribution that `is_it`, the likeliest asked first.
fn find(
    root: &Root,
    prefixes: &[&[u8]],
    top: &[u8],
    is_it: impl Fn(&Root, &[u8]) -> bool,
) -> Option<Found> {
    let mut prefixes: Vec<&[u8]> = prefixes.iter().copied().filter(|p| !p.is_empty()).collect();
    if prefixes.contains(&b"/usr".as_slice()) {
        prefixes.push(b"/usr/local");
    }
    prefixes.dedup();
    for prefix in prefixes {
        for site in python::sites(root, prefix) {
            let mut names = root.names_in(&site, NAMES_MAX, |name| name.ends_with(b".dist-info"));
            names.sort_by_key(|name| (named(name) != normalised(top), name.clone()));
            for name in names.into_iter().take(DISTRIBUTIONS_MAX) {
                let directory = [&site, b"/".as_slice(), &name].concat();
                if is_it(root, &directory) {
                    let top = top.to_vec();
                    return Some(Found {
                        site,
                        directory,
                        top,
                    });
                }
            }
        }
    }
    None
}

/// The name of the distribution of a `.dist-info` directory.
fn named(directory: &[u8]) -> String {
    let name = base_name(directory);
    let end = memchr::memchr(b'-', name).unwrap_or(name.len());
    normalised(&name[..end])
}

/// Whether a distribution has a console script of this name that runs something of this module.
fn has_script(root: &Root, directory: &[u8], script: &[u8], top: &[u8]) -> bool {
    let path = [directory, b"/entry_points.txt"].concat();
    let Some(text) = root.read_whole(&path, ENTRY_POINTS_MAX) else {
        return false;
    };
    is_console_script(&text, script, top)
}

pub(in super::super) fn is_console_script(entry_points: &[u8], script: &[u8], top: &[u8]) -> bool {
    let mut lines = entry_points
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .skip_while(|line| *line != b"[console_scripts]")
        .skip(1)
        .take_while(|line| !line.starts_with(b"["));
    lines.any(|line| {
        let Some(at) = memchr::memchr(b'=', line) else {
            return false;
        };
        let (name, target) = (line[..at].trim_ascii(), line[at + 1..].trim_ascii());
        let rest = target.strip_prefix(top);
        name == script && rest.is_some_and(|rest| matches!(rest.first(), Some(b'.' | b':')))
    })
}

/// Searches the modules of the package that is run, in the order of the record.
fn modules(root: &Root, found: &Found, search: &mut Search<'_>) {
    let path = [&found.directory, b"/RECORD".as_slice()].concat();
    let record = root.read_start(&path, RECORD_MAX).unwrap_or_default();
    let (mut files, mut bytes) = (0, 0);
    for path in recorded(&record, &found.top) {
        if files >= FILES_MAX || bytes >= BYTES_MAX || search.is_enough() {
            return;
        }
        let Some(opened) = root.open(&[&found.site, b"/".as_slice(), path].concat()) else {
            continue;
        };
        let len = opened.source.len().min(MODULE_MAX);
        files += 1;
        bytes += len;
        search.range(&opened.source, Range { offset: 0, len });
    }
}

/// The modules of a package among the lines of a record: `PATH,HASH,SIZE`. Tests are none.
pub(in super::super) fn recorded<'r>(
    record: &'r [u8],
    top: &'r [u8],
) -> impl Iterator<Item = &'r [u8]> {
    let lines = record.split(|byte| *byte == b'\n');
    lines.filter_map(move |line| {
        let path = line.split(|byte| *byte == b',').next()?;
        let rest = path.strip_prefix(top)?;
        let is_module = rest == b".py" || rest.starts_with(b"/") && rest.ends_with(b".py");
        let is_test = memchr::memmem::find(rest, b"/tests/").is_some();
        let leads_out = memchr::memmem::find(rest, b"/../").is_some();
        (is_module && !is_test && !leads_out).then_some(path)
    })
}

/// The fields of core metadata (PyPA) that are looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Metadata {
    name: String,
    version: Option<String>,
    summary: String,
    /// Normalised names of what it requires without an extra.
    requires: Vec<String>,
}

// === impl Metadata ===

impl Metadata {
    pub(in super::super) fn read(text: &[u8]) -> Option<Self> {
        let mut read = Self::default();
        let lines = text.split(|byte| *byte == b'\n');
        for line in lines.take_while(|line| !matches!(*line, b"" | b"\r")) {
            let Some(at) = memchr::memchr(b':', line) else {
                continue;
            };
            let value = line[at + 1..].trim_ascii();
            let text = || short(&String::from_utf8_lossy(value));
            match &line[..at] {
                b"Name" => read.name = text(),
                b"Version" => read.version = Some(text()).filter(|version| !version.is_empty()),
                b"Summary" => read.summary = text(),
                b"Requires-Dist" if memchr::memmem::find(value, b"extra ==").is_none() => {
                    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
                    let end = value.iter().position(|byte| !fits(byte));
                    read.requires
                        .push(normalised(&value[..end.unwrap_or(value.len())]));
                }
                _ => {}
            }
        }
        (!read.name.is_empty()).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn metadata_says_what_is_required_without_an_extra() {
        let text =
            b"Metadata-Version: 2.4\nName: My_Agent\nVersion: 1.2\nSummary: A coding agent\n\
            License: MIT\n        \n        of lines\nRequires-Dist: OpenAI>=1\nRequires-Dist: google_genai ; python_version > '3'\n\
            Requires-Dist: anthropic; extra == 'x'\n\nRequires-Dist: litellm\n";
        let metadata = Metadata::read(text).expect("metadata");
        assert_eq!(metadata.name, "My_Agent");
        assert_eq!(metadata.requires, ["openai", "google-genai"]);
    }

    #[test]
    fn a_console_script_is_one_by_name_and_module() {
        let points = b"[gui_scripts]\na = x:y\n[console_scripts]\ni=pkg.sub:main\nj = pkg:main [e]\n[other]\nk = pkg:m\n";
        let is =
            |script: &str, top: &str| is_console_script(points, script.as_bytes(), top.as_bytes());
        assert!(is("i", "pkg") && is("j", "pkg"));
        assert!(!is("a", "x") && !is("k", "pkg") && !is("i", "pk") && !is("i", "other"));
    }

    #[test]
    fn a_script_names_the_module_it_runs() {
        let script = b"#!/v/bin/python\n# -*- coding: utf-8 -*-\nimport re\nimport sys\nfrom pkg.cli.main import main\n\
            if __name__ == '__main__':\n    sys.exit(main())\n";
        assert_eq!(imported(script), Some(b"pkg".as_slice()));
        assert_eq!(imported(b"from a import b\n"), None);
    }

    #[test]
    fn a_record_names_the_modules_of_its_package_and_leads_nowhere_else() {
        let record = b"pkg/__init__.py,sha256=x,1\npkg/tests/t.py,,\npkg/../../x.py,,\npkgs/a.py,,\npkg.py,,\npkg/a.so,,\n";
        let found: Vec<_> = recorded(record, b"pkg").collect();
        assert_eq!(found, [b"pkg/__init__.py".as_slice(), b"pkg.py"]);
    }

    proptest! {
        #[test]
        fn any_metadata_is_read(text in "((Name|Version|Summary|Requires-Dist)?[: a-z;='\u{e9}.]{0,16}\n){0,10}") {
            Metadata::read(text.as_bytes());
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            Metadata::read(&bytes);
            imported(&bytes);
            is_console_script(&bytes, b"a", b"b");
            recorded(&bytes, b"a").count();
        }
    }
}
