//! Where JavaScript runtimes find the packages they are told to load by name.
//!
//! Bounds: [`LEVELS_MAX`] directories up, [`REGISTRIES_MAX`] registries of a cache, [`VERSIONS_MAX`] versions of
//! a package, [`LOCK_BYTES_MAX`] of a lock file.

use skep_catalogue::NpmCache;

use super::{
    access::Root,
    command::{absolute, base_name, parent},
    environment::Variables,
    package,
    specifier::{Npm, Package},
};

const LEVELS_MAX: usize = 32;
const REGISTRIES_MAX: usize = 16;
const VERSIONS_MAX: usize = 1_000;
const LOCK_BYTES_MAX: usize = 4 << 20;

/// The files that a package named in `directory` may stand for, likeliest first; they need not be there.
pub(super) fn files(
    root: &Root,
    package: Package<'_>,
    directory: Option<&[u8]>,
    more: Option<&[u8]>,
) -> Vec<Vec<u8>> {
    let Ok(subpath) = std::str::from_utf8(package.subpath) else {
        return Vec::new();
    };
    let found = directories(directory, more).find_map(|modules| {
        let directory = [modules.as_slice(), b"/", package.name].concat();
        // A file `node_modules/x.js` has no manifest.
        let targets = match package::manifest_in(root, &directory) {
            Some(manifest) => manifest.targets(subpath),
            None if root.is_file(&directory) => return Some(vec![directory]),
            None => return None,
        };
        let within = |target: String| {
            let target = target.strip_prefix("./").unwrap_or(&target).to_owned();
            [directory.as_slice(), b"/", target.as_bytes()].concat()
        };
        Some(targets.into_iter().map(within).collect())
    });
    found.unwrap_or_default()
}

/// `node_modules` from `directory` up, then the directories of a variable.
fn directories<'a>(
    directory: Option<&'a [u8]>,
    more: Option<&'a [u8]>,
) -> impl Iterator<Item = Vec<u8>> + use<'a> {
    let more = more
        .into_iter()
        .flat_map(|more| more.split(|byte| *byte == b':'));
    let more = more
        .filter(|path| path.first() == Some(&b'/'))
        .map(<[u8]>::to_vec);
    above(directory)
        .map(|directory| [directory, b"/node_modules"].concat())
        .chain(more)
}

/// A directory and those above it, the root as an empty path.
fn above(directory: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    let absolute = directory.filter(|directory| directory.first() == Some(&b'/'));
    fn next<'d>(directory: &&'d [u8]) -> Option<&'d [u8]> {
        (!directory.is_empty()).then(|| parent(directory))
    }
    let trimmed = absolute.map(|path| path.strip_suffix(b"/").unwrap_or(path));
    std::iter::successors(trimmed, next).take(LEVELS_MAX)
}

/// Where a runtime keeps a package that it fetches itself: in its own cache, or in a `node_modules` above.
pub(super) fn fetched(
    root: &Root,
    npm: Npm<'_>,
    cache: &NpmCache,
    variables: Option<&Variables>,
    cwd: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let name = npm.package.name;
    let wanted = locked(root, npm, cwd).or_else(|| npm.version.map(<[u8]>::to_vec));
    // A `node_modules` of the project goes before the cache where there is one.
    let in_project = above(cwd).find_map(|directory| {
        let modules = [directory, b"/node_modules"].concat();
        let store = [modules.as_slice(), b"/.deno"].concat();
        let flat = replaced(name, b'/', b'+');
        let is_it = |entry: &[u8]| entry.starts_with(&[flat.as_slice(), b"@"].concat());
        let versions = root.names_in(&store, VERSIONS_MAX * 10, is_it);
        let versions = versions.iter().map(|entry| &entry[flat.len() + 1..]);
        if let Some(version) = best(versions, wanted.as_deref()) {
            let entry = [flat.as_slice(), b"@", version].concat();
            return Some([&store, &b"/"[..], &entry, b"/node_modules/", name].concat());
        }
        let installed = [modules.as_slice(), b"/", name].concat();
        package::manifest_in(root, &installed).map(|_| installed)
    });
    if in_project.is_some() {
        return in_project;
    }
    let npm_directory = [cache_directory(cache, variables?, cwd)?.as_slice(), b"/npm"].concat();
    let registries = root.names_in(&npm_directory, REGISTRIES_MAX, |name| {
        !name.starts_with(b".")
    });
    registries.iter().find_map(|registry| {
        let package = [&npm_directory, &b"/"[..], registry, b"/", name].concat();
        let is_version = |name: &[u8]| name.first().is_some_and(u8::is_ascii_digit);
        let versions = root.names_in(&package, VERSIONS_MAX, is_version);
        let version = best(versions.iter().map(Vec::as_slice), wanted.as_deref())?;
        Some([package.as_slice(), b"/", version].concat())
    })
}

fn cache_directory(cache: &NpmCache, variables: &Variables, cwd: Option<&[u8]>) -> Option<Vec<u8>> {
    if let Some(directory) = variables.get(&cache.env) {
        return absolute(directory, cwd);
    }
    let user = match variables.get("XDG_CACHE_HOME") {
        Some(directory) => directory.to_vec(),
        None => [variables.get("HOME")?, b"/.cache"].concat(),
    };
    absolute(
        &[user.as_slice(), b"/", cache.folder.as_bytes()].concat(),
        cwd,
    )
}

/// The version that `deno.lock` has for a specifier.
fn locked(root: &Root, npm: Npm<'_>, cwd: Option<&[u8]>) -> Option<Vec<u8>> {
    let lock = above(cwd).find_map(|directory| {
        root.read_whole(&[directory, b"/deno.lock"].concat(), LOCK_BYTES_MAX)
    })?;
    let lock: serde_json::Value = serde_json::from_slice(&lock).ok()?;
    let name = std::str::from_utf8(npm.package.name).ok()?;
    let version = std::str::from_utf8(npm.version.unwrap_or(b"*")).ok()?;
    let found = lock
        .get("specifiers")?
        .get(format!("npm:{name}@{version}"))?;
    // What peers it was resolved with stands behind the version.
    let version = found.as_str()?.split('_').next()?;
    Some(version.as_bytes().to_vec())
}

/// The version that is wanted, else the newest that may be meant, else the newest.
fn best<'v>(versions: impl Iterator<Item = &'v [u8]>, wanted: Option<&[u8]>) -> Option<&'v [u8]> {
    let wanted = wanted.map(|wanted| {
        let digits = wanted.iter().position(u8::is_ascii_digit);
        digits.map_or(&b""[..], |at| &wanted[at..])
    });
    let rank = |version: &&[u8]| {
        let fits = wanted.is_some_and(|wanted| {
            let rest = version.strip_prefix(wanted);
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'.' | b'-' | b'_')))
        });
        (wanted == Some(*version), fits, order(version))
    };
    versions.max_by_key(rank)
}

/// Releases before what leads to one, as a registry's tag `latest` has it; then major, minor, patch.
fn order(version: &[u8]) -> (bool, [u64; 3]) {
    let text = String::from_utf8_lossy(version);
    let numbers = text.split(['-', '+', '_']).next().unwrap_or_default();
    let mut order = [0; 3];
    for (slot, part) in order.iter_mut().zip(numbers.split('.')) {
        *slot = part.parse().unwrap_or(0);
    }
    (!text.contains('-'), order)
}

fn replaced(text: &[u8], from: u8, to: u8) -> Vec<u8> {
    let replace = |byte: &u8| if *byte == from { to } else { *byte };
    text.iter().map(replace).collect()
}

/// The version in the path of a cached package, for the words of the evidence.
pub(super) fn exact(version: Option<&[u8]>) -> Option<&str> {
    let version = std::str::from_utf8(version?).ok()?;
    let is_exact = version.split('.').count() >= 3
        && version.starts_with(|first: char| first.is_ascii_digit())
        && version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c))
        && base_name(version.as_bytes()) == version.as_bytes();
    is_exact.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_version_then_the_newest_that_fits_then_the_newest() {
        let versions = [&b"0.9.0"[..], b"0.10.2", b"0.10.2-rc.1", b"1.0.0-beta"];
        let chosen = |wanted: Option<&str>| {
            let found = best(versions.into_iter(), wanted.map(str::as_bytes));
            String::from_utf8_lossy(found.expect("one")).into_owned()
        };
        assert_eq!(chosen(Some("0.9.0")), "0.9.0");
        assert_eq!(chosen(Some("^0.10")), "0.10.2");
        assert_eq!(chosen(Some("0.10.2-rc.1")), "0.10.2-rc.1");
        assert_eq!(chosen(Some("latest")), "0.10.2");
        assert_eq!(chosen(Some("^1")), "1.0.0-beta");
        assert_eq!(chosen(None), "0.10.2");
        assert_eq!(best(std::iter::empty(), None), None);
    }

    #[test]
    fn only_a_whole_version_is_one() {
        assert_eq!(exact(Some(b"0.9.0")), Some("0.9.0"));
        for none in [&b"^0.9.0"[..], b"0.9", b"latest", b"1.2.3/../x"] {
            assert_eq!(exact(Some(none)), None);
        }
    }

    #[test]
    fn directories_are_walked_up_to_the_root() {
        let all: Vec<_> = above(Some(b"/a/b/")).collect();
        assert_eq!(all, [&b"/a/b"[..], b"/a", b""]);
        assert_eq!(above(Some(b"a")).count(), 0);
    }
}
