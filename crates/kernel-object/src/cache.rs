//! Where the project keeps what is costly to fetch or build: one folder for all checkouts.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::Error;

/// The cache folder: `$SKEP_CACHE`, else `$HOME/.cache/skep`. It need not exist yet.
pub fn cache_directory() -> Result<PathBuf, Error> {
    choose(std::env::var_os("SKEP_CACHE"), std::env::var_os("HOME"))
}

/// Where tools installed by `cargo xtask setup` live; their programs are in its `bin`.
pub fn tools_directory() -> Result<PathBuf, Error> {
    Ok(cache_directory()?.join("tools"))
}

fn choose(explicit: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, Error> {
    let set = |value: Option<OsString>| value.filter(|text| !text.is_empty()).map(PathBuf::from);
    match (set(explicit), set(home)) {
        (Some(explicit), _) => Ok(explicit),
        (None, Some(home)) => Ok(home.join(".cache/skep")),
        (None, None) => Err(Error::NoCache),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_cache_folder_wins_over_the_home_folder() {
        let chosen = choose(Some("/var/skep".into()), Some("/root".into())).unwrap();
        assert_eq!(chosen, PathBuf::from("/var/skep"));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let chosen = choose(Some("".into()), Some("/root".into())).unwrap();
        assert_eq!(chosen, PathBuf::from("/root/.cache/skep"));
    }

    #[test]
    fn without_either_variable_the_error_names_the_remedy() {
        let error = choose(None, Some("".into())).unwrap_err();
        assert!(error.to_string().contains("set SKEP_CACHE"), "{error}");
    }
}
