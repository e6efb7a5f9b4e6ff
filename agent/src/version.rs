//! This agent's version.

use hyprbox_protocol::AGENT_VERSION_MARK;

/// Appears like this in the program's file, so that a server that ships the file can read its
/// version.
const MARKED: &str = concat!("hyprbox-agent-version=", env!("CARGO_PKG_VERSION"), "\n");

/// This program's version: `0.1.0`. Read from the text that a server finds in the file, so that
/// both agree.
pub fn version() -> &'static str {
    // Opaque to the compiler, which would otherwise drop the mark.
    let marked = std::hint::black_box(MARKED);
    marked[AGENT_VERSION_MARK.len()..].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_follows_the_mark() {
        assert!(MARKED.starts_with(AGENT_VERSION_MARK));
        assert_eq!(version(), env!("CARGO_PKG_VERSION"));
    }
}
