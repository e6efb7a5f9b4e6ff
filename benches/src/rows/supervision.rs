//! The cost of a job's supervisor.

use crate::limit::bash::{Script, supervised_ms};
use crate::row::{Figure, Row};
use crate::sample::quantile;
use crate::stage::Bench;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let samples = bench.size(300, 60);
    let folder = tempfile::tempdir()?;
    let script = Script::new("true\n")?;
    let (mut supervised, mut plain) = (Vec::new(), Vec::new());
    for number in 0..samples {
        supervised.push(supervised_ms(&bench.agent, folder.path(), number)?);
        plain.push(script.run_ms()?);
    }
    let figure = |name: &str, q: f64| {
        Figure::new(
            format!("script started → end recorded, {name}"),
            quantile(&supervised, q),
            "ms",
        )
        .with_limit(quantile(&plain, q), "bash -s alone")
    };
    let ran = format!(
        "{samples} runs of `hyprbox-agent supervise` with a script of `true` and a durable record of the start, alternating with a plain `bash -s`"
    );
    Ok(Row::new(
        "supervision",
        ran,
        vec![figure("p50", 0.5), figure("p95", 0.95)],
    ))
}
