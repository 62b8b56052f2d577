//! How much reading a command line may cost.
//!
//! Everything that reads text more than once spends from here. What is beyond the bound is not read as a
//! command line any more: it is one opaque word, in which tokens and addresses are still looked for.

/// Bytes that may be read for each byte of a command line, and for the shortest one.
const FOR_EACH: u64 = 64;
const AT_LEAST: u64 = 1 << 16;

use skep_event::Text;

#[derive(Clone, Copy, Debug)]
pub struct Work {
    spent: u64,
    bound: u64,
}

// === impl Work ===

impl Work {
    /// For `bytes` of text.
    pub fn for_bytes(bytes: usize) -> Self {
        Self {
            spent: 0,
            bound: bytes as u64 * FOR_EACH + AT_LEAST,
        }
    }

    /// For the arguments of a program.
    pub fn for_arguments(argv: &[Text]) -> Self {
        Self::for_bytes(argv.iter().map(|text| text.as_bytes().len() + 1).sum())
    }

    pub fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// Whether `bytes` more may be read as a command line; they count as read.
    pub fn allows(&mut self, bytes: usize) -> bool {
        self.spend(bytes as u64);
        self.spent <= self.bound
    }

    #[cfg(test)]
    pub fn spent(&self) -> u64 {
        self.spent
    }
}
