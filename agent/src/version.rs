//! Which version this agent is.

use hyprbox_protocol::AGENT_VERSION_MARK;

/// Stands in the program's file as it is here, so that a server that ships the file can tell its
/// version.
const MARKED: &str = concat!("hyprbox-agent-version=", env!("CARGO_PKG_VERSION"), "\n");

/// This program's version: `0.1.0`. Read from the very text that others find in the file, so that
/// both say the same.
pub fn version() -> &'static str {
    // Opaque to the compiler, which would else keep the version alone, or nothing at all.
    let marked = std::hint::black_box(MARKED);
    marked[AGENT_VERSION_MARK.len()..].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_the_one_that_is_sought() {
        assert!(MARKED.starts_with(AGENT_VERSION_MARK));
        assert_eq!(version(), env!("CARGO_PKG_VERSION"));
    }
}
