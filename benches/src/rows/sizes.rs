//! Sizes of the programs.

use std::path::Path;

use crate::row::{Figure, Row, Target};
use crate::stage::Bench;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let mb =
        |path: &Path| -> anyhow::Result<f64> { Ok(std::fs::metadata(path)?.len() as f64 / 1e6) };
    let figures = vec![
        Figure::new("server", mb(&bench.server)?, "MB").with_target(Target::AtMost(25.0)),
        Figure::new("agent", mb(&bench.agent)?, "MB").with_target(Target::AtMost(5.0)),
    ];
    Ok(Row::new("sizes", "the two programs", figures))
}
