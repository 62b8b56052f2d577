//! Memory that is needed once: given back to the system when that is over.

use std::{ffi::c_void, ops::Range};

use rustix::{
    mm::{Advice, madvise},
    param::page_size,
};

/// Gives free memory of the heap back. Reading the kernel's type information takes some ten megabytes for a
/// moment, and building what redaction searches with a few; glibc keeps them unless told otherwise.
pub fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no arguments that could be wrong; it only returns free pages to the kernel.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the pages back that hold nothing but `constant`, a constant of the program. They are read from its
/// file again when somebody looks.
pub fn give_back_constant(constant: &'static [u8]) {
    let page = page_size();
    let start = constant.as_ptr();
    let before = start.align_offset(page);
    let Some(rest) = constant.len().checked_sub(before) else {
        return;
    };
    let whole = rest - rest % page;
    if whole == 0 {
        return;
    }
    // SAFETY: the range lies within `constant`. Constants without pointers are in pages of the program's file
    // that nothing writes to, so that what is dropped here is what is read again.
    let advised = unsafe {
        madvise(
            start.wrapping_add(before).cast_mut().cast::<c_void>(),
            whole,
            Advice::LinuxDontNeed,
        )
    };
    if let Err(error) = advised {
        tracing::debug!(%error, "the kernel keeps pages of the program that are not needed any more");
    }
}

/// Gives the pages of the program's code back: most of what ran until now ran for the start alone. What runs on is
/// read from the page cache again, at the price of a fault for each few pages.
pub fn give_back_code() {
    let here = give_back_code as fn() as usize;
    let Some(code) = code_around(here) else {
        return;
    };
    // SAFETY: a private mapping of the program's file, executable and not writable, none of whose pages differs
    // from the file: what is dropped is what is read again.
    let advised = unsafe {
        madvise(
            std::ptr::with_exposed_provenance_mut(code.start),
            code.len(),
            Advice::LinuxDontNeed,
        )
    };
    if let Err(error) = advised {
        tracing::debug!(%error, "the kernel keeps the program's code that is not needed any more");
    }
}

/// The mapping of code around an address; `None` where somebody has changed a page of it, as debuggers and uprobes
/// do.
fn code_around(address: usize) -> Option<Range<usize>> {
    let (range, permissions, changed) = mapping_around(address, "Anonymous:")?;
    (permissions == "r-xp" && changed == 0).then_some(range)
}

/// The mapping around an address: where it is, what may be done with it, and a figure of it, kibibytes
/// (proc_pid_smaps(5)).
fn mapping_around(address: usize, figure: &str) -> Option<(Range<usize>, String, usize)> {
    let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let mut lines = maps.lines();
    let (range, permissions) = lines.find_map(|line| {
        let mut words = line.split(' ');
        let (from, to) = words.next()?.split_once('-')?;
        let hex = |text| usize::from_str_radix(text, 16).ok();
        let range = hex(from)?..hex(to)?;
        range
            .contains(&address)
            .then_some((range, words.next()?.to_owned()))
    })?;
    let value = lines.find_map(|line| line.strip_prefix(figure))?;
    let kibibytes = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((range, permissions, kibibytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kibibytes of the mapping around `address` that are resident.
    fn resident(address: usize) -> usize {
        let (_, _, resident) = mapping_around(address, "Rss:").unwrap();
        resident
    }

    fn sum(bytes: &[u8]) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    #[test]
    fn a_constant_is_given_back_and_is_there_again_when_somebody_looks() {
        let constant = crate::probes::OBJECT;
        let size = constant.len() / 1024;
        let before = sum(constant);
        let touched = resident(constant.as_ptr() as usize);
        assert!(touched >= size, "{touched} of {size}");
        give_back_constant(constant);
        let left = resident(constant.as_ptr() as usize);
        assert!(left <= touched - size * 3 / 4, "{left} of {touched}");
        assert_eq!(sum(constant), before);
    }

    #[test]
    fn code_is_given_back_and_goes_on() {
        let here = give_back_code as fn() as usize;
        let code = code_around(here).expect("code");
        // All of it: a byte of each page.
        // SAFETY: a mapping of this program that is there as long as it runs.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                std::ptr::with_exposed_provenance::<u8>(code.start),
                code.len(),
            )
        };
        let before = sum(bytes);
        let touched = resident(here);
        give_back_code();
        let left = resident(here);
        assert!(left < touched / 2, "{left} of {touched}");
        assert_eq!(sum(bytes), before);
    }

    #[test]
    fn what_is_no_code_is_not_given_back() {
        let on_the_stack = 7;
        assert_eq!(code_around(&raw const on_the_stack as usize), None);
    }

    #[test]
    fn what_has_no_page_of_its_own_stays() {
        static SMALL: [u8; 100] = [7; 100];
        give_back_constant(&SMALL);
        give_back_constant(&[]);
        assert_eq!(sum(&SMALL), 700);
    }
}
