//! Changes of names and attributes, in both tiers.

use std::{fs, path::Path};

use skep_event::{Change, ChangeOp, Text};

use crate::sensor::{Run, Sensor, scratch, sensor, tracepoints};

/// A sensor and its folder, for both tiers.
fn in_both_tiers(name: &str, test: impl Fn(&Sensor, &Path)) {
    for (tier, sensor) in [("best", sensor()), ("tracepoints", tracepoints())] {
        let folder = scratch(&format!("changes-{name}-{tier}"));
        test(sensor, &folder);
        let _ = fs::remove_dir_all(&folder);
        assert_eq!(sensor.lost(), Vec::<String>::new(), "{tier}");
    }
}

/// What was changed: the operation, the path below the folder, and to what.
fn told(run: &Run, folder: &Path) -> Vec<(ChangeOp, String, Option<String>)> {
    let folder = format!("{}/", folder.display());
    let name = |path: &Text| path.escaped().replace(&folder, "");
    let of = |change: &Change| {
        let path = change.path.as_ref().map(name).unwrap_or_default();
        (change.op, path, change.to.as_ref().map(name))
    };
    run.changes()
        .into_iter()
        .map(|(_, change)| of(change))
        .collect()
}

#[test]
fn every_kind_of_change_is_told_with_its_names() {
    use ChangeOp::{
        Chmod, Chown, Exchange, Link, Mkdir, Removexattr, Rename, Rmdir, Setxattr, Symlink,
        Truncate, Unlink,
    };
    in_both_tiers("path", |sensor, folder| {
        let run = sensor.run(&["changes", folder.to_str().expect("text")]);
        let expected = [
            (Rename, "a", Some("b")),
            (Link, "b", Some("a")),
            (Exchange, "a", Some("b")),
            (Symlink, "c", Some("../target")),
            (Truncate, "a", None),
            (Chmod, "a", None),
            (Chown, "a", None),
            (Setxattr, "a", None),
            (Removexattr, "a", None),
            (Mkdir, "d", None),
            (Rmdir, "d", None),
            (Unlink, "a", None),
            (Unlink, "b", None),
            (Unlink, "c", None),
        ];
        let expected = expected.map(|(op, path, to)| (op, path.to_owned(), to.map(str::to_owned)));
        assert_eq!(told(&run, folder), expected, "{}", run.describe());
        for (event, change) in run.changes() {
            assert!(matches!(event.result, None | Some(0)), "{event:?}");
            let mode = change.mode.map(|mode| mode.0 & 0o7777);
            let attribute = change.attribute.as_ref().map(Text::escaped);
            match change.op {
                Chmod => assert_eq!(mode, Some(0o640)),
                Mkdir => assert_eq!(mode, Some(0o750)),
                Chown => assert_eq!((change.uid, change.gid), (Some(1), None)),
                Setxattr | Removexattr => assert_eq!(attribute.as_deref(), Some("security.skep")),
                Truncate => assert!(matches!(change.size, None | Some(7))),
                _ => assert_eq!((mode, change.uid, change.size), (None, None, None)),
            }
        }
    });
}

#[test]
fn changes_by_a_descriptor_have_the_path_of_the_file_or_folder() {
    use ChangeOp::{
        Chmod, Chown, Link, Mkdir, Removexattr, Rename, Rmdir, Setxattr, Symlink, Truncate, Unlink,
    };
    in_both_tiers("descriptor", |sensor, folder| {
        let run = sensor.run(&["changes-by-descriptor", folder.to_str().expect("text")]);
        let expected = [
            (Truncate, "a", None),
            (Chmod, "a", None),
            (Chown, "a", None),
            (Setxattr, "a", None),
            (Removexattr, "a", None),
            (Rename, "a", Some("b")),
            (Link, "b", Some("a")),
            (Symlink, "c", Some("../target")),
            (Chmod, "b", None),
            (Chown, "b", None),
            (Mkdir, "d", None),
            (Rmdir, "d", None),
            (Unlink, "a", None),
            (Unlink, "b", None),
            (Unlink, "c", None),
        ];
        let expected = expected.map(|(op, path, to)| (op, path.to_owned(), to.map(str::to_owned)));
        let mut told = told(&run, folder);
        // Creating the file was an open with `O_TRUNC`: nothing was there to be cut, but a hook may be asked.
        if told.len() > expected.len() && told[..2] == [expected[0].clone(), expected[0].clone()] {
            told.remove(0);
        }
        assert_eq!(told, expected, "{}", run.describe());
        for (_, change) in run.changes() {
            let guessed = matches!(change.op, Setxattr | Removexattr);
            assert!(
                change.resolved || guessed || change.op == Chmod,
                "{change:?}"
            );
        }
    });
}

#[test]
fn a_file_put_into_place_is_told_by_the_name_it_got() {
    in_both_tiers("place", |sensor, folder| {
        let run = sensor.run(&["into-place", folder.to_str().expect("text")]);
        let told = told(&run, folder);
        let renamed = (
            ChangeOp::Rename,
            "final.tmp.1.2".to_owned(),
            Some("final".to_owned()),
        );
        assert!(told.contains(&renamed), "{}", run.describe());
        let dropped = fs::metadata(folder.join("dropped")).expect("own directory");
        let changes = run.changes();
        let (_, link) = changes
            .iter()
            .find(|(_, change)| change.op == ChangeOp::Link)
            .expect("the link");
        let to = link.to.as_ref().map(Text::escaped);
        assert_eq!(to, Some(format!("{}/dropped", folder.display())));
        let inode = std::os::unix::fs::MetadataExt::ino(&dropped);
        assert_eq!(link.inode, Some(inode), "the file that was written");
        let opened = run.events.iter().any(|event| {
            let skep_event::Detail::Open(open) = &event.detail else {
                return false;
            };
            open.inode == link.inode && open.path == link.path
        });
        assert!(
            opened,
            "under the name it is linked from: {}",
            run.describe()
        );
    });
}

#[test]
fn a_change_that_fails_is_told_with_its_error_where_the_hook_sees_it() {
    let run = tracepoints().run(&["remove", "/tmp/skep-kernel-no-such-file"]);
    let changes = run.changes();
    assert_eq!(changes.len(), 1, "{}", run.describe());
    assert_eq!(changes[0].0.result, Some(-libc::ENOENT));
}
