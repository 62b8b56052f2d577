//! Reads member offsets out of the running kernel's BTF (`/sys/kernel/btf/vmlinux`).
//!
//! Only what the offset table needs: structures and unions by name, members by name, through unnamed
//! members. Format: Documentation/bpf/btf.rst. The bytes come from outside: every read is checked, a
//! malformed file is an error, and nesting is bounded.

use std::path::{Path, PathBuf};

use skep_abi::{ABSENT, Offset, Offsets};
use thiserror::Error;

/// Where the kernel publishes its types (5.4, `CONFIG_DEBUG_INFO_BTF`).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_TYPE_TAG: u32 = 18;
/// Unnamed structures within structures: the kernel nests three deep.
const NESTING_MAX: u32 = 16;

#[derive(Debug, Error)]
pub enum BtfError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("malformed kernel type information: {0}")]
    Malformed(&'static str),
}

/// Parsed type information: the raw bytes and where each type starts.
pub struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Byte position in `types` of type id `n + 1` (id 0 is `void`).
    starts: Vec<u32>,
}

/// The fixed part of a type.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    size_or_type: u32,
}

impl Btf {
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let bytes = std::fs::read(path).map_err(|source| BtfError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&bytes)
    }

    /// Parses the raw encoding (`struct btf_header`, types, strings).
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let malformed = BtfError::Malformed;
        if u16_at(bytes, 0) != Some(MAGIC) {
            return Err(malformed("bad magic, or of another byte order"));
        }
        let word = |at| u32_at(bytes, at).ok_or(malformed("header too short"));
        let header_len = word(4)? as usize;
        let section = |offset: u32, len: u32| {
            let start = header_len.checked_add(offset as usize)?;
            bytes.get(start..start.checked_add(len as usize)?)
        };
        let types = section(word(8)?, word(12)?)
            .ok_or(malformed("types out of bounds"))?
            .to_vec();
        let strings = section(word(16)?, word(20)?)
            .ok_or(malformed("strings out of bounds"))?
            .to_vec();
        let mut btf = Self {
            types,
            strings,
            starts: Vec::new(),
        };
        let mut at = 0;
        while at < btf.types.len() {
            let start = u32::try_from(at).map_err(|_| malformed("too large"))?;
            btf.starts.push(start);
            at = btf
                .end_of(at)
                .ok_or(malformed("unknown kind, or a type cut short"))?;
        }
        Ok(btf)
    }

    /// The offset table of this kernel, and the members it does not have.
    pub fn offsets(&self) -> (Offsets, Vec<String>) {
        let mut offsets = [ABSENT; Offset::COUNT];
        let mut absent = Vec::new();
        for (offset, structure, members) in Offset::ALL {
            match members
                .iter()
                .find_map(|member| self.member_offset(structure, member))
            {
                Some(bytes) => offsets[offset as usize] = bytes,
                None => absent.push(format!("{structure}.{}", members.join("|"))),
            }
        }
        (offsets, absent)
    }

    /// Bytes from the start of `structure` to `member` (`a.b` for nested ones); `None` when there is
    /// no such member or it is a bit field.
    pub fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let mut ids = 1..=u32::try_from(self.starts.len()).ok()?;
        let mut id = ids.find(|id| {
            self.get(*id).is_some_and(|ty| {
                matches!(ty.kind(), KIND_STRUCT | KIND_UNION)
                    && ty.vlen() > 0
                    && self.name(ty.name) == Some(structure.as_bytes())
            })
        })?;
        let mut bits = 0;
        for part in member.split('.') {
            let (offset, ty) = self.find(id, part.as_bytes(), 0)?;
            bits += offset;
            id = ty;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Bit offset and type of a member, looked for in unnamed members too.
    fn find(&self, id: u32, member: &[u8], depth: u32) -> Option<(u32, u32)> {
        if depth > NESTING_MAX {
            return None;
        }
        let ty = self.resolve(id)?;
        if !matches!(ty.kind(), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let bit_fields = ty.info >> 31 == 1;
        for index in 0..ty.vlen() {
            let at = ty.at + 12 + index as usize * 12;
            let name = self.name(u32_at(&self.types, at)?)?;
            let member_type = u32_at(&self.types, at + 4)?;
            let raw = u32_at(&self.types, at + 8)?;
            let (bits, width) = if bit_fields {
                (raw & 0xff_ffff, raw >> 24)
            } else {
                (raw, 0)
            };
            if name == member {
                return (width == 0).then_some((bits, member_type));
            }
            if name.is_empty()
                && let Some((inner, ty)) = self.find(member_type, member, depth + 1)
            {
                return Some((bits.checked_add(inner)?, ty));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..NESTING_MAX {
            let ty = self.get(id)?;
            match ty.kind() {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = ty.size_or_type;
                }
                _ => return Some(ty),
            }
        }
        None
    }

    fn get(&self, id: u32) -> Option<Type> {
        let at = *self.starts.get(id.checked_sub(1)? as usize)? as usize;
        self.at(at)
    }

    fn at(&self, at: usize) -> Option<Type> {
        Some(Type {
            at,
            name: u32_at(&self.types, at)?,
            info: u32_at(&self.types, at + 4)?,
            size_or_type: u32_at(&self.types, at + 8)?,
        })
    }

    /// Where the type after the one at `at` starts.
    fn end_of(&self, at: usize) -> Option<usize> {
        let ty = self.at(at)?;
        let vlen = ty.vlen() as usize;
        let extra = match ty.kind() {
            1 | 14 | 17 => 4,                     // int, var, decl tag
            2 | 7..=12 | 16 | KIND_TYPE_TAG => 0, // ptr, fwd, typedef … func, float
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | 15 | 19 => vlen * 12, // data section and enum64 too
            KIND_ENUM | 13 => vlen * 8,                      // func prototype too
            _ => return None,
        };
        let end = at.checked_add(12)?.checked_add(extra)?;
        (end <= self.types.len()).then_some(end)
    }

    fn name(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.strings.get(offset as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest.get(..end)
    }
}

impl Type {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn vlen(self) -> u32 {
        self.info & 0xffff
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
