//! The pages of channels: where notifications go, which do, and what became of them. For ADMINs.

mod actions;
mod deliveries;
mod list;
mod one;
mod rules;
mod settings;

pub(super) use actions::{
    act, add_rule, change, change_rule, remove_rule, resend, show_new, show_one, submit_new,
};
pub(super) use list::{given_up, show as show_list};
