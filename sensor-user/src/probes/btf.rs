//! Reads member offsets out of the running kernel's BTF (`/sys/kernel/btf/vmlinux`).
//!
//! Only what the offset table needs: structures and unions by name, members by name, through unnamed
//! members. Format: Documentation/bpf/btf.rst. The bytes come from outside: every read and sum is checked,
//! a malformed file is an error, nesting is bounded, and a search looks at each structure once.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

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
                    && self.is_named(ty.name, structure.as_bytes())
            })
        })?;
        let mut bits: u32 = 0;
        for part in member.split('.') {
            let (offset, ty) = self.find(id, part.as_bytes(), 0, &mut HashSet::new())?;
            bits = bits.checked_add(offset)?;
            id = ty;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Bit offset and type of a member, looked for in unnamed members too. `seen`: the types that were
    /// looked through before; the member is in none of them.
    fn find(
        &self,
        id: u32,
        member: &[u8],
        depth: u32,
        seen: &mut HashSet<u32>,
    ) -> Option<(u32, u32)> {
        if depth > NESTING_MAX || !seen.insert(id) {
            return None;
        }
        let ty = self.resolve(id)?;
        if !matches!(ty.kind(), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let bit_fields = ty.info >> 31 == 1;
        for index in 0..ty.vlen() {
            let at = ty.at + 12 + index as usize * 12;
            let name = u32_at(&self.types, at)?;
            let member_type = u32_at(&self.types, at + 4)?;
            let raw = u32_at(&self.types, at + 8)?;
            let (bits, width) = if bit_fields {
                (raw & 0xff_ffff, raw >> 24)
            } else {
                (raw, 0)
            };
            if self.is_named(name, member) {
                return (width == 0).then_some((bits, member_type));
            }
            if self.is_named(name, b"")
                && let Some((inner, ty)) = self.find(member_type, member, depth + 1, seen)
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

    /// Whether the string at `offset` is this one; reads no more of it than of that.
    fn is_named(&self, offset: u32, name: &[u8]) -> bool {
        let rest = self.strings.get(offset as usize..);
        rest.and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.first() == Some(&0))
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
mod tests;
