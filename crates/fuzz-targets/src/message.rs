//! gRPC messages in the body of a stream.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt;
use http_body::Frame;
use prost::Message;
use skep_framing::messages::{Broken, Messages, Turns};
use skep_proto::v1::SensorMessage;
use tokio::runtime::Runtime;
use tonic::body::Body;

use crate::input::Input;

/// Bytes of a message: few, so that inputs come to the bound.
const LIMIT: usize = 64 << 10;

thread_local! {
    static CLOCK: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a clock");
    static TURNS: Turns = Turns::new(1, LIMIT);
}

/// A body that comes in pieces, all of which are there.
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// Cut in any way a body has the same messages, none beyond the limit, and what was read can be written
/// and read again.
///
/// The first byte of the input says whether the body may be compressed, the second how it is cut.
pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (zstd, size) = (input.byte() & 1 == 1, usize::from(input.byte() % 40) + 1);
    let whole = read([input.0].into_iter(), zstd);
    assert_eq!(read(input.0.chunks(size), zstd), whole);
    let (messages, _) = whole;
    let mut again = Vec::new();
    for message in &messages {
        let bytes = message.encode_to_vec();
        assert!(bytes.len() <= 2 * LIMIT, "{}", bytes.len());
        if bytes.len() > LIMIT {
            return;
        }
        again.push(0);
        again.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        again.extend(bytes);
    }
    assert_eq!(read([&again[..]].into_iter(), false), (messages, Ok(())));
}

type Read = (Vec<SensorMessage>, Result<(), Broken>);

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, zstd: bool) -> Read {
    let pieces = Pieces(pieces.map(Bytes::copy_from_slice).collect());
    CLOCK.with(|clock| {
        let _clock = clock.enter();
        TURNS.with(|turns| {
            let mut messages = Messages::new(Body::new(pieces), zstd);
            let mut read = Vec::new();
            loop {
                let next = messages.next(turns).now_or_never();
                match next.expect("everything is there, and the turn was given back") {
                    Ok(Some((message, _turn))) => read.push(message),
                    Ok(None) => return (read, Ok(())),
                    Err(broken) => return (read, Err(broken)),
                }
            }
        })
    })
}
