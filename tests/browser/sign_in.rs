//! In and out: setup, wrong passwords, sessions that end, and the way back to where one wanted to
//! go.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{PASSWORD, Server};

#[test]
fn the_setup_link_makes_the_first_admin() {
    let server = Server::start();
    let browser = Browser::on(&server);
    browser.open("/");
    browser.see("Set up HyprBox Jobs");
    browser.fill("#f-code", "AAAA-BBBB-CCCC-DDDD");
    browser.fill("#f-email", "ada@example.org");
    browser.fill("#f-password", PASSWORD);
    browser.press("Set up");
    browser.see("Is wrong; the server printed the right one when it started.");
    assert_eq!(
        browser.js("document.getElementById('f-email').value"),
        json!("ada@example.org")
    );
    // The browser reports only the 403 that the form received.
    assert!(
        browser
            .complaints()
            .iter()
            .all(|line| line.contains("status of 403"))
    );

    browser.open(&format!("/setup?code={}", server.setup_code()));
    browser.fill("#f-email", "ada@example.org");
    browser.fill("#f-password", PASSWORD);
    browser.press("Set up");
    browser.see("No nodes yet.");
    assert_eq!(browser.path(), "/");
    browser.is_content();

    browser.open("/setup");
    browser.see("The server is set up");
}

#[test]
fn a_wrong_password_is_reported_and_the_right_one_signs_in() {
    let mut server = Server::start();
    let admin = server.admin();
    let browser = Browser::on(&server);
    browser.open("/jobs?state=failed");
    assert_eq!(browser.path(), "/login?to=%2Fjobs%3Fstate%3Dfailed");
    browser.fill("#f-email", &admin.email);
    browser.fill("#f-password", "not the password");
    browser.press("Sign in");
    browser.see("Email or password is wrong.");
    assert_eq!(browser.js("document.activeElement.id"), json!("f-password"));
    browser.fill("#f-password", PASSWORD);
    browser.press("Sign in");
    browser.see("No job matches.");
    assert_eq!(browser.path(), "/jobs?state=failed");

    browser.press("Sign out");
    browser.until("location.pathname === '/login'");
    browser.open("/jobs");
    assert!(browser.path().starts_with("/login"));
}

#[test]
fn a_session_that_was_ended_elsewhere_leads_to_the_sign_in_by_itself() {
    let mut server = Server::start();
    let admin = server.admin();
    let browser = Browser::of(&server, &admin);
    browser.open("/");
    browser.see("No nodes yet.");
    admin.call("POST", "/api/auth/logout").gives(204);
    browser.until("location.pathname === '/login'");
}

#[test]
fn a_user_without_a_role_reads_that_they_wait_for_one() {
    let mut server = Server::start();
    let pending = server.person("pending", "PENDING");
    let browser = Browser::of(&server, &pending);
    browser.open("/");
    browser.see("Your account has no role yet.");
    browser.press("pending");
    browser.see("Your account");
}

#[test]
fn a_page_that_is_not_there_is_a_page_and_an_api_path_is_json() {
    let mut server = Server::start();
    let admin = server.admin();
    let browser = Browser::of(&server, &admin);
    browser.open("/nowhere");
    browser.see("This address does not exist.");
    browser.press("Overview");
    browser.see("Nodes");
    admin
        .get("/api/nowhere")
        .header("accept", "text/html")
        .refused(404, "not_found");
    server.get("/nowhere").refused(404, "not_found");
}
