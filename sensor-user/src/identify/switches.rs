//! The switches of the environment that the kernel side looks up at an exec.
//!
//! Those of the catalogue, in its order, as far as they fit the table; the rest is read from
//! `/proc/PID/environ`, which shows what the process has made of it.

use skep_abi::{SWITCHES_MAX, Switch, Switches};
use skep_catalogue::Catalogue;

/// The table for the kernel side.
pub fn switches(catalogue: &Catalogue) -> Switches {
    let mut table = [Switch::NONE; SWITCHES_MAX];
    for (entry, (_, switch)) in table.iter_mut().zip(known(catalogue)) {
        *entry = switch;
    }
    table
}

/// Whether a switch is on, by the bits of an exec; `None`: the kernel side does not know it.
pub(super) fn is_on(catalogue: &Catalogue, name: &str, bits: u16) -> Option<bool> {
    let index = known(catalogue).position(|(known, _)| known == name)?;
    Some(bits >> index & 1 == 1)
}

fn known(catalogue: &Catalogue) -> impl Iterator<Item = (&str, Switch)> {
    let names = catalogue.environment_names().into_iter();
    let fitting = names.filter_map(|name| Some((name, Switch::new(name)?)));
    fitting.take(SWITCHES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_by_its_bit_and_unknown_without_one() {
        let catalogue = Catalogue::embedded();
        assert_eq!(switches(&catalogue)[0], Switch::new("BUN_BE_BUN").unwrap());
        assert_eq!(switches(&catalogue)[1], Switch::NONE);
        assert_eq!(is_on(&catalogue, "BUN_BE_BUN", 1), Some(true));
        assert_eq!(is_on(&catalogue, "BUN_BE_BUN", 2), Some(false));
        assert_eq!(is_on(&catalogue, "ANOTHER", 1), None);
    }
}
