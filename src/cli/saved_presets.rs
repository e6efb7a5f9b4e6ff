//! `hyprbox presets import|save|delete|versions`: one's own presets.

use std::io::Read;
use std::path::Path;

use reqwest::Method;
use reqwest::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{Delete, Import, Save, Versions};
use super::client::{Client, segment};
use super::error::{CliError, exit};
use super::screen::{Screen, print_note};
use super::table::Table;
use super::times;
use crate::clock::Timestamp;
use crate::presets::check::{Finding, Severity, Tools, import};
use crate::presets::{is_preset_name, name_in};

/// The largest file that is read. The server refuses smaller ones with a reason.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Works without a server.
pub(super) fn import_script(screen: Screen, args: &Import) -> Result<u8, CliError> {
    let script = read_text(&args.file)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.file),
    };
    let imported = import(&name, &script, &Tools::installed()).map_err(|error| {
        let what = if is_preset_name(&name) {
            args.file.as_str()
        } else {
            "the name"
        };
        CliError::failed(format!("{what} {error}"))
    })?;
    if screen.json {
        screen.value(&json!({"source": imported.source, "findings": imported.findings}))?;
        return Ok(0);
    }
    screen.text(imported.source.as_bytes())?;
    print_findings(&args.file, &imported.findings);
    Ok(0)
}

fn print_findings(file: &str, findings: &[Finding]) {
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        print_note(&format!(
            "{file}:{}:{}: {severity}: {} [{}]",
            finding.line, finding.column, finding.message, finding.rule
        ));
    }
}

/// `/srv/Back Up.sh` → `back-up`
fn name_of(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default();
    let mut name = String::new();
    for c in stem.to_string_lossy().to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name: String = name.trim_end_matches('-').chars().take(100).collect();
    if name.is_empty() {
        "imported".to_owned()
    } else {
        name
    }
}

/// The part of a saved preset that is used.
#[derive(Deserialize)]
struct Saved {
    version: Option<u64>,
    #[serde(default)]
    findings: Vec<Finding>,
    #[serde(default, rename = "hiddenBy")]
    hidden_by: Option<String>,
}

pub(super) async fn save(client: &Client, screen: Screen, args: Save) -> Result<u8, CliError> {
    let source = read_text(&args.file)?;
    let name = match args.name {
        Some(name) => name,
        None => name_in(&source).ok_or_else(|| {
            CliError::failed(format!("{} has no line `name: …`", args.file))
                .hint("add it, or name the preset with --name")
        })?,
    };
    let based_on = match args.based_on {
        Some(version) => version,
        None => last_version(client, &name).await?,
    };
    let condition = match based_on {
        0 => (IF_NONE_MATCH, "*".to_owned()),
        version => (IF_MATCH, format!("\"{version}-\"")),
    };
    let path = format!("/api/presets/{}", segment(&name));
    let body = json!({"source": source});
    let saved = client
        .call_if::<Saved>(Method::PUT, &path, &condition, Some(&body))
        .await?;
    if screen.json {
        screen.value(&saved.json)?;
        return Ok(0);
    }
    let saved = saved.value;
    print_findings(&args.file, &saved.findings);
    print_note(&format!(
        "Saved {name}, version {}.",
        saved.version.unwrap_or_default()
    ));
    if saved.hidden_by.is_some() {
        print_note(&format!(
            "A file in the server's presets folder hides it: remove that file to use this preset. `hyprbox presets show {name}` shows the file."
        ));
    }
    Ok(0)
}

/// The version in use; 0 if the preset is not in the app.
async fn last_version(client: &Client, name: &str) -> Result<u64, CliError> {
    let path = format!("/api/presets/{}", segment(name));
    let answer = match client.bytes(&path).await {
        Ok(answer) => answer,
        Err(error) if error.code == exit::NOT_FOUND => return Ok(0),
        Err(error) => return Err(error),
    };
    // The tag has the version in the app also if a file hides it.
    let tag = answer.headers().get(reqwest::header::ETAG);
    let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let tag = tag.trim_start_matches("W/").trim_matches('"');
    let version = tag.split('-').next().and_then(|text| text.parse().ok());
    Ok(version.unwrap_or(0))
}

pub(super) async fn delete(client: &Client, screen: Screen, args: Delete) -> Result<u8, CliError> {
    let path = format!("/api/presets/{}", segment(&args.name));
    let any: (HeaderName, String) = (IF_MATCH, "*".to_owned());
    client
        .call_if::<Value>(Method::DELETE, &path, &any, None)
        .await?;
    if !screen.json {
        print_note(&format!(
            "Deleted {}. Its versions stay: hyprbox presets versions {}",
            args.name, args.name
        ));
    }
    Ok(0)
}

/// A version in a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: u64,
    sha256: String,
    source: String,
    created_by_email: String,
    created_at: Timestamp,
}

#[derive(Deserialize)]
struct Page {
    versions: Vec<Version>,
    #[serde(rename = "nextCursor")]
    next_cursor: Option<String>,
}

pub(super) async fn versions(
    client: &Client,
    screen: Screen,
    args: Versions,
) -> Result<u8, CliError> {
    let path = format!("/api/presets/{}/versions", segment(&args.name));
    if let Some(number) = args.version {
        let found = client.get::<Version>(&format!("{path}/{number}")).await?;
        if screen.json {
            screen.value(&found.json)?;
        } else {
            screen.text(found.value.source.as_bytes())?;
        }
        return Ok(0);
    }
    let page = client.get::<Page>(&format!("{path}?limit=50")).await?;
    if screen.json {
        screen.value(&page.json)?;
        return Ok(0);
    }
    let mut table = Table::new(&["VERSION", "SAVED", "BY", "SHA256"]);
    for version in &page.value.versions {
        table.row([
            version.version.to_string().into(),
            times::moment(Some(version.created_at)).into(),
            version.created_by_email.as_str().into(),
            version.sha256.chars().take(12).collect::<String>().into(),
        ]);
    }
    screen.table(&table)?;
    if page.value.next_cursor.is_some() {
        print_note("These are the last 50 versions.");
    }
    Ok(0)
}

/// Reads a file, or standard input for `-`.
pub(super) fn read_text(file: &str) -> Result<String, CliError> {
    let failed = |error: std::io::Error| CliError::failed(format!("can't read {file}: {error}"));
    let mut bytes = Vec::new();
    if file == "-" {
        let input = std::io::stdin().lock();
        input.take(FILE_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(FILE_MAX + 1).read_to_end(&mut bytes))
    }
    .map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(CliError::failed(format!(
            "{file} has more than {FILE_MAX} bytes"
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| CliError::failed(format!("{file} is not UTF-8 text: convert it with iconv")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_from_the_file() {
        for (file, name) in [
            ("/srv/Back Up.sh", "back-up"),
            ("a.b.sh", "a-b"),
            ("-", "imported"),
            ("ü.sh", "imported"),
            ("__x__", "x"),
        ] {
            assert_eq!(name_of(file), name);
            assert!(is_preset_name(&name_of(file)));
        }
    }
}
