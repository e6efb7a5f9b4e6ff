//! The program's commands, all in one place: what parses them, their help, completions and man
//! pages are made from it.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use crate::cli;
use crate::config::serve_command;
use crate::ops;

/// `hyprbox` with everything that it can be told to do.
pub fn command() -> Command {
    let command = cli::add_client_commands(Command::new("hyprbox"))
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve_command())
        .subcommand(
            Command::new("demo")
                .about("Show it all on this machine: a server, an agent, and a job that reports and changes nothing")
                .arg(
                    Arg::new("once")
                        .long("once")
                        .action(ArgAction::SetTrue)
                        .help("End with the job, with its exit code, instead of serving on until Ctrl-C"),
                ),
        )
        .subcommand(ops::backup::command())
        .subcommand(ops::restore::command())
        .subcommand(ops::migrate_store::command())
        .subcommand(ops::doctor::command())
        .subcommand(cli::admin_command())
        .subcommand(
            Command::new("supervise")
                .hide(true)
                .about("Runs one job of the demo's agent; started by it")
                .arg(
                    Arg::new("folder")
                        .required(true)
                        .value_parser(clap::value_parser!(PathBuf)),
                ),
        );
    cli::add_general_options(cli::add_local_commands(command))
        .about("HyprBox Jobs: queue presets as jobs on your machines, and watch them live")
        .after_help(cli::EXIT_CODES)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_holds_together() {
        super::command().debug_assert();
    }
}
