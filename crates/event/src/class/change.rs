//! A name or the attributes of a file were changed.

use crate::{
    Column, Device, FileMode, Text, UnixNanos,
    column::{self, text_in_column},
    field::why,
    named::names,
    sample::LATER,
};

class! {
    /// A name or the attributes of a file were changed, or were to be.
    Change(ChangeRef) = Change at "change", "change" of Change;

    op: ChangeOp {
        wire: op,
        column: text(Column::at(71, "change_op", "rename, exchange, link, symlink, unlink, rmdir, mkdir, truncate, chmod, chown, setxattr or removexattr")),
        secrets: none,
        meaning: "what was changed: rename, exchange, link, symlink, unlink, rmdir, mkdir, truncate, chmod, chown, setxattr or removexattr",
        example: "rename",
        why: why::FILES,
        sample: ChangeOp::Rename,
    }
    /// The file, by the name it had before. Of a symbolic link that is made, its own. With `many`, the
    /// folder in which it was. `None` when it could not be read.
    path: Option<Text> {
        wire: path,
        column: text(column::FILE_PATH),
        secrets: text,
        meaning: "path of the file that was changed, by the name it had before; never what is in it",
        example: "/home/dev/app/main.rs.tmp",
        why: why::FILES,
        sample: Some("/home/dev/new.tmp".into()),
    }
    /// Of rename, exchange and link, the name it got; of symlink, what the link points to.
    to: Option<Text> {
        wire: to,
        column: text(Column::at(72, "change_to", "name that the file got (rename, exchange, link), or what a symbolic link points to")),
        secrets: text,
        meaning: "the name it got, or what a symbolic link points to",
        example: "/home/dev/app/main.rs",
        why: why::FILES,
        sample: Some("/home/dev/new".into()),
    }
    /// True: both are the kernel's own paths. False: one is as the program gave it, made absolute where
    /// that needed no guess.
    resolved: bool {
        wire: path_resolved,
        column: flag(column::FILE_RESOLVED),
        secrets: none,
        meaning: "whether the paths are the kernel's, or as the program gave them",
        example: "true",
        why: why::COMPLETENESS,
        sample: true,
    }
    /// More than one file was changed in the folder `path`; their names were not kept.
    many: bool {
        wire: many,
        column: flag(Column::at(73, "change_many", "path is a folder: count files in it were changed, whose names were not kept")),
        secrets: none,
        meaning: "whether the path is the folder in which many files were changed, whose names were not kept",
        example: "false",
        why: why::FOLDING,
        sample: false,
    }
    /// Permission bits it was to get: of chmod and mkdir.
    mode: Option<FileMode> {
        wire: mode,
        column: int(column::FILE_MODE),
        secrets: none,
        meaning: "permissions it was to get",
        example: "000755",
        why: why::FILES,
        sample: Some(FileMode(0o755)),
    }
    /// Of chown; `None` when it was to stay.
    uid: Option<u32> {
        wire: uid,
        column: long(Column::at(74, "change_uid", "user id the file was to get; null when it was to stay")),
        secrets: none,
        meaning: "user id the file was to get",
        example: "1000",
        why: why::FILES,
        sample: Some(1000),
    }
    gid: Option<u32> {
        wire: gid,
        column: long(Column::at(75, "change_gid", "group id the file was to get; null when it was to stay")),
        secrets: none,
        meaning: "group id the file was to get",
        example: "1000",
        why: why::FILES,
        sample: Some(1000),
    }
    /// Of truncate, where the hook knows it.
    size: Option<u64> {
        wire: size,
        column: wide(Column::at(76, "change_size", "bytes a file was cut or grown to; null where the hook does not know them")),
        secrets: none,
        meaning: "bytes the file was cut or grown to",
        example: "0",
        why: why::FILES,
        sample: Some(0),
    }
    /// Of setxattr and removexattr.
    attribute: Option<Text> {
        wire: attribute,
        column: text(Column::at(77, "change_attribute", "name of the extended attribute; never its value")),
        secrets: text,
        meaning: "name of the extended attribute; never its value",
        example: "security.capability",
        why: why::FILES,
        sample: Some("user.note".into()),
    }
    counted count: u64 {
        wire: count,
        column: long(column::COUNT),
        secrets: none,
        meaning: "how many equal changes this stands for",
        example: "1",
        why: why::FOLDING,
        sample: 2,
        only: at_least_one,
    }
    counted last: Option<UnixNanos> {
        wire: last_unix_nano,
        column: time(column::LAST),
        secrets: none,
        meaning: "time of the last of them",
        example: "2026-07-01T08:15:02.900000000Z",
        why: why::FOLDING,
        sample: Some(LATER),
    }
    /// `st_ino`, where the hook knows which file it is.
    inode: Option<u64> {
        wire: inode,
        column: wide(column::FILE_INODE),
        secrets: none,
        meaning: "number of the file on its device",
        example: "1048577",
        why: why::SAME_FILE,
        sample: Some(1_048_577),
    }
    device: Option<Device> {
        wire: device,
        column: text(column::FILE_DEVICE),
        secrets: none,
        meaning: "device the file is on, major:minor",
        example: "8:1",
        why: why::SAME_FILE,
        sample: Some(Device { major: 8, minor: 1 }),
    }
}

/// What was changed, after the system call that does it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum ChangeOp {
    #[default]
    Rename,
    /// Two names changed places.
    Exchange,
    Link,
    Symlink,
    Unlink,
    Rmdir,
    Mkdir,
    Truncate,
    Chmod,
    Chown,
    Setxattr,
    Removexattr,
}

names! { ChangeOp }
text_in_column! { ChangeOp }

// === impl ChangeOp ===

impl crate::Wire<String> for ChangeOp {
    fn to_wire(&self) -> String {
        self.name().to_owned()
    }

    fn from_wire(wire: String) -> Result<Self, crate::Invalid> {
        wire.parse()
            .map_err(|_| crate::Invalid("a change that is known"))
    }
}

#[cfg(test)]
impl Change {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""change":{"op":"rename","path":"/home/dev/new.tmp","to":"/home/dev/new","resolved":true,"many":false,"mode":"000755","uid":1000,"gid":1000,"size":0,"attribute":"user.note","count":2,"last":"2023-11-14T22:13:20.500000000Z","inode":1048577,"device":"8:1"}"#;
}
