//! The pages of schedules: the list, one schedule, the form, and what the overview shows of them.

mod edit;
mod form;
mod list;
mod one;
mod overview;
mod slots;
mod values;
mod when;

pub(super) use edit::{show_edit, show_new, submit_edit, submit_new};
pub(super) use list::show as show_list;
pub(super) use one::{act, show as show_one};
pub(super) use overview::{Overview, link_of_run};
