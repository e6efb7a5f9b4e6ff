//! `hyprbox jobs sign` and `hyprbox run --sign`: shows what a job will run, asks, and signs it with
//! a key that only the person has. The server never sees the key.
//!
//! What is signed is what was shown: the envelope must name the SHA-256 of the shown script.

use std::path::{Path, PathBuf};

use hyprbox_signing::{Envelope, JOB_NAMESPACE, PublicKey, SignKey, SshAgent};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{OneJob, ScopeArg, Scoped, SignWith, Sure};
use super::ask;
use super::client::{Client, segment};
use super::error::CliError;
use super::screen::{Screen, print_note};
use crate::jobs::{JobDetail, JobView, unified_diff};
use crate::presets::{ParamKind, Preset, Values, render, script_sha256};

/// The key without `--key` and ssh-agent, below the home folder.
const KEY_DEFAULT: &str = ".ssh/id_ed25519";
/// More than a public key's file has.
const PUBLIC_KEY_MAX: usize = 16 * 1_024;

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

/// Signs the jobs that a command has just queued. Jobs whose node needs no signature may have
/// started meanwhile.
pub(super) async fn new_jobs(
    client: &Client,
    screen: &Screen,
    ids: &[String],
    with: &SignWith,
    sure: &Sure,
) -> Result<(), CliError> {
    let one = |id: &String| OneJob {
        id: id.clone(),
        scope: Scoped {
            scope: ScopeArg::Mine,
        },
    };
    let jobs: Vec<OneJob> = ids.iter().map(one).collect();
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
    let mut key = Key::open(with.key.as_deref())?;
    let mut signed = Vec::with_capacity(subjects.len());
    for subject in &subjects {
        let signature = key.sign(subject.envelope.as_bytes())?;
        let body = json!({"signature": signature, "comment": key.comment()});
        let path = subject.job.path("/signatures");
        match client.post::<JobView>(&path, &body).await {
            Ok(answer) => signed.push(answer.json),
            // A job whose node needs no signature may have started meanwhile.
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
    print_note(script);
    match last_run(client, &subject.job, job).await? {
        Some((id, before)) if before == *script => {
            print_note(&format!(
                "\nThe same script succeeded on {} in job {id}.",
                job.node_id
            ));
        }
        Some((id, before)) => {
            let diff = unified_diff(
                (&format!("job/{id}"), &before),
                (&format!("job/{}", job.id), script),
            );
            print_note(&format!(
                "\nThe last run on {} had another script:\n{diff}",
                job.node_id
            ));
        }
        None => print_note(&format!(
            "\nThis preset has not succeeded on {} yet.",
            job.node_id
        )),
    }
    match &with.presets {
        Some(folder) => compare(folder, job, script)?,
        None => print_note(
            "This is the script that the server sent; it was shown, not compared. --presets DIR compares it with your own files.",
        ),
    }
    print_note("");
    Ok(())
}

/// The last job of this preset that succeeded on the node, with its script.
async fn last_run(
    client: &Client,
    one: &OneJob,
    job: &JobView,
) -> Result<Option<(String, String)>, CliError> {
    let scope = match one.scope.query() {
        "" => String::new(),
        query => format!("&{}", query.trim_start_matches('?')),
    };
    let path = format!(
        "/api/jobs?nodeId={}&preset={}&status=SUCCEEDED&limit=1{scope}",
        segment(&job.node_id),
        segment(&job.preset)
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
        scope: one.scope.clone(),
    };
    let detail = client.get::<JobDetail>(&one.path("")).await?.value;
    Ok(Some((before.id, detail.script)))
}

/// Renders the preset from a folder and refuses other bytes.
fn compare(folder: &Path, job: &JobView, script: &str) -> Result<(), CliError> {
    let refuse = |why: String| CliError::failed(format!("nothing was signed: {why}"));
    let file = folder.join(format!("{}.yaml", job.preset));
    let text = std::fs::read_to_string(&file)
        .map_err(|error| refuse(format!("{} can't be read: {error}", file.display())))?;
    let preset = Preset::parse(&job.preset, &text).map_err(|faults| {
        let first = faults
            .first()
            .map_or_else(String::new, |fault| format!(": {}", fault.message));
        refuse(format!("{} is not a valid preset{first}", file.display()))
    })?;
    let mut params = job.params.as_object().cloned().unwrap_or_default();
    for param in &preset.params {
        // The script does not contain secrets, so any value renders to the same bytes.
        if matches!(param.kind, ParamKind::Secret) {
            params.insert(param.name.clone(), Value::from("a placeholder"));
        }
    }
    let values = Values::check(&preset, &params).map_err(|errors| {
        let first = errors.fields.into_iter().next();
        let first = first.map_or_else(String::new, |(name, why)| format!(": {name} {why}"));
        refuse(format!(
            "the job's params don't fit {}{first}",
            file.display()
        ))
    })?;
    let own = render(&preset, &values);
    if own.text == script {
        print_note(&format!("{} renders to the same bytes.", file.display()));
        return Ok(());
    }
    let diff = unified_diff(
        (&file.display().to_string(), &own.text),
        ("the server's script", script),
    );
    print_note(&format!("\n{diff}"));
    Err(refuse(format!(
        "{} renders to another script",
        file.display()
    )))
}

/// The person's key: in a file, or in ssh-agent.
enum Key {
    File(SignKey),
    Agent {
        agent: SshAgent,
        key: PublicKey,
        comment: String,
    },
}

impl Key {
    /// The key that `--key` names; without it, the only key of ssh-agent, or `~/.ssh/id_ed25519`.
    fn open(file: Option<&Path>) -> Result<Self, CliError> {
        if let Some(file) = file {
            return Self::in_file(file);
        }
        if let Some(mut agent) = ssh_agent()? {
            let keys = agent
                .keys()
                .map_err(|error| CliError::failed(error.to_string()))?;
            if keys.len() > 1 {
                let mut error =
                    CliError::failed("ssh-agent holds several keys: name one with --key FILE.pub");
                error.hints = keys
                    .iter()
                    .map(|known| format!("{} {}", known.key.fingerprint(), known.comment))
                    .collect();
                return Err(error);
            }
            if let Some(known) = keys.into_iter().next() {
                return Ok(Self::Agent {
                    agent,
                    key: known.key,
                    comment: known.comment,
                });
            }
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let file = home
            .map(|home| home.join(KEY_DEFAULT))
            .filter(|file| file.exists());
        match file {
            Some(file) => Self::in_file(&file),
            None => Err(CliError::failed("there is no key to sign with")
                .hint("name an ed25519 key with --key FILE, or load one with `ssh-add`")),
        }
    }

    fn in_file(file: &Path) -> Result<Self, CliError> {
        let wrong = |why: String| CliError::failed(format!("{}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let text = Zeroizing::new(text);
        if text.len() <= PUBLIC_KEY_MAX
            && let Some((key, comment)) = PublicKey::parse_line(&text)
        {
            return Self::in_agent(key, comment).map_err(|error| wrong(error.message));
        }
        match SignKey::parse(&text) {
            Ok(key) => Ok(Self::File(key)),
            Err(error) => {
                // With the public key next to it, the private one may be in ssh-agent.
                let mut public = file.as_os_str().to_owned();
                public.push(".pub");
                let line = std::fs::read_to_string(PathBuf::from(public)).unwrap_or_default();
                match PublicKey::parse_line(&line) {
                    Some((key, comment)) => {
                        Self::in_agent(key, comment).map_err(|_| wrong(error.to_string()))
                    }
                    None => Err(wrong(error.to_string())),
                }
            }
        }
    }

    fn in_agent(key: PublicKey, comment: &str) -> Result<Self, CliError> {
        let missing =
            || CliError::failed("ssh-agent does not hold this key; load it with `ssh-add`");
        let mut agent = ssh_agent()?.ok_or_else(missing)?;
        let keys = agent
            .keys()
            .map_err(|error| CliError::failed(error.to_string()))?;
        if !keys.iter().any(|known| known.key == key) {
            return Err(missing());
        }
        Ok(Self::Agent {
            agent,
            key,
            comment: comment.to_owned(),
        })
    }

    fn public(&self) -> &PublicKey {
        match self {
            Self::File(key) => key.public(),
            Self::Agent { key, .. } => key,
        }
    }

    fn comment(&self) -> &str {
        match self {
            Self::File(key) => key.comment(),
            Self::Agent { comment, .. } => comment,
        }
    }

    fn sign(&mut self, envelope: &[u8]) -> Result<String, CliError> {
        match self {
            Self::File(key) => Ok(key.sign(JOB_NAMESPACE, envelope)),
            Self::Agent { agent, key, .. } => agent
                .sign(key, JOB_NAMESPACE, envelope)
                .map_err(|error| CliError::failed(error.to_string())),
        }
    }
}

/// A connection to the agent that `SSH_AUTH_SOCK` names.
fn ssh_agent() -> Result<Option<SshAgent>, CliError> {
    let Some(socket) = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()) else {
        return Ok(None);
    };
    let agent = SshAgent::connect(Path::new(&socket));
    agent
        .map(Some)
        .map_err(|error| CliError::failed(format!("{error} (SSH_AUTH_SOCK)")))
}
