//! What the script of a preset with `confirm` has in addition.
//!
//! The script is signed, so the agent runs nothing else to undo: it starts the same script again,
//! once for each step that has begun, with the step's number in `HYPRBOX_UNDO`. That works without
//! the process that ran the steps, and so after a reboot. The script itself records that a step
//! begins, in a file next to `HYPRBOX_UNDO_DIR`, before its `run` changes anything. See
//! `docs/decisions/0025-commit-confirm.md`.

use std::fmt::Write as _;

use super::announce::undo_label;
use super::params::quote;
use super::schema::Step;

/// Secrets arrive only with the claim. They are not there after a reboot, and no `undo` uses them.
pub(super) fn unless_undoing(secrets: &str) -> String {
    match secrets.trim_end() {
        "" => String::new(),
        secrets => format!("if [[ -z ${{HYPRBOX_UNDO:-}} ]]; then\n{secrets}\nfi\n\n"),
    }
}

/// Precedes the calls of the steps: undoes one step and ends the script, if the agent asks for it.
pub(super) fn undo_mode(steps: &[Step]) -> String {
    let mut text =
        "# To undo, the agent runs this script once for each step that began, last first.\n\
         case ${HYPRBOX_UNDO:-} in\n  '') ;;\n"
            .to_owned();
    for (index, step) in steps.iter().enumerate() {
        if step.undo.is_none() {
            continue;
        }
        let number = index + 1;
        let label = undo_label(number, steps.len());
        let announce = quote(&format!("{label} {}", step.name));
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "  {number})\n    printf '%s\\n' {announce}\n    hyprbox_{number}_undo </dev/null\n    exit 0\n    ;;\n"
        );
    }
    text.push_str("  *) exit 0 ;;\nesac\n");
    text.push_str(BEGIN);
    text
}

/// An agent that can't undo sets no folder. The record is synced, so that a power loss during the
/// step does not hide that it began.
const BEGIN: &str = r#"if [[ ! -d ${HYPRBOX_UNDO_DIR:-} ]]; then
  echo 'hyprbox: the agent of this node is too old to undo this preset; nothing was run; upgrade the agent' >&2
  exit 2
fi
# Records that a step begins, so that it is undone.
hyprbox_begin() {
  printf '%s\n' "$1" >>"$HYPRBOX_UNDO_DIR.steps"
  sync -- "$HYPRBOX_UNDO_DIR.steps" 2>/dev/null || true
}

"#;

/// Precedes the call of a step's `run`.
pub(super) fn begin_step(number: usize, step: &Step) -> String {
    let record = quote(&format!("{number} {}", step.name));
    format!("hyprbox_begin {record}\n")
}
