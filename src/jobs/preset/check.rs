//! Runs the linter for requests: few at a time, and each for a bounded time.

use std::sync::OnceLock;
use std::time::Duration;

use crate::http::{FieldErrors, NamedValues};
use crate::jobs::life::render::render_with;
use crate::jobs::{Jobs, PresetError};
use crate::presets::check::{Finding, Tools, check};
use crate::presets::{MAX_FILE_BYTES, Preset, Script};

/// How long bash and shellcheck may each take. People wait for the answer.
const PATIENCE: Duration = Duration::from_secs(8);

impl Jobs {
    /// Checks the text of a preset. Its size is checked first.
    pub async fn check_preset(
        &self,
        name: String,
        source: String,
    ) -> Result<Vec<Finding>, PresetError> {
        check_size(&source)?;
        self.with_linter(move |tools| check(&name, &source, tools))
            .await
    }

    /// Renders the text of a preset that is not saved.
    pub async fn render_source(
        &self,
        name: String,
        source: String,
        params: NamedValues,
    ) -> Result<Script, PresetError> {
        check_size(&source)?;
        let work = move |_: &Tools| match Preset::parse(&name, &source) {
            Ok(preset) => Ok(render_with(&preset, &params, FieldErrors::default())?.0),
            Err(faults) => Err(PresetError::Faulty(
                faults.into_iter().map(Finding::from).collect(),
            )),
        };
        self.with_linter(work).await?
    }

    /// Runs work that uses the linter, in its own turn.
    pub(super) async fn with_linter<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tools) -> T + Send + 'static,
    ) -> Result<T, PresetError> {
        static TOOLS: OnceLock<Tools> = OnceLock::new();
        let turn = self.linting.turn().await.map_err(|_| PresetError::Busy)?;
        let work = move || {
            let tools = TOOLS.get_or_init(|| Tools::installed().with_patience(PATIENCE));
            let done = work(tools);
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| crate::store::StoreError::Stopping.into())
    }
}

/// Checks what the linter does not.
pub(super) fn check_size(source: &str) -> Result<(), PresetError> {
    let unusable = |rule: &str| PresetError::Unusable {
        field: "source",
        rule: rule.to_owned(),
    };
    if source.len() as u64 > MAX_FILE_BYTES {
        let rule = format!("must have at most {MAX_FILE_BYTES} bytes");
        return Err(unusable(&rule));
    }
    if source.contains('\0') {
        return Err(unusable("must not contain a NUL character"));
    }
    Ok(())
}
