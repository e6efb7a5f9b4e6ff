//! The command line as people and programs meet it: the real binary against the real server, in
//! pipes and on a terminal.

mod admin;
mod channels;
mod check;
mod codes;
mod confirm;
mod contexts;
pub(crate) mod docs;
mod download;
mod drift;
mod every_command;
mod follow;
mod login;
mod nodes;
mod plan;
mod program;
mod questions;
mod queue;
mod rotate_secret_key;
mod runs;
mod schedules;
mod script;
mod scripts;
mod short_ids;
mod sign;
mod sign_schedule;
mod terminal;
mod tty;
mod waiting;
mod watch;

use program::{Cli, Ran};
use tty::Tty;
