//! `/palette`: everybody finds only what they may see.

use crate::harness::{Person, Server};

/// Where the options lead that `person` gets for a text.
fn found(person: &Person, text: &str) -> Vec<String> {
    let page = person
        .browser("GET", &format!("/palette?q={text}"))
        .gives(200)
        .text();
    let options = page.split("role=\"option\"").skip(1);
    options
        .filter_map(|option| {
            let (_, rest) = option.split_once("data-")?;
            let (kind, rest) = rest.split_once("=\"")?;
            let (value, _) = rest.split_once('"')?;
            matches!(kind, "go" | "type").then(|| value.to_owned())
        })
        .collect()
}

#[test]
fn jobs_pages_and_orders_are_those_of_the_person() {
    let mut server = Server::with(&[("HYPRBOX_OPERATOR_SCOPE", "own")]);
    let admin = server.admin();
    admin.add_node("web-01");
    let [operator, viewer] =
        [("ann", "OPERATOR"), ("bob", "VIEWER")].map(|(name, role)| server.person(name, role));
    let theirs = admin.queue("web-01");
    let own = operator.queue("web-01");

    let everything = [format!("/jobs/{own}?scope=all"), format!("/jobs/{theirs}")];
    assert_eq!(found(&admin, "note+on+web-01"), everything);
    let of_viewer = [&own, &theirs].map(|id| format!("/jobs/{id}?scope=all"));
    assert_eq!(found(&viewer, "note+on+web-01"), of_viewer);
    assert_eq!(found(&operator, "note+on+web-01"), [format!("/jobs/{own}")]);

    assert_eq!(found(&admin, "audit"), ["/audit"]);
    assert_eq!(found(&operator, "audit"), [""; 0]);
    assert_eq!(found(&operator, "web-01")[0], "/nodes/web-01");

    let to_run = "/presets/note?node=web-01";
    for order in ["run+note+on+web", "Run+note+on", "RUN++note+on+web-01"] {
        assert_eq!(found(&operator, order), [to_run], "{order}");
        assert_eq!(found(&viewer, order), [""; 0], "{order}");
    }
    assert_eq!(found(&operator, "run+vau"), ["run vault on "]);
    assert_eq!(found(&operator, "run+nothing+on+web"), [""; 0]);
}

#[test]
fn the_palette_is_for_people_with_a_role_and_takes_no_long_text() {
    let mut server = Server::start();
    let admin = server.admin();
    server.get("/palette").gives(303);
    server
        .person("newcomer", "PENDING")
        .browser("GET", "/palette")
        .gives(403);
    let longest = "a".repeat(200);
    admin
        .browser("GET", &format!("/palette?q={longest}"))
        .gives(200);
    admin
        .browser("GET", &format!("/palette?q={longest}a"))
        .gives(400);
    // A text is a text.
    let page = admin
        .browser("GET", "/palette?q=%3Cscript%3E%25_")
        .gives(200);
    assert!(!page.text().contains("script"), "{}", page.text());
}
