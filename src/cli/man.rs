//! Man pages, made from the definition that parses the commands.

use std::path::Path;

use clap::Command;

use super::error::CliError;

/// Writes a page for `command` and each of its commands into `folder`; how many.
pub(super) fn write(command: &Command, folder: &Path) -> Result<usize, CliError> {
    let wrong = |error: std::io::Error| {
        CliError::failed(format!("{} can't be written: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    let mut pages = Vec::new();
    // So that commands know the flags of their parents, and their own whole name.
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    collect(&command, &mut pages);
    for page in &pages {
        let mut text = Vec::new();
        clap_mangen::Man::new(page.clone())
            .manual("HyprBox Jobs")
            .render(&mut text)
            .map_err(wrong)?;
        let name = page.get_display_name().unwrap_or_else(|| page.get_name());
        std::fs::write(folder.join(format!("{name}.1")), text).map_err(wrong)?;
    }
    Ok(pages.len())
}

fn collect(command: &Command, pages: &mut Vec<Command>) {
    pages.push(command.clone());
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        collect(inner, pages);
    }
}
