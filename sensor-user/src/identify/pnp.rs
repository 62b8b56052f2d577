//! Paths of Yarn's Plug'n'Play, which lead into zip archives and through directories that are not there.
//!
//! `/p/.yarn/cache/x.zip/node_modules/x/cli.js` is a member of an archive. A directory `__virtual__` (`$$virtual`
//! before Yarn 3) stands for its parent: two parts follow it, of which the second says how many directories up
//! the rest begins.

use super::access::Root;
use super::archive::Archive;

const VIRTUAL: [&[u8]; 2] = [b"__virtual__", b"$$virtual"];
/// Directories up that a virtual part may ask for.
const UP_MAX: usize = 64;
const MEMBERS_MAX: usize = 64;

/// An archive and what is named within it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Within<'a> {
    /// Path of the archive.
    pub archive: &'a [u8],
    /// Without a slash before it.
    pub member: &'a [u8],
}

/// Without virtual parts.
pub(super) fn real(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    let mut parts = path.split(|byte| *byte == b'/');
    while let Some(part) = parts.next() {
        if !VIRTUAL.contains(&part) {
            out.push(part);
            continue;
        }
        // Hash and depth.
        let depth = parts.by_ref().nth(1);
        let depth = depth.and_then(|depth| std::str::from_utf8(depth).ok()?.parse().ok());
        let Some(depth) = depth.filter(|depth: &usize| *depth <= UP_MAX) else {
            return path.to_vec();
        };
        out.truncate(out.len().saturating_sub(depth).max(1));
    }
    out.join(&b'/')
}

/// The archive that a path leads into, if it has the form of one.
pub(super) fn split(path: &[u8]) -> Option<Within<'_>> {
    let at = memchr::memmem::find(path, b".zip/")?;
    let (archive, rest) = path.split_at(at + b".zip".len());
    Some(Within {
        archive,
        member: &rest[1..],
    })
}

/// The `package.json` files above the member that `within` names, the nearest first, with their paths within
/// the archive; `None` when there is no such member.
pub(super) fn manifests(root: &Root, within: &Within<'_>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let opened = root.open(within.archive)?;
    let mut archive = Archive::open(&opened.source)?;
    let is_above = |name: &[u8]| {
        let directory = name.strip_suffix(b"package.json");
        directory.is_some_and(|directory| {
            within.member.starts_with(directory)
                && (directory.is_empty() || directory.ends_with(b"/"))
        })
    };
    let mut members = archive.members(|name| name == within.member || is_above(name));
    members
        .iter()
        .any(|(name, _)| name == within.member)
        .then_some(())?;
    members.retain(|(name, _)| is_above(name));
    members.truncate(MEMBERS_MAX);
    members.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let read = members
        .into_iter()
        .filter_map(|(name, member)| Some((name, archive.read(member)?)));
    Some(read.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_parts_stand_for_directories_above() {
        let shown = |path: &str| String::from_utf8(real(path.as_bytes())).expect("text");
        assert_eq!(
            shown("/p/.yarn/cache/x.zip/a.js"),
            "/p/.yarn/cache/x.zip/a.js"
        );
        assert_eq!(
            shown("/p/.yarn/__virtual__/x-virtual-12/0/cache/x.zip/a.js"),
            "/p/.yarn/cache/x.zip/a.js"
        );
        assert_eq!(
            shown("/p/.yarn/__virtual__/x-virtual-12/2/h/.yarn/berry/cache/x.zip/a.js"),
            "/h/.yarn/berry/cache/x.zip/a.js"
        );
        assert_eq!(
            shown("/p/__virtual__/x/99/a.js"),
            "/p/__virtual__/x/99/a.js"
        );
        assert_eq!(shown("/p/__virtual__/x/60/a.js"), "/a.js");
        assert_eq!(shown("/p/__virtual__"), "/p/__virtual__");
    }

    #[test]
    fn the_first_archive_in_a_path_is_it() {
        let within = split(b"/c/x.zip/node_modules/x/y.zip/z.js").expect("one");
        assert_eq!(within.archive, b"/c/x.zip");
        assert_eq!(within.member, b"node_modules/x/y.zip/z.js");
        assert_eq!(split(b"/c/x.zip"), None);
    }
}
