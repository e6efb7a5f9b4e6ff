//! `hyprbox jobs log` without `--follow`: downloads the log, and resumes if the download breaks
//! off.

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{ETAG, HeaderValue};
use serde_json::Value;

use super::args::{OneJob, StreamArg};
use super::client::{CallError, Client, connection_error, segment};
use super::error::CliError;
use super::lines::{LastLines, Output};
use super::screen::{Screen, print_note};

/// The smallest possible tail of a stream: nothing was dropped from a shorter log.
const KEPT_LEAST: u64 = 65_536;

/// Prints the log.
pub(super) async fn print(
    client: &Client,
    screen: Screen,
    job: &OneJob,
    tail: Option<usize>,
    stream: StreamArg,
) -> Result<u8, CliError> {
    let stream = match stream {
        StreamArg::Stdout => "stdout",
        StreamArg::Stderr => "stderr",
        StreamArg::Both => "both",
    };
    let scope = job.scope.query().replace('?', "&");
    let path = format!("/api/jobs/{}/log?stream={stream}{scope}", segment(&job.id));
    let (mut output, mut last) = (Output::new(screen), tail.map(LastLines::new));
    let mut download = Download::start(client, path).await?;
    while let Some(bytes) = download.next(&job.id).await? {
        match &mut last {
            Some(last) => last.push(&bytes),
            None => output.write(&bytes)?,
        }
    }
    match &mut last {
        Some(last) => output.write(&last.take())?,
        None if download.length >= KEPT_LEAST => report_dropped(client, job).await,
        None => {}
    }
    output.finish()?;
    Ok(0)
}

/// Prints how many bytes were dropped from the log. Failures are ignored: this is only a note.
async fn report_dropped(client: &Client, job: &OneJob) {
    let scope = job.scope.query().replace('?', "&");
    let path = format!("/api/jobs/{}/stream?output=none{scope}", segment(&job.id));
    let Ok(mut events) = client.events(&path, None).await else {
        return;
    };
    let Ok(Some(event)) = events.next().await else {
        return;
    };
    let counts: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    let dropped = count("stdoutDropped") + count("stderrDropped");
    if dropped > 0 {
        print_note(&format!(
            "{dropped} bytes before or within this output are not kept: the server keeps only the end of each stream."
        ));
    }
}

/// A download in progress.
struct Download<'c> {
    client: &'c Client,
    path: String,
    answer: Response,
    /// Identifies the content, which changes while a job runs.
    tag: Option<HeaderValue>,
    /// Bytes received so far.
    length: u64,
    /// Bytes received when the download last broke off.
    broke_at: Option<u64>,
}

impl<'c> Download<'c> {
    async fn start(client: &'c Client, path: String) -> Result<Self, CliError> {
        let answer = client.bytes(&path).await?;
        Ok(Self {
            tag: answer.headers().get(ETAG).cloned(),
            client,
            path,
            answer,
            length: 0,
            broke_at: None,
        })
    }

    async fn next(&mut self, job_id: &str) -> Result<Option<Bytes>, CliError> {
        loop {
            match self.answer.chunk().await {
                Ok(Some(bytes)) => {
                    self.length += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(error) => self.resume(job_id, connection_error(&error)).await?,
            }
        }
    }

    /// Resumes at the next byte, as long as each attempt receives at least one byte.
    async fn resume(&mut self, job_id: &str, error: CallError) -> Result<(), CliError> {
        let brought = self.broke_at.replace(self.length) != Some(self.length);
        if let Some(tag) = self.tag.as_ref().filter(|_| brought)
            && let Some(answer) = self
                .client
                .resume_download(&self.path, tag, self.length)
                .await
        {
            self.answer = answer;
            return Ok(());
        }
        let why = match error {
            CallError::Connection { words, .. } => words,
            other @ (CallError::Refused { .. } | CallError::Protocol(_)) => {
                self.client.explain(other).message
            }
        };
        let words = format!(
            "the log download broke off after {} bytes: {why}",
            self.length
        );
        Err(CliError::failed(words).hint(format!(
            "run the command again, or use one that reconnects: hyprbox jobs log --follow {job_id}"
        )))
    }
}
