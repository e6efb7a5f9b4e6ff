//! Man pages, generated from the commands' definition.

use std::path::Path;

use clap::Command;

use super::error::{CliError, io_message};

/// Writes a page for `command` and each of its subcommands into `folder`; returns their number.
pub(super) fn write(command: &Command, folder: &Path) -> Result<usize, CliError> {
    let wrong = |error: std::io::Error| {
        CliError::failed(format!(
            "{} can't be written: {}",
            folder.display(),
            io_message(&error)
        ))
    };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    let mut pages = Vec::new();
    // Gives subcommands their parents' flags and their full name.
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    collect(&command, &mut pages);
    for page in &pages {
        let mut text = Vec::new();
        render(page, &mut text).map_err(wrong)?;
        let name = page.get_display_name().unwrap_or_else(|| page.get_name());
        std::fs::write(folder.join(format!("{name}.1")), text).map_err(wrong)?;
    }
    Ok(pages.len())
}

fn render(page: &Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let man = clap_mangen::Man::new(page.clone()).manual("HyprBox Jobs");
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    if page.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(text)?;
    }
    if page.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(text)?;
    }
    if let Some(after) = page.get_after_help() {
        text.extend(after_help(&after.to_string()).into_bytes());
    }
    if page.get_version().is_some() {
        man.render_version_section(text)?;
    }
    Ok(())
}

/// The text after a command's help, as a section with unchanged lines.
fn after_help(text: &str) -> String {
    let (heading, body) = match text.split_once(":\n") {
        Some((heading, body)) if !heading.contains('\n') => (heading.to_uppercase(), body),
        _ => ("NOTES".to_owned(), text),
    };
    let mut page = format!(".SH {heading}\n.nf\n");
    for line in body.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A dot or a quote at the start would be a roff request.
        page.push_str(&format!("\\&{line}\n"));
    }
    page.push_str(".fi\n");
    page
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
