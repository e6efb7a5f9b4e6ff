//! What changed between two frozen scripts.

use similar::TextDiff;

/// Unified diff of two scripts, named by their jobs; empty where they are the same.
pub(in crate::jobs) fn unified(a: (&str, &str), b: (&str, &str)) -> String {
    let (old_id, old) = a;
    let (new_id, new) = b;
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .header(&format!("job/{old_id}"), &format!("job/{new_id}"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn only_what_changed_and_its_surroundings() {
        let diff = unified(("a", "one\ntwo\n"), ("b", "one\n2\n"));
        assert_eq!(
            diff,
            "--- job/a\n+++ job/b\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
        );
        assert_eq!(unified(("a", "same\n"), ("b", "same\n")), "");
    }
}
