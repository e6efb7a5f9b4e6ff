//! The address in the lines that people paste on other machines.

use crate::harness::{Person, Server};

/// Adds a node; the page with the lines to paste, as a browser gets it that was pointed at `host`.
fn lines(admin: &Person, host: &str, node: &str) -> String {
    admin
        .browser("POST", "/nodes")
        .header("host", host)
        .header("sec-fetch-site", "same-origin")
        .body("application/x-www-form-urlencoded", format!("id={node}"))
        .gives(201)
        .text()
}

const ONLY_HERE: &str = "works only on the server's own machine";

#[test]
fn lines_have_the_host_by_which_the_page_was_opened() {
    let mut server = Server::start();
    let admin = server.admin();
    for (number, host) in [
        "jobs.lan",
        "192.0.2.7:4000",
        "[2001:db8::7]:4000",
        "box_1:80",
    ]
    .iter()
    .enumerate()
    {
        let page = lines(&admin, host, &format!("n{number}"));
        assert!(
            page.contains(&format!("curl -fsSL http://{host}/install.sh")),
            "{page}"
        );
        assert!(
            page.contains(&format!("HYPRBOX_API_URL=http://{host} ")),
            "{page}"
        );
        assert!(!page.contains(ONLY_HERE), "{page}");
    }
    let id = admin.queue("n0");
    let page = admin.browser("GET", &format!("/jobs/{id}"));
    let page = page.header("host", "jobs.lan").gives(200).text();
    assert!(page.contains("http://jobs.lan/api/jobs"), "{page}");
}

#[test]
fn a_host_that_a_shell_would_read_as_more_than_an_address_is_not_used() {
    let mut server = Server::start();
    let admin = server.admin();
    let own = format!("curl -fsSL {}/install.sh", server.url());
    for (number, host) in [
        "evil.test$(id)",
        "evil.test;id",
        "evil.test'id'",
        "evil.test|sh",
        "evil.test&id",
        "evil.test`id`",
        "evil.test/x?y",
        "user@evil.test",
        "evil.test:80:81",
        "evil.test:99999",
        "evil.test -o /etc/passwd",
        "-oevil.test",
        "evil.test\"><script>",
        "[evil.test]",
        "[::1]evil.test",
        "0.0.0.0:4000",
        "[::]",
    ]
    .iter()
    .enumerate()
    {
        let page = lines(&admin, host, &format!("n{number}"));
        assert!(page.contains(&own), "{host}: {page}");
        assert!(
            !page.contains("evil") && !page.contains("0.0.0.0"),
            "{host}: {page}"
        );
        // The address that is left is the server's own loopback address, and the page says so.
        assert!(page.contains(ONLY_HERE), "{host}: {page}");
    }
}

#[test]
fn the_public_url_wins_and_a_loopback_one_is_named() {
    for (url, is_local) in [
        ("https://jobs.example.org", false),
        ("http://localhost:4000", true),
    ] {
        let mut server = Server::with(&[("HYPRBOX_PUBLIC_URL", url)]);
        let admin = server.admin();
        let page = lines(&admin, "other.lan", "n1");
        assert!(
            page.contains(&format!("curl -fsSL {url}/install.sh")),
            "{page}"
        );
        assert!(!page.contains("other.lan"), "{page}");
        assert_eq!(page.contains(ONLY_HERE), is_local, "{page}");
    }
}
