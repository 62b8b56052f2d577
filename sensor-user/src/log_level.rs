//! Levels of the log, and of the kernel programs' own.

use std::fmt;

use serde::Serialize;

/// How much the sensor logs, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A text that names no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no log level `{name}`: expected error, warn, info, debug or trace")]
pub struct UnknownLevel {
    pub name: String,
}

impl Level {
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    pub fn named(name: &str) -> Result<Self, UnknownLevel> {
        let found = Self::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| UnknownLevel {
            name: name.chars().take(32).collect(),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Target of the kernel programs' lines in the log.
pub const KERNEL_TARGET: &str = "skep_sensor::kernel";

/// What the kernel programs log, from nothing to the most: `[kernel] log`. A constant to them, so that it
/// holds as long as they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelLevel {
    Off,
    Warn,
    Debug,
}

/// A text that names no level of the kernel programs' log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no level `{name}` of the kernel programs' log: expected off, warn or debug")]
pub struct UnknownKernelLevel {
    pub name: String,
}

impl KernelLevel {
    pub const ALL: [Self; 3] = [Self::Off, Self::Warn, Self::Debug];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Debug => "debug",
        }
    }

    pub fn named(name: &str) -> Result<Self, UnknownKernelLevel> {
        let found = Self::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| UnknownKernelLevel {
            name: name.chars().take(32).collect(),
        })
    }

    /// The level up to which aya-log writes lines (`aya_log_common::Level`); 0 is below all of them.
    pub const fn of_aya_log(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Warn => 2,
            Self::Debug => 4,
        }
    }
}

impl fmt::Display for KernelLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_the_kernel_programs_are_those_of_aya_log() {
        let of = |level: aya_log_common::Level| u8::from(level);
        assert_eq!(
            KernelLevel::Warn.of_aya_log(),
            of(aya_log_common::Level::Warn)
        );
        assert_eq!(
            KernelLevel::Debug.of_aya_log(),
            of(aya_log_common::Level::Debug)
        );
        assert!(KernelLevel::Off.of_aya_log() < of(aya_log_common::Level::Error));
    }
}
