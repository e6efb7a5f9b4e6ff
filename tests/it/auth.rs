//! People: the first one, registration, sign-in and its cookie, users and roles.

use serde_json::{Value, json};

use crate::harness::{Field, PASSWORD, Person, Server, Setup, with_node, with_operator};

const OTHER_PASSWORD: &str = "battery horse correct";

fn credentials(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

#[test]
fn the_first_user_needs_the_printed_code_and_becomes_admin() {
    let server = Server::start();
    let code = server.setup_code();
    assert!(
        server
            .said()
            .contains(&format!("{}/setup?code={code}", server.url())),
        "{}",
        server.said()
    );
    let mut body = credentials("Ada@Example.org", PASSWORD);
    server.post("/api/auth/register", &body).gives(403);
    body["setupCode"] = json!("WRONG-CODE");
    server.post("/api/auth/register", &body).gives(403);
    body["setupCode"] = json!(code);
    let made = server.post("/api/auth/register", &body).gives(201).json();
    assert_eq!(made["user"]["email"], "ada@example.org");
    assert_eq!(made["user"]["role"], "ADMIN");
    let me = server.get("/api/auth/me").bearer(&made.field("token")).ok();
    assert_eq!(me, made["user"]);
    for field in ["id", "email", "name", "role", "createdAt"] {
        assert!(me[field].is_string(), "{field}: {me}");
    }
    // The door is closed behind the first one, with the code or without.
    body["email"] = json!("eve@example.org");
    server.post("/api/auth/register", &body).gives(403);
}

#[test]
fn the_code_is_gone_once_there_is_a_user() {
    let mut server = Server::start();
    server.admin();
    server.restart();
    server.get("/healthz").ok();
    assert!(!server.said().contains("Setup code"), "{}", server.said());
}

#[test]
fn the_environment_can_name_the_first_admin() {
    let mut server = Server::with(&[
        ("HYPRBOX_ADMIN_EMAIL", "Root@Example.org"),
        ("HYPRBOX_ADMIN_PASSWORD", PASSWORD),
    ]);
    let root = server.login("root@example.org", PASSWORD);
    assert_eq!(root.get("/api/auth/me").ok()["role"], "ADMIN");
    // Set still, at the next start, for a user who is there: nothing changes.
    server.set("HYPRBOX_ADMIN_PASSWORD", OTHER_PASSWORD);
    server.restart();
    server.login("root@example.org", PASSWORD);
    server
        .post(
            "/api/auth/login",
            &credentials("root@example.org", OTHER_PASSWORD),
        )
        .gives(401);
}

#[test]
fn public_registration_creates_accounts_that_see_only_themselves() {
    let mut server = Server::with(&[("HYPRBOX_ALLOW_PUBLIC_REGISTRATION", "true")]);
    // The first one needs the code all the same.
    let body = credentials("eve@example.org", PASSWORD);
    server.post("/api/auth/register", &body).gives(403);
    let admin = server.admin();
    let made = server.post("/api/auth/register", &body).gives(201).json();
    assert_eq!(made["user"]["role"], "PENDING");
    let eve = server.login("eve@example.org", PASSWORD);
    assert_eq!(eve.get("/api/auth/me").ok()["role"], "PENDING");
    for path in [
        "/api/jobs",
        "/api/nodes",
        "/api/presets",
        "/api/events",
        "/api/users",
        "/api/audit",
        "/api/auth/tokens",
    ] {
        eve.get(path).gives(403);
    }
    let queue = json!({"preset": "note", "nodeId": "n1"});
    eve.post("/api/jobs", &queue).gives(403);
    // An ADMIN gives them a role.
    let path = format!("/api/users/{}", eve.id);
    admin
        .call("PATCH", &path)
        .json(&json!({"role": "VIEWER"}))
        .ok();
    eve.get("/api/jobs").gives(401);
    let eve = server.login("eve@example.org", PASSWORD);
    eve.get("/api/jobs").ok();
    server.post("/api/auth/register", &body).gives(409);
}

#[test]
fn a_login_returns_a_token_and_a_cookie() {
    for (public_url, secure) in [(None, false), (Some("https://jobs.example.org"), true)] {
        let setup = public_url.iter().fold(Setup::new(), |setup, url| {
            setup.with("HYPRBOX_PUBLIC_URL", url)
        });
        let mut server = setup.start();
        server.admin();
        let login = credentials("ADMIN@example.org", PASSWORD);
        let answer = server.post("/api/auth/login", &login).gives(200);
        let cookie = answer.header("set-cookie");
        let mut parts: Vec<String> = cookie
            .split(';')
            .map(|part| part.trim().to_lowercase())
            .collect();
        let token = answer.json().field("token");
        assert_eq!(parts.remove(0), format!("hb_token={token}").to_lowercase());
        for flag in ["httponly", "samesite=lax", "path=/"] {
            assert!(parts.iter().any(|part| part == flag), "{flag}: {cookie}");
        }
        assert_eq!(
            parts.iter().any(|part| part == "secure"),
            secure,
            "{cookie}"
        );
        assert!(!cookie.to_lowercase().contains("domain="), "{cookie}");
        server.get("/api/auth/me").bearer(&token).ok();
        server.get("/api/auth/me").cookie(&token).ok();
    }
}

#[test]
fn a_wrong_password_and_an_unknown_email_look_the_same() {
    let mut server = Server::start();
    server.admin();
    let wrong = server
        .post(
            "/api/auth/login",
            &credentials("admin@example.org", OTHER_PASSWORD),
        )
        .gives(401);
    let unknown = server
        .post(
            "/api/auth/login",
            &credentials("nobody@example.org", OTHER_PASSWORD),
        )
        .gives(401);
    assert_eq!(wrong.json(), unknown.json());
    assert_eq!(wrong.header("set-cookie"), "");
}

#[test]
fn a_logout_ends_only_that_session() {
    let mut server = Server::start();
    let admin = server.admin();
    let here = server.login(&admin.email, PASSWORD);
    let there = server.login(&admin.email, PASSWORD);
    here.call("POST", "/api/auth/logout").gives(204);
    here.get("/api/auth/me").gives(401);
    there.get("/api/auth/me").ok();
    here.call("POST", "/api/auth/logout").gives(401);
}

#[test]
fn sessions_outlive_a_restart() {
    let mut server = Server::start();
    let admin = server.admin();
    server.restart();
    server.get("/api/auth/me").bearer(&admin.token).ok();
    server.kill9();
    server.start_again();
    server.get("/api/auth/me").bearer(&admin.token).ok();
}

#[test]
fn users_are_added_changed_and_removed_by_an_admin() {
    let mut server = Server::start();
    let admin = server.admin();
    let ann = server.person("ann", "OPERATOR");
    let agent = admin.add_node("n1");
    let job = ann.queue("n1");
    let emails = |admin: &Person| -> Vec<String> {
        let page = admin.get("/api/users").ok();
        page.list("users")
            .iter()
            .map(|user| user.field("email"))
            .collect()
    };
    assert_eq!(emails(&admin), ["admin@example.org", "ann@example.org"]);
    ann.get("/api/users").gives(403);
    let twice =
        json!({"email": "ANN@example.org", "password": PASSWORD, "name": "x", "role": "VIEWER"});
    admin.post("/api/users", &twice).gives(409);
    let odd = json!({"email": "nobody", "password": "short", "name": "x", "role": "KING"});
    let fields = admin.post("/api/users", &odd).gives(400).fields();
    assert_eq!(fields, ["email", "password", "role"]);

    let path = format!("/api/users/{}", ann.id);
    let changed = admin
        .call("PATCH", &path)
        .json(&json!({"role": "VIEWER"}))
        .ok();
    assert_eq!(changed["role"], "VIEWER");
    ann.get("/api/auth/me").gives(401);
    let ann = server.login(&ann.email, PASSWORD);
    let queue = json!({"preset": "note", "nodeId": "n1"});
    ann.post("/api/jobs", &queue).gives(403);
    admin
        .call("PATCH", &path)
        .json(&json!({"password": OTHER_PASSWORD}))
        .ok();
    ann.get("/api/auth/me").gives(401);
    let ann = server.login(&ann.email, OTHER_PASSWORD);

    admin.delete(&path).gives(204);
    ann.get("/api/auth/me").gives(401);
    admin.delete(&path).gives(404);
    assert_eq!(emails(&admin), ["admin@example.org"]);
    // Their jobs stay, and still say whose they were.
    let kept = admin.get(&format!("/api/jobs/{job}?scope=all")).ok();
    assert_eq!(kept["createdBy"], json!(ann.id));
    assert_eq!(kept["createdByEmail"], "ann@example.org");
    assert_eq!(agent.claim_id(), job);
}

#[test]
fn the_last_admin_stays_one() {
    let mut server = Server::start();
    let admin = server.admin();
    let path = format!("/api/users/{}", admin.id);
    let demote = |by: &Person| by.call("PATCH", &path).json(&json!({"role": "OPERATOR"}));
    demote(&admin).gives(409);
    admin.delete(&path).gives(409);
    admin.get("/api/users").ok();
    let second = server.person("second", "ADMIN");
    assert_eq!(demote(&second).ok()["role"], "OPERATOR");
    second.delete(&path).gives(204);
    second
        .delete(&format!("/api/users/{}", second.id))
        .gives(409);
}

#[test]
fn two_admins_who_demote_each_other_at_once_leave_one() {
    let mut server = Server::start();
    let admin = server.admin();
    let second = server.person("second", "ADMIN");
    let demote = |by: &Person, whom: &Person| {
        by.call("PATCH", &format!("/api/users/{}", whom.id))
            .json(&json!({"role": "VIEWER"}))
            .send_later()
    };
    let both = [demote(&admin, &second), demote(&second, &admin)];
    let done = both
        .into_iter()
        .map(|call| call.join().expect("an answer").status)
        .filter(|status| *status == 200)
        .count();
    assert_eq!(done, 1);
    let admins = "SELECT count(*) FROM users WHERE role = 'ADMIN'";
    assert_eq!(server.database().number(admins), 1);
}

#[test]
fn ten_wrong_passwords_close_the_door_for_that_account_from_that_address() {
    let mut server = Server::with(&[("HYPRBOX_TRUSTED_PROXIES", "127.0.0.1")]);
    server.admin();
    server.person("ann", "VIEWER");
    let login = |email: &str, password: &str, from: &str| {
        server
            .post("/api/auth/login", &credentials(email, password))
            .header("x-forwarded-for", from)
            .send()
    };
    let (ann, here, there) = ("ann@example.org", "203.0.113.5", "203.0.113.6");
    for _ in 0..9 {
        login(ann, OTHER_PASSWORD, here).is(401);
    }
    // A right one resets the count.
    login(ann, PASSWORD, here).is(200);
    for _ in 0..10 {
        login(ann, OTHER_PASSWORD, here).is(401);
    }
    let refused = login(ann, OTHER_PASSWORD, here).is(429);
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    login(ann, PASSWORD, here).is(429);
    // What stands before the last address anybody can write.
    login(ann, PASSWORD, &format!("{there}, {here}")).is(429);
    login(ann, PASSWORD, there).is(200);
    login(ann, PASSWORD, &format!("{here}, {there}")).is(200);
    login("admin@example.org", PASSWORD, here).is(200);
}

#[test]
fn an_address_that_no_trusted_proxy_wrote_counts_for_nothing() {
    let mut server = Server::start();
    server.admin();
    let login = |from: &str, password: &str| {
        server
            .post(
                "/api/auth/login",
                &credentials("admin@example.org", password),
            )
            .header("x-forwarded-for", from)
            .send()
    };
    for number in 0..10 {
        login(&format!("203.0.113.{number}"), OTHER_PASSWORD).is(401);
    }
    login("203.0.113.99", PASSWORD).is(429);
}

#[test]
fn a_change_with_the_cookie_needs_proof_that_it_is_ours() {
    let public = "https://jobs.example.org";
    let mut server = Server::with(&[("HYPRBOX_PUBLIC_URL", public)]);
    let admin = server.admin();
    let (ours, evil) = (server.url().to_owned(), "http://evil.example");
    let same = Some("same-origin");
    // Sec-Fetch-Site, Origin; whether a change passes, and a login.
    let table = [
        (None, None, false, true),
        (same, None, true, true),
        (None, Some(ours.as_str()), true, true),
        (None, Some(public), true, true),
        (same, Some(ours.as_str()), true, true),
        (same, Some(public), true, true),
        (same, Some(evil), false, false),
        (same, Some("null"), false, false),
        (Some("cross-site"), Some(ours.as_str()), false, false),
        (Some("cross-site"), None, false, false),
        (Some("same-site"), None, false, false),
        (Some("same-site"), Some(public), false, false),
        (None, Some(evil), false, false),
        (None, Some("null"), false, false),
    ];
    for (index, (site, origin, change, login)) in table.into_iter().enumerate() {
        let with = |mut call: crate::harness::Call| {
            for (name, value) in [("sec-fetch-site", site), ("origin", origin)] {
                if let Some(value) = value {
                    call = call.header(name, value);
                }
            }
            call
        };
        let body = json!({"name": format!("t{index}")});
        let path = "/api/auth/tokens";
        let status = if change { 201 } else { 403 };
        with(admin.browser("POST", path).json(&body)).gives(status);
        // Reading needs no proof, and a bearer token is proof enough.
        with(admin.browser("GET", path)).gives(200);
        with(admin.post(path, &body)).gives(201);
        let body = credentials(&admin.email, PASSWORD);
        let status = if login { 200 } else { 403 };
        with(server.post("/api/auth/login", &body)).gives(status);
    }
}

#[test]
fn a_credential_of_the_wrong_kind_opens_nothing() {
    let (server, admin, agent) = with_node();
    let poll = "/api/jobs/pending?nodeId=n1";
    for authorization in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer hbs_nonsense",
        "Bearer hbu_nonsense",
        "Bearer hbn_nonsense",
        "Basic YWRtaW46YWRtaW4=",
        &format!("Basic {}", admin.token),
        &format!("Bearer {}", agent.token),
    ] {
        server
            .get("/api/jobs")
            .header("authorization", authorization)
            .refused(401, "unauthorized");
        if !authorization.contains(&agent.token) {
            server
                .get(poll)
                .header("authorization", authorization)
                .refused(401, "unauthorized");
        }
    }
    server.get(poll).bearer(&admin.token).gives(401);
    server.get(poll).cookie(&admin.token).gives(401);
    server.get(poll).cookie(&agent.token).gives(401);
    server.get("/api/jobs").cookie(&agent.token).gives(401);
    agent.poll("").ok();
    // A header that is there alone counts: a program's own token, and not a cookie beside it.
    server
        .get("/api/jobs")
        .cookie(&admin.token)
        .bearer("nonsense")
        .gives(401);
}

#[test]
fn an_operator_reads_all_jobs_unless_a_setting_forbids_it() {
    let (mut server, ann, _agent) = with_operator();
    let bob = server.person("bob", "OPERATOR");
    let id = ann.queue("n1");
    let reads = [
        "/api/jobs?scope=all".to_owned(),
        format!("/api/jobs/{id}?scope=all"),
        format!("/api/jobs/{id}/log?scope=all"),
        format!("/api/jobs/{id}/diff/{id}?scope=all"),
    ];
    let streams = [
        format!("/api/jobs/{id}/stream?scope=all"),
        format!("/api/events?job={id}&scope=all"),
    ];
    for path in &reads {
        bob.get(path).gives(200);
    }
    for path in &streams {
        bob.get(path).open().next();
    }
    let page = bob
        .browser("GET", &format!("/jobs/{id}?scope=all"))
        .gives(200);
    assert!(!page.text().contains("/cancel"), "{}", page.text());
    let list = bob.browser("GET", "/jobs").gives(200).text();
    assert!(list.contains("Everybody"), "{list}");
    bob.call("POST", &format!("/api/jobs/{id}/cancel?scope=all"))
        .refused(403, "forbidden");
    bob.get(&format!("/api/jobs/{id}")).gives(404);
    assert_eq!(ann.job(&id)["status"], "QUEUED");

    server.set("HYPRBOX_OPERATOR_SCOPE", "own");
    server.restart();
    let bob = bob.at_url(server.url());
    for path in reads.iter().chain(&streams) {
        bob.get(path).refused(403, "forbidden");
    }
    let list = bob.browser("GET", "/jobs").gives(200).text();
    assert!(!list.contains("Everybody"), "{list}");
    bob.browser("GET", "/jobs?scope=all").gives(403);
    server.admin().get(&reads[0]).gives(200);
}
