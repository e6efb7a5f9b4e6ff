//! Responses of the API for which the server has no type that can be deserialized. With `--json`
//! responses are printed as they are.

use std::ops::Deref;

use serde::Deserialize;
use serde_json::Value;

use crate::auth::User;
use crate::clock::Timestamp;
use crate::jobs::{JobView, RunStep, RunView};
use crate::runs::RunJobView;

/// A new session.
#[derive(Deserialize)]
pub(super) struct Session {
    pub(super) token: String,
    pub(super) user: User,
}

#[derive(Deserialize)]
pub(super) struct Presets {
    pub(super) presets: Vec<Preset>,
    #[serde(default)]
    pub(super) errors: Vec<PresetError>,
}

/// A preset file that can't be used.
#[derive(Deserialize)]
pub(super) struct PresetError {
    pub(super) file: String,
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preset {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) targets: Vec<String>,
    pub(super) risk: String,
    pub(super) timeout_seconds: u64,
    #[serde(default)]
    pub(super) confirm_seconds: Option<u64>,
    pub(super) params: Vec<Param>,
    pub(super) origin: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) r#type: String,
    pub(super) required: bool,
    #[serde(default)]
    pub(super) default: Value,
    pub(super) description: String,
    #[serde(default)]
    pub(super) min: Option<i64>,
    #[serde(default)]
    pub(super) max: Option<i64>,
    #[serde(default)]
    pub(super) pattern: Option<String>,
    #[serde(default)]
    pub(super) values: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rendered {
    pub(super) script: String,
}

/// A run, with what only some responses contain.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunAnswer {
    #[serde(flatten)]
    pub(super) run: RunView,
    /// Nodes of the first run that were deleted since.
    #[serde(default)]
    pub(super) left_out: Vec<String>,
    #[serde(default)]
    pub(super) jobs: Vec<RunJobView>,
}

impl Deref for RunAnswer {
    type Target = RunView;

    fn deref(&self) -> &RunView {
        &self.run
    }
}

/// A job in a list or an event. Not every list has its step.
#[derive(Clone, Deserialize)]
pub(super) struct WatchedJob {
    #[serde(flatten)]
    pub(super) job: JobView,
    #[serde(default)]
    pub(super) step: Option<RunStep>,
}

/// The next due times of an expression.
#[derive(Deserialize)]
pub(super) struct DueTimes {
    pub(super) times: Vec<DueTime>,
}

/// A due time, in UTC and by the clock of its zone.
#[derive(Deserialize)]
pub(super) struct DueTime {
    pub(super) utc: Timestamp,
    pub(super) local: String,
}
