//! `skep.v1`, generated from `proto/skep/v1/skep.proto`. The comments of that file are the
//! documentation of every message and field.
#![forbid(unsafe_code)]

pub mod codec;

/// Version 1 of the protocol.
pub mod v1 {
    #![expect(
        clippy::all,
        clippy::allow_attributes,
        unused_qualifications,
        reason = "generated code"
    )]
    tonic::include_proto!("skep.v1");
}

/// Numbers of the fields of each message, for those who write its bytes themselves.
pub mod tag {
    include!(concat!(env!("OUT_DIR"), "/tags.rs"));
}

/// Bytes of one message up the stream, decoded; the collector refuses more (`too_large`).
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Events in one `Batch`; the collector refuses more (`too_large`).
pub const MAX_BATCH_EVENTS: usize = 20_000;
