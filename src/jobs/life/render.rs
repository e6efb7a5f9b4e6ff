//! Renders a request's preset, to apply it or to check it.

use hyprbox_protocol::{MAX_CLAIM_BYTES, Secrets};

use crate::http::{FieldErrors, NamedValues};
use crate::jobs::{JobError, Jobs};
use crate::presets::{ONE_OFF, ParamKind, Preset, Script, Values, render, render_check};
use crate::store::job::{JobKind, PresetSource};

/// The most bytes of a script and its secrets as JSON. The rest of a claim is shorter than this
/// leaves for it.
const CLAIM_MAX: usize = MAX_CLAIM_BYTES - 64 * 1024;

/// A preset rendered with the params of a request.
#[derive(Debug)]
pub struct RenderedPreset {
    pub script: Script,
    pub values: Values,
    /// The preset's timeout.
    pub timeout_seconds: u64,
    pub preset_source: PresetSource,
}

impl Jobs {
    /// Renders what applies a preset; see [`Jobs::render_for`].
    pub async fn render(
        &self,
        name: String,
        params: NamedValues,
        faults: FieldErrors,
    ) -> Result<RenderedPreset, JobError> {
        self.render_for(None, name, params, faults).await
    }

    /// Renders a preset with params, for a job of this kind. Returns every fault of the params at
    /// once, with the `faults` of the request's other fields. A check drops secrets.
    pub async fn render_for(
        &self,
        kind: Option<JobKind>,
        name: String,
        mut params: NamedValues,
        mut faults: FieldErrors,
    ) -> Result<RenderedPreset, JobError> {
        if name == ONE_OFF {
            faults.add(
                "preset",
                "can't be -, which stands for a script without a preset: send that to /api/exec",
            );
            return Err(JobError::Fields(faults));
        }
        let stored = self.open_secrets(&params.kept).await?;
        let presets = self.presets().await?;
        let work = move || {
            let entry = presets
                .get(&name)
                .ok_or_else(|| JobError::no_preset(&presets, &name))?;
            let is_check = kind == Some(JobKind::Check);
            if is_check {
                let preset = &entry.preset;
                let is_kept = |name: &String| {
                    let param = preset.param(name);
                    param.is_none_or(|param| param.kind != ParamKind::Secret)
                };
                params.kept.retain(|name, _| is_kept(name));
            }
            stored.resolve(entry, &mut params.kept, &mut faults)?;
            let (script, values) = match is_check {
                true => render_check_with(&entry.preset, &params, faults)?,
                false => render_with(&entry.preset, &params, faults)?,
            };
            Ok(RenderedPreset {
                script,
                values,
                timeout_seconds: u64::from(entry.preset.timeout_seconds),
                preset_source: PresetSource {
                    version: entry.saved.as_ref().map(|saved| saved.version),
                    commit: entry.commit.clone(),
                },
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| crate::store::StoreError::Stopping)?
    }
}

/// Renders a preset, or returns every fault of the params, with those of other fields.
pub(in crate::jobs) fn render_with(
    preset: &Preset,
    params: &NamedValues,
    faults: FieldErrors,
) -> Result<(Script, Values), JobError> {
    let values = check_params(preset, params, faults)?;
    deliverable(render(preset, &values), values)
}

/// Renders the check of a preset, like [`render_with`].
fn render_check_with(
    preset: &Preset,
    params: &NamedValues,
    faults: FieldErrors,
) -> Result<(Script, Values), JobError> {
    let values = check_params(&preset.without_secrets(), params, faults)?;
    deliverable(render_check(preset, &values), values)
}

fn check_params(
    preset: &Preset,
    params: &NamedValues,
    mut faults: FieldErrors,
) -> Result<Values, JobError> {
    let checked = Values::check(preset, &params.kept);
    match checked {
        // `params.more` counts names beyond those kept, which no preset has.
        Ok(values) if faults.is_empty() && params.more == 0 => Ok(values),
        checked => {
            if params.more > 0 && checked.is_ok() {
                faults.add("params", "has more names than a preset can have params");
            }
            faults.extend(checked.err().into_iter().flat_map(|errors| errors.fields));
            faults.add_unnamed(params.more);
            Err(JobError::Fields(faults))
        }
    }
}

fn deliverable(script: Script, values: Values) -> Result<(Script, Values), JobError> {
    let mut faults = FieldErrors::default();
    faults.check(
        is_deliverable(&script, values.secrets()),
        "params",
        "are too long: no agent accepts a script of more than 16 MiB as JSON",
    );
    faults.into_faults().map_err(JobError::Fields)?;
    Ok((script, values))
}

/// Whether an agent will read the answer with which the job is claimed.
fn is_deliverable(script: &Script, secrets: &Secrets) -> bool {
    // Each byte takes at most 6 in JSON.
    if script.text.len() + secrets.values().map(String::len).sum::<usize>() < CLAIM_MAX / 6 {
        return true;
    }
    let mut length = ByteCount(0);
    let written = serde_json::to_writer(&mut length, &(&script.text, secrets));
    written.is_ok() && length.0 <= CLAIM_MAX
}

/// Counts what is written to it.
struct ByteCount(usize);

impl std::io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
