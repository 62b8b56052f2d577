//! Headers whose sums are more than 64 bits hold.

use super::{
    elf_file::{ElfFile, bun_graph, bun_section},
    hostile::inspect_bytes,
};

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// A graph that is said to be as long as 64 bits allow, in a section that is said to hold it.
#[test]
fn a_bun_graph_that_ends_beyond_64_bits_is_none() {
    let graph = bun_graph("--x", &[("/$bunfs/root/a", "// a")], 0);
    let mut section = bun_section(&graph);
    put(&mut section, 0, u64::MAX - 4);
    let mut bytes = ElfFile::new().dynamic().section(".bun", section).bytes();
    // Its header is the last but one, before that of the names.
    let size = bytes.len() - 2 * 64 + 0x20;
    put(&mut bytes, size, u64::MAX);
    inspect_bytes(&bytes);
}

/// Segments map the hash table, and nothing else, to the end of what 64 bits address.
#[test]
fn a_table_of_symbols_at_the_end_of_64_bits_has_none() {
    let mut bytes = ElfFile::new()
        .exports("a")
        .imports("Py_BytesMain", "libpython3.so")
        .bytes();
    let program_header = |index: usize| 64 + index * 56;
    let dynamic = word(&bytes, program_header(0) + 0x08) as usize;
    // The third entry, after the tables of symbols and strings.
    let hash = word(&bytes, dynamic + 2 * 16 + 8);
    let load = bytes[program_header(1)..program_header(2)].to_vec();
    bytes[program_header(2)..program_header(3)].copy_from_slice(&load);
    put(&mut bytes, program_header(1) + 0x08, u64::MAX - 2);
    put(&mut bytes, program_header(1) + 0x10, hash);
    put(&mut bytes, program_header(1) + 0x20, 4);
    bytes[0x38] = 3;
    inspect_bytes(&bytes);
}
