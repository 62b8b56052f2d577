//! Builds the kernel object and leaves it in `OUT_DIR`, where the sensor embeds it from.

use std::path::PathBuf;
use std::process::ExitCode;

/// From this package's folder.
const KERNEL_CRATE: &str = "../sensor-ebpf";
/// The same; its records and keys are the kernel programs' too.
const ABI_CRATE: &str = "../crates/abi";

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let source = manifest.join(KERNEL_CRATE).canonicalize()?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    println!("cargo::rerun-if-changed=build.rs");
    // Relative, so that they are this checkout's: checkouts that share a target folder share what cargo
    // remembers of them, and would be given the kernel object of another.
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={KERNEL_CRATE}/{watched}");
    }
    println!("cargo::rerun-if-changed={ABI_CRATE}");
    println!("cargo::rerun-if-env-changed=SKEP_CACHE");

    let object = skep_kernel_object::build(&source, &out.join("kernel"))?;
    std::fs::copy(object, out.join(skep_kernel_object::OBJECT_NAME))?;
    Ok(())
}
