//! Messages about due times that made no run.

use serde_json::json;

use super::{ScheduleError, ScheduleRequest, ScheduleView};
use crate::outbox::{EventKind, Message, Outbox, Subject, SubjectNodes};
use crate::store::Tx;
use crate::store::schedule::{Schedule, Slot, SlotOutcome};

/// The details of slots that people have chosen.
pub(super) const PAUSED: &str = "paused";
pub(super) const STILL_RUNNING: &str = "still running";

/// Reports due times that made no run: `missed` ones while the server was down, or the newest one,
/// whose slot this is. Pauses and overlaps are what people have chosen, and a reason that lasts is
/// reported once: `before` is the slot before.
pub(super) fn report_missed(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    schedule: &Schedule,
    missed: u64,
    before: Option<&Slot>,
    slot: &Slot,
) -> Result<(), ScheduleError> {
    let is_news = before.is_none_or(|before| before.detail != slot.detail);
    let is_chosen = matches!(slot.detail.as_deref(), Some(PAUSED | STILL_RUNNING));
    let reason = match (missed, slot.outcome) {
        _ if schedule.is_paused => return Ok(()),
        (1.., SlotOutcome::Ran) => format!("{}; it runs now, late", while_down(missed)),
        (1.., _) => while_down(missed),
        (0, SlotOutcome::Skipped) if is_news && !is_chosen => {
            slot.detail.clone().unwrap_or_default()
        }
        (0, _) => return Ok(()),
    };
    let Ok(request) = ScheduleRequest::stored(&schedule.request) else {
        return Ok(());
    };
    let event = EventKind::ScheduleMissed;
    let subject = Subject {
        preset: Some(&request.preset),
        nodes: SubjectNodes::None,
        schedule: Some(Some(&schedule.id)),
    };
    outbox.report(tx, event, &subject, |tx| {
        let view = ScheduleView::read(tx, schedule.clone())?;
        Ok(Message {
            event: Some(event),
            object: view.map(|view| ("schedule", json!(view))),
            reason,
            stderr_tail: None,
            path: format!("/schedules/{}", schedule.id),
        })
    })
}

fn while_down(missed: u64) -> String {
    match missed {
        1 => "a due time passed while the server was down".to_owned(),
        missed => format!("{missed} due times passed while the server was down"),
    }
}
