//! A cpio archive in the "newc" form, which the kernel unpacks as its initial file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

/// An archive under construction. Every folder must be added before what is in it.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;

impl Archive {
    /// A folder.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, &[], (0, 0));
    }

    /// A plain file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, content, (0, 0));
    }

    /// A file that can be run.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content, (0, 0));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, to.as_bytes(), (0, 0));
    }

    /// The console device, which the kernel opens for the first process before anything is
    /// mounted.
    pub fn console(&mut self, path: &str) {
        self.entry(path, CONSOLE, &[], (5, 1));
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let length = u32::try_from(content.len()).expect("a guest file is under 4 GiB");
        let name_length = u32::try_from(path.len() + 1).expect("a path is short");
        self.bytes.extend_from_slice(b"070701");
        let fields = [
            self.entries, // inode
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            length,
            0, // major of the file system
            0, // minor
            device.0,
            device.1,
            name_length,
            0, // checksum, unused in this form
        ];
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_header_name_and_content_each_padded_to_four_bytes() {
        let mut archive = Archive::default();
        archive.file("ab", b"xyz");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[6 + 8..6 + 16], b"000081a4", "mode of a plain file");
        assert_eq!(&bytes[6 + 48..6 + 56], b"00000003", "length of the content");
        assert_eq!(&bytes[110..113], b"ab\0");
        assert_eq!(
            &bytes[116..120],
            b"xyz\0",
            "content begins at a multiple of four"
        );
        assert_eq!(&bytes[120..126], b"070701", "and the next entry too");
    }
}
