//! A TCP connection whose first bytes are checked.
//!
//! A peer that does not speak HTTP/2 never reaches a service, so it is refused, counted and logged
//! here, as is one that does not speak at all. Bounds: the 24 bytes of the preface, which have to come
//! within [`PREFACE_WITHIN`]; [`MAX_CONNECTIONS`].

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    time::{Sleep, sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::{
    counters::Counters,
    listen::{self, Bounded},
};

/// RFC 9113, 3.4
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Connections at one time, of sensors and clients: a sensor has one, and two streams on it.
pub const MAX_CONNECTIONS: usize = 12_000;
/// From the connection to the end of the preface.
const PREFACE_WITHIN: Duration = Duration::from_secs(10);

pub struct Connection {
    stream: listen::Connection,
    peer: SocketAddr,
    counters: Arc<Counters>,
    /// Bytes of the preface seen so far.
    seen: usize,
    /// Until the preface has come.
    due: Option<Pin<Box<Sleep>>>,
}

/// Every connection made to the listener.
pub fn connections(
    listener: TcpListener,
    counters: Arc<Counters>,
) -> impl Stream<Item = io::Result<Connection>> {
    let listener = Bounded::new(listener, "grpc", MAX_CONNECTIONS);
    futures::stream::unfold(listener, move |listener| {
        let counters = Arc::clone(&counters);
        async move {
            let (stream, peer) = listener.next().await;
            let connection = Connection {
                stream,
                peer,
                counters,
                seen: 0,
                due: Some(Box::pin(sleep(PREFACE_WITHIN))),
            };
            Some((Ok(connection), listener))
        }
    })
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.tcp().connect_info()
    }
}

impl Connection {
    fn refuse(&self, why: &'static str) -> io::Error {
        self.counters.refused_not_http2.add(1);
        tracing::warn!(peer = %self.peer, why, "connection refused");
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream)
            .poll_read(cx, buffer)?
            .is_pending()
        {
            if let Some(due) = &mut self.due {
                ready!(due.as_mut().poll(cx));
                return Poll::Ready(Err(self.refuse("it says nothing")));
            }
            return Poll::Pending;
        }
        let expected = &PREFACE[self.seen..];
        let fresh = &buffer.filled()[before..];
        let checked = fresh.len().min(expected.len());
        if fresh[..checked] != expected[..checked] {
            return Poll::Ready(Err(self.refuse("it does not speak HTTP/2")));
        }
        self.seen += checked;
        if self.seen == PREFACE.len() {
            self.due = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
