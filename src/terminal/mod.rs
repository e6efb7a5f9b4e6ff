//! What programs print to a terminal, read as lines of text: pages without scripts and the command
//! line show the same. `assets/ansi.js` reads output by the same rules.

mod line;
mod parser;

pub(crate) use line::Line;
pub(crate) use parser::{Erase, Parser, Printed};
