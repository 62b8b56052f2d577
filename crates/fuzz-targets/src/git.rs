//! Git's files: `HEAD`, `config`, and links to other directories.

use std::path::{Component, Path};

use skep_sensor::git::{MAX_BRANCH, MAX_REMOTE, branch, pointed_to, remote};

/// Bounds hold, links stay absolute paths, and a URL that is written as git does is read back.
pub fn check(bytes: &[u8]) {
    let length = |text: Option<skep_event::Text>| text.map_or(0, |text| text.as_bytes().len());
    assert!(length(branch(bytes)) <= MAX_BRANCH);
    assert!(length(remote(bytes)) <= MAX_REMOTE);
    if let Some(path) = pointed_to(Path::new("/home/project/.git"), bytes) {
        let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        assert!(
            path.is_absolute() && path.components().all(plain),
            "{path:?}"
        );
    }
    if !bytes.is_empty() && bytes.len() <= MAX_REMOTE {
        let config = [
            b"[remote \"origin\"]\n\turl = \"",
            &quoted(bytes)[..],
            b"\"\n",
        ]
        .concat();
        let read = remote(&config);
        assert_eq!(read.as_ref().map(|url| url.as_bytes()), Some(bytes));
    }
}

/// As git-config(1) writes a value inside quotes.
fn quoted(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            byte => out.push(*byte),
        }
    }
    out
}
