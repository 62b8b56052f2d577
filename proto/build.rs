//! Compiles `skep/v1/skep.proto` with a protobuf compiler written in Rust, so that building needs no
//! `protoc` on the machine, and writes down the numbers of its fields.

use std::{env, error::Error, fmt::Write, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=skep/v1/skep.proto");
    let descriptors = protox::compile(["skep/v1/skep.proto"], ["."])?;
    let mut tags = String::new();
    for message in descriptors.file.iter().flat_map(|file| &file.message_type) {
        let name = snake_case(message.name());
        writeln!(tags, "/// Of `{}`.\npub mod {name} {{", message.name())?;
        for field in &message.field {
            let constant = field.name().to_uppercase();
            writeln!(tags, "pub const {constant}: u32 = {};", field.number())?;
        }
        writeln!(tags, "}}")?;
    }
    let directory = env::var("OUT_DIR")?;
    fs::write(Path::new(&directory).join("tags.rs"), tags)?;
    tonic_prost_build::configure()
        .bytes(".skep.v1.SensorMessage")
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
