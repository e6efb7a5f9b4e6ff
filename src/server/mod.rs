//! Accepts connections, serves them over HTTP/1, with TLS if a certificate is configured, and ends
//! them cleanly when the server shuts down.

mod connection;
mod connection_state;
mod head;
mod head_timer;
mod refusal;
mod replay_stream;
mod responder;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use self::responder::Responder;
use crate::http::ApiError;
use crate::jobs::PollFastPath;
use crate::tls::Tls;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may take to end when the server shuts down.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `stopping` turns true, then lets open requests end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    fast_path: PollFastPath,
    stopping: watch::Receiver<bool>,
) {
    let responder = Responder { fast_path, router };
    let mut connections = JoinSet::new();
    let stop = stopped(stopping.clone());
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (tls, responder) = (tls.clone(), responder.clone());
                    connections
                        .spawn(serve_connection(stream, peer, tls, responder, stopping.clone()));
                }
                Err(error) => {
                    // Most likely too many open files, so wait until others are closed.
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!("some requests did not end within 3 s and were cut off");
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // The result holds a lock, so it is dropped at once. An error means that the sender is gone.
    let _stopped = stopping.wait_for(|stopping| *stopping).await.is_ok();
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    responder: Responder,
    stopping: watch::Receiver<bool>,
) {
    // Otherwise the body would wait until the client has acknowledged the head.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "can't set TCP_NODELAY");
    }
    match tls {
        None => connection::serve(stream, peer, responder, stopping).await,
        // Boxed, so that TLS does not enlarge the future of plain connections.
        Some(tls) => Box::pin(serve_tls(stream, peer, tls, responder, stopping)).await,
    }
}

async fn serve_tls(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Tls,
    responder: Responder,
    stopping: watch::Receiver<bool>,
) {
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, &tls)) => handshake,
        // No request has arrived yet.
        () = stopped(stopping.clone()) => return,
    };
    match handshake {
        Ok(Ok(Some(stream))) => connection::serve(stream, peer, responder, stopping).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
    }
}

/// Performs the TLS handshake. `None` if the client sent plain HTTP, which is refused.
async fn shake_hands(
    mut stream: TcpStream,
    tls: &Tls,
) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    // A TLS handshake begins with 0x16, a plain request with its method.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        let error = ApiError::bad_request("https_only", "This address only accepts https");
        refusal::send(&mut stream, error).await?;
        return Ok(None);
    }
    tls.acceptor().accept(stream).await.map(Some)
}
