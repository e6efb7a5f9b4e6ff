//! `hyprbox jobs sign` and `hyprbox run --sign`: shows what a job will run, asks, and signs it with
//! a key that only the person has. The server never sees the key.
//!
//! What is signed is what was shown: the envelope must name the SHA-256 of the shown script.

use std::path::Path;

use hyprbox_signing::Envelope;
use serde_json::{Value, json};

use super::args::{OneJob, ScopeArg, Scoped, SignWith, Sure};
use super::ask;
use super::client::{Client, segment};
use super::error::CliError;
use super::person_key::PersonKey;
use super::screen::{Screen, print_note};
use crate::jobs::{HoldView, JobDetail, JobView, unified_diff};
use crate::presets::{ParamKind, Preset, Values, render, script_sha256};
use crate::store::job::HoldKind;

/// `hyprbox jobs sign`
pub(super) async fn one(
    client: &Client,
    screen: &Screen,
    job: OneJob,
    with: &SignWith,
    sure: &Sure,
) -> Result<u8, CliError> {
    let job = job.named(client).await?;
    let signed = sign(client, screen, &[job], with, sure).await?;
    if screen.json {
        screen.value(&signed)?;
    }
    Ok(0)
}

/// Signs the jobs that a command has just queued, as far as they wait for a signature: the others
/// need none, because their nodes run what the server has signed.
pub(super) async fn new_jobs(
    client: &Client,
    screen: &Screen,
    ids: &[String],
    with: &SignWith,
    sure: &Sure,
) -> Result<(), CliError> {
    let mut jobs = Vec::with_capacity(ids.len());
    for id in ids {
        let job = OneJob {
            id: id.clone(),
            scope: Scoped {
                scope: ScopeArg::Mine,
            },
        };
        let detail = client.get::<JobDetail>(&job.path("")).await?.value.job;
        let waits = |hold: &HoldView| hold.kind == HoldKind::Signature;
        if detail.holds.iter().any(waits) {
            jobs.push(job);
        } else {
            print_note(&format!(
                "Job {id} is not signed: {} requires no signatures by people.",
                detail.node_id
            ));
        }
    }
    if jobs.is_empty() {
        return Ok(());
    }
    sign(client, screen, &jobs, with, sure).await.map(drop)
}

/// Refuses to sign if nobody can read the script.
pub(super) fn require_person(screen: &Screen, sure: &Sure) -> Result<(), CliError> {
    if sure.yes || screen.has_person() {
        return Ok(());
    }
    Err(
        CliError::failed("nothing is signed: nobody is there to read the script")
            .hint("run this on a terminal, or add --yes if you have checked the script"),
    )
}

/// A job as it is about to be signed.
struct Subject {
    job: OneJob,
    detail: JobDetail,
    envelope: String,
}

/// Shows the jobs' scripts, asks once, and signs each job. Returns the signed jobs.
pub(super) async fn sign(
    client: &Client,
    screen: &Screen,
    jobs: &[OneJob],
    with: &SignWith,
    sure: &Sure,
) -> Result<Vec<Value>, CliError> {
    require_person(screen, sure)?;
    let mut subjects = Vec::with_capacity(jobs.len());
    for job in jobs {
        subjects.push(read(client, job).await?);
    }
    let mut shown: Option<&str> = None;
    for subject in &subjects {
        let script = subject.detail.script.as_str();
        if shown != Some(script) {
            show(client, subject, with).await?;
            shown = Some(script);
        }
        print_note(&format!(
            "  {} on {}",
            subject.detail.job.id, subject.detail.job.node_id
        ));
    }
    let question = match subjects.len() {
        1 => "Sign this job?".to_owned(),
        count => format!("Sign these {count} jobs?"),
    };
    ask::confirm(screen, sure, &question, "nothing was signed")?;
    let mut key = PersonKey::open(with.key.as_deref())?;
    let mut signed = Vec::with_capacity(subjects.len());
    for subject in &subjects {
        let signature = key.sign(subject.envelope.as_bytes())?;
        let body = json!({"signature": signature, "comment": key.comment()});
        let path = subject.job.path("/signatures");
        match client.post::<JobView>(&path, &body).await {
            Ok(answer) => signed.push(answer.json),
            // Somebody else may have signed or cancelled it meanwhile.
            Err(error) if is_wrong_state(&error) && subjects.len() > 1 => {
                print_note(&format!(
                    "Job {} is not signed: {}.",
                    subject.detail.job.id, error.message
                ));
            }
            Err(error) => return Err(error),
        }
    }
    print_note(&format!(
        "Signed with {} {}.",
        key.public().fingerprint(),
        key.comment()
    ));
    Ok(signed)
}

fn is_wrong_state(error: &CliError) -> bool {
    let code = error.api.as_ref().map(|(code, _)| code.as_str());
    code == Some("wrong_state")
}

/// Reads a job and its envelope, and refuses an envelope that is not about what will be shown.
async fn read(client: &Client, job: &OneJob) -> Result<Subject, CliError> {
    let detail = client.get::<JobDetail>(&job.path("")).await?.value;
    let response = client.bytes(&job.path("/envelope")).await?;
    let envelope = response
        .text()
        .await
        .map_err(|error| CliError::failed(format!("the envelope can't be read: {error}")))?;
    let stated = Envelope::parse(&envelope).map_err(|error| CliError::failed(error.to_string()))?;
    let differs = if stated.job != detail.job.id {
        Some("another job")
    } else if stated.script_sha256 != script_sha256(&detail.script) {
        Some("another script than the one that the server shows")
    } else if stated.node != detail.job.node_id {
        Some("another node")
    } else if stated.preset != detail.job.preset {
        Some("another preset")
    } else if stated.timeout_seconds != detail.job.timeout_seconds {
        Some("another timeout")
    } else {
        None
    };
    match differs {
        Some(what) => Err(CliError::failed(format!(
            "nothing was signed: the envelope of job {} names {what}",
            detail.job.id
        ))),
        None => Ok(Subject {
            job: OneJob {
                id: detail.job.id.clone(),
                scope: job.scope.clone(),
            },
            detail,
            envelope,
        }),
    }
}

/// Shows the script, how it differs from the last one that succeeded there, and how it compares
/// with the preset's own file.
async fn show(client: &Client, subject: &Subject, with: &SignWith) -> Result<(), CliError> {
    let JobDetail { job, script, .. } = &subject.detail;
    print_note(&format!(
        "{} by {}, at most {} s. The script, SHA-256 {}:\n",
        job.preset, job.created_by_email, job.timeout_seconds, job.script_sha256
    ));
    let before = last_run(client, &subject.job.scope, &job.node_id, &job.preset).await?;
    let about = Script {
        name: format!("job/{}", job.id),
        preset: &job.preset,
        params: &job.params,
        text: script,
    };
    show_script(&about, &job.node_id, before, with)
}

/// A script that is about to be signed.
pub(super) struct Script<'s> {
    /// What it is called in a diff.
    pub(super) name: String,
    pub(super) preset: &'s str,
    pub(super) params: &'s Value,
    pub(super) text: &'s str,
}

/// Shows the script, how it differs from the last one that succeeded on the node, and how it
/// compares with the preset's own file.
pub(super) fn show_script(
    script: &Script<'_>,
    node: &str,
    before: Option<(String, String)>,
    with: &SignWith,
) -> Result<(), CliError> {
    print_note(script.text);
    match before {
        Some((id, before)) if before == script.text => {
            print_note(&format!(
                "\nThe same script succeeded on {node} in job {id}."
            ));
        }
        Some((id, before)) => {
            let diff = unified_diff((&format!("job/{id}"), &before), (&script.name, script.text));
            print_note(&format!(
                "\nThe last run on {node} had another script:\n{diff}"
            ));
        }
        None => print_note(&format!("\nThis preset has not succeeded on {node} yet.")),
    }
    match &with.presets {
        Some(folder) => compare(folder, script)?,
        None => print_note(
            "This is the script that the server sent; it was shown, not compared. --presets DIR compares it with your own files.",
        ),
    }
    print_note("");
    Ok(())
}

/// The last job of this preset that succeeded on the node, with its script.
pub(super) async fn last_run(
    client: &Client,
    scoped: &Scoped,
    node_id: &str,
    preset: &str,
) -> Result<Option<(String, String)>, CliError> {
    let scope = match scoped.query() {
        "" => String::new(),
        query => format!("&{}", query.trim_start_matches('?')),
    };
    let path = format!(
        "/api/jobs?nodeId={}&preset={}&status=SUCCEEDED&limit=1{scope}",
        segment(node_id),
        segment(preset)
    );
    let Some(before) = client
        .list::<JobView>(&path, "jobs")
        .await?
        .value
        .into_iter()
        .next()
    else {
        return Ok(None);
    };
    let one = OneJob {
        id: before.id.clone(),
        scope: scoped.clone(),
    };
    let detail = client.get::<JobDetail>(&one.path("")).await?.value;
    Ok(Some((before.id, detail.script)))
}

/// Renders the preset from a folder and refuses other bytes.
fn compare(folder: &Path, script: &Script<'_>) -> Result<(), CliError> {
    let refuse = |why: String| CliError::failed(format!("nothing was signed: {why}"));
    let file = folder.join(format!("{}.yaml", script.preset));
    let text = std::fs::read_to_string(&file)
        .map_err(|error| refuse(format!("{} can't be read: {error}", file.display())))?;
    let preset = Preset::parse(script.preset, &text).map_err(|faults| {
        let first = faults
            .first()
            .map_or_else(String::new, |fault| format!(": {}", fault.message));
        refuse(format!("{} is not a valid preset{first}", file.display()))
    })?;
    let mut params = script.params.as_object().cloned().unwrap_or_default();
    for param in &preset.params {
        // The script does not contain secrets, so any value renders to the same bytes.
        if matches!(param.kind, ParamKind::Secret) {
            params.insert(param.name.clone(), Value::from("a placeholder"));
        }
    }
    let values = Values::check(&preset, &params).map_err(|errors| {
        let first = errors.fields.into_iter().next();
        let first = first.map_or_else(String::new, |(name, why)| format!(": {name} {why}"));
        refuse(format!("the params don't fit {}{first}", file.display()))
    })?;
    let own = render(&preset, &values);
    if own.text == script.text {
        print_note(&format!("{} renders to the same bytes.", file.display()));
        return Ok(());
    }
    let diff = unified_diff(
        (&file.display().to_string(), &own.text),
        ("the server's script", script.text),
    );
    print_note(&format!("\n{diff}"));
    Err(refuse(format!(
        "{} renders to another script",
        file.display()
    )))
}
