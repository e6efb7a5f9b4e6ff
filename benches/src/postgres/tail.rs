//! How long a line takes to a viewer at the same server and at another server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio::sync::watch;

use crate::fleet::Fleet;
use crate::quantile;

pub(crate) async fn rows(fleet: &Arc<Fleet>, samples: usize) -> anyhow::Result<()> {
    let token = fleet.node("tail").await?;
    fleet.queue(0, "tail").await?;
    let id = fleet.claim(0, "tail", &token).await?.context("a job")?;
    let mut viewers = Vec::new();
    for server in [0, 1] {
        viewers.push(view(fleet, server, &id).await?);
    }
    let path = format!("/api/jobs/{id}/output");
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for number in 0..samples + 20 {
        let line = format!("line-{number:06}\n");
        let body = json!({"chunks": [{"stream": "stdout", "offset": offset, "data": line}]});
        offset += line.len();
        let sent = Instant::now();
        let call = fleet.call(0, "POST", &path, &token).json(&body).send();
        let (answer, one, other) = tokio::join!(
            call,
            wait_for_line(viewers[0].clone(), number, sent),
            wait_for_line(viewers[1].clone(), number, sent)
        );
        answer?.error_for_status()?;
        // The first lines warm up connections and statements.
        if number >= 20 {
            here.push(one?);
            there.push(other?);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let added: Vec<f64> = here
        .iter()
        .zip(&there)
        .map(|(here, there)| there - here)
        .collect();
    println!("from sending a line to its arrival at a viewer ({samples} lines), p50 / p95:");
    for (what, times) in [
        ("at the same server", &here),
        ("at another server", &there),
        ("difference", &added),
    ] {
        println!(
            "  {what}: {:.1} / {:.1} ms",
            quantile(times, 0.5),
            quantile(times, 0.95)
        );
    }
    Ok(())
}

/// Waits for line `number` and returns the milliseconds since it was sent.
async fn wait_for_line(
    mut last: watch::Receiver<Option<usize>>,
    number: usize,
    sent: Instant,
) -> anyhow::Result<f64> {
    let waited = last.wait_for(|last| last.is_some_and(|last| last >= number));
    tokio::time::timeout(Duration::from_secs(20), waited)
        .await
        .context("a line did not arrive")??;
    Ok(sent.elapsed().as_secs_f64() * 1_000.0)
}

/// Opens a viewer's stream and returns the number of the last line received.
async fn view(
    fleet: &Fleet,
    server: usize,
    id: &str,
) -> anyhow::Result<watch::Receiver<Option<usize>>> {
    let path = format!("/api/jobs/{id}/stream");
    let mut stream = fleet
        .person(server, "GET", &path)
        .send()
        .await?
        .error_for_status()?;
    let (sender, last) = watch::channel(None);
    tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(bytes)) = stream.chunk().await {
            text.push_str(&String::from_utf8_lossy(&bytes));
            if let Some(at) = text.rfind("line-")
                && let Some(number) = text.get(at + 5..at + 11).and_then(|text| text.parse().ok())
            {
                text.clear();
                // An error means that the benchmark is over.
                let _over = sender.send(Some(number));
            }
        }
    });
    Ok(last)
}
