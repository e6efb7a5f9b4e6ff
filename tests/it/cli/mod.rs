//! The command line as people and programs meet it: the real binary against the real server, in
//! pipes and on a terminal.

mod admin;
mod check;
mod codes;
pub(crate) mod docs;
mod download;
mod follow;
mod login;
mod nodes;
mod program;
mod queue;
mod runs;
mod script;
mod terminal;
mod tty;
mod waiting;

use program::{Cli, Ran};
use tty::Tty;
