//! Where things are: the sources, cargo's target folder, the cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::Run;

/// This program's own file. Looked up before anything is built: a build may replace the file, and
/// the running program's file then has no name any more, though the new one does as well.
static PROGRAM: LazyLock<std::io::Result<PathBuf>> = LazyLock::new(std::env::current_exe);

/// This program's own file; first called when the program starts.
pub fn program() -> Result<&'static Path> {
    match &*PROGRAM {
        Ok(program) => Ok(program),
        Err(error) => bail!("cannot find this program's own file: {error}"),
    }
}

/// The root of the source tree. `cargo run` tells where it is now; where it was when this program was
/// built may be another checkout that shared the target folder, and may be gone.
pub fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|folder| folder.ends_with("xtask"))
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_path_buf()
}

/// The folder of the kernel crate.
pub fn kernel_crate() -> PathBuf {
    root().join("sensor-ebpf")
}

/// The folder of the fuzz programs.
pub fn fuzz_programs() -> PathBuf {
    root().join("fuzz")
}

/// A folder of the cache, created if absent.
pub fn cache(name: &str) -> Result<PathBuf> {
    let folder = skep_kernel_object::cache_directory()?.join(name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the cache folder {}", folder.display()))?;
    Ok(folder)
}

/// cargo, without what `cargo run` put into the environment for this program.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    outside(Path::new(&program))
}

/// A program that runs cargo, as [`cargo`].
pub fn outside(program: &Path) -> Command {
    let mut cargo = Command::new(program);
    cargo.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let leaks = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if leaks.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("LD_LIBRARY_PATH");
    cargo
}

/// cargo's target folder, as cargo itself sees it.
pub fn target() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut metadata = cargo();
    metadata.args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    let text = metadata.quiet_output()?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cannot read the answer of cargo metadata")?;
    Ok(metadata.target_directory)
}
