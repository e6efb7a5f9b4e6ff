//! Runs a script without a preset, once.

use serde::Deserialize;

use super::create::RenderedRun;
use super::request::NodeIds;
use super::{CreateOutcome, RunError, RunRequest, Runs};
use crate::auth::{Role, User};
use crate::http::FieldErrors;
use crate::jobs::{Idempotency, JobError, RenderedPreset};
use crate::presets::check::foreign_interpreter;
use crate::presets::{
    DEFAULT_TIMEOUT_SECONDS, ONE_OFF, Script, Values, has_command, script_sha256,
};
use crate::store::Tx;
use crate::store::job::{self, PresetSource};
use crate::store::run::{self, Run};

/// Longest script in bytes.
const SCRIPT_MAX: usize = 1024 * 1024;

/// The body of `POST /api/exec`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// Bash, at most 1 MiB. It runs as it is: without guard, params and options.
    pub script: String,
    /// 1 to 5,000 ids of nodes. Either this or `selector`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, min_items = 1)]
    pub nodes: Option<NodeIds>,
    /// A selector, such as `role=web`: all nodes that match now.
    #[serde(default)]
    pub selector: Option<String>,
    /// 1 to 604,800; 600 if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    pub timeout_seconds: Option<i64>,
}

impl Runs {
    /// Queues a script for each node.
    pub async fn exec(
        &self,
        user: &User,
        request: ExecRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<CreateOutcome, RunError> {
        let (key, before) = self.find_earlier(user, idempotency).await?;
        if let Some(before) = before {
            return Ok(CreateOutcome::Existing(before));
        }
        let script = request.script;
        let request = RunRequest {
            nodes: request.nodes,
            selector: request.selector,
            timeout_seconds: request.timeout_seconds,
            ..RunRequest::of(ONE_OFF)
        };
        self.exec_with(user, script, request, key, None).await
    }

    async fn exec_with(
        &self,
        user: &User,
        script: String,
        request: RunRequest,
        key: Option<(String, [u8; 32])>,
        retry_of: Option<String>,
    ) -> Result<CreateOutcome, RunError> {
        let mut faults = FieldErrors::default();
        check_script(&script, &mut faults);
        let checked = request.check_all(&mut faults);
        faults.into_faults().map_err(JobError::Fields)?;
        let sha256 = script_sha256(&script);
        let preset = RenderedPreset {
            script: Script {
                text: script,
                sha256,
            },
            values: Values::default(),
            timeout_seconds: u64::from(DEFAULT_TIMEOUT_SECONDS),
            preset_source: PresetSource::default(),
        };
        let rendered = RenderedRun::new(&request, checked, preset);
        self.create_rendered(user, request, rendered, key, retry_of)
            .await
    }

    /// Runs the script of an earlier run again.
    pub(super) async fn exec_again(
        &self,
        user: &User,
        run: &Run,
        request: RunRequest,
    ) -> Result<CreateOutcome, RunError> {
        if user.role < Role::Admin {
            return Err(RunError::NeedsAdmin);
        }
        let id = run.id.clone();
        let script = self
            .store
            .read(move |tx: &mut dyn Tx| {
                let first = run::jobs(tx, &id)?.into_iter().next();
                let first = first.ok_or(RunError::NotFound)?;
                Ok::<_, RunError>(job::script(tx, &first.id)?)
            })
            .await?;
        self.exec_with(user, script, request, None, Some(run.id.clone()))
            .await
    }
}

fn check_script(script: &str, faults: &mut FieldErrors) {
    let first_line = script.lines().next().unwrap_or_default();
    if script.len() > SCRIPT_MAX {
        faults.add("script", format!("must have at most {SCRIPT_MAX} bytes"));
    } else if script.contains('\0') {
        faults.add("script", "must not contain a NUL character");
    } else if !has_command(script) {
        faults.add("script", "has no command");
    } else if let Some(program) = foreign_interpreter(first_line) {
        faults.add(
            "script",
            format!("is for {program}, and nodes run scripts with bash: call {program} in a bash script, as in {program} - <<'END'"),
        );
    }
}
