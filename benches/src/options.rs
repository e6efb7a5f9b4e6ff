//! The command line.

use std::path::PathBuf;

/// The text of `--help`.
pub(crate) const HELP: &str = "\
hyprbox-bench: measures the built server and agent against this machine's own limits

Usage: hyprbox-bench [OPTIONS] [ROW ...]

Build the programs first: cargo build --release --workspace
Without ROW, all rows are measured.

  --quick          use fewer samples and smaller sizes: takes under two minutes, for CI
  --list           list the rows and exit
  --json FILE      also write the results to FILE as JSON
  --markdown       print the results as Markdown, with a description of the machine
  --into FILE      replace the Markdown between the marks in FILE, such as docs/performance.md
  --from FILE      print the results in FILE, written by --json, without measuring
  --server FILE    the server to measure [default: next to this program]
  --agent FILE     the agent to measure [default: next to this program]
  --against FILE   another build of the server, which the row `against` measures in turn with this one
";

/// The parsed command line.
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
    pub(crate) against: Option<PathBuf>,
    /// Names of rows; empty for all rows.
    pub(crate) rows: Vec<String>,
}

impl Options {
    /// Parses the arguments after the program's name.
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
                "--against" => options.against = file("--against")?,
                flag if flag.starts_with('-') => {
                    anyhow::bail!("unknown option {flag}: see --help")
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
        let options = parse("claims --quick --json out.json polls").expect("valid arguments");
        assert!(options.quick);
        assert_eq!(options.rows, ["claims", "polls"]);
        assert_eq!(options.json, Some(PathBuf::from("out.json")));
        assert!(parse("--fast").is_err());
        assert!(parse("--json").is_err());
    }
}
