//! The mark this program is recognised by: an ELF section `.skep_agent` that holds the family name
//! and the version, each ended by a zero byte. It survives renaming, copying and linking.

const TEXT: &str = concat!("skep-demo-agent\0", env!("CARGO_PKG_VERSION"), "\0");

// SAFETY: the section name is this program's own; nothing else is placed in it, and the bytes are
// only ever read, so no linker or loader convention is attached to it.
#[used]
#[unsafe(link_section = ".skep_agent")]
static MARK: [u8; TEXT.len()] = bytes();

const fn bytes() -> [u8; TEXT.len()] {
    let mut bytes = [0; TEXT.len()];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = TEXT.as_bytes()[index];
        index += 1;
    }
    bytes
}

/// `skep-demo-agent VERSION`, read from the section itself so that the linker keeps it.
pub fn name_and_version() -> String {
    let mark: &[u8] = std::hint::black_box(&MARK);
    let parts: Vec<_> = mark
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_mark_names_the_family_and_the_version_of_the_package() {
        let expected = format!("skep-demo-agent {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(super::name_and_version(), expected);
    }
}
