//! What guards signing in: limits on attempts, look-alikes, https, and what a person reads whose
//! browser or proxy is in the way.

use serde_json::json;

use crate::harness::{Answer, Authority, PASSWORD, Server, Setup, with_node};

const OTHER_PASSWORD: &str = "battery horse correct";
const HERE: &str = "203.0.113.5";
const ELSEWHERE: &str = "203.0.113.6";

fn login(server: &Server, email: &str, password: &str, from: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    let call = server.post("/api/auth/login", &body);
    call.header("x-forwarded-for", from).send()
}

fn behind_proxy(more: &[(&str, &str)]) -> Server {
    let mut variables = vec![("HYPRBOX_TRUSTED_PROXIES", "127.0.0.1")];
    variables.extend(more);
    Server::with(&variables)
}

/// As many attempts as an address has in a minute, each on an account of its own.
fn use_up(server: &Server, address: &str, count: usize) {
    let database = server.database();
    let now = database.now();
    for number in 0..count {
        database.execute(&format!(
            "INSERT INTO login_attempts (id, account, address, at) \
             VALUES ('{address}-{number}', 'nobody-{number}', '{address}', {now})"
        ));
    }
}

#[test]
fn only_the_address_that_tries_many_accounts_is_blocked() {
    let mut server = behind_proxy(&[]);
    server.person("ann", "VIEWER");
    server.person("bob", "VIEWER");
    login(&server, "ann@example.org", PASSWORD, HERE).is(200);
    for number in 0..60 {
        let email = format!("nobody-{number}@example.org");
        login(&server, &email, PASSWORD, HERE).is(401);
    }
    let refused = login(&server, "nobody@example.org", PASSWORD, HERE).is(429);
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    // Nobody knows bob there, but ann has signed in from there before: one flood does not lock an
    // office out.
    login(&server, "bob@example.org", PASSWORD, HERE).is(429);
    login(&server, "ann@example.org", PASSWORD, HERE).is(200);
    login(&server, "bob@example.org", PASSWORD, ELSEWHERE).is(200);
    // Wrong passwords for ann count as they ever did.
    for _ in 0..10 {
        login(&server, "ann@example.org", OTHER_PASSWORD, HERE).is(401);
    }
    login(&server, "ann@example.org", PASSWORD, HERE).is(429);
}

#[test]
fn an_ipv6_client_counts_as_its_network() {
    let mut server = behind_proxy(&[]);
    server.person("ann", "VIEWER");
    for host in 1..=10 {
        let from = format!("2001:db8:1:2::{host:x}");
        login(&server, "ann@example.org", OTHER_PASSWORD, &from).is(401);
    }
    let right = |from: &str| login(&server, "ann@example.org", PASSWORD, from);
    right("2001:db8:1:2:ffff::1").is(429);
    right("2001:db8:1:3::1").is(200);
}

#[test]
fn registrations_from_one_address_are_bounded() {
    let mut server = behind_proxy(&[("HYPRBOX_ALLOW_PUBLIC_REGISTRATION", "true")]);
    server.admin();
    let register = |name: &str, from: &str| {
        let body = json!({"email": format!("{name}@example.org"), "password": PASSWORD});
        let call = server.post("/api/auth/register", &body);
        call.header("x-forwarded-for", from).send()
    };
    use_up(&server, HERE, 59);
    register("eve", HERE).is(201);
    let refused = register("mallory", HERE).refused(429, "too_many_requests");
    assert!(!refused.header("retry-after").is_empty());
    register("mallory", ELSEWHERE).is(201);
    // What is refused for its fields costs no hash and counts for nothing.
    register("not an email", HERE).is(400);
}

#[test]
fn the_setup_code_is_guessed_ten_times_at_most() {
    let server = Server::start();
    let register = |code: &str| {
        let body = json!({"email": "ada@example.org", "password": PASSWORD, "setupCode": code});
        server.post("/api/auth/register", &body).send()
    };
    let code = server.setup_code();
    for _ in 0..9 {
        register("AAAA-AAAA-AAAA-AAAA").refused(403, "setup_code");
    }
    // Without a code nobody guesses.
    register("").refused(403, "setup_code");
    register("AAAA-AAAA-AAAA-AAAA").refused(403, "setup_code");
    register("AAAA-AAAA-AAAA-AAAA").refused(429, "too_many_requests");
    register(&code).refused(429, "too_many_requests");
}

#[test]
fn the_metrics_token_is_guessed_ten_times_at_most() {
    let mut server = Server::with(&[("HYPRBOX_METRICS_TOKEN", "scrape-me")]);
    let admin = server.admin();
    let scrape = |token: &str| server.get("/metrics").bearer(token).send();
    for _ in 0..9 {
        scrape("guess").refused(401, "unauthorized");
    }
    // A right one resets the count.
    scrape("scrape-me").is(200);
    for _ in 0..10 {
        scrape("guess").refused(401, "unauthorized");
    }
    scrape("guess").refused(429, "too_many_requests");
    scrape("scrape-me").refused(429, "too_many_requests");
    admin.get("/metrics").gives(200);
}

#[test]
fn look_alikes_and_invisible_characters_are_refused() {
    let mut server = Server::with(&[("HYPRBOX_ALLOW_PUBLIC_REGISTRATION", "true")]);
    let admin = server.admin();
    let register = |email: &str| {
        let body = json!({"email": email, "password": PASSWORD});
        server.post("/api/auth/register", &body).send()
    };
    for odd in [
        "\u{200b}",
        "\u{ad}",
        "\u{2060}",
        "\u{202e}",
        "\u{3164}",
        "\u{feff}",
        "\u{200d}",
        "\u{2066}",
        "\u{e0061}",
    ] {
        let email = format!("ad{odd}min@example.org");
        assert_eq!(register(&email).is(400).fields(), ["email"], "{odd:?}");
        let name = format!("Ad{odd}min");
        let add =
            json!({"email": "a@example.org", "password": PASSWORD, "name": name, "role": "VIEWER"});
        let refused = admin.post("/api/users", &add).gives(400);
        assert_eq!(refused.fields(), ["name"], "{odd:?}");
        let node = admin.post("/api/nodes", &json!({"id": "n9", "name": name}));
        assert_eq!(node.gives(400).fields(), ["name"], "{odd:?}");
        let token = admin.post("/api/auth/tokens", &json!({"name": name}));
        assert_eq!(token.gives(400).fields(), ["name"], "{odd:?}");
    }
    for email in [
        "аdmin@example.org",
        "admin@ехample.org",
        "сосо@example.org",
        "ａdmin@example.org",
    ] {
        assert_eq!(register(email).is(400).fields(), ["email"], "{email}");
    }
    register("josé@example.org").is(201);
    register("иван@пример.рф").is(201);
}

#[test]
fn https_is_strict() {
    let strict = |answer: &Answer| answer.header("strict-transport-security");
    let authority = Authority::new();
    let server = Setup::new().with_tls(&authority).start();
    for path in ["/healthz", "/login", "/api/auth/me", "/nothing"] {
        assert_eq!(
            strict(&server.get(path).send()),
            "max-age=31536000",
            "{path}"
        );
    }
    assert_eq!(strict(&Server::start().get("/healthz").send()), "");
    let server = behind_proxy(&[("HYPRBOX_PUBLIC_URL", "https://jobs.example.org")]);
    let by = |proto: &str| {
        server
            .get("/healthz")
            .header("x-forwarded-proto", proto)
            .send()
    };
    assert_eq!(strict(&by("https")), "max-age=31536000");
    assert_eq!(strict(&by("http")), "");
    assert_eq!(strict(&server.get("/healthz").send()), "max-age=31536000");
    // Nobody vouches for a peer that is not a proxy.
    let server = Server::with(&[("HYPRBOX_PUBLIC_URL", "https://jobs.example.org")]);
    let lan = server.get("/healthz").header("x-forwarded-proto", "https");
    assert_eq!(strict(&lan.send()), "");
}

#[test]
fn a_page_names_the_address_that_it_was_opened_by() {
    let mut server = Server::with(&[("HYPRBOX_LISTEN", "0.0.0.0:0")]);
    let said = server.said();
    let code = server.setup_code();
    assert!(server.said().contains(&format!("/setup?code={code}")));
    assert!(server.said().contains("HYPRBOX_PUBLIC_URL"), "{said}");
    assert!(!server.said().contains("0.0.0.0"), "{said}");
    server.wait_for_log(&["WARN", "plain http"]);
    server.wait_for_log(&["WARN", "HYPRBOX_PUBLIC_URL is not set"]);
    let admin = server.admin();
    let add = |id: &str, host: &str| {
        let page = admin.browser("POST", "/nodes").header("host", host);
        page.header("sec-fetch-site", "same-origin")
            .body("application/x-www-form-urlencoded", format!("id={id}"))
            .gives(201)
            .text()
    };
    let page = add("n1", "192.0.2.2:4000");
    assert!(
        page.contains("HYPRBOX_API_URL=http://192.0.2.2:4000 "),
        "{page}"
    );
    assert!(
        !page.contains("0.0.0.0") && !page.contains("own machine"),
        "{page}"
    );
    let page = add("n2", "[2001:db8::1]:4000");
    assert!(
        page.contains("HYPRBOX_API_URL=http://[2001:db8::1]:4000 "),
        "{page}"
    );
    // What is not fit for a command line is not used; what works here alone says so.
    for (id, host) in [
        ("n3", "$(id)"),
        ("n4", "0.0.0.0:4000"),
        ("n5", "localhost:4000"),
    ] {
        let page = add(id, host);
        assert!(
            !page.contains("$(id)") && !page.contains("http://0.0.0.0"),
            "{page}"
        );
        assert!(page.contains("own machine"), "{page}");
    }
    // The overview says that others may listen in.
    let overview = admin.browser("GET", "/").gives(200).text();
    assert!(overview.contains("over plain http"), "{overview}");
    let mut quiet = Server::start();
    let overview = quiet.admin().browser("GET", "/").gives(200).text();
    assert!(!overview.contains("over plain http"), "{overview}");
}

#[test]
fn a_browser_that_drops_the_cookie_gets_an_explanation() {
    let mut server = Server::with(&[("HYPRBOX_PUBLIC_URL", "https://jobs.example.org")]);
    let admin = server.admin();
    let origin = server.url().to_owned();
    let sign_in = |origin: &str| {
        let fields = format!(
            "email={}&password={}&to=/jobs",
            admin.email,
            PASSWORD.replace(' ', "+")
        );
        server
            .call("POST", "/login")
            .header("origin", origin)
            .body("application/x-www-form-urlencoded", fields)
            .gives(303)
    };
    let back = sign_in(&origin).header("location");
    assert_eq!(back, "/login?kept=1&to=%2Fjobs");
    let page = server.get(&back).gives(200).text();
    assert!(page.contains("did not keep the cookie"), "{page}");
    assert!(page.contains("https://jobs.example.org"), "{page}");
    server.wait_for_log(&[
        "WARN",
        "did not keep the session cookie",
        "https://jobs.example.org",
    ]);
    // One that keeps it, as on localhost, goes on; at the public URL there is no detour.
    let kept = server.get(&back).cookie(&admin.token).gives(303);
    assert_eq!(kept.header("location"), "/jobs");
    let there = sign_in("https://jobs.example.org");
    assert_eq!(there.header("location"), "/jobs");
}

#[test]
fn a_proxy_that_changes_the_host_is_named() {
    let mut server = Server::start();
    let admin = server.admin();
    let fields = format!(
        "email={}&password={}",
        admin.email,
        PASSWORD.replace(' ', "+")
    );
    let sign_in = |site: &str, origin: &str| {
        server
            .call("POST", "/login")
            .header("origin", origin)
            .header("sec-fetch-site", site)
            .body("application/x-www-form-urlencoded", fields.clone())
            .gives(403)
            .text()
    };
    let page = sign_in("same-origin", "https://jobs.lan:8443");
    for words in [
        "https://jobs.lan:8443 (Origin)",
        &format!("Host is {}", server.address()),
        "HYPRBOX_PUBLIC_URL=https://jobs.lan:8443",
        "proxy_set_header Host $http_host",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    server.wait_for_log(&["WARN", "https://jobs.lan:8443", server.address()]);
    // Another site's page learns nothing of it, and advice to trust it is given to nobody.
    let page = sign_in("cross-site", "https://evil.example");
    assert!(!page.contains("HYPRBOX_PUBLIC_URL=https://evil"), "{page}");
}

#[test]
fn pages_refuse_what_they_do_not_know_and_honour_the_apis_words() {
    let (_server, admin, agent) = with_node();
    let (failed, waits) = (admin.queue("n1"), admin.queue("n1"));
    agent.claim();
    agent.complete(&failed, &json!({"exitCode": 3})).gives(200);
    for path in [
        "/",
        "/login",
        "/setup",
        "/nodes",
        "/nodes/n1",
        "/presets",
        "/presets/note",
        "/jobs",
        "/account",
        "/users",
        "/audit",
    ] {
        let page = admin
            .browser("GET", &format!("{path}?unheardOf=1"))
            .gives(400);
        assert!(page.text().contains("unheardOf"), "{}", page.text());
        assert!(
            page.header("content-type").starts_with("text/html"),
            "{page:?}"
        );
    }
    let shown = |query: &str| {
        let page = admin
            .browser("GET", &format!("/jobs?{query}"))
            .gives(200)
            .text();
        (page.contains(&failed), page.contains(&waits))
    };
    assert_eq!(shown("status=FAILED"), (true, false));
    assert_eq!(shown("state=queued&node=&preset="), (false, true));
    admin.browser("GET", "/jobs?status=BROKEN").gives(400);
    admin.browser("GET", "/jobs?state=broken").gives(400);
}
