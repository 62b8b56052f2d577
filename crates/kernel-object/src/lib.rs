//! Finds a toolchain that can build the kernel object, and builds it.
//!
//! Used by the build script of the sensor, so that a plain `cargo build` embeds a fresh object, and
//! by `cargo xtask`, so that set-up and build agree on what is missing.
//!
//! Invariants:
//! - the nested cargo sees a small, listed set of environment variables: nothing of the outer
//!   build (compiler, wrappers, flags, library path) reaches the other compiler;
//! - a toolchain is believed only after its `core` for the BPF target has been seen on disk;
//! - an error names what is missing and the command that installs it.

#![forbid(unsafe_code)]

mod cache;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use cache::{cache_directory, tools_directory};
pub use toolchain::{
    BpfLinker, CompilerKind, Toolchain, find_compiler, find_linker, find_toolchain,
};

/// The compilation target of the kernel object: BPF, little endian, no operating system.
pub const TARGET: &str = "bpfel-unknown-none";
/// File name of the kernel object, both of the cargo target and of the copy that gets embedded.
pub const OBJECT_NAME: &str = "skep-sensor-ebpf";
/// The version of `bpf-linker` that `cargo xtask setup` installs.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// Why the kernel object could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `$SKEP_CACHE` nor `$HOME` says where the cache folder is.
    #[error("no cache folder: neither SKEP_CACHE nor HOME is set; set SKEP_CACHE to a folder")]
    NoCache,
    /// No compiler with a `core` for the BPF target.
    #[error("no compiler for {TARGET}: {debian}; {nightly}; run `cargo xtask setup`")]
    NoCompiler {
        /// Why Debian's compiler will not do.
        debian: String,
        /// Why rustup's nightly will not do.
        nightly: String,
    },
    /// `bpf-linker` is neither in the cache nor on the search path.
    #[error("no bpf-linker in {} or on PATH; run `cargo xtask setup`", cache.display())]
    NoLinker {
        /// The folder of the cache that was looked at.
        cache: PathBuf,
    },
    /// The source folder holds no cargo package.
    #[error("no kernel crate at {}: Cargo.toml is missing", directory.display())]
    NoSource {
        /// The folder that was given.
        directory: PathBuf,
    },
    /// The nested cargo could not be started.
    #[error("cannot run {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The nested cargo ran and failed; its own messages are above.
    #[error("building the kernel object in {} failed ({status}); its messages stand above", directory.display())]
    Failed {
        /// The folder of the kernel crate.
        directory: PathBuf,
        /// Exit status of cargo.
        status: std::process::ExitStatus,
    },
    /// cargo succeeded and left no object where it should be.
    #[error("cargo reported success but left no object at {}", path.display())]
    NoObject {
        /// Where the object was expected.
        path: PathBuf,
    },
}

/// Builds the kernel object of the crate in `source_dir`, with `out_dir` as cargo's target folder,
/// and returns the path of the object.
///
/// Takes about half a minute from nothing on two cores and under a second when nothing changed.
/// The messages of the nested cargo go to this process's standard error.
pub fn build(source_dir: &Path, out_dir: &Path) -> Result<PathBuf, Error> {
    let toolchain = find_toolchain()?;
    build_with(&toolchain, source_dir, out_dir)
}

/// As [`build`], with a toolchain already found.
pub fn build_with(
    toolchain: &Toolchain,
    source_dir: &Path,
    out_dir: &Path,
) -> Result<PathBuf, Error> {
    if !source_dir.join("Cargo.toml").is_file() {
        return Err(Error::NoSource {
            directory: source_dir.to_path_buf(),
        });
    }
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(source_dir)
        .args(["build", "--release", "--locked", "--features", "kernel"])
        .args(["--bin", OBJECT_NAME, "--target", TARGET])
        .arg("--target-dir")
        .arg(out_dir)
        .stdin(Stdio::null());
    let status = run(&mut cargo)?;
    if !status.success() {
        return Err(Error::Failed {
            directory: source_dir.to_path_buf(),
            status,
        });
    }
    let object = out_dir.join(TARGET).join("release").join(OBJECT_NAME);
    if object.is_file() {
        Ok(object)
    } else {
        Err(Error::NoObject { path: object })
    }
}

fn run(command: &mut Command) -> Result<std::process::ExitStatus, Error> {
    command.status().map_err(|source| Error::Spawn {
        program: PathBuf::from(command.get_program()),
        source,
    })
}
