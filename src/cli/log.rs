//! `hyprbox jobs log` without `--follow`: downloads the log, and resumes if the download breaks
//! off.

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{ETAG, HeaderValue};

use super::args::{OneJob, Scoped, StreamArg};
use super::client::{CallError, Client, connection_error, segment};
use super::error::CliError;
use super::lines::{LastLines, LastStep, Output};
use super::newest::Newest;
use super::screen::{Screen, print_note};
use super::times;
use crate::jobs::{Counted, DoneEvent, JobView, StatusEvent};
use crate::store::job::JobStatus;

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

/// Prints the output of the step in which the job failed: of all that came since the last step was
/// announced, the last lines if `tail` is given.
pub(super) async fn print_failed(
    client: &Client,
    screen: Screen,
    job: &OneJob,
    tail: Option<usize>,
) -> Result<u8, CliError> {
    let status = read_status(client, job).await?.event.status;
    if status != JobStatus::Failed {
        print_note(&format!("Job {} is {status}; it has not failed.", job.id));
        return Ok(0);
    }
    let scope = job.scope.query().replace('?', "&");
    let path = format!("/api/jobs/{}/log?stream=both{scope}", segment(&job.id));
    let mut download = Download::start(client, path).await?;
    let mut step = LastStep::default();
    while let Some(bytes) = download.next(&job.id).await? {
        step.push(&bytes);
    }
    let mut lines = LastLines::new(tail.unwrap_or(usize::MAX));
    lines.push(step.bytes());
    let mut output = Output::new(screen);
    output.write(&lines.take())?;
    output.finish()?;
    Ok(0)
}

/// The job's state, without its output.
/// The newest failed job, which is named on the terminal.
pub(super) async fn newest_failed(client: &Client, scope: Scoped) -> Result<OneJob, CliError> {
    let failed = [("status", "FAILED".to_owned())];
    let newest = Newest::<JobView>::read(client, "jobs", &failed, &scope, 1).await?;
    let Some(job) = newest.entries.into_iter().next() else {
        return Err(CliError::not_found("none of your jobs has failed")
            .hint("--scope all also looks at other people's jobs"));
    };
    let done = DoneEvent::of(&job);
    print_note(&format!(
        "Job {}: {} on {} {}, {}",
        job.id,
        job.preset,
        job.node_id,
        done.describe(),
        times::ago(job.created_at)
    ));
    Ok(OneJob { id: job.id, scope })
}

async fn read_status(client: &Client, job: &OneJob) -> Result<Counted<StatusEvent>, CliError> {
    let scope = job.scope.query().replace('?', "&");
    let path = format!("/api/jobs/{}/stream?output=none{scope}", segment(&job.id));
    let failed = |error| client.explain(error);
    let mut events = client.events(&path, None).await.map_err(failed)?;
    let event = events.next().await;
    let event = event.map_err(|error| failed(connection_error(&error)))?;
    let data = event.map(|event| event.data).unwrap_or_default();
    serde_json::from_str(&data).map_err(|error| failed(CallError::Protocol(error.to_string())))
}

/// Prints how many bytes were dropped from the log. Failures are ignored: this is only a note.
async fn report_dropped(client: &Client, job: &OneJob) {
    let Ok(status) = read_status(client, job).await else {
        return;
    };
    let dropped = status.stdout_dropped + status.stderr_dropped;
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
