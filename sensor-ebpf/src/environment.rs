//! Environment variables that are switches, as they are at an exec.
//!
//! Read from the new stack before the program has run one instruction: `/proc/PID/environ` shows later what
//! the process has made of it.
//!
//! What goes from one variable to the next lives in the slot, not in registers: see `record`. Else the
//! verifier would tell every sequence of variables that are switches and that are none apart.

use skep_abi::{ENVIRONMENT_MAX, Exec, Offset, PATH_MAX, SWITCHES_MAX, Switch, Switches};

use crate::{
    kernel::{Address, Members, Read, Unreadable},
    record::{Draft, Peeked},
};

/// Set by the daemon before load; see `skep_abi::Switches`.
#[unsafe(no_mangle)]
static SWITCHES: Switches = [Switch::NONE; SWITCHES_MAX];

/// Notes which switches are on, a bit for each. Unreadable: the environment could not be read to its end.
#[inline(always)]
pub fn note_switches(draft: &mut Draft<Exec>, mm: Address) -> Read<()> {
    let room = draft.environment();
    // SAFETY: a live slot that this program owns; volatile, see the module's documentation. Here and below.
    unsafe {
        (&raw mut (*room).at).write_volatile(mm.read(Offset::MmEnvStart)?);
        (&raw mut (*room).end).write_volatile(mm.read(Offset::MmEnvEnd)?);
        (&raw mut (*room).is_rest).write_volatile(0);
    }
    for _ in 0..ENVIRONMENT_MAX {
        // SAFETY: as above.
        let (at, end) = unsafe {
            let room = &raw const *room;
            (
                (&raw const (*room).at).read_volatile(),
                (&raw const (*room).end).read_volatile(),
            )
        };
        if at >= end {
            return Ok(());
        }
        let variable = draft.peek_user_str::<PATH_MAX>(at)?;
        // SAFETY: as above.
        unsafe {
            if (&raw const (*room).is_rest).read_volatile() == 0 {
                note(draft, &variable);
            }
            // What was longer than what is read at once goes on behind it, and is no variable there. What ends
            // the piece is not of the variable.
            let is_cut = variable.taken / PATH_MAX as u64;
            (&raw mut (*room).is_rest).write_volatile(is_cut);
            (&raw mut (*room).at).write_volatile(at + variable.taken - is_cut);
        }
    }
    Err(Unreadable)
}

/// Notes the switch that this variable is, if it is on.
#[inline(always)]
fn note(draft: &mut Draft<Exec>, variable: &Peeked) {
    for index in 0..SWITCHES_MAX {
        // SAFETY: in bounds; volatile because the daemon changes the value between compilation and load.
        let switch = unsafe { core::ptr::read_volatile(SWITCHES.as_ptr().add(index)) };
        if switch.len == 0 {
            return;
        }
        let is_it = (0..switch.name.len())
            .all(|word| variable.word(word) & switch.mask[word] == switch.name[word]);
        if is_it && is_on(variable, switch.len as usize) {
            let exec = draft.fixed();
            // SAFETY: the fixed part of a draft; volatile, see the module's documentation.
            unsafe {
                let on = &raw mut (*exec).switches;
                on.write_volatile(on.read_volatile() | 1 << index);
            }
            return;
        }
    }
}

/// Whether the value from `at` on is neither nothing nor `0` nor `false`.
#[inline(always)]
fn is_on(variable: &Peeked, at: usize) -> bool {
    let is_zero = variable.byte(at) == b'0' && variable.byte(at + 1) == 0;
    let is_false = variable.byte(at) | 0x20 == b'f'
        && variable.byte(at + 1) | 0x20 == b'a'
        && variable.byte(at + 2) | 0x20 == b'l'
        && variable.byte(at + 3) | 0x20 == b's'
        && variable.byte(at + 4) | 0x20 == b'e'
        && variable.byte(at + 5) == 0;
    variable.byte(at) != 0 && !is_zero && !is_false
}
