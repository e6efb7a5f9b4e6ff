//! What becomes of due times: decides it, and writes slots, run and next due time in one
//! transaction, so that a due time has one slot and at most one run whatever is killed when.

use super::access::record;
use super::due_times::DueTimes;
use super::notices::{PAUSED, STILL_RUNNING, report_missed};
use super::request::{Missed, Overlap, ScheduleRequest};
use super::{ScheduleError, Schedules};
use crate::auth::{Role, User, maker_gone};
use crate::clock::Timestamp;
use crate::http::FieldErrors;
use crate::jobs::{JobError, RunAdvance};
use crate::runs::{NO_MATCH, PreparedRun, RunError, RunOrigin, cancel_run};
use crate::store::schedule::{self, Schedule, Slot, SlotOutcome};
use crate::store::{Tx, run};

/// The most due times that get a slot of their own after an outage.
const SLOTS_MAX: usize = 1_000;
/// The most due times that are counted after an outage.
const COUNTED_MAX: u64 = 1_000_000;

const DOWN: &str = "the server was down";
/// For due times at which the server was up, but could neither sign jobs nor write.
const UNABLE: &str = "the server could not queue its run";
const LATE: &str = "late";
const NO_NODE: &str = "no node matched";
const MAKER: &str = "the maker may no longer queue";

/// The due times of a schedule up to now.
struct DueNow {
    /// The newest ones, oldest first.
    kept: Vec<Timestamp>,
    /// The number of earlier ones, and the last of them.
    more: Option<(u64, Timestamp)>,
    /// The first due time after now.
    next: Option<Timestamp>,
}

impl DueNow {
    /// The due times from `first`, which is the first of them, to `now`.
    fn of(times: &DueTimes, first: Timestamp, now: Timestamp) -> Self {
        let mut kept = std::collections::VecDeque::new();
        let mut more = None;
        let mut next = Some(first);
        let mut counted = 0;
        while let Some(at) = next.filter(|at| *at <= now) {
            kept.push_back(at);
            if kept.len() > SLOTS_MAX
                && let Some(dropped) = kept.pop_front()
            {
                more = Some((more.map_or(1, |(count, _)| count + 1), dropped));
            }
            counted += 1;
            // After decades the rest of the outage is not counted.
            next = match counted < COUNTED_MAX {
                true => times.next(at),
                false => times.next(now),
            };
        }
        Self {
            kept: kept.into(),
            more,
            next,
        }
    }

    /// How many due times were missed, if the newest one has this slot.
    fn missed(&self, newest: &Slot) -> u64 {
        let older =
            self.kept.len().saturating_sub(1) as u64 + self.more.map_or(0, |(count, _)| count);
        older + u64::from(newest.outcome == SlotOutcome::Missed)
    }
}

/// The slot of the newest due time, if it is settled without a run.
fn settled(
    schedule: &Schedule,
    missed: Missed,
    newest_at: Timestamp,
    is_late: bool,
) -> Option<Slot> {
    if is_late && (schedule.is_paused || missed == Missed::Skip) {
        Some(slot(newest_at, SlotOutcome::Missed, DOWN))
    } else if schedule.is_paused {
        Some(slot(newest_at, SlotOutcome::Skipped, PAUSED))
    } else {
        None
    }
}

/// A run that can be inserted, or why there is none.
type Prepared = Result<PreparedRun, String>;

impl Schedules {
    /// Acts on the due times of a schedule up to `now`. Those before `up_since` came while the
    /// server was down.
    pub(super) async fn act_on(
        &self,
        schedule: Schedule,
        now: Timestamp,
        up_since: Timestamp,
    ) -> Result<(), ScheduleError> {
        let times = DueTimes::stored(&schedule.cron, &schedule.time_zone);
        let (Some(times), Some(first)) = (times, schedule.next_due_at) else {
            return self.give_up(schedule).await;
        };
        let Ok(request) = ScheduleRequest::stored(&schedule.request) else {
            return self.give_up(schedule).await;
        };
        let count = move || DueNow::of(&times, first, now);
        let due = tokio::task::spawn_blocking(count)
            .await
            .map_err(|_| crate::store::StoreError::Stopping)?;
        let Some(newest_at) = due.kept.last().copied() else {
            return Ok(());
        };
        let missed = request.missed.unwrap_or_default();
        let is_late = newest_at < up_since;
        let planned = match settled(&schedule, missed, newest_at, is_late) {
            Some(slot) => Err(slot),
            None => {
                let prepared = self.prepare_slot(&schedule, &request).await?;
                prepared.map_err(|why| slot(newest_at, SlotOutcome::Skipped, &why))
            }
        };
        let (advance, outbox) = (self.run_advance(), self.outbox.clone());
        let overlap = request.overlap.unwrap_or_default();
        let write = move |tx: &mut dyn Tx| {
            let Some(current) = schedule::find_locked(tx, &schedule.id)? else {
                return Ok(None);
            };
            // Another server was quicker, or somebody has changed the schedule: the next round
            // reads it again.
            if current != schedule {
                return Ok(None);
            }
            let before = schedule::last_slot(tx, &schedule.id)?;
            write_older(tx, &schedule.id, &due, newest_at, up_since)?;
            let (slot, queued) = match planned {
                Err(slot) => (slot, None),
                Ok(run) => {
                    let detail = is_late.then(|| LATE.to_owned());
                    queue(tx, &schedule, overlap, newest_at, run, detail, &advance)?
                }
            };
            if slot.detail.as_deref() == Some(MAKER) {
                pause_for_maker(tx, &schedule)?;
            }
            schedule::insert_slot(tx, &schedule.id, &slot)?;
            schedule::set_next_due(tx, &schedule.id, due.next)?;
            let missed = due.missed(&slot);
            report_missed(tx, &outbox, &schedule, missed, before.as_ref(), &slot)?;
            Ok::<_, ScheduleError>(queued)
        };
        if let Some(queued) = self.store.write(write).await? {
            self.report_queued(&queued);
        }
        Ok(())
    }

    /// A schedule that an operator has made unreadable in the database has no due times.
    async fn give_up(&self, schedule: Schedule) -> Result<(), ScheduleError> {
        tracing::error!(schedule = %schedule.id, "the schedule can't be read in the database: it is paused until it is changed");
        let write = move |tx: &mut dyn Tx| {
            schedule::pause(tx, &schedule.id, "its row in the database can't be read")?;
            schedule::set_next_due(tx, &schedule.id, None)?;
            Ok::<_, ScheduleError>(())
        };
        self.store.write(write).await
    }

    /// Prepares the run of a due time. The inner error is the detail of a skipped slot.
    async fn prepare_slot(
        &self,
        schedule: &Schedule,
        request: &ScheduleRequest,
    ) -> Result<Prepared, ScheduleError> {
        let Some(maker) = self.find_maker(schedule.created_by.clone()).await? else {
            return Ok(Err(MAKER.to_owned()));
        };
        let origin = RunOrigin {
            schedule_id: Some(schedule.id.clone()),
            ..RunOrigin::default()
        };
        let mut run = request.run();
        let mut prepared = self.prepare_run(&maker, run.clone(), origin.clone());
        loop {
            match prepared.await {
                Ok(prepared) => return Ok(Ok(prepared)),
                Err(RunError::NodesNotFound(gone)) => {
                    let nodes = run.nodes.get_or_insert_default();
                    nodes.kept.retain(|node| !gone.contains(node));
                    if nodes.kept.is_empty() {
                        return Ok(Err(NO_NODE.to_owned()));
                    }
                    prepared = self.prepare_run(&maker, run.clone(), origin.clone());
                }
                // An operator must fix this, not the schedule: the due time stays due.
                Err(RunError::Job(
                    error @ (JobError::Store(_) | JobError::CantSign(_) | JobError::CantSeal),
                )) => return Err(error.into()),
                Err(RunError::Job(JobError::Fields(faults))) => {
                    return Ok(Err(reason_of(faults)));
                }
                Err(error) => return Ok(Err(format!("preset broken: {error}"))),
            }
        }
    }

    async fn find_maker(&self, id: String) -> Result<Option<User>, ScheduleError> {
        self.store.read(move |tx| find_maker(tx, &id)).await
    }
}

/// The maker, if they may queue.
fn find_maker(tx: &mut dyn Tx, id: &str) -> Result<Option<User>, ScheduleError> {
    Ok(User::find(tx, id)?.filter(|maker| maker.role >= Role::Operator))
}

/// Why a request can no longer be rendered.
fn reason_of(faults: FieldErrors) -> String {
    let Err(error) = faults.into_result() else {
        return NO_NODE.to_owned();
    };
    if error.fields.get("selector").map(String::as_str) == Some(NO_MATCH) {
        return NO_NODE.to_owned();
    }
    format!("preset broken: {}", error.faults().join("; "))
}

fn slot(due_at: Timestamp, outcome: SlotOutcome, detail: &str) -> Slot {
    Slot {
        due_at,
        outcome,
        run_id: None,
        detail: Some(detail.to_owned()),
    }
}

/// Writes the slots of the due times before the newest one.
fn write_older(
    tx: &mut dyn Tx,
    schedule_id: &str,
    due: &DueNow,
    newest_at: Timestamp,
    up_since: Timestamp,
) -> Result<(), ScheduleError> {
    let why = |at: Timestamp| if at < up_since { DOWN } else { UNABLE };
    if let Some((count, last)) = due.more {
        let detail = format!("{}; this slot counts {count} due times", why(last));
        schedule::insert_slot(tx, schedule_id, &slot(last, SlotOutcome::Missed, &detail))?;
    }
    for at in due.kept.iter().filter(|at| **at != newest_at) {
        schedule::insert_slot(tx, schedule_id, &slot(*at, SlotOutcome::Missed, why(*at)))?;
    }
    Ok(())
}

/// Queues the run of a due time, unless the schedule's last run is in its way.
fn queue(
    tx: &mut dyn Tx,
    schedule: &Schedule,
    overlap: Overlap,
    due_at: Timestamp,
    mut prepared: PreparedRun,
    detail: Option<String>,
    advance: &RunAdvance,
) -> Result<(Slot, Option<PreparedRun>), ScheduleError> {
    // The maker may have gone since the run was prepared.
    if find_maker(tx, &schedule.created_by)?.is_none() {
        return Ok((slot(due_at, SlotOutcome::Skipped, MAKER), None));
    }
    let last = run::last_of_schedule(tx, &schedule.id)?;
    if let Some(last) = last.filter(|last| !last.status.is_final()) {
        let waits = last.after_run.is_some() && last.released_batch < 0;
        match overlap {
            Overlap::Queue if !waits => prepared.begin_after(last.id),
            Overlap::Skip | Overlap::Queue => {
                return Ok((slot(due_at, SlotOutcome::Skipped, STILL_RUNNING), None));
            }
            Overlap::Cancel => cancel_last(tx, schedule, &last.id, advance)?,
        }
    }
    prepared.insert(tx, advance)?;
    let slot = Slot {
        due_at,
        outcome: SlotOutcome::Ran,
        run_id: Some(prepared.id().to_owned()),
        detail,
    };
    Ok((slot, Some(prepared)))
}

/// Cancels the schedule's last run, unless it has ended meanwhile.
fn cancel_last(
    tx: &mut dyn Tx,
    schedule: &Schedule,
    run_id: &str,
    advance: &RunAdvance,
) -> Result<(), ScheduleError> {
    let Some(last) = run::find_locked(tx, run_id)?.filter(|last| !last.status.is_final()) else {
        return Ok(());
    };
    let because = "cancelled by its schedule: the next run is due";
    cancel_run(tx, &last, because, advance)?;
    let detail = format!("run {run_id}");
    record(tx, "server", "schedule.cancel", &schedule.id, &detail)?;
    advance.advance(tx, run_id)?;
    Ok(())
}

fn pause_for_maker(tx: &mut dyn Tx, schedule: &Schedule) -> Result<(), ScheduleError> {
    let because = maker_gone(&schedule.created_by_email);
    schedule::pause(tx, &schedule.id, &because)?;
    record(tx, "server", "schedule.pause", &schedule.id, &because)?;
    Ok(())
}
