//! Schedules, and what became of their due times.

use super::{FromValue, Row, Statement, StoreError, Tx, Value, read_all, values};
use crate::clock::Timestamp;

macro_rules! select_schedules {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT id, request, cron, time_zone, paused, paused_because, next_due_at, created_by, created_by_email, created_at
             FROM schedules ",
            $rest
        ))
    };
}

macro_rules! select_slots {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT due_at, outcome, run_id, detail FROM schedule_slots WHERE schedule_id = $1 ",
            $rest
        ))
    };
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub id: String,
    /// What a person asked for, as a JSON object.
    pub request: String,
    pub cron: String,
    pub time_zone: String,
    pub is_paused: bool,
    /// Why the server paused it.
    pub paused_because: Option<String>,
    /// The first due time without a slot.
    pub next_due_at: Option<Timestamp>,
    /// Id of the user with whose rights it acts.
    pub created_by: String,
    pub created_by_email: String,
    pub created_at: Timestamp,
}

/// What became of a due time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum SlotOutcome {
    /// A run was queued.
    Ran,
    /// No run was queued; the slot's detail says why.
    Skipped,
    /// The server was down.
    Missed,
}

impl SlotOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
        }
    }
}

impl FromValue for SlotOutcome {
    fn from_value(value: Value) -> Option<Self> {
        let name = String::from_value(value)?;
        [Self::Ran, Self::Skipped, Self::Missed]
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
    }
}

/// A due time of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub due_at: Timestamp,
    pub outcome: SlotOutcome,
    pub run_id: Option<String>,
    pub detail: Option<String>,
}

fn schedule_of_row(row: &mut Row) -> Result<Schedule, StoreError> {
    Ok(Schedule {
        id: row.take()?,
        request: row.take()?,
        cron: row.take()?,
        time_zone: row.take()?,
        is_paused: row.take()?,
        paused_because: row.take()?,
        next_due_at: row.take_typed_time()?,
        created_by: row.take()?,
        created_by_email: row.take()?,
        created_at: row.take()?,
    })
}

fn slot_of_row(row: &mut Row) -> Result<Slot, StoreError> {
    Ok(Slot {
        due_at: row.take()?,
        outcome: row.take()?,
        run_id: row.take()?,
        detail: row.take()?,
    })
}

fn one(tx: &mut dyn Tx, statement: &Statement, id: &str) -> Result<Option<Schedule>, StoreError> {
    tx.query_one(statement, values![id])?
        .map(|mut row| schedule_of_row(&mut row))
        .transpose()
}

/// Adds a schedule.
pub fn insert(tx: &mut dyn Tx, schedule: &Schedule, preset: &str) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(include_str!("sql/schedule_insert.sql"));
    let params = values![
        &schedule.id,
        &schedule.request,
        preset,
        &schedule.cron,
        &schedule.time_zone,
        schedule.is_paused,
        schedule.next_due_at,
        &schedule.created_by,
        &schedule.created_by_email,
        schedule.created_at,
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Changes everything but the id and the time of creation. The preset stays if it is `None`.
pub fn update(
    tx: &mut dyn Tx,
    schedule: &Schedule,
    preset: Option<&str>,
) -> Result<(), StoreError> {
    static UPDATE: Statement = Statement::new(include_str!("sql/schedule_update.sql"));
    let params = values![
        &schedule.id,
        &schedule.request,
        preset.map(str::to_owned),
        &schedule.cron,
        &schedule.time_zone,
        schedule.is_paused,
        schedule.paused_because.clone(),
        schedule.next_due_at,
        &schedule.created_by,
        &schedule.created_by_email,
    ];
    tx.execute(&UPDATE, params).map(|_| ())
}

/// Deletes a schedule with its slots; its runs stay.
pub fn delete(tx: &mut dyn Tx, id: &str) -> Result<(), StoreError> {
    static DELETE: Statement = Statement::new("DELETE FROM schedules WHERE id = $1");
    tx.execute(&DELETE, values![id]).map(|_| ())
}

/// Returns the schedule with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Schedule>, StoreError> {
    static FIND: Statement = select_schedules!("WHERE id = $1");
    one(tx, &FIND, id)
}

/// Returns the schedule with this id and locks it until the transaction ends.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Schedule>, StoreError> {
    static FIND: Statement = select_schedules!("WHERE id = $1 /* for update */");
    one(tx, &FIND, id)
}

/// Returns all schedules, oldest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Schedule>, StoreError> {
    static LIST: Statement = select_schedules!("ORDER BY id");
    read_all(tx.query(&LIST, &[])?, schedule_of_row)
}

/// Returns up to `limit` schedules with a due time up to `now`, the longest due first.
pub fn due(tx: &mut dyn Tx, now: Timestamp, limit: u64) -> Result<Vec<Schedule>, StoreError> {
    static DUE: Statement =
        select_schedules!("WHERE next_due_at <= $1 ORDER BY next_due_at, id LIMIT $2");
    read_all(tx.peek(&DUE, values![now, limit])?, schedule_of_row)
}

/// Returns up to `limit` schedules that are not paused, the next due first.
pub fn upcoming(tx: &mut dyn Tx, limit: u64) -> Result<Vec<Schedule>, StoreError> {
    static UPCOMING: Statement = select_schedules!(
        "WHERE paused = 0 AND next_due_at IS NOT NULL ORDER BY next_due_at, id LIMIT $1"
    );
    read_all(tx.query(&UPCOMING, values![limit])?, schedule_of_row)
}

/// Sets the first due time without a slot.
pub fn set_next_due(
    tx: &mut dyn Tx,
    id: &str,
    next_due_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    static SET: Statement = Statement::new("UPDATE schedules SET next_due_at = $2 WHERE id = $1");
    tx.execute(&SET, values![id, next_due_at]).map(|_| ())
}

/// Pauses a schedule for a reason.
pub fn pause(tx: &mut dyn Tx, id: &str, because: &str) -> Result<(), StoreError> {
    static PAUSE: Statement =
        Statement::new("UPDATE schedules SET paused = 1, paused_because = $2 WHERE id = $1");
    tx.execute(&PAUSE, values![id, because]).map(|_| ())
}

/// Pauses every schedule that acts with a user's rights. Returns how many.
pub fn pause_of_user(tx: &mut dyn Tx, user_id: &str, because: &str) -> Result<u64, StoreError> {
    static PAUSE: Statement = Statement::new(
        "UPDATE schedules SET paused = 1, paused_because = $2 WHERE created_by = $1 AND paused_because IS NULL",
    );
    tx.execute(&PAUSE, values![user_id, because])
}

/// Records what became of a due time; false if the due time has a slot.
pub fn insert_slot(tx: &mut dyn Tx, schedule_id: &str, slot: &Slot) -> Result<bool, StoreError> {
    static INSERT: Statement = Statement::new(
        "INSERT INTO schedule_slots (schedule_id, due_at, outcome, run_id, detail) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (schedule_id, due_at) DO NOTHING",
    );
    let params = values![
        schedule_id,
        slot.due_at,
        slot.outcome.as_str(),
        slot.run_id.clone(),
        slot.detail.clone(),
    ];
    Ok(tx.execute(&INSERT, params)? == 1)
}

/// Returns the newest slot.
pub fn last_slot(tx: &mut dyn Tx, schedule_id: &str) -> Result<Option<Slot>, StoreError> {
    static LAST: Statement = select_slots!("ORDER BY due_at DESC LIMIT 1");
    tx.query_one(&LAST, values![schedule_id])?
        .map(|mut row| slot_of_row(&mut row))
        .transpose()
}

/// Returns up to `limit` slots before `before`, newest first.
pub fn slots(
    tx: &mut dyn Tx,
    schedule_id: &str,
    before: Option<Timestamp>,
    limit: u64,
) -> Result<Vec<Slot>, StoreError> {
    static SLOTS: Statement = select_slots!("AND due_at < $2 ORDER BY due_at DESC LIMIT $3");
    let before = before.unwrap_or(Timestamp::from_millis(i64::MAX));
    read_all(
        tx.query(&SLOTS, values![schedule_id, before, limit])?,
        slot_of_row,
    )
}

/// Deletes up to a thousand slots that were due before `before`. Returns their schedules and times.
pub fn prune_slots(tx: &mut dyn Tx, before: Timestamp) -> Result<Vec<String>, StoreError> {
    static PRUNE: Statement = Statement::new(include_str!("sql/schedule_slots_prune.sql"));
    read_all(tx.query(&PRUNE, values![before])?, |row| {
        let (schedule_id, due_at): (String, Timestamp) = (row.take()?, row.take()?);
        Ok(format!("{schedule_id} {due_at}"))
    })
}
