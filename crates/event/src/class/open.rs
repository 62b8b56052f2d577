//! A file was opened.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    Column, Invalid, OpenFlags, Text, UnixNanos, Wire,
    borrowed::copied,
    column::{self, Narrow, text_in_column},
    field::why,
    sample::LATER,
    secret::no_text,
};

class! {
    /// A file was opened.
    Open(OpenRef) = Open at "file", "open" of Open;

    /// `None` when neither the kernel's path nor what the program passed could be read.
    path: Option<Text> {
        wire: path,
        column: text(column::FILE_PATH),
        secrets: text,
        meaning: "path of the file that was opened; never what is in it",
        example: "/home/dev/app/src/main.rs",
        why: why::FILES,
        sample: Some("/home/dev/new".into()),
    }
    /// True: the kernel's own path of the file. False: what the program passed, made absolute
    /// where that needed no guess.
    resolved: bool {
        wire: path_resolved,
        column: flag(column::FILE_RESOLVED),
        secrets: none,
        meaning: "whether the path is the kernel's, or as the program gave it",
        example: "true",
        why: why::COMPLETENESS,
        sample: true,
    }
    /// `O_*` flags as the kernel has them.
    flags: OpenFlags {
        wire: flags,
        column: long(Column::at(23, "file_flags", "O_* flags of the open")),
        secrets: none,
        meaning: "how it was opened: to read, write, create",
        example: "[\"O_RDONLY\"]",
        why: why::FILES,
        sample: OpenFlags((libc::O_WRONLY | libc::O_CREAT) as u32),
    }
    /// `st_mode` (type and permission bits).
    mode: Option<FileMode> {
        wire: mode,
        column: int(column::FILE_MODE),
        secrets: none,
        meaning: "type and permissions of the file",
        example: "100644",
        why: "tells files from directories and devices",
        sample: Some(FileMode(0o100_644)),
    }
    /// How many opens this event stands for.
    counted count: u64 {
        wire: count,
        column: long(column::COUNT),
        secrets: none,
        meaning: "how many equal opens this stands for",
        example: "3",
        why: why::FOLDING,
        sample: 2,
        only: at_least_one,
    }
    /// Time of the last of them, when there are more than one.
    counted last: Option<UnixNanos> {
        wire: last_unix_nano,
        column: time(column::LAST),
        secrets: none,
        meaning: "time of the last of them",
        example: "2026-07-01T08:15:02.900000000Z",
        why: why::FOLDING,
        sample: Some(LATER),
    }
    /// `st_ino`; with the device it names the file whatever path led to it.
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
    /// Number of hard links: more than 1 means the file has other names. `None` for a directory.
    links: Option<u32> {
        wire: links,
        column: long(Column::at(54, "file_links", "hard links; more than 1: the file has other names")),
        secrets: none,
        meaning: "how many names (hard links) the file has",
        example: "1",
        why: "tells that a file was opened that has another name too",
        sample: Some(2),
    }
}

/// A block device (or what stands for one, e.g. of overlayfs): major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

/// `st_mode`; six octal digits in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileMode(pub u32);

copied! { Device, FileMode, OpenFlags }
no_text! { Device, FileMode, OpenFlags }
text_in_column! { Device }

// === impl Device ===

impl Device {
    /// From `super_block::s_dev`: 12 bits of major, 20 of minor (`MAJOR`, `MINOR` in
    /// `linux/kdev_t.h`).
    pub fn from_kernel(dev: u32) -> Self {
        Self {
            major: dev >> 20,
            minor: dev & 0xf_ffff,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Wire<String> for Device {
    fn to_wire(&self) -> String {
        self.to_string()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        let parse = |text: &str| text.parse().ok();
        let numbers = wire.split_once(':');
        numbers
            .and_then(|(major, minor)| {
                Some(Self {
                    major: parse(major)?,
                    minor: parse(minor)?,
                })
            })
            .ok_or(Invalid("a device"))
    }
}

// === impl FileMode ===

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:06o}", self.0))
    }
}

impl Wire<u32> for FileMode {
    fn to_wire(&self) -> u32 {
        self.0
    }

    fn from_wire(wire: u32) -> Result<Self, Invalid> {
        Ok(Self(wire))
    }
}

impl Narrow for FileMode {
    const MOST: u64 = u32::MOST;
    const BEYOND: &'static str = u32::BEYOND;
}

impl Wire<u32> for OpenFlags {
    fn to_wire(&self) -> u32 {
        self.0
    }

    fn from_wire(wire: u32) -> Result<Self, Invalid> {
        Ok(Self(wire))
    }
}

#[cfg(test)]
impl Open {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""file":{"path":"/home/dev/new","resolved":true,"flags":["O_WRONLY","O_CREAT"],"mode":"100644","count":2,"last":"2023-11-14T22:13:20.500000000Z","inode":1048577,"device":"8:1","links":2}"#;
}
