//! Without JavaScript, and without a browser: the pages as plain forms, and what they refuse.

use crate::browser::Browser;
use crate::harness::{Answer, Field, PASSWORD, Person, Server, chunk};

/// A form as a browser sends it, without proof of where it comes from.
fn form(person: &Person, path: &str, body: &str) -> crate::harness::Call {
    person
        .browser("POST", path)
        .body("application/x-www-form-urlencoded", body)
}

fn own(person: &Person, path: &str, body: &str) -> Answer {
    form(person, path, body)
        .header("sec-fetch-site", "same-origin")
        .send()
}

#[test]
fn reading_queueing_and_cancelling_need_no_script() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let off = serde_json::json!({"profile.managed_default_content_settings.javascript": 2});
    let browser = Browser::with(&server, &[("prefs", off)]);
    browser.sign_in(&admin);
    browser.open("/presets/note");
    browser.fill("[id='f-p.text']", "no script");
    browser.press("Show the script");
    assert!(browser.text("#preview").contains("no script"));
    browser.press("Queue");
    browser.until("location.search.includes('view=plain')");
    let id = admin.get("/api/jobs").ok().list("jobs")[0].field("id");
    assert_eq!(browser.path(), format!("/jobs/{id}?view=plain"));
    agent.claim();
    agent.output(
        &id,
        &[chunk("stdout", 0, "\u{1b}[31mred\u{1b}[0m <i>x</i>\n")],
    );
    // The page reloads by itself.
    browser.see("red <i>x</i>");
    browser.picture("no-script");
    browser.press("Cancel");
    browser.see("Cancelling, requested");
}

#[test]
fn a_change_without_proof_of_its_origin_is_refused() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let id = admin.queue("node-1");
    for path in [
        "/logout",
        "/nodes",
        "/nodes/node-1",
        "/nodes/node-1/pause",
        "/nodes/node-1/resume",
        "/nodes/node-1/tokens",
        "/nodes/node-1/delete",
        "/presets/note",
        &format!("/jobs/{id}/cancel"),
        "/account/tokens",
        "/account/password",
        "/users",
    ] {
        let answer = form(&admin, path, "node=node-1&id=other").gives(403);
        assert!(
            answer.text().contains("the server&#39;s own pages")
                || answer.text().contains("server's own pages"),
            "{answer:?}"
        );
        let foreign = form(&admin, path, "")
            .header("sec-fetch-site", "cross-site")
            .send();
        assert_eq!(foreign.status, 403, "{path}");
    }
    let login = format!(
        "email={}&password={}",
        admin.email,
        PASSWORD.replace(' ', "+")
    );
    let foreign = server
        .call("POST", "/login")
        .body("application/x-www-form-urlencoded", login.clone())
        .header("origin", "https://evil.example");
    foreign.gives(403);
    assert_eq!(admin.job(&id).field("status"), "QUEUED");
    assert_eq!(own(&admin, &format!("/jobs/{id}/cancel"), "").status, 303);
    assert_eq!(admin.job(&id).field("status"), "CANCELLED");
}

#[test]
fn nobody_is_led_away_from_the_server() {
    let mut server = Server::start();
    let admin = server.admin();
    for to in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
    ] {
        let body = format!(
            "email={}&password={}&to={to}",
            admin.email,
            PASSWORD.replace(' ', "+")
        );
        let answer = server
            .call("POST", "/login")
            .body("application/x-www-form-urlencoded", body)
            .gives(303);
        assert_eq!(answer.header("location"), "/", "{to}");
        assert!(
            answer
                .header("set-cookie")
                .contains("HttpOnly; SameSite=Lax")
        );
    }
    let body = format!(
        "email={}&password={}&to=%2Fjobs%3Fstate%3Dopen",
        admin.email,
        PASSWORD.replace(' ', "+")
    );
    let answer = server
        .call("POST", "/login")
        .body("application/x-www-form-urlencoded", body)
        .gives(303);
    assert_eq!(answer.header("location"), "/jobs?state=open");
    let answer = server.get("/once/never-made?to=//evil.example").gives(401);
    assert!(answer.text().contains("already used"), "{answer:?}");
    assert!(!answer.text().contains("evil"));
}

#[test]
fn roles_hold_on_pages_too() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let theirs = admin.queue("node-1");
    let operator = server.person("op", "OPERATOR");
    let viewer = server.person("view", "VIEWER");
    let page = |person: &Person, path: &str| {
        person
            .browser("GET", path)
            .header("accept", "text/html")
            .send()
            .status
    };
    for path in ["/users", "/audit"] {
        assert_eq!(
            (
                page(&operator, path),
                page(&viewer, path),
                page(&admin, path)
            ),
            (403, 403, 200),
            "{path}"
        );
    }
    assert_eq!(page(&operator, &format!("/jobs/{theirs}")), 404);
    assert_eq!(page(&operator, &format!("/jobs/{theirs}?scope=all")), 200);
    assert_eq!(
        page(&viewer, &format!("/jobs/{theirs}")),
        200,
        "a VIEWER sees everybody's"
    );
    assert_eq!(own(&operator, "/nodes", "id=x").status, 403);
    assert_eq!(own(&viewer, "/presets/note", "node=node-1").status, 403);
    assert_eq!(
        own(&operator, &format!("/jobs/{theirs}/cancel"), "").status,
        404
    );
    assert_eq!(
        own(
            &operator,
            &format!("/presets/note?from={theirs}"),
            "node=node-1"
        )
        .status,
        303
    );
    assert_eq!(
        page(&operator, &format!("/presets/note?from={theirs}")),
        404
    );

    server.set("HYPRBOX_OPERATOR_SCOPE", "own");
    server.restart();
    let theirs = format!("/jobs/{theirs}?scope=all");
    for (person, status) in [(&operator, 403), (&viewer, 200), (&admin, 200)] {
        assert_eq!(page(&person.at_url(server.url()), &theirs), status);
    }
}

#[test]
fn every_page_has_its_headers_and_assets_are_kept() {
    let mut server = Server::start();
    let admin = server.admin();
    let answer = admin.browser("GET", "/").gives(200);
    let csp = answer.header("content-security-policy");
    assert!(
        csp.starts_with("default-src 'none'; script-src 'self'") && !csp.contains("unsafe"),
        "{csp}"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let page = answer.text();
    assert!(
        !page.contains(" style=") && !page.contains(" onclick="),
        "nothing inline"
    );
    let asset = page
        .split("href=\"")
        .find(|rest| rest.contains("app.css\""))
        .expect("a style")
        .split('"')
        .next();
    let asset = asset.expect("an address");
    let plain = server.get(asset).gives(200);
    assert_eq!(
        plain.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    let packed = server
        .get(asset)
        .header("accept-encoding", "gzip")
        .gives(200);
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < plain.body.len() / 2);
    server
        .get(asset)
        .header("if-none-match", &plain.header("etag"))
        .gives(304);
    server.get("/assets/0000000000000000/app.css").gives(404);
    // A body that is not a form.
    let answer = admin
        .browser("POST", "/nodes")
        .header("sec-fetch-site", "same-origin")
        .body("application/json", "{}")
        .send();
    assert_eq!(answer.status, 415);
}

#[test]
fn a_run_is_compared_with_the_one_before_over_all_of_its_output() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let run = |text: &str, changed: &str| {
        let id = admin.queue_with("node-1", "note", serde_json::json!({"text": text}));
        agent.claim();
        // More than 64 KiB on both sides of what differs; colours and progress don't count.
        let colour = if changed == "after" {
            "\u{1b}[32m"
        } else {
            "10%\r50%\r"
        };
        let lines: Vec<String> = (1..=9_000)
            .map(|n| match n {
                4_500 => format!("{colour}{changed} <b>\n"),
                n => format!("{colour}line {n}\n"),
            })
            .collect();
        let mut at = 0;
        for part in lines.chunks(3_000) {
            let text = part.concat();
            agent.say(&id, at, &text);
            at += text.len() as u64;
        }
        agent.succeed(&id);
        id
    };
    let before = run("one", "before");
    let now = run("two", "after");
    let path = format!("/jobs/{now}/compare");
    let page = admin.browser("GET", &path).gives(200).text();
    assert!(page.contains("… 4496 lines the same"), "{page}");
    assert!(
        page.contains("<del>before &lt;b&gt;</del>") && page.contains("<ins>after &lt;b&gt;</ins>")
    );
    assert!(
        page.contains(&format!("/jobs/{now}#L4500"))
            && page.contains(&format!("/jobs/{before}#L4500"))
    );
    assert!(page.len() < 64 * 1024, "{} bytes", page.len());

    let browser = Browser::of(&server, &admin);
    browser.open(&path);
    browser.view("compare-sides");
    browser.size(360, 900);
    let overflow = browser.js("document.documentElement.scrollWidth - innerWidth");
    assert_eq!(overflow, 0);
    browser.view("compare-narrow");
    browser.is_content();
}
