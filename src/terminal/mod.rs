//! Parses terminal output into lines of text, for pages without scripts and for the command line.
//! `assets/ansi.js` follows the same rules.

mod line;
mod parser;

pub(crate) use line::Line;
pub(crate) use parser::{Erase, Parser, Printed};
