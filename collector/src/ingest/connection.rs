//! A TCP connection whose first bytes are checked.
//!
//! A peer that does not speak HTTP/2 never reaches a service, so it is refused, counted and logged
//! here. Bound: the 24 bytes of the preface.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::counters::Counters;

/// RFC 9113, 3.4
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Between a failed accept and the next, so that a lack of files does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    counters: Arc<Counters>,
    /// Bytes of the preface seen so far.
    seen: usize,
}

/// Every connection made to the listener.
pub fn connections(
    listener: TcpListener,
    counters: Arc<Counters>,
) -> impl Stream<Item = io::Result<Connection>> {
    TcpListenerStream::new(listener).filter_map(move |accepted| {
        let connection = accepted.and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(Connection {
                peer: stream.peer_addr()?,
                stream,
                counters: Arc::clone(&counters),
                seen: 0,
            })
        });
        async {
            if let Err(error) = &connection {
                // The peer is gone already, or the process is out of files: the next may do better.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
            connection.ok().map(Ok)
        }
    })
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let expected = &PREFACE[self.seen..];
        let fresh = &buffer.filled()[before..];
        let checked = fresh.len().min(expected.len());
        if fresh[..checked] != expected[..checked] {
            self.counters.refused_not_http2.add(1);
            tracing::warn!(peer = %self.peer, "connection refused: it does not speak HTTP/2");
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer does not speak HTTP/2",
            )));
        }
        self.seen += checked;
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
