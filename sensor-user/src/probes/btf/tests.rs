//! Small files of type information, whole, cut and hostile.

use super::*;

/// A file of these types and strings.
fn file(words: &[u32], strings: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut out = Vec::new();
    out.extend(MAGIC.to_ne_bytes());
    out.extend([1, 0]);
    for word in [
        24,
        0,
        types.len() as u32,
        types.len() as u32,
        strings.len() as u32,
    ] {
        out.extend(word.to_ne_bytes());
    }
    out.extend(types);
    out.extend(strings);
    out
}

/// Types: 1 `int`; 2 unnamed union { b: 1 @32 bits }; 3 struct `s` { a: 1 @0, (2) @64 };
/// 4 struct `t` { inner: 3 @128 }.
fn sample() -> Vec<u8> {
    let strings = b"\0int\0a\0b\0s\0t\0inner\0";
    let info = |kind: u32, vlen: u32| kind << 24 | vlen;
    let words: &[u32] = &[
        1,
        info(1, 0),
        4,
        0x20, // int
        0,
        info(KIND_UNION, 1),
        8,
        7,
        1,
        32,
        9,
        info(KIND_STRUCT, 2),
        16,
        5,
        1,
        0,
        0,
        2,
        64,
        11,
        info(KIND_STRUCT, 1),
        32,
        13,
        3,
        128,
    ];
    file(words, strings)
}

#[test]
fn finds_members_directly_nested_and_through_unnamed_ones() {
    let btf = Btf::parse(&sample()).unwrap();
    assert_eq!(btf.member_offset("s", "a"), Some(0));
    assert_eq!(btf.member_offset("s", "b"), Some(12));
    assert_eq!(btf.member_offset("t", "inner.b"), Some(28));
    assert_eq!(btf.member_offset("s", "c"), None);
    assert_eq!(btf.member_offset("u", "a"), None);
}

#[test]
fn a_cut_or_changed_file_is_an_error_or_an_absent_member_never_a_panic() {
    let whole = sample();
    for len in 0..whole.len() {
        let _ = Btf::parse(&whole[..len]).map(|btf| btf.offsets());
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(btf) = Btf::parse(&bytes) {
                let _ = btf.member_offset("t", "inner.b");
                let _ = btf.offsets();
            }
        }
    }
}

#[test]
fn offsets_that_add_up_to_more_than_a_number_holds_are_no_offset() {
    // 1 struct `s` { (2) @ 2^32 - 8 }; 2 struct `t` { a: 2 @ 2^32 - 8 }.
    let far = u32::MAX - 7;
    let structure = KIND_STRUCT << 24 | 1;
    let words = [[1, structure, 8, 0, 2, far], [3, structure, 8, 5, 2, far]].concat();
    let btf = Btf::parse(&file(&words, b"\0s\0t\0a\0")).unwrap();
    assert_eq!(btf.member_offset("t", "a"), Some(far / 8));
    assert_eq!(btf.member_offset("s", "a"), None, "through an unnamed one");
    assert_eq!(btf.member_offset("t", "a.a"), None, "of nested ones");
}

#[test]
fn unnamed_members_that_nest_in_each_other_are_looked_through_once() {
    // Each of 12 structures has 64 unnamed members of the next: 2^72 ways down.
    let (depth, width) = (12, 64);
    let words: Vec<u32> = (1..=depth)
        .flat_map(|id| {
            let header = [u32::from(id == 1), KIND_STRUCT << 24 | width, 8];
            let member = [0, id % depth + 1, 0];
            [header].into_iter().chain((0..width).map(move |_| member))
        })
        .flatten()
        .collect();
    let bytes = file(&words, b"\0s\0");
    let (sender, found) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let btf = Btf::parse(&bytes).unwrap();
        let _ = sender.send(btf.member_offset("s", "absent"));
    });
    let found = found.recv_timeout(std::time::Duration::from_secs(60));
    assert_eq!(found, Ok(None), "the search ends");
}

#[test]
fn this_kernel_has_every_member_the_programs_need() {
    let Ok(btf) = Btf::from_file(Path::new(VMLINUX)) else {
        println!("no BTF on this machine: nothing to compare with");
        return;
    };
    let (_, absent) = btf.offsets();
    // Audit need not be built in.
    let absent: Vec<_> = absent
        .iter()
        .filter(|name| !name.contains("loginuid"))
        .collect();
    assert!(absent.is_empty(), "{absent:?}");
}
