//! The two compilers that can build for BPF, and the linker both need.
//!
//! Debian packages a compiler with a precompiled `core` for the target; rustup's nightly compiles
//! `core` itself from `rust-src`. Whichever is complete is taken, Debian's first: it needs nothing
//! from the network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, TARGET, tools_directory};

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const LINKER_NAME: &str = "bpf-linker";

/// Variables of the caller's environment that the nested cargo keeps: where things are and how to
/// reach a registry. Everything else, above all what an outer cargo sets, is dropped.
const KEPT: [&str; 14] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "TERM",
    "CARGO_HOME",
    "CARGO_NET_OFFLINE",
    "RUSTUP_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
];
/// As [`KEPT`], by prefix: registry and network settings given by environment.
const KEPT_PREFIXES: [&str; 3] = ["CARGO_REGISTRIES_", "CARGO_SOURCE_", "CARGO_HTTP_"];

/// Which compiler builds the kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompilerKind {
    /// Debian's `rustc-web` with `libstd-rust-web-dev-bpf`.
    Debian,
    /// rustup's `nightly` with `rust-src`, through `-Z build-std=core`.
    Nightly,
}

/// The `bpf-linker` program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfLinker {
    /// Absolute path of the program.
    pub path: PathBuf,
}

/// A compiler and a linker that together can build the kernel object.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// Which compiler.
    pub kind: CompilerKind,
    /// Which linker.
    pub linker: BpfLinker,
}

/// Finds a complete toolchain, or says what is missing from each candidate.
pub fn find_toolchain() -> Result<Toolchain, Error> {
    let linker = find_linker();
    let kind = find_compiler()?;
    Ok(Toolchain {
        kind,
        linker: linker?,
    })
}

/// Finds `bpf-linker`: the cache first, then the search path.
pub fn find_linker() -> Result<BpfLinker, Error> {
    let cache = tools_directory()?.join("bin");
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(cache.clone())
        .chain(std::env::split_paths(&search_path))
        .map(|folder| folder.join(LINKER_NAME))
        .find(|candidate| candidate.is_file())
        .map(|path| BpfLinker { path })
        .ok_or(Error::NoLinker { cache })
}

/// Finds a compiler for the target: Debian's first, then rustup's nightly.
pub fn find_compiler() -> Result<CompilerKind, Error> {
    let debian = match debian_lacks() {
        None => return Ok(CompilerKind::Debian),
        Some(reason) => reason,
    };
    match nightly_lacks() {
        None => Ok(CompilerKind::Nightly),
        Some(nightly) => Err(Error::NoCompiler { debian, nightly }),
    }
}

/// What Debian's toolchain lacks, if anything.
fn debian_lacks() -> Option<String> {
    for program in [DEBIAN_CARGO, DEBIAN_RUSTC] {
        if !Path::new(program).is_file() {
            return Some(format!("{program} is not installed"));
        }
    }
    let mut rustc = Command::new(DEBIAN_RUSTC);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    match printed_directory(&mut rustc) {
        Some(directory) if holds_core(&directory) => None,
        _ => Some(format!(
            "{DEBIAN_RUSTC} has no core for {TARGET} (libstd-rust-web-dev-bpf)"
        )),
    }
}

/// What rustup's nightly lacks, if anything.
fn nightly_lacks() -> Option<String> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", "nightly", "rustc", "--print", "sysroot"]);
    let Some(sysroot) = printed_directory(&mut rustc) else {
        return Some("rustup has no nightly toolchain".to_owned());
    };
    let core = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    (!core.is_file()).then(|| "rustup's nightly has no rust-src".to_owned())
}

/// Runs a query of the compiler in a clean environment and returns the folder it printed, if that
/// folder exists.
fn printed_directory(command: &mut Command) -> Option<PathBuf> {
    scrub(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let directory = PathBuf::from(text.trim());
    (output.status.success() && directory.is_dir()).then_some(directory)
}

fn holds_core(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libcore-") && name.ends_with(".rlib")
        })
    })
}

/// Empties the environment of a command but for [`KEPT`] and [`KEPT_PREFIXES`].
fn scrub(command: &mut Command) {
    command.env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| is_kept(name)));
}

fn is_kept(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| {
        KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

impl Toolchain {
    /// One line for people: which compiler and which linker.
    pub fn describe(&self) -> String {
        let compiler = match self.kind {
            CompilerKind::Debian => "Debian's /usr/bin/rustc with a precompiled core",
            CompilerKind::Nightly => "rustup's nightly, building core from rust-src",
        };
        format!("{compiler}; linker {}", self.linker.path.display())
    }

    /// A cargo that builds for BPF: environment scrubbed, flags set, no sub-command yet.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match self.kind {
            CompilerKind::Debian => {
                let mut cargo = Command::new(DEBIAN_CARGO);
                scrub(&mut cargo);
                // The search path may name rustup's compiler first.
                cargo.env("RUSTC", DEBIAN_RUSTC);
                // aya-ebpf uses features that a stable compiler gives only when told so.
                cargo.env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            CompilerKind::Nightly => {
                let mut cargo = Command::new("rustup");
                scrub(&mut cargo);
                cargo.args(["run", "nightly", "cargo", "-Z", "build-std=core"]);
                cargo
            }
        };
        // Set and empty: overrules a wrapper from the user's cargo configuration.
        cargo.env("RUSTC_WRAPPER", "");
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rust_flags());
        cargo
    }

    /// Compiler flags in cargo's encoding: separated by the byte 0x1f, so that paths may hold spaces.
    fn rust_flags(&self) -> OsString {
        let mut linker = OsString::from("linker=");
        linker.push(&self.linker.path);
        let architecture = format!("bpf_target_arch=\"{}\"", std::env::consts::ARCH);
        let flags: [OsString; 8] = [
            "-C".into(),
            linker,
            "-C".into(),
            "link-arg=--btf".into(),
            "-C".into(),
            "debuginfo=2".into(),
            "--cfg".into(),
            architecture.into(),
        ];
        flags.join(&OsString::from("\x1f"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(kind: CompilerKind) -> Toolchain {
        Toolchain {
            kind,
            linker: BpfLinker {
                path: "/opt/with space/bpf-linker".into(),
            },
        }
    }

    #[test]
    fn nothing_of_an_outer_cargo_reaches_the_nested_one() {
        let outer = [
            "RUSTC",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
            "CARGO_MAKEFLAGS",
            "RUSTUP_TOOLCHAIN",
            "LD_LIBRARY_PATH",
        ];
        for name in outer {
            assert!(
                !is_kept(&name.into()),
                "{name} would reach the nested cargo"
            );
        }
    }

    #[test]
    fn settings_of_a_registry_mirror_are_kept() {
        for name in [
            "CARGO_HOME",
            "CARGO_SOURCE_MIRROR_REGISTRY",
            "CARGO_HTTP_PROXY",
        ] {
            assert!(is_kept(&name.into()), "{name} was dropped");
        }
    }

    #[test]
    fn a_linker_path_with_a_space_stays_one_flag() {
        let flags = toolchain(CompilerKind::Debian)
            .rust_flags()
            .into_string()
            .unwrap();
        assert!(
            flags
                .split('\x1f')
                .any(|flag| flag == "linker=/opt/with space/bpf-linker")
        );
    }

    #[test]
    fn the_debian_cargo_is_told_its_own_compiler() {
        let cargo = toolchain(CompilerKind::Debian).cargo();
        let rustc = cargo
            .get_envs()
            .find(|(name, _)| *name == "RUSTC")
            .unwrap()
            .1;
        assert_eq!(rustc, Some(DEBIAN_RUSTC.as_ref()));
    }

    #[test]
    fn a_folder_without_a_core_library_is_no_toolchain() {
        assert!(!holds_core(Path::new("/nonexistent")));
    }
}
