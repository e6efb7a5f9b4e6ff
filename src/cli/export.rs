//! `hyprbox jobs export`

use std::io::Write;
use std::path::Path;

use super::args::OneJob;
use super::client::{Client, connection_error, segment};
use super::error::CliError;
use super::screen::{Screen, print_note};

/// Saves everything about a job in a file, or prints it.
pub(super) async fn run(
    client: &Client,
    screen: Screen,
    job: &OneJob,
    file: Option<&Path>,
    format: &str,
) -> Result<u8, CliError> {
    let scope = job.scope.query().replace('?', "&");
    let id = segment(&job.id);
    let path = format!("/api/jobs/{id}/export?format={format}{scope}");
    let mut answer = client.bytes(&path).await?;
    let broken = |error| client.explain(connection_error(&error));
    let Some(file) = file else {
        while let Some(bytes) = answer.chunk().await.map_err(broken)? {
            screen.bytes(&bytes)?;
        }
        return Ok(0);
    };
    let shown = file.display();
    let wrong =
        |error: std::io::Error| CliError::failed(format!("{shown} can't be written: {error}"));
    // Under another name until it is complete.
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(wrong)?;
    while let Some(bytes) = answer.chunk().await.map_err(broken)? {
        draft.write_all(&bytes).map_err(wrong)?;
    }
    draft.persist(file).map_err(|error| wrong(error.error))?;
    print_note(&format!("Saved {shown}."));
    Ok(0)
}
