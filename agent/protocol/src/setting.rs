//! The sentence about a setting that can't be used. Server, agent and command line all use it.

/// `NAME="value" is not usable: it must be …`, where `allowed` completes the sentence. Without a
/// `value`, which may be a secret, the text says that the value is not shown.
pub fn bad_setting(name: &str, value: Option<&str>, allowed: &str) -> String {
    match value {
        Some(value) => format!("{name}={value:?} is not usable: it must be {allowed}"),
        None => format!("{name} (value not shown) is not usable: it must be {allowed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::bad_setting;

    #[test]
    fn a_bad_setting_is_named_with_its_value_and_what_is_allowed() {
        assert_eq!(
            bad_setting("HYPRBOX_FORCE", Some("yes"), "1 or 0"),
            "HYPRBOX_FORCE=\"yes\" is not usable: it must be 1 or 0"
        );
        let hidden = bad_setting("HYPRBOX_NODE_TOKEN", None, "a token");
        assert!(hidden.starts_with("HYPRBOX_NODE_TOKEN (value not shown) is"));
    }
}
