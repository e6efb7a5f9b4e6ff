//! `cargo run --release -p hyprbox-bench`: measures the built server and agent as a user runs them,
//! and compares each figure with the machine's own limit from the same run. See `--help`.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this program prints a table, and its progress to standard error"
)]

mod clock;
mod limit;
mod lines;
mod machine;
mod noop;
mod options;
mod process;
mod report;
mod row;
mod rows;
mod sample;
mod seed;
mod stage;
mod viewer;
mod wire;

use options::{HELP, Options};
use report::Report;
use stage::Bench;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // Helper processes that the benchmark starts from its own program.
        Some("write-lines") => {
            let seconds = arguments.get(1).and_then(|seconds| seconds.parse().ok());
            return Ok(lines::write(seconds.unwrap_or(1))?);
        }
        Some("serve-noop") => return runtime()?.block_on(noop::serve()),
        _ => {}
    }
    let options = Options::parse(arguments.into_iter())?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    if options.list {
        println!("{}", rows::NAMES.join("\n"));
        return Ok(());
    }
    let report = match &options.from {
        Some(path) => Report::read(path)?,
        None => runtime()?.block_on(measure(&options))?,
    };
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if let Some(path) = &options.into {
        report.insert_into(path)?;
    }
    if options.markdown {
        print!("{}", report.markdown());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    // reqwest needs a provider even for plain http. An error means that one is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let unknown = options
        .rows
        .iter()
        .find(|row| !rows::NAMES.contains(&row.as_str()));
    if let Some(row) = unknown {
        anyhow::bail!("unknown row {row}: see --list");
    }
    let bench = Bench::new(options)?;
    let mut report = Report {
        machine: machine::describe(),
        quick: options.quick,
        rows: Vec::new(),
    };
    for name in rows::NAMES {
        let is_wanted = match options.rows.is_empty() {
            // Without another build there is nothing to compare.
            true => name != "against" || bench.against.is_some(),
            false => options.rows.iter().any(|row| row == name),
        };
        if !is_wanted {
            continue;
        }
        eprintln!("{name} …");
        report.rows.push(rows::measure(name, &bench).await);
    }
    Ok(report)
}
