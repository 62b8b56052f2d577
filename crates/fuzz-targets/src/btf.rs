//! The kernel's type information.

use skep_abi::ABSENT;
use skep_sensor::probes::btf::Btf;

/// Bits are counted in 32 bits.
const OFFSET_MAX: u32 = u32::MAX / 8;

/// Every offset is one that 32 bits of bits can hold.
pub fn check(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes) else {
        return;
    };
    let (offsets, _absent) = btf.offsets();
    for offset in offsets {
        assert!(offset == ABSENT || offset <= OFFSET_MAX, "{offset}");
    }
    for (structure, member) in [("s", "a"), ("s", "b"), ("t", "a.a"), ("t", "inner.b")] {
        let offset = btf.member_offset(structure, member);
        assert!(offset.is_none_or(|offset| offset <= OFFSET_MAX));
    }
}
