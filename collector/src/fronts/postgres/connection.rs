//! One connection from its first byte to its last.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt};
use pgwire::{
    api::{DefaultClient, NoopHandler, PgWireConnectionState},
    error::{ErrorInfo, PgWireError},
    messages::{
        PgWireBackendMessage, PgWireFrontendMessage, SslNegotiationMetaMessage,
        response::{GssEncResponse, SslResponse},
    },
    tokio::server::{PgWireMessageServerCodec, process_error, process_message},
};
use skep_framing::postgres::Framed;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::codec::Framed as Messages;

use super::handlers::{Handlers, Prepared};
use crate::listen::Connection;

/// A client that has not begun a session by then is let go.
const START_WITHIN: Duration = Duration::from_secs(30);

type Socket = Messages<Framed<Connection>, PgWireMessageServerCodec<Prepared>>;

/// Serves until either side ends it; a query that runs when a stop is asked for is let end.
pub(super) async fn run(
    connection: Connection,
    peer: SocketAddr,
    handlers: Handlers,
    mut stop: watch::Receiver<bool>,
) {
    let client = DefaultClient::new(peer, false);
    let codec = PgWireMessageServerCodec::new(client);
    let mut socket = Socket::new(Framed::new(connection), codec);
    let handlers = Arc::new(handlers);
    let start_until = Instant::now() + START_WITHIN;
    loop {
        let starting = !started(&socket);
        let message = tokio::select! {
            () = told(&mut stop) => {
                let _ = farewell(&mut socket).await;
                return;
            }
            () = sleep_until(start_until), if starting => return,
            message = socket.next() => message,
        };
        let served = match message {
            None | Some(Ok(PgWireFrontendMessage::Terminate(_))) => return,
            Some(Ok(PgWireFrontendMessage::SslNegotiation(asked))) => {
                negotiate(&mut socket, &asked).await
            }
            Some(Ok(message)) => serve(&mut socket, message, &handlers).await,
            Some(Err(error)) => {
                // What follows cannot be read either.
                tracing::info!(%peer, %error, "a message that is not PostgreSQL's protocol");
                let error = ErrorInfo::new("FATAL".into(), "08P01".into(), error.to_string());
                let error = PgWireError::UserError(Box::new(error));
                let _ = process_error(&mut socket, error, false).await;
                return;
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "the connection is gone");
            return;
        }
    }
}

/// Returns once a stop is asked for.
pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone is a server that was dropped: stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn started(socket: &Socket) -> bool {
    use PgWireConnectionState::{AuthenticationInProgress, AwaitingSslRequest, AwaitingStartup};
    !matches!(
        socket.codec().client_info.state,
        AwaitingSslRequest | AwaitingStartup | AuthenticationInProgress
    )
}

/// Neither TLS nor Kerberos: only this machine can connect.
async fn negotiate(
    socket: &mut Socket,
    asked: &SslNegotiationMetaMessage,
) -> Result<(), std::io::Error> {
    match asked {
        SslNegotiationMetaMessage::PostgresSsl(_) => {
            let refusal = PgWireBackendMessage::SslResponse(SslResponse::Refuse);
            socket.send(refusal).await
        }
        SslNegotiationMetaMessage::PostgresGss(_) => {
            let refusal = PgWireBackendMessage::GssEncResponse(GssEncResponse::Refuse);
            socket.send(refusal).await
        }
        // Something else comes next, and is still to be read.
        SslNegotiationMetaMessage::None => {
            socket.codec_mut().client_info.state = PgWireConnectionState::AwaitingStartup;
            Ok(())
        }
    }
}

async fn serve(
    socket: &mut Socket,
    message: PgWireFrontendMessage,
    handlers: &Arc<Handlers>,
) -> Result<(), std::io::Error> {
    let extended = message.is_extended_query();
    let served = process_message(
        message,
        socket,
        Arc::clone(handlers),
        Arc::clone(handlers),
        Arc::clone(handlers),
        Arc::new(NoopHandler),
        handlers.cancels(),
    );
    match served.await {
        Ok(()) => Ok(()),
        Err(PgWireError::IoError(error)) => Err(error),
        Err(error) => process_error(socket, error, extended).await,
    }
}

async fn farewell(socket: &mut Socket) -> Result<(), std::io::Error> {
    let text = "the collector is stopping".to_owned();
    let error = ErrorInfo::new("FATAL".to_owned(), "57P01".to_owned(), text);
    socket
        .send(PgWireBackendMessage::ErrorResponse(error.into()))
        .await?;
    socket.close().await
}
