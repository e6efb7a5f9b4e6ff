//! Passwords, sessions and personal tokens: what revokes them, when they run out, and when a token
//! needs the password.

use serde_json::{Value, json};

use crate::harness::{Answer, Field, PASSWORD, Person, Server, eventually, id_of, with_node};

const OTHER_PASSWORD: &str = "battery horse correct";

fn add_token(person: &Person, name: &str) -> Person {
    let made = person.post("/api/auth/tokens", &json!({"name": name}));
    person.with_token(&made.gives(201).json().field("token"))
}

fn change(person: &Person, path: &str, body: &Value) -> Answer {
    person.call("PATCH", path).json(body).send()
}

#[test]
fn a_new_password_revokes_the_personal_tokens() {
    let mut server = Server::start();
    let admin = server.admin();
    let ann = server.person("ann", "VIEWER");
    let script = add_token(&ann, "ci");
    let own = |keep: Value, old: &str, new: &str| {
        let body = json!({"oldPassword": old, "password": new, "keepTokens": keep});
        change(&ann, "/api/auth/me", &body).is(200);
    };
    own(json!(true), PASSWORD, OTHER_PASSWORD);
    script.get("/api/auth/me").gives(200);
    own(json!(false), OTHER_PASSWORD, PASSWORD);
    script.get("/api/auth/me").gives(401);
    ann.get("/api/auth/me").gives(200);
    let script = add_token(&ann, "ci");
    own(Value::Null, PASSWORD, OTHER_PASSWORD);
    script.get("/api/auth/me").gives(401);
    // An ADMIN's reset does so as well; another role ends sessions alone.
    let script = add_token(&ann, "ci");
    let path = format!("/api/users/{}", ann.id);
    change(&admin, &path, &json!({"role": "OPERATOR"})).is(200);
    ann.get("/api/auth/me").gives(401);
    script.get("/api/auth/me").gives(200);
    change(&admin, &path, &json!({"password": PASSWORD})).is(200);
    script.get("/api/auth/me").gives(401);
    assert_eq!(
        server.database().number("SELECT count(*) FROM user_tokens"),
        0
    );
}

#[test]
fn an_admin_changes_their_own_password_with_the_old_one_only() {
    let mut server = Server::start();
    let admin = server.admin();
    let path = format!("/api/users/{}", admin.id);
    let bare = change(&admin, &path, &json!({"password": OTHER_PASSWORD})).is(400);
    assert_eq!(bare.fields(), ["oldPassword"]);
    let upper = format!("/api/users/{}", admin.id.to_uppercase());
    change(&admin, &upper, &json!({"password": OTHER_PASSWORD})).is(400);
    let body = json!({"password": OTHER_PASSWORD, "oldPassword": "something else"});
    change(&admin, &path, &body).refused(401, "wrong_password");
    // A role of one's own needs no password.
    change(&admin, &path, &json!({"role": "ADMIN"})).is(200);
    let admin = server.login(&admin.email, PASSWORD);
    let body = json!({"password": OTHER_PASSWORD, "oldPassword": PASSWORD});
    change(&admin, &path, &body).is(200);
    server.login(&admin.email, OTHER_PASSWORD);
}

#[test]
fn an_admin_lists_and_revokes_anybodys_tokens() {
    let mut server = Server::start();
    let admin = server.admin();
    let (ann, bob) = (
        server.person("ann", "VIEWER"),
        server.person("bob", "VIEWER"),
    );
    let script = add_token(&ann, "ci");
    let path = format!("/api/users/{}/tokens", ann.id);
    let listed = admin.get(&path).ok();
    assert_eq!(listed, ann.get("/api/auth/tokens").ok());
    let id = listed["tokens"][0].field("id");
    ann.get(&path).refused(403, "forbidden");
    // Under somebody else's name it is not there.
    let of_bob = format!("/api/users/{}/tokens/{id}", bob.id);
    admin.delete(&of_bob).refused(404, "token_not_found");
    script.get("/api/auth/me").gives(200);
    admin.delete(&format!("{path}/{id}")).gives(204);
    script.get("/api/auth/me").gives(401);
    admin.delete(&format!("{path}/{id}")).gives(404);
    let entry = &admin.get("/api/audit?action=token.revoke").ok()["entries"][0];
    assert_eq!(entry.field("actor"), admin.email);
    assert_eq!(entry.field("detail"), "ci, of ann@example.org");
    // The same on the page.
    let script = add_token(&ann, "deploy");
    let page = format!("/users/{}/tokens", ann.id);
    let shown = admin.browser("GET", &page).gives(200).text();
    assert!(shown.contains("deploy"), "{shown}");
    let id = admin.get(&path).ok()["tokens"][0].field("id");
    let revoke = admin.browser("POST", &format!("{page}/{id}/revoke"));
    revoke.header("sec-fetch-site", "same-origin").gives(303);
    script.get("/api/auth/me").gives(401);
    ann.browser("GET", &page).gives(403);
}

#[test]
fn an_old_session_makes_a_token_with_the_password_only() {
    let mut server = Server::start();
    let ann = server.person("ann", "VIEWER");
    let began = |server: &mut Server, minutes: u32| {
        let then = server.database().ago(&format!("{minutes} minutes"));
        server.kill_and_change(&format!("UPDATE sessions SET created_at = {then}"));
        server.start_again();
        ann.at_url(server.url())
    };
    let ann = began(&mut server, 14);
    let body = json!({"name": "ci"});
    let script = add_token(&ann, "fresh");
    let ann = began(&mut server, 16);
    let refused = ann
        .post("/api/auth/tokens", &body)
        .refused(403, "password_needed");
    assert_eq!(refused.fields(), ["password"]);
    let with = |password: &str| {
        let body = json!({"name": "ci", "password": password});
        ann.post("/api/auth/tokens", &body).send()
    };
    with(OTHER_PASSWORD).refused(401, "wrong_password");
    with(PASSWORD).is(201);
    // The page asks for it.
    let page = ann.browser("GET", "/account").gives(200).text();
    assert!(page.contains("f-token-password"), "{page}");
    let make = |fields: &str| {
        ann.browser("POST", "/account/tokens")
            .header("sec-fetch-site", "same-origin")
            .body("application/x-www-form-urlencoded", fields)
            .send()
    };
    make("name=page").is(403);
    make(&format!(
        "name=page&password={}",
        PASSWORD.replace(' ', "+")
    ))
    .is(201);
    // A script's own token is as fresh as it is young.
    add_token(&script.at_url(server.url()), "of a script");
}

#[test]
fn an_open_stream_ends_with_its_token() {
    let (mut server, admin, _agent) = with_node();
    let job = admin.queue("n1");
    let body = json!({"name": "ci", "expiresInDays": 1});
    let token = admin.post("/api/auth/tokens", &body).gives(201).json();
    let (id, token) = (id_of(&token), token.field("token"));
    let soon = server.database().in_future("4 seconds");
    server.kill_and_change(&format!(
        "UPDATE user_tokens SET expires_at = {soon} WHERE id = '{id}'"
    ));
    server.start_again();
    let open = |path: &str| server.get(path).bearer(&token).open();
    let mut streams = [
        open("/api/events"),
        open(&format!("/api/jobs/{job}/stream")),
    ];
    for stream in &mut streams {
        stream.ends();
    }
    server.get("/api/auth/me").bearer(&token).gives(401);
}

#[test]
fn a_new_password_ends_the_other_sessions() {
    let mut server = Server::start();
    let admin = server.admin();
    let other = server.login(&admin.email, PASSWORD);
    let change = |old: &str, new: &str| {
        admin
            .call("PATCH", "/api/auth/me")
            .json(&json!({"oldPassword": old, "password": new}))
    };
    change(OTHER_PASSWORD, OTHER_PASSWORD).gives(401);
    other.get("/api/auth/me").ok();
    let refused = change(PASSWORD, "too short").gives(400);
    assert_eq!(refused.fields(), ["password"]);
    assert_eq!(
        change(PASSWORD, OTHER_PASSWORD).ok()["email"],
        "admin@example.org"
    );
    admin.get("/api/auth/me").ok();
    other.get("/api/auth/me").gives(401);
    server.login(&admin.email, OTHER_PASSWORD);
    server
        .post(
            "/api/auth/login",
            &json!({"email": admin.email, "password": PASSWORD}),
        )
        .gives(401);
}

#[test]
fn passwords_have_ten_to_1024_characters() {
    let mut server = Server::start();
    let admin = server.admin();
    let (shortest, longest) = ("\u{e9}".repeat(10), "\u{e9}".repeat(1_024));
    for (index, (password, status)) in [
        (shortest[2..].to_owned(), 400),
        (shortest.clone(), 201),
        (longest.clone(), 201),
        (format!("{longest}x"), 400),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"email": format!("u{index}@example.org"), "password": password,
            "name": "U", "role": "VIEWER"});
        let answer = admin.post("/api/users", &body).gives(status);
        if status == 400 {
            assert_eq!(answer.fields(), ["password"]);
        }
    }
    server.login("u1@example.org", &shortest);
    server.login("u2@example.org", &longest);
}

#[test]
fn a_personal_token_has_its_users_role_until_it_is_revoked() {
    let mut server = Server::start();
    let viewer = server.person("vera", "VIEWER");
    let made = viewer
        .post(
            "/api/auth/tokens",
            &json!({"name": "ci", "expiresInDays": 7}),
        )
        .gives(201)
        .json();
    let (id, token) = (id_of(&made), made.field("token"));
    assert!(token.starts_with("hbu_"), "{token}");
    let script = viewer.with_token(&token);
    assert_eq!(id_of(&script.get("/api/auth/me").ok()), viewer.id);
    script.get("/api/jobs").ok();
    let queue = json!({"preset": "note", "nodeId": "n1"});
    script.post("/api/jobs", &queue).gives(403);
    // As a cookie it is nothing.
    server.get("/api/auth/me").cookie(&token).gives(401);

    let listed = viewer.get("/api/auth/tokens").ok();
    assert_eq!(listed.list("tokens").len(), 1);
    assert_eq!(listed["tokens"][0].field("id"), id);
    assert_eq!(listed["tokens"][0].field("name"), "ci");
    assert!(!listed.to_string().contains(&token), "{listed}");
    assert!(
        !server.database().files_hold(&token),
        "kept in the database"
    );

    let path = format!("/api/auth/tokens/{id}");
    server.admin().delete(&path).gives(404);
    viewer.delete(&path).gives(204);
    script.get("/api/auth/me").gives(401);
    viewer.delete(&path).gives(404);
}

#[test]
fn a_personal_token_runs_out() {
    let mut server = Server::start();
    let admin = server.admin();
    let made = admin
        .post(
            "/api/auth/tokens",
            &json!({"name": "ci", "expiresInDays": 1}),
        )
        .gives(201)
        .json();
    let script = admin.with_token(&made.field("token"));
    let id = id_of(&made);
    let changed = server.database().execute(&format!(
        "UPDATE user_tokens SET expires_at = '2001-01-01T00:00:00.000Z' WHERE id = '{id}'"
    ));
    assert_eq!(changed, 1);
    eventually("the token to be known as run out", || {
        (script.get("/api/auth/me").send().status == 401).then_some(())
    });
    for (days, status) in [(0, 400), (1, 201), (-1, 400), (1_000_000_000, 400)] {
        admin
            .post(
                "/api/auth/tokens",
                &json!({"name": "x", "expiresInDays": days}),
            )
            .gives(status);
    }
    admin
        .post("/api/auth/tokens", &json!({"name": ""}))
        .gives(400);
}

#[test]
fn a_session_that_nobody_used_for_30_days_is_over() {
    let mut server = Server::start();
    let admin = server.admin();
    let other = server.login(&admin.email, PASSWORD);
    let database = server.database();
    let used = |days: u32| {
        let then = database.ago(&format!("{days} days"));
        format!("UPDATE sessions SET last_used_at = {then}")
    };
    server.kill_and_change(&used(29));
    server.start_again();
    server.get("/api/auth/me").bearer(&other.token).ok();
    server.kill_and_change(&used(31));
    server.start_again();
    server.get("/api/auth/me").bearer(&other.token).gives(401);
    server.get("/api/auth/me").bearer(&admin.token).gives(401);
}
