//! Finds what a person means by a name, an id or a part of an id, in a list that is short enough to
//! be read whole.

use super::error::CliError;
use super::queue::no_such;
use super::screen::print_note;

/// A shorter text is not a part of an id.
const LEAST: usize = 4;

/// What has a name and an id.
pub(super) trait Named {
    /// What people call such a thing.
    const WHAT: &'static str;
    /// The command that lists all of them.
    const LIST: &'static str;

    fn id(&self) -> &str;

    fn name(&self) -> &str;

    /// By what people tell it from others of the same name.
    fn description(&self) -> String;
}

/// The one with this id or name, or with an id of which `given` is the first or last part.
pub(super) fn pick<T: Named>(given: &str, mut all: Vec<T>) -> Result<T, CliError> {
    let is_part = |id: &str| given.len() >= LEAST && (id.starts_with(given) || id.ends_with(given));
    let ways: [&dyn Fn(&T) -> bool; 3] = [
        &|one| one.id() == given,
        &|one| one.name() == given,
        &|one| is_part(one.id()),
    ];
    for way in ways {
        let found: Vec<usize> = (0..all.len()).filter(|at| way(&all[*at])).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(all.swap_remove(*one)),
            several => {
                let text = format!("{given} stands for several {}s; use an id:", T::WHAT);
                let add = |error: CliError, at: &usize| {
                    let one = &all[*at];
                    error.hint(format!("{}  {}", one.id(), one.description()))
                };
                return Err(several.iter().fold(CliError::usage(text), add));
            }
        }
    }
    Err(no_such(T::WHAT, given, all.iter().map(T::name), T::LIST))
}

/// The same for a command that changes it: who gives part of an id learns what is meant.
pub(super) fn pick_to_change<T: Named>(given: &str, all: Vec<T>) -> Result<T, CliError> {
    let one = pick(given, all)?;
    if one.name() != given && one.id() != given {
        print_note(&format!(
            "The {} {}: {}",
            T::WHAT,
            one.id(),
            one.description()
        ));
    }
    Ok(one)
}
