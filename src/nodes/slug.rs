//! What a node may be called.

/// Whether `id` is a node's slug: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
pub fn is_slug(id: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = id.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
        && bytes.first().is_some_and(|byte| inner(*byte))
        && bytes.last().is_some_and(|byte| inner(*byte))
}

#[cfg(test)]
mod tests {
    use super::is_slug;

    #[test]
    fn slugs() {
        let longest = "a".repeat(63);
        for good in ["a", "0", "prod-eu-1", "a--b", longest.as_str()] {
            assert!(is_slug(good), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in [
            "",
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
