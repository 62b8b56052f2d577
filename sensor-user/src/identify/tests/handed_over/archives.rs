//! The same of what lies in archives.

use flate2::{Compression, write::DeflateEncoder};
use proptest::prelude::*;
use rawzip::{CompressionMethod, ZipArchiveWriter};

use super::{
    super::super::{
        archive::{Archive, MEMBER_MAX},
        source::Source,
        zipapp,
    },
    *,
};

/// A zip archive of these files, packed.
pub(super) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, contents) in files {
        let (mut entry, config) = archive
            .new_file(name)
            .compression_method(CompressionMethod::Deflate)
            .start()
            .expect("an entry");
        let encoder = DeflateEncoder::new(&mut entry, Compression::default());
        let mut writer = config.wrap(encoder);
        writer.write_all(contents.as_bytes()).expect("memory");
        let (encoder, descriptor) = writer.finish().expect("packed");
        encoder.finish().expect("packed");
        entry.finish(descriptor).expect("an entry");
    }
    archive.finish().expect("an archive")
}

#[test]
fn a_script_in_an_archive_of_plug_and_play_is_judged_by_its_package() {
    let mut world = World::new();
    let manifest =
        r#"{"name":"@google/gemini-cli","version":"0.9.0","bin":{"gemini":"bundle/gemini.js"}}"#;
    let archive = zip(&[
        ("node_modules/@google/gemini-cli/package.json", manifest),
        ("node_modules/@google/gemini-cli/bundle/gemini.js", "1"),
        (
            "node_modules/@google/gemini-cli/bundle/package.json",
            r#"{"type":"module"}"#,
        ),
        ("node_modules/@google/gemini-cli/LICENSE", "x"),
    ]);
    let cached = world.file(".yarn/cache/@google-gemini-cli-npm-0.9.0-1-8.zip", archive);
    let cached = cached.to_str().expect("text");
    let within = format!("{cached}/{CLI}");
    let loader = ["node", "-r", "./.pnp.cjs", &within, "-p", "hi"];
    assert_gemini(
        judge(&mut world, "node", &loader),
        "/package.json (entry bundle/gemini.js)",
    );
    let virtual_path = cached.replace(
        "/.yarn/cache/",
        "/.yarn/__virtual__/@google-gemini-cli-virtual-12/0/cache/",
    );
    let virtual_path = format!("{virtual_path}/{CLI}");
    assert_gemini(
        judge(&mut world, "node", &["node", &virtual_path]),
        "entry bundle/gemini.js",
    );
    for other in ["LICENSE", "none.js", "bundle/none.js"] {
        let path = format!("{cached}/node_modules/@google/gemini-cli/{other}");
        assert_plain(&judge(&mut world, "node", &["node", &path]));
    }
    world.file("broken.zip", &fs::read(cached).expect("reads")[30..]);
    let path = format!("broken.zip/{CLI}");
    assert_plain(&judge(&mut world, "node", &["node", &path]));
}

proptest! {
    /// Nothing panics, whatever the directory, the headers and the packed bytes say.
    #[test]
    fn a_broken_archive_is_read_as_far_as_it_goes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let manifest = r#"{"name":"x"}"#.repeat(20);
        let mut bytes = zip(&[("a/package.json", &manifest), ("a/b.js", "1"), ("__main__.py", "import x")]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        // Half of them are whole.
        let len = (cut.index(2 * bytes.len()) + 1).min(bytes.len());
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes[..len]).expect("writes");
        let source = Source::new(file, len as u64);
        if let Some(mut archive) = Archive::open(&source) {
            let members = archive.members(|_| true);
            for (_, member) in members {
                let read = archive.read(member);
                prop_assert!(read.is_none_or(|bytes| bytes.len() <= MEMBER_MAX));
            }
        }
        zipapp::pieces(&skep_catalogue::Catalogue::embedded(), &source, b"/a.pyz");
    }
}
