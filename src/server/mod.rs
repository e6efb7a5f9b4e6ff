//! Connections: accepted, served over HTTP/1, by TLS where there is a certificate, and brought to a
//! clean end when the server goes down.

mod answer;
mod connection;
mod head;
mod head_timer;
mod line;
mod refusal;
mod rewound;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use self::answer::Inside;
use crate::http::ApiError;
use crate::jobs::Door;
use crate::tls::Tls;

/// How long a client may take to agree on TLS.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may take to end when the server goes down.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `stopping` turns true, then lets open requests end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    door: Door,
    stopping: watch::Receiver<bool>,
) {
    let inside = Inside { door, router };
    let mut connections = JoinSet::new();
    let stop = stopped(stopping.clone());
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (tls, inside) = (tls.clone(), inside.clone());
                    connections.spawn(serve_connection(stream, peer, tls, inside, stopping.clone()));
                }
                Err(error) => {
                    // Most likely too many open files: waiting is all that helps, and ending would
                    // help nobody.
                    tracing::warn!(%error, "a connection could not be accepted");
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
        tracing::warn!("some requests did not end in time and were cut off");
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // What the wait gives holds a lock, and is let go at once. An error says that whoever could
    // stop us is gone.
    let _stopped = stopping.wait_for(|stopping| *stopping).await.is_ok();
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    inside: Inside,
    stopping: watch::Receiver<bool>,
) {
    // A head and a body that go out as two packets would wait for each other's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    match tls {
        None => connection::serve(stream, peer, inside, stopping).await,
        // Apart, so that a plain connection is no larger for it.
        Some(tls) => Box::pin(serve_tls(stream, peer, tls, inside, stopping)).await,
    }
}

async fn serve_tls(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Tls,
    inside: Inside,
    stopping: watch::Receiver<bool>,
) {
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(GREETING_TIMEOUT, greet(stream, &tls)) => greeted,
        // Nobody asked anything yet.
        () = stopped(stopping.clone()) => return,
    };
    match greeted {
        Ok(Ok(Some(stream))) => connection::serve(stream, peer, inside, stopping).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS greeting failed"),
        Err(_) => tracing::debug!(%peer, "a TLS greeting took too long"),
    }
}

/// Agrees with the client on TLS. `None`: it spoke plain HTTP, and was told so.
async fn greet(mut stream: TcpStream, tls: &Tls) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    // A greeting begins with 0x16, a plain request with its method.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        let error = ApiError::bad_request("https_only", "This address speaks https alone");
        refusal::send(&mut stream, error).await?;
        return Ok(None);
    }
    tls.acceptor().accept(stream).await.map(Some)
}
