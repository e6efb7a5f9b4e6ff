//! Schedules and slots as the API returns them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{Missed, Overlap, ScheduleRequest};
use super::standing::StandingView;
use crate::clock::Timestamp;
use crate::http::FieldErrors;
use crate::jobs::Plan;
use crate::runs::IfOffline;
use crate::store::job::JobKind;
use crate::store::schedule::{self, Schedule, Slot, SlotOutcome};
use crate::store::{StoreError, Tx};

/// A schedule. A field without a value is `null`, never absent.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleView {
    /// UUIDv7.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The preset's name.
    pub preset: String,
    /// The params as they were given. A secret is `{"secret": "name"}`.
    #[schema(value_type = Object)]
    pub params: Value,
    /// The ids of its nodes; `null` if a selector chooses them.
    #[schema(required = true)]
    pub nodes: Option<Vec<String>>,
    /// The selector; `null` if the nodes are named.
    #[schema(required = true)]
    pub selector: Option<String>,
    /// What its scripts do.
    pub kind: JobKind,
    /// How the nodes are divided into batches, and when a run stops.
    pub plan: Plan,
    /// What happens to the job of a node that is OFFLINE when its batch is released.
    pub if_offline: IfOffline,
    /// The cron expression.
    pub cron: String,
    /// The IANA name of its time zone.
    pub time_zone: String,
    /// What happens at a due time if the last run has not ended.
    pub overlap: Overlap,
    /// What happens after the server was down over due times.
    pub missed: Missed,
    /// Seconds within which an agent must claim a job.
    #[schema(required = true)]
    pub expires_in_seconds: Option<i64>,
    /// The timeout of its jobs; `null`: that of the preset.
    #[schema(required = true)]
    pub timeout_seconds: Option<i64>,
    /// The address to call when a run begins (with `/start` after its path), succeeds (as it is)
    /// and fails (`/fail`).
    #[schema(required = true)]
    pub ping_url: Option<String>,
    /// Whether due times are skipped.
    pub paused: bool,
    /// Why the server paused it; `null` if a person did.
    #[schema(required = true)]
    pub paused_because: Option<String>,
    /// The next due time.
    #[schema(required = true)]
    pub next_due_at: Option<Timestamp>,
    /// What became of the last due time.
    #[schema(required = true)]
    pub last_slot: Option<SlotView>,
    /// What a person has signed in advance for its jobs; `null`: on nodes that require signatures,
    /// each job waits for one.
    #[schema(required = true)]
    pub standing: Option<StandingView>,
    /// The id of the user with whose rights it acts.
    pub created_by: String,
    /// This user's email.
    pub created_by_email: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A due time, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotView {
    /// The due time.
    pub due_at: Timestamp,
    /// What became of it.
    pub outcome: SlotOutcome,
    /// The run that was queued.
    #[schema(required = true)]
    pub run_id: Option<String>,
    /// Why it was skipped or missed, or `late`.
    #[schema(required = true)]
    pub detail: Option<String>,
}

/// All schedules.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScheduleList {
    /// Oldest first.
    pub schedules: Vec<ScheduleView>,
}

/// A page of slots.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotPage {
    /// Newest first.
    pub slots: Vec<SlotView>,
    /// The cursor of the next page; `null` on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl From<Slot> for SlotView {
    fn from(slot: Slot) -> Self {
        Self {
            due_at: slot.due_at,
            outcome: slot.outcome,
            run_id: slot.run_id,
            detail: slot.detail,
        }
    }
}

impl ScheduleView {
    /// The schedule with its last slot, read now. `None` if an operator has made its request
    /// unreadable.
    pub(super) fn read(tx: &mut dyn Tx, schedule: Schedule) -> Result<Option<Self>, StoreError> {
        let Ok(request) = ScheduleRequest::stored(&schedule.request) else {
            tracing::warn!(schedule = %schedule.id, "ignoring a schedule whose request can't be read");
            return Ok(None);
        };
        let standing = StandingView::read(tx, &schedule.id)?;
        let last_slot = schedule::last_slot(tx, &schedule.id)?.map(SlotView::from);
        let plan = request.plan.unwrap_or_default();
        let params = request.params.unwrap_or_default();
        Ok(Some(Self {
            id: schedule.id,
            name: request.name,
            preset: request.preset,
            params: Value::Object(params.kept),
            nodes: request.nodes.map(|nodes| nodes.kept),
            selector: request.selector,
            kind: request.kind.unwrap_or(JobKind::Apply),
            // It was checked when it was stored.
            plan: Plan::check(&plan, &mut FieldErrors::default()),
            if_offline: request.if_offline.unwrap_or(IfOffline::Wait),
            cron: schedule.cron,
            time_zone: schedule.time_zone,
            overlap: request.overlap.unwrap_or_default(),
            missed: request.missed.unwrap_or_default(),
            expires_in_seconds: request.expires_in_seconds,
            timeout_seconds: request.timeout_seconds,
            ping_url: request.ping_url,
            paused: schedule.is_paused,
            paused_because: schedule.paused_because,
            next_due_at: schedule.next_due_at,
            last_slot,
            standing,
            created_by: schedule.created_by,
            created_by_email: schedule.created_by_email,
            created_at: schedule.created_at,
        }))
    }
}
