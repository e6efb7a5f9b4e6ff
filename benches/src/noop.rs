//! The server that does nothing, in a process of its own: what HTTP alone costs.

use std::process::Stdio;

use anyhow::Context;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running one; killed when it is dropped.
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
        let said = child.stdout.take().context("it says nothing")?;
        let address = BufReader::new(said).lines().next_line().await?;
        Ok(Self {
            address: address.context("it has ended")?,
            _child: child,
        })
    }
}

/// Serves until it is killed. Answers what a poll that finds nothing is answered, and throws
/// uploads away.
#[expect(clippy::print_stdout, reason = "its parent waits for the address")]
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let answer = || async { axum::Json(json!({ "job": null, "cancel": [], "leaseSeconds": 90 })) };
    let router = axum::Router::new()
        .route("/api/jobs/pending", get(answer))
        .route("/upload", post(swallow));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without it head and body wait for each other.
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
