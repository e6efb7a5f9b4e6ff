//! An export as one HTML file that needs nothing else: no script, no request to anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyprbox_protocol::{PerStream, Stream, last_character_boundary};
use serde_json::Value;

use super::escape::html;
use super::signatures::SignedText;
use super::{Export, OUTPUT_MAX, Totals, Writer};
use crate::clock::Timestamp;
use crate::crypto::sha256;
use crate::http::grouped;
use crate::jobs::JobView;
use crate::store::job::JobStatus;
use crate::store::output::StoredChunk;

const STYLE: &str = include_str!("../../../assets/export.css");

/// Writes an export as HTML.
#[derive(Default)]
pub(super) struct HtmlWriter {
    /// The beginning of a character whose other bytes are in a later chunk of the stream.
    rest: PerStream<Vec<u8>>,
}

impl Writer for HtmlWriter {
    fn head(&mut self, export: &Export) -> String {
        let job = &export.job;
        let title = html(&format!("{} on {}", job.preset, job.node_id));
        // Only this style, so that not even a mistake above could load or run anything.
        let style = STANDARD.encode(sha256(STYLE));
        let policy = format!(
            "default-src &#39;none&#39;; style-src &#39;sha256-{style}&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;"
        );
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n<p class=\"state {}\">{}</p>\n",
            job.status.as_str().to_lowercase(),
            html(&state(job)),
        );
        page.push_str(&facts(export));
        page.push_str(&params(&job.params));
        page.push_str(&steps(export));
        page.push_str(&format!(
            "<h2>Script</h2>\n<p>What ran, byte for byte. SHA-256 <code>{}</code></p>\n<pre>{}</pre>\n\
             <h2>Output</h2>\n<p>In the order in which the agent read it; standard error is marked.</p>\n<pre>",
            html(&job.script_sha256),
            html(&export.script),
        ));
        page
    }

    fn output(&mut self, chunk: &StoredChunk) -> String {
        let rest = &mut self.rest[chunk.stream];
        rest.extend_from_slice(&chunk.data);
        let end = last_character_boundary(rest);
        let text = html(&String::from_utf8_lossy(&rest[..end]));
        rest.drain(..end);
        marked(chunk.stream, &text)
    }

    fn tail(&mut self, export: &Export, totals: &Totals) -> String {
        let mut page = String::new();
        for stream in Stream::ALL {
            let rest = std::mem::take(&mut self.rest[stream]);
            let text = html(&String::from_utf8_lossy(&rest));
            page.push_str(&marked(stream, &text));
        }
        page.push_str("</pre>\n");
        if totals.omitted > 0 {
            page.push_str(&format!(
                "<p>This file has the first {} MiB. {} more bytes are covered only by the hashes below.</p>\n",
                OUTPUT_MAX >> 20,
                grouped(totals.omitted),
            ));
        }
        page.push_str(&hashes(export, totals));
        page.push_str(&signatures(&export.signed));
        page.push_str(&format!(
            "<footer>Exported from HyprBox Jobs at {} by {}</footer>\n</main>\n</body>\n</html>\n",
            time(export.exported_at),
            html(&export.exported_by),
        ));
        page
    }
}

fn marked(stream: Stream, text: &str) -> String {
    match stream {
        _ if text.is_empty() => String::new(),
        Stream::Stdout => text.to_owned(),
        Stream::Stderr => format!("<span class=\"e\">{text}</span>"),
    }
}

/// `2026-11-24 09:30:00.123 UTC`
fn time(at: Timestamp) -> String {
    at.to_string().replace('T', " ").replace('Z', " UTC")
}

fn state(job: &JobView) -> String {
    let why = match (&job.error_msg, job.exit_code, &job.signal) {
        (Some(why), Some(code), _) => format!(": {why} (exit code {code})"),
        (Some(why), None, _) => format!(": {why}"),
        (None, Some(code), _) => format!(", exit code {code}"),
        (None, None, Some(signal)) => format!(", killed by {signal}"),
        (None, None, None) => String::new(),
    };
    format!("{}{why}", job.status)
}

fn facts(export: &Export) -> String {
    let job = &export.job;
    let at = |at: Option<Timestamp>| at.map(time);
    let version = job.preset_version.map(|version| version.to_string());
    let signer = job
        .signed_by
        .as_ref()
        .map(|by| format!("{} {}", by.fingerprint, by.comment));
    let facts: [(&str, Option<String>); 20] = [
        ("Job", Some(job.id.clone())),
        ("Preset", Some(job.preset.clone())),
        ("Preset version", version),
        ("Preset commit", job.preset_commit.clone()),
        ("Kind", Some(job.kind.as_str().to_owned())),
        ("Node", Some(job.node_id.clone())),
        ("Run", job.run_id.clone()),
        ("Batch", job.batch.map(|batch| batch.to_string())),
        ("Queued by", Some(job.created_by_email.clone())),
        ("Signed by", signer),
        ("Queued", Some(time(job.created_at))),
        ("Not before", at(job.not_before)),
        ("Started", at(job.started_at)),
        ("Cancel requested", at(job.cancel_requested_at)),
        ("Ended", at(job.finished_at)),
        ("Reported late", at(job.recovered_at)),
        ("Ran", job.ran_ms.map(seconds)),
        ("Timeout", Some(format!("{} s", job.timeout_seconds))),
        ("Output", job.proof_in_words()),
        ("Not kept", not_kept(job)),
    ];
    let rows = facts.into_iter().filter_map(|(name, value)| {
        let value = html(&value?);
        Some(format!("<dt>{name}</dt><dd>{value}</dd>\n"))
    });
    format!("<dl>\n{}</dl>\n", rows.collect::<String>())
}

/// Bytes that the server does not have, if there are any.
fn not_kept(job: &JobView) -> Option<String> {
    let dropped = job.stdout_dropped + job.stderr_dropped;
    (dropped > 0).then(|| {
        let (out, err) = (grouped(job.stdout_dropped), grouped(job.stderr_dropped));
        format!("{out} bytes of stdout, {err} bytes of stderr")
    })
}

/// `1.234 s`
fn seconds(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}

fn params(params: &Value) -> String {
    let Some(params) = params.as_object().filter(|params| !params.is_empty()) else {
        return "<h2>Params</h2>\n<p>None.</p>\n".to_owned();
    };
    let rows = params.iter().map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!(
            "<dt>{}</dt><dd><code>{}</code></dd>\n",
            html(name),
            html(&text)
        )
    });
    format!("<h2>Params</h2>\n<dl>\n{}</dl>\n", rows.collect::<String>())
}

fn steps(export: &Export) -> String {
    if export.steps.is_empty() {
        let why = match export.job.status {
            JobStatus::Queued => "The job has not started.",
            JobStatus::Running
            | JobStatus::Succeeded
            | JobStatus::Failed
            | JobStatus::Cancelled => "None was announced.",
        };
        return format!("<h2>Steps</h2>\n<p>{why}</p>\n");
    }
    let rows = export.steps.iter().map(|step| {
        let took = step.duration().map(|duration| {
            let about = if duration.is_exact { "" } else { "about " };
            let millis = u64::try_from(duration.millis).unwrap_or(0);
            format!("{about}{}", seconds(millis))
        });
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            step.number,
            html(&step.name),
            step.state.words(),
            time(step.began_at),
            took.unwrap_or_default(),
        )
    });
    format!(
        "<h2>Steps</h2>\n<div class=\"wide\"><table>\n<tr><th>#</th><th>Step</th><th>State</th><th>Began</th><th>Took</th></tr>\n{}</table></div>\n",
        rows.collect::<String>()
    )
}

fn hashes(export: &Export, totals: &Totals) -> String {
    let rows = Stream::ALL.map(|stream| {
        let reported = export.reported[stream].as_deref().unwrap_or("unknown");
        format!(
            "<dt>{0}, as the agent computed it</dt><dd><code>{1}</code></dd>\n\
             <dt>{0}, of what the server keeps</dt><dd><code>{2}</code></dd>\n",
            stream.as_str(),
            html(reported),
            totals.kept[stream],
        )
    });
    let words = match export.job.output_verified {
        Some(true) => "Every byte is kept, and the server has verified the agent's hashes.",
        Some(false) => "Every byte is kept, but it is not what the script wrote: a hash differs.",
        None => "The output is not verified: it is not complete, or the agent sent no hashes.",
    };
    format!(
        "<h2>SHA-256 of the output</h2>\n<p>{words}</p>\n<dl>\n{}</dl>\n",
        rows.concat()
    )
}

fn signatures(signed: &[SignedText]) -> String {
    if signed.is_empty() {
        return "<h2>Signatures</h2>\n<p>None: the job was queued before jobs were signed.</p>\n"
            .to_owned();
    }
    let parts = signed.iter().map(|text| {
        format!(
            "<h3>{}</h3>\n<p>Key <code>{}</code>. What was signed names the script by its SHA-256:</p>\n<pre>{}</pre>\n\
             <p>These commands verify the signature, in an empty folder. They print <code>Good</code>. \
             Compare the key's fingerprint with one that you trust.</p>\n<pre>{}</pre>\n",
            text.title(),
            html(&text.fingerprint),
            html(&text.envelope),
            html(&text.verify),
        )
    });
    format!("<h2>Signatures</h2>\n{}", parts.collect::<String>())
}
