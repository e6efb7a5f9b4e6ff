//! A server that does nothing, in its own process, to measure the cost of HTTP.

use std::process::Stdio;

use anyhow::Context;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running no-op server, killed on drop.
pub(crate) struct Noop {
    pub(crate) address: String,
    _child: Child,
}

impl Noop {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve-noop")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let address = BufReader::new(stdout).lines().next_line().await?;
        Ok(Self {
            address: address.context("the no-op server has ended")?,
            _child: child,
        })
    }
}

/// Serves until it is killed. Responds as the server does to a poll without work, and discards
/// uploads.
#[expect(clippy::print_stdout, reason = "the parent process reads the address")]
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let answer = || async { axum::Json(json!({ "job": null, "cancel": [], "leaseSeconds": 90 })) };
    let router = axum::Router::new()
        .route("/api/jobs/pending", get(answer))
        .route("/upload", post(swallow));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without nodelay, head and body would be delayed.
        let _refused = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn swallow(request: Request) -> Result<&'static str, axum::http::StatusCode> {
    let mut body: Body = request.into_body();
    while let Some(frame) = next_frame(&mut body).await {
        frame.map_err(|_| axum::http::StatusCode::BAD_REQUEST)?;
    }
    Ok("{}")
}

async fn next_frame(body: &mut Body) -> Option<Result<(), axum::Error>> {
    use axum::body::HttpBody;
    let frame =
        std::future::poll_fn(|context| HttpBody::poll_frame(std::pin::Pin::new(body), context));
    frame.await.map(|frame| frame.map(drop))
}
