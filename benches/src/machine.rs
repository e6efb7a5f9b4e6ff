//! Describes the machine, without which figures mean little.

use serde_json::{Value, json};

/// Returns the processor, cores, memory, kernel and current load.
pub(crate) fn describe() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kilobytes = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|total| total.trim_end_matches(" kB").parse::<f64>().ok())
        .unwrap_or(0.0);
    let load = read("/proc/loadavg");
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned()),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": format!("{:.0} GiB", kilobytes / 1024.0 / 1024.0),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": load.split(' ').next().unwrap_or("?"),
    })
}
