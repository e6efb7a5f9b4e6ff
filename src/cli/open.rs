//! `hyprbox open`: the address of a page, and the page itself if there is a browser.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::json;

use super::args::{Open, Scoped};
use super::client::{Client, segment};
use super::error::{CliError, exit};
use super::screen::{Screen, print_note};
use super::settings::variable;
use super::short_id::{self, Thing};

pub(super) async fn run(client: Client, screen: Screen, wanted: Open) -> Result<u8, CliError> {
    let path = match &wanted.what {
        Some(what) => find(&client, what, &wanted.scope).await?,
        None => "/".to_owned(),
    };
    let address = format!("{}{path}", client.url());
    if screen.json {
        screen.value(&json!({"url": address}))?;
    } else {
        screen.data(&format!("{address}\n"))?;
    }
    // In a pipe the address is what is wanted.
    if !wanted.print && screen.stdout_is_terminal && !screen.json {
        open(&address);
    }
    Ok(0)
}

/// The page of a node, a preset, a job or a run.
async fn find(client: &Client, what: &str, scope: &Scoped) -> Result<String, CliError> {
    let is_short = what == "last" || what.starts_with("last:");
    for list in ["nodes", "presets"] {
        if !is_short && exists(client, &format!("/api/{list}/{}", segment(what))).await? {
            return Ok(format!("/{list}/{}", segment(what)));
        }
    }
    let mut errors = Vec::new();
    for (thing, list) in [(Thing::Job, "jobs"), (Thing::Run, "runs")] {
        let id = match short_id::whole(client, thing, what, scope).await {
            Ok(id) => id,
            Err(error) if error.code == exit::NOT_FOUND => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let query = scope.query();
        let probe = match thing {
            Thing::Job => format!("/api/jobs/{}/log{query}", segment(&id)),
            Thing::Run => format!("/api/runs/{}{query}", segment(&id)),
        };
        if exists(client, &probe).await? {
            return Ok(format!("/{list}/{}{query}", segment(&id)));
        }
    }
    Err(errors.pop().unwrap_or_else(|| {
        CliError::not_found(format!("there is no job, run, node or preset {what:?}"))
            .hint("jobs and runs of other people need --scope all")
    }))
}

async fn exists(client: &Client, path: &str) -> Result<bool, CliError> {
    match client.bytes(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.code == exit::NOT_FOUND => Ok(false),
        Err(error) => Err(error),
    }
}

/// Starts the user's browser, if there is one. The address is on the terminal in any case.
fn open(address: &str) {
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| variable(name).is_some());
    let browser = match variable("BROWSER") {
        Some(browser) => browser,
        None if has_display => "xdg-open".to_owned(),
        None => return,
    };
    let started = Command::new(&browser)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // The browser stays when the terminal is closed.
        .process_group(0)
        .spawn();
    if let Err(error) = started {
        print_note(&format!("{browser} can't be started: {error}"));
    }
}
