//! Connections: accepted, served over HTTP/1, by TLS where there is a certificate, and brought to a clean end when the server goes
//! down.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::auth::PeerAddress;
use crate::http::Drainable;
use crate::tls::Tls;

/// How long a client may take over a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head at the most, and of what is read ahead: ten thousand agents wait in these buffers.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long a client may take to agree on TLS.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// What plain HTTP gets where TLS is spoken.
const PLAIN_REFUSED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\
    X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\
    Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nContent-Length: 63\r\n\r\n\
    {\"error\":\"This address speaks https alone\",\"code\":\"https_only\"}";
/// How long open requests may take to end when the server goes down.
const GRACE: Duration = Duration::from_secs(4);

/// Serves until `stopping` turns true, then lets open requests end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let stop = stopped(stopping.clone());
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (tls, router) = (tls.clone(), router.clone());
                    connections.spawn(serve_connection(stream, peer, tls, router, stopping.clone()));
                }
                Err(error) => {
                    // Most likely too many open files: waiting is all that helps, and ending would help nobody.
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
    // What the wait gives holds a lock, and is let go at once. An error says that whoever could stop us is gone.
    let _stopped = stopping.wait_for(|stopping| *stopping).await.is_ok();
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    // A head and a body that go out as two packets would wait for each other's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    match tls {
        None => serve_http(stream, peer, router, stopping).await,
        // Apart, so that a plain connection is no larger for it.
        Some(tls) => Box::pin(serve_tls(stream, peer, tls, router, stopping)).await,
    }
}

async fn serve_tls(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Tls,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(GREETING_TIMEOUT, greet(stream, &tls)) => greeted,
        // Nobody asked anything yet.
        () = stopped(stopping.clone()) => return,
    };
    match greeted {
        Ok(Ok(Some(stream))) => serve_http(stream, peer, router, stopping).await,
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
        stream.write_all(PLAIN_REFUSED).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    tls.acceptor().accept(stream).await.map(Some)
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopped(stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients break off all the time.
        tracing::debug!(%error, %peer, "a connection ended badly");
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Response {
    // Most requests have no body; and one that waits for our word before it sends its body is not to be told to send it.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return route(router, request.map(Body::new)).await;
    }
    let (parts, body) = request.into_parts();
    let body = Drainable::new(body);
    let response = route(router, Request::from_parts(parts, Body::new(body.clone()))).await;
    body.drain().await;
    response
}

async fn route(router: Router, request: Request) -> Response {
    router
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {})
}
