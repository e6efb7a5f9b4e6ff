//! The definition of all commands, for parsing, help, completions and man pages.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use crate::cli;
use crate::config::serve_command;
use crate::ops;

/// The command `hyprbox` with all subcommands.
pub fn command() -> Command {
    let command = cli::add_client_commands(Command::new("hyprbox"))
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve_command())
        .subcommand(
            Command::new("demo")
                .about("Try everything on this machine: start a server and an agent, and run a job that changes nothing")
                .arg(
                    Arg::new("once")
                        .long("once")
                        .action(ArgAction::SetTrue)
                        .help("Exit when the job ends, with its exit code, instead of serving until Ctrl-C"),
                ),
        )
        .subcommand(ops::backup::command())
        .subcommand(ops::restore::command())
        .subcommand(ops::migrate_store::command())
        .subcommand(ops::doctor::command())
        .subcommand(ops::health::command())
        .subcommand(cli::admin_command())
        .subcommand(cli::audit_command())
        .subcommand(
            Command::new("supervise")
                .hide(true)
                .about("Runs one job of the demo's agent, which starts it")
                .arg(
                    Arg::new("folder")
                        .required(true)
                        .value_parser(clap::value_parser!(PathBuf)),
                ),
        );
    cli::add_general_options(cli::add_local_commands(command))
        .about("HyprBox Jobs: queue presets as jobs on your machines and watch them live")
        .after_help(cli::EXIT_CODES)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_consistent() {
        super::command().debug_assert();
    }
}
