//! The command line.

use std::path::PathBuf;

/// What `--help` says.
pub(crate) const HELP: &str = "\
hyprbox-bench: measures the built server and agent against this machine's own limits

Usage: hyprbox-bench [OPTIONS] [ROW ...]

Build first: cargo build --release --workspace
Without a ROW all are measured.

  --quick          fewer samples and smaller sizes: under two minutes, for CI
  --list           name the rows, and end
  --json FILE      write what was measured as JSON, too
  --markdown       print the table as Markdown, under a heading that says what machine it was
  --into FILE      put that Markdown between the marks in FILE, as docs/performance.md has them
  --from FILE      measure nothing: print the table of a JSON file that --json wrote
  --server FILE    the server to measure [beside this program]
  --agent FILE     the agent to measure [beside this program]
";

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) list: bool,
    pub(crate) help: bool,
    pub(crate) markdown: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) into: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    pub(crate) server: Option<PathBuf>,
    pub(crate) agent: Option<PathBuf>,
    /// Names of rows; empty for all of them.
    pub(crate) rows: Vec<String>,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut file = |name: &str| {
                arguments
                    .next()
                    .map(|file| Some(PathBuf::from(file)))
                    .ok_or_else(|| anyhow::anyhow!("{name} needs a file"))
            };
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                "--markdown" => options.markdown = true,
                "--json" => options.json = file("--json")?,
                "--into" => options.into = file("--into")?,
                "--from" => options.from = file("--from")?,
                "--server" => options.server = file("--server")?,
                "--agent" => options.agent = file("--agent")?,
                flag if flag.starts_with('-') => {
                    anyhow::bail!("{flag} is no option; see --help")
                }
                row => options.rows.push(row.to_owned()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> anyhow::Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_and_rows_come_in_any_order() {
        let options = parse("claims --quick --json out.json polls").expect("good words");
        assert!(options.quick);
        assert_eq!(options.rows, ["claims", "polls"]);
        assert_eq!(options.json, Some(PathBuf::from("out.json")));
        assert!(parse("--fast").is_err());
        assert!(parse("--json").is_err());
    }
}
