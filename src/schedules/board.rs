//! What the pages show of schedules: lists with the last due times, and what went wrong lately.

use serde_json::{Map, Value};

use super::{ScheduleError, ScheduleRequest, ScheduleView, Schedules};
use crate::clock::Timestamp;
use crate::store::past_slot::{self, PastSlot, SlotTrouble};
use crate::store::schedule::{self, Schedule};
use crate::store::{StoreError, Tx};

/// A schedule with its last due times, newest first.
#[derive(Debug, Clone)]
pub struct ScheduleRow {
    /// The schedule.
    pub schedule: ScheduleView,
    /// Its last due times.
    pub slots: Vec<PastSlot>,
}

/// A page of schedules.
#[derive(Debug)]
pub struct SchedulePage {
    /// By name.
    pub rows: Vec<ScheduleRow>,
    /// The number of all schedules, whether or not they match.
    pub all: usize,
    /// The id after which the next page begins.
    pub next_after: Option<String>,
}

/// What is due next, and what went wrong.
#[derive(Debug)]
pub struct ScheduleBoard {
    /// The schedules that are due next.
    pub upcoming: Vec<ScheduleView>,
    /// The latest first, each with its schedule.
    pub troubles: Vec<(ScheduleView, SlotTrouble)>,
}

/// What other pages show of a schedule.
#[derive(Debug, Clone)]
pub struct ScheduleName {
    /// The schedule's id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its params by name.
    pub params: Map<String, Value>,
}

impl Schedules {
    /// All schedules, oldest first, with one query. Those that can't be read are left out.
    pub async fn names(&self) -> Result<Vec<ScheduleName>, ScheduleError> {
        let all = self
            .store
            .read(|tx| Ok::<_, ScheduleError>(schedule::list(tx)?))
            .await?;
        let name = |schedule: Schedule| {
            let request = ScheduleRequest::stored(&schedule.request).ok()?;
            Some(ScheduleName {
                id: schedule.id,
                name: request.name,
                params: request.params.unwrap_or_default().kept,
            })
        };
        Ok(all.into_iter().filter_map(name).collect())
    }

    /// A page of the schedules whose name, preset or selector has every word of `typed`, with the
    /// last `slots` due times of each.
    pub async fn search(
        &self,
        typed: &str,
        after: Option<&str>,
        limit: usize,
        slots: u64,
    ) -> Result<SchedulePage, ScheduleError> {
        let words: Vec<String> = typed.split_whitespace().map(str::to_lowercase).collect();
        let after = after.map(str::to_owned);
        let read = move |tx: &mut dyn Tx| {
            let all = schedule::list(tx)?;
            let count = all.len();
            let mut found = by_name(all, &words);
            let start = after
                .and_then(|after| found.iter().position(|schedule| schedule.id == after))
                .map_or(0, |at| at + 1);
            let rest = found.split_off(start.min(found.len()));
            let has_more = rest.len() > limit;
            let mut rows = Vec::new();
            for schedule in rest.into_iter().take(limit) {
                let slots = past_slot::list(tx, &schedule.id, None, slots)?;
                let view = ScheduleView::read(tx, schedule)?;
                rows.extend(view.map(|schedule| ScheduleRow { schedule, slots }));
            }
            let last = rows.last().map(|row| row.schedule.id.clone());
            Ok(SchedulePage {
                next_after: last.filter(|_| has_more),
                all: count,
                rows,
            })
        };
        self.store.read(read).await
    }

    /// Up to `limit` due times of a schedule before `before`, newest first.
    pub async fn past_slots(
        &self,
        id: String,
        before: Option<Timestamp>,
        limit: u64,
    ) -> Result<Vec<PastSlot>, ScheduleError> {
        let read = move |tx: &mut dyn Tx| Ok(past_slot::list(tx, &id, before, limit)?);
        self.store.read(read).await
    }

    /// What is due next, and what went wrong since `since`: at most `limit` of each.
    pub async fn board(
        &self,
        since: Timestamp,
        limit: u64,
    ) -> Result<ScheduleBoard, ScheduleError> {
        let read = move |tx: &mut dyn Tx| {
            let mut upcoming = Vec::new();
            for schedule in schedule::upcoming(tx, limit)? {
                upcoming.extend(ScheduleView::read(tx, schedule)?);
            }
            let mut troubles = Vec::new();
            for trouble in past_slot::troubles(tx, since, limit)? {
                let view = view_of(tx, &trouble.schedule_id)?;
                troubles.extend(view.map(|view| (view, trouble)));
            }
            Ok(ScheduleBoard { upcoming, troubles })
        };
        self.store.read(read).await
    }
}

fn view_of(tx: &mut dyn Tx, id: &str) -> Result<Option<ScheduleView>, StoreError> {
    match schedule::find(tx, id)? {
        Some(schedule) => ScheduleView::read(tx, schedule),
        None => Ok(None),
    }
}

/// The schedules with every word, by name. Those that can't be read are left out.
fn by_name(all: Vec<Schedule>, words: &[String]) -> Vec<Schedule> {
    let mut found: Vec<(String, Schedule)> = all
        .into_iter()
        .filter_map(|schedule| {
            let request = ScheduleRequest::stored(&schedule.request).ok()?;
            let name = request.name.to_lowercase();
            let selector = request.selector.unwrap_or_default();
            let text = format!("{name} {} {selector}", request.preset).to_lowercase();
            let fits = words.iter().all(|word| text.contains(word));
            fits.then_some((name, schedule))
        })
        .collect();
    found.sort_by(|(one, first), (other, second)| (one, &first.id).cmp(&(other, &second.id)));
    found.into_iter().map(|(_, schedule)| schedule).collect()
}
