//! Addresses within this server, such as where to go after signing in.

/// Maximum length of such an address in bytes.
const LONGEST: usize = 2_000;

/// `to` if it is a path on this server, the overview otherwise.
///
/// Browsers treat `//host` and `/\host` as another host, after they drop tabs and line ends.
pub(super) fn path(to: Option<&str>) -> &str {
    let is_local = |to: &&str| {
        let mut rest = to.strip_prefix('/').unwrap_or("/").chars();
        to.len() <= LONGEST
            && !matches!(rest.next(), Some('/' | '\\'))
            && to.chars().all(|c| c.is_ascii_graphic() && c != '\\')
    };
    to.filter(is_local).unwrap_or("/")
}

/// `page?to=…`, without `to` if that is the overview.
pub(super) fn with_to(page: &str, to: &str) -> String {
    match path(Some(to)) {
        "/" => page.to_owned(),
        to => format!("{page}?{}", query(&[("to", to)])),
    }
}

/// An encoded query string.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server() {
        for good in ["/", "/jobs", "/jobs/1?scope=all#L12", "/presets/a?x=//b"] {
            assert_eq!(path(Some(good)), good);
        }
        let long = format!("/{}", "a".repeat(LONGEST));
        for bad in [
            "",
            "jobs",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/ok\n//evil",
            "https://evil.example/",
            "javascript:alert(1)",
            "\\\\evil.example",
            "/a\\b",
            "/\u{e9}",
            &long,
        ] {
            assert_eq!(path(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(path(None), "/");
    }

    #[test]
    fn the_way_back_goes_along() {
        assert_eq!(
            with_to("/login", "/jobs?a=b&c=d"),
            "/login?to=%2Fjobs%3Fa%3Db%26c%3Dd"
        );
        assert_eq!(with_to("/login", "//evil"), "/login");
    }
}
