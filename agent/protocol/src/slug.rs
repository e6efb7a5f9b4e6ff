//! The form of a node's id.

/// Whether `id` is a node's id: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
pub fn is_slug(id: &str) -> bool {
    (1..=63).contains(&id.len())
        && id
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !id.starts_with('-')
        && !id.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::is_slug;

    #[test]
    fn slugs() {
        let longest = "a".repeat(63);
        for valid in ["a", "0", "prod-eu-1", "a--b", longest.as_str()] {
            assert!(is_slug(valid), "{valid}");
        }
        let too_long = "a".repeat(64);
        for bad in [
            "",
            "-",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "é",
            "a\0",
            too_long.as_str(),
        ] {
            assert!(!is_slug(bad), "{bad}");
        }
    }
}
