//! A connection that ends when a message is said to be longer than any should be. `pgwire` would wait
//! for up to 2 GiB of it, in memory.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::MAX_MESSAGE;

/// Codes of the requests that come before the start of a session: SSLRequest and GSSENCRequest.
const BEFORE_START: [u32; 2] = [80_877_103, 80_877_104];

/// Reads with an eye on the lengths of messages.
pub struct Framed<S> {
    stream: S,
    frames: Frames,
}

/// Follows the bytes of a client from message to message.
#[derive(Debug, Default)]
pub struct Frames {
    /// Messages have a type before their length, as they do once the session is started.
    typed: bool,
    header: Vec<u8>,
    /// Bytes until the next message.
    rest: usize,
}

// === impl Framed ===

impl<S> Framed<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let new = &buffer.filled()[before..];
        Poll::Ready(self.frames.follow(new))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

// === impl Frames ===

impl Frames {
    /// Bytes of the message under way that have not come, at least: its header may not have come whole.
    pub fn remaining(&self) -> usize {
        self.rest
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// A message says that it is shorter than its own length, or longer than [`MAX_MESSAGE`].
    pub fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len());
                self.rest -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            // A type and a length, or a length and a code.
            let (wanted, at) = match self.typed {
                true => (5, 1),
                false => (8, 0),
            };
            let taken = (wanted - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.header.len() < wanted {
                return Ok(());
            }
            let number = |at: usize| {
                let four = &self.header[at..at + 4];
                u32::from_be_bytes([four[0], four[1], four[2], four[3]])
            };
            let length = number(at) as usize;
            // The length counts itself, and not the type.
            let seen = wanted - at;
            if length < seen || length > MAX_MESSAGE {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a message of {length} bytes, where {MAX_MESSAGE} are the most"),
                ));
            }
            self.rest = length - seen;
            self.typed = self.typed || !BEFORE_START.contains(&number(4.min(wanted - 4)));
            self.header.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn untyped(code: u32, body: &[u8]) -> Vec<u8> {
        let mut message = (8 + body.len() as u32).to_be_bytes().to_vec();
        message.extend(code.to_be_bytes());
        message.extend(body);
        message
    }

    fn typed(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend(length.to_be_bytes());
        message.extend(body);
        message
    }

    proptest! {
        #[test]
        fn however_it_is_cut_only_a_length_that_is_too_large_is_refused(
            cuts in prop::collection::vec(1_usize..40, 0..40),
            too_large in any::<bool>(),
        ) {
            let mut bytes = untyped(BEFORE_START[0], b"");
            bytes.extend(untyped(0x0003_0000, b"user\0alice\0\0"));
            // The body looks like a message of 4 GiB.
            bytes.extend(typed(b'Q', 4 + 10, b"Q\xff\xff\xff\xffabcde"));
            bytes.extend(typed(b'S', 4, b""));
            if too_large {
                bytes.extend(typed(b'Q', MAX_MESSAGE as u32 + 1, b""));
            }
            let mut frames = Frames::default();
            let mut result = Ok(());
            let mut rest = bytes.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                result = result.and_then(|()| frames.follow(now));
                rest = later;
            }
            prop_assert_eq!(result.is_err(), too_large);
        }
    }

    proptest! {
        #[test]
        fn noise_means_the_same_however_it_is_cut(
            noise in prop::collection::vec(prop_oneof![Just(0), 0..12_u8, any::<u8>()], 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut whole = Frames::default();
            let expected = whole.follow(&noise).is_ok();
            let (now, later) = noise.split_at(cut.index(noise.len() + 1));
            let mut cut = Frames::default();
            let found = cut.follow(now).and_then(|()| cut.follow(later)).is_ok();
            prop_assert_eq!(found, expected);
            prop_assert!(cut.header.len() <= 8, "no more than a header is kept");
        }
    }

    #[test]
    fn a_length_below_its_own_is_refused() {
        let mut frames = Frames::default();
        assert!(frames.follow(&[0, 0, 0, 7, 0, 3, 0, 0]).is_err());
    }
}
