//! Compiles `skep/v1/skep.proto` with a protobuf compiler written in Rust, so that building needs no
//! `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=skep/v1/skep.proto");
    let descriptors = protox::compile(["skep/v1/skep.proto"], ["."])?;
    tonic_prost_build::configure()
        .bytes(".skep.v1.SensorMessage")
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
