//! How messages are encoded: as tonic does, in buffers that begin small.
//!
//! tonic gives every stream 8 KiB for what it sends, and as much for what it receives, before there is
//! anything to send or receive. A collector has two streams a sensor and sends a few bytes down each.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::ProstCodec;

/// Bytes a buffer begins with; it grows with the messages.
const BEGINS_WITH: usize = 256;
/// Bytes of messages that may gather before they are handed on: tonic's own default.
const HANDED_ON_AT: usize = 32 << 10;

/// Protobuf messages `T` out, `U` in.
#[derive(Clone, Copy, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

// === impl Codec ===

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as tonic::codec::Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as tonic::codec::Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BEGINS_WITH, HANDED_ON_AT)
}
