//! Several servers, each saved with its login.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{Cli, Tty};
use crate::harness::{Field, Person, Server};

fn token_of(person: &Person) -> String {
    let made = person.post("/api/auth/tokens", &json!({"name": "laptop"}));
    made.gives(201).json().field("token")
}

/// Two servers with a node each, and somebody with a token of both.
struct Two {
    home: Server,
    work: Server,
    tokens: [String; 2],
    cli: Cli,
}

fn two() -> Two {
    let (mut home, mut work) = (Server::start(), Server::start());
    let (at_home, at_work) = (home.admin(), work.admin());
    at_home.add_node("attic");
    at_work.add_node("prod");
    let tokens = [token_of(&at_home), token_of(&at_work)];
    let cli = Cli::nobody();
    let login = ["login", home.url(), "--token", "--context", "home"];
    cli.run_with(&login, &tokens[0]).ends(0);
    let add = ["context", "add", "work", work.url(), "--token"];
    cli.run_with(&add, &tokens[1])
        .ends(0)
        .says("hyprbox context use work");
    Two {
        home,
        work,
        tokens,
        cli,
    }
}

impl Two {
    fn nodes(&self, words: &[&str]) -> String {
        let words = [&["nodes", "list", "-o", "name"], words].concat();
        self.cli.run(&words).ends(0).text()
    }
}

#[test]
fn a_command_uses_the_server_that_is_chosen() {
    let two = two();
    assert_eq!(two.nodes(&[]), "attic\n");
    assert_eq!(two.nodes(&["--context", "work"]), "prod\n");
    let before = ["--context", "work", "node", "ls", "-o", "name"];
    assert_eq!(two.cli.run(&before).ends(0).text(), "prod\n");
    // An address finds its saved token, too.
    assert_eq!(two.nodes(&["--url", two.work.url()]), "prod\n");
    two.cli
        .run(&["context", "use", "work"])
        .ends(0)
        .says("Commands now use work");
    assert_eq!(two.nodes(&[]), "prod\n");
    two.cli
        .run(&["context", "use", "wrok"])
        .ends(127)
        .says("did you mean work?");
    two.cli
        .run(&["nodes", "list", "--context", "nope"])
        .ends(127);
    let both = ["nodes", "list", "--context", "work", "--url", "http://x"];
    two.cli.run(&both).ends(64);
}

#[test]
fn tokens_are_kept_for_their_owner_and_never_printed() {
    let two = two();
    let file = two.cli.home().join(".config/hyprbox/login.json");
    let mode = std::fs::metadata(&file).expect("a file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("reads");
    assert!(two.tokens.iter().all(|token| text.contains(token)));
    for words in [
        &["context", "list"][..],
        &["context", "ls", "-o", "wide"],
        &["context", "list", "--json"],
        &["context", "list", "-o", "name"],
        &["context", "use", "home"],
    ] {
        let ran = two.cli.run(words).ends(0);
        let shown = ran.text() + &ran.stderr;
        assert!(shown.contains("home"), "{words:?}: {shown}");
        assert!(!shown.contains("hbu_"), "{words:?}: {shown}");
    }
    let listed = two.cli.run(&["context", "list", "--json"]).json();
    assert_eq!(
        listed["contexts"],
        json!([
            {"name": "home", "url": two.home.url(), "current": true},
            {"name": "work", "url": two.work.url(), "current": false},
        ])
    );
}

#[test]
fn the_environment_wins_over_what_is_saved_and_a_flag_over_both() {
    let two = two();
    let env = two
        .cli
        .with("HYPRBOX_URL", two.work.url())
        .with("HYPRBOX_TOKEN", &two.tokens[1]);
    let nodes = |words: &[&str]| {
        let words = [&["nodes", "list", "-o", "name"], words].concat();
        env.run(&words).ends(0).text()
    };
    assert_eq!(nodes(&[]), "prod\n");
    assert_eq!(nodes(&["--context", "home"]), "attic\n");
    env.run(&["context", "list"])
        .ends(0)
        .says("HYPRBOX_URL is set, and wins");
}

#[test]
fn after_the_way_out_no_other_server_takes_its_place() {
    let two = two();
    two.cli.run(&["logout"]).ends(0).says("context use work");
    two.cli
        .run(&["nodes", "list"])
        .ends(126)
        .says("no saved server is in use")
        .says("hyprbox context use work");
    two.cli.run(&["context", "use", "work"]).ends(0);
    assert_eq!(two.nodes(&[]), "prod\n");
    // A name that stands for another server is not taken over in silence.
    let words = ["login", two.home.url(), "--token", "--context", "work"];
    two.cli
        .run_with(&words, &two.tokens[0])
        .ends(125)
        .says("work is saved already");
    let mut tty = Tty::start(&two.cli, &["context", "remove", "work"]);
    tty.shows("Log out of work and forget it? [y/N] ");
    tty.type_in("n\r");
    assert_eq!(tty.ended().0, 125);
    two.cli.run(&["context", "rm", "work"]).ends(0);
    let file = two.cli.home().join(".config/hyprbox/login.json");
    assert!(!file.exists());
    two.cli.run(&["context", "list"]).ends(0).says("No server");
}
