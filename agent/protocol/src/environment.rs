//! Environment files of systemd units: lines of `NAME=value`.

use std::collections::HashMap;

/// Parses an environment file as systemd does, except for escapes and values of several lines,
/// which no setting needs. If a name occurs twice, the last value counts.
pub fn parse_environment(text: &str) -> HashMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()).to_owned()))
        .collect()
}

/// A value without the quotes around it.
fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_parsed_as_by_systemd() {
        let text = "# a comment\n; another\n\nHYPRBOX_DATA_DIR=/var/lib/hyprbox\n HYPRBOX_LOG = \"info\"\nX='a b'\nno line\n\
                    URL=https://x/?a=b\nEMPTY=\n";
        let read = parse_environment(text);
        assert_eq!(read.len(), 5, "{read:?}");
        assert_eq!(read["HYPRBOX_DATA_DIR"], "/var/lib/hyprbox");
        assert_eq!(read["HYPRBOX_LOG"], "info");
        assert_eq!(read["X"], "a b");
        assert_eq!(read["URL"], "https://x/?a=b");
        assert_eq!(read["EMPTY"], "");
    }

    #[test]
    fn an_unclosed_quote_belongs_to_the_value() {
        let read = parse_environment("A=\"x\nB='\nC=\"'\nD=''\n");
        assert_eq!(read["A"], "\"x");
        assert_eq!(read["B"], "'");
        assert_eq!(read["C"], "\"'");
        assert_eq!(read["D"], "");
    }

    #[test]
    fn the_last_value_of_a_name_counts() {
        assert_eq!(parse_environment("A=1\r\nA=2\r\n")["A"], "2");
    }
}
