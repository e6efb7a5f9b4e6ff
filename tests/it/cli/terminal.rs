//! On a terminal: hostile output is harmless, colours stay, the progress line goes, Ctrl-C is
//! heard.

use serde_json::json;

use super::{Cli, Tty};
use crate::harness::{FakeAgent, Field, Person, Server, bytes_chunk, with_operator, write_preset};

/// A title, the clipboard, a cursor, bracketed paste, a reset, C1 as bytes and as characters, a
/// bell.
const HOSTILE: &[u8] = b"\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x1b\\\x1b[2J\x1b[10;10H\x1b[?2004h\x1bc\x9b5m\xc2\x9d0;t\xc2\x9c\x07ok\n";
const COLOURS: &[u8] = b"\x1b[1;31mred\x1b[0m 1%\r2%\n";
/// A character set, a link, shifts, backspaces, and moves within a line.
const USUAL: &[u8] = b"\x1b(B\x1b[mset \x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\\n\x0eshift\x0f\n10%\x08\x08\x0820%\nname\x1b[10Gvalue\n";

fn all() -> Vec<u8> {
    [HOSTILE, COLOURS, USUAL].concat()
}

fn ready() -> (Server, Person, FakeAgent, String) {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    agent.output(&id, &[bytes_chunk("stdout", 0, &all())]);
    (server, ann, agent, id)
}

/// Every escape in what a terminal got, up to the letter that ends it.
fn escapes(shown: &str) -> Vec<&str> {
    let starts = shown.match_indices('\u{1b}').map(|(at, _)| at);
    starts
        .map(|at| {
            let end = shown[at + 2..].find(|c: char| c.is_ascii_alphabetic());
            &shown[at..end.map_or(shown.len(), |end| at + 2 + end + 1)]
        })
        .collect()
}

#[test]
fn a_hostile_log_does_nothing_to_a_terminal() {
    let (server, ann, agent, id) = ready();
    agent.succeed(&id);
    let cli = Cli::of(&server, &ann);
    for words in [&["jobs", "log", &id][..], &["jobs", "log", "--follow", &id]] {
        let (code, shown) = Tty::start(&cli, words).ended();
        assert_eq!(code, 0, "{shown}");
        for escape in escapes(&shown) {
            // The colours, and what draws and clears the progress line.
            let known = [
                "\u{1b}[1;31m",
                "\u{1b}[0m",
                "\u{1b}[m",
                "\u{1b}[K",
                "\u{1b}[2m",
            ];
            assert!(known.contains(&escape), "{escape:?} in {shown:?}");
        }
        assert!(
            shown.contains("\u{1b}[1;31mred\u{1b}[0m 1%\r2%"),
            "{shown:?}"
        );
        assert!(
            !shown.contains("owned") && shown.contains("5m0;tok"),
            "{shown:?}"
        );
        for usual in [
            "set link",
            "\nshift",
            "\n10%\r20%",
            "\nname\rname     value",
        ] {
            assert!(shown.contains(usual), "{usual:?} in {shown:?}");
        }
        let allowed = ['\n', '\r', '\t', '\u{1b}'];
        let bad = shown
            .chars()
            .find(|c| c.is_control() && !allowed.contains(c));
        assert_eq!(bad, None, "{shown:?}");
    }
    // No escape at all, of the job's or of ours.
    let dumb = Cli::of(&server, &ann).with("TERM", "dumb");
    let plain = Cli::of(&server, &ann).with("NO_COLOR", "1");
    let never = ["--color", "never"];
    for (cli, more) in [(&cli, &never[..]), (&dumb, &[]), (&plain, &[])] {
        for words in [&["jobs", "log", &id][..], &["jobs", "log", "-f", &id]] {
            let (_, shown) = Tty::start(cli, &[words, more].concat()).ended();
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
            assert!(shown.contains("red 1%\r2%"), "{shown:?}");
        }
    }
    // Into a pipe it goes as it is, whatever else is a terminal.
    let tty = Tty::piped(&cli, &["jobs", "log", "--follow", &id]);
    let stdout = tty.stdout.clone().expect("a pipe");
    tty.ended();
    assert_eq!(stdout.all(), all());
}

#[test]
fn the_result_is_on_a_line_of_its_own() {
    for (output, expected) in [
        ("no end", "no end\r\n"),
        ("an end\x1b[0m\n\x1b[0m", "an end\r\n"),
        ("", ""),
    ] {
        let (server, ann, agent) = with_operator();
        let id = ann.queue("n1");
        agent.claim();
        agent.output(&id, &[bytes_chunk("stdout", 0, output.as_bytes())]);
        agent.succeed(&id);
        let cli = Cli::of(&server, &ann);
        let (code, shown) = Tty::start(&cli, &["jobs", "log", "--follow", &id]).ended();
        assert_eq!(code, 0, "{shown}");
        // Without the colours, and what draws and clears the progress line.
        let plain = escapes(&shown)
            .iter()
            .fold(shown.clone(), |text, escape| text.replacen(escape, "", 1));
        let (before, _) = plain
            .split_once(&format!("Job {id} SUCCEEDED"))
            .expect("the result");
        let last = before.rsplit('\r').next().unwrap_or_default();
        assert_eq!(last.trim_start_matches('\n'), "", "{shown:?}");
        assert!(before.contains(expected), "{shown:?}");
        assert!(!before.contains("\r\n\r\n"), "{shown:?}");
    }
}

#[test]
fn a_progress_line_is_drawn_and_cleared() {
    let (server, ann, agent, id) = ready();
    let cli = Cli::of(&server, &ann);
    let tty = Tty::piped(&cli, &["jobs", "log", "--follow", &id]);
    tty.shows("running \u{b7} 0:0");
    let at = all().len() as u64;
    agent.say(&id, at, "==> [2/5] Set the SSH port\nworking\n");
    tty.shows("step 2 of 5: Set the SSH port \u{b7} 0:0");
    agent.complete(&id, &json!({"exitCode": 3})).ok();
    let stdout = tty.stdout.clone().expect("a pipe");
    let (code, shown) = tty.ended();
    assert_eq!(code, 3);
    let (_, after) = shown.rsplit_once("\u{1b}[K").expect("it was cleared");
    assert!(
        after.starts_with("Job ") && after.contains("FAILED (exit code 3)"),
        "{shown:?}"
    );
    let log = stdout.all();
    assert!(log.ends_with(b"==> [2/5] Set the SSH port\nworking\n"));
    // Nothing of it without a terminal.
    let ran = cli.run(&["jobs", "log", "--follow", &id]).ends(3);
    assert!(
        !ran.stderr.contains('\u{b7}') && !ran.stderr.contains('\u{1b}'),
        "{ran:?}"
    );
}

#[test]
fn ctrl_c_on_the_terminal_detaches_and_leaves_it_clean() {
    let (server, ann, _agent, id) = ready();
    let cli = Cli::of(&server, &ann);
    let mut tty = Tty::start(&cli, &["jobs", "log", "--follow", &id]);
    tty.shows("2%");
    tty.shows("running");
    tty.type_in("\x03");
    let (code, shown) = tty.ended();
    assert_eq!(code, 130, "{shown}");
    let (_, after) = shown.rsplit_once("\u{1b}[K").expect("it was cleared");
    assert!(after.contains("Detached; the job continues."), "{shown:?}");
    assert_eq!(ann.job(&id)["status"], "RUNNING");
}

#[test]
fn names_that_others_chose_are_harmless_in_tables() {
    let (mut server, _ann, _agent, _id) = ready();
    let admin = server.admin();
    // The API refuses such a name; a row from before it did, or of an operator's, may have one.
    let name = "evil\u{202e}gpj.exe";
    let refused = admin.post("/api/nodes", &json!({"id": "n2", "name": name}));
    assert_eq!(refused.gives(400).fields(), ["name"]);
    admin.add_node("n2");
    let sql = format!(
        "UPDATE nodes SET name = '{name}', labels = '{{\"a\":\"\u{9b}31m\"}}' WHERE id = 'n2'"
    );
    assert_eq!(server.database().execute(&sql), 1);
    let cli = Cli::of(&server, &admin);
    let shown = cli.run(&["nodes", "show", "n2"]).ends(0).text();
    assert!(
        shown.contains("evil\u{fffd}gpj.exe") && !shown.contains('\u{9b}'),
        "{shown:?}"
    );
}

#[test]
fn completions_know_live_names_and_are_silent_for_nobody() {
    let (server, ann, _agent, _id) = ready();
    let hyprbox = env!("CARGO_BIN_EXE_hyprbox");
    let ask = |cli: &Cli, words: &str| {
        let count = words.split(' ').count() - 1;
        let last = words.rsplit(' ').next().unwrap_or_default();
        let line = format!(
            "PATH={}:$PATH; source <(hyprbox completions bash); COMP_WORDS=({words}); COMP_CWORD={count}; \
             [[ {words:?} != *' ' ]] || COMP_WORDS+=(''); COMP_LINE={words:?}; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; \
             _clap_complete_hyprbox hyprbox {last:?} ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            std::path::Path::new(hyprbox)
                .parent()
                .expect("a folder")
                .display()
        );
        let mut command = std::process::Command::new("bash");
        let output = cli
            .dress(&mut command)
            .args(["-c", &line])
            .output()
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let cli = Cli::of(&server, &ann);
    assert_eq!(
        ask(&cli, "hyprbox run not"),
        ("note\n".to_owned(), String::new())
    );
    let (names, said) = ask(&cli, "hyprbox nodes show ");
    assert!(
        names.starts_with("n1\n") && said.is_empty(),
        "{names} {said}"
    );
    let (flags, _) = ask(&cli, "hyprbox run note --no");
    assert!(flags.contains("--node"), "{flags}");
    for nobody in [
        Cli::nobody(),
        Cli::nobody()
            .with("HYPRBOX_URL", "http://127.0.0.1:1")
            .with("HYPRBOX_TOKEN", "x"),
    ] {
        let (names, said) = ask(&nobody, "hyprbox run not");
        assert_eq!((names.trim(), said.as_str()), ("", ""));
    }
    for shell in ["zsh", "fish"] {
        let script = cli.run(&["completions", shell]).ends(0).text();
        assert!(script.contains("HYPRBOX_COMPLETE"), "{script}");
    }
}

#[test]
fn a_person_is_asked_before_a_high_risk_preset_is_queued() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    let preset = json!({"name": "risky", "title": "Risky", "targets": ["any"], "risk": "high",
        "steps": [{"name": "x", "run": "true"}]});
    write_preset(&server.presets_dir(), "risky", &preset.to_string());
    let cli = Cli::of(&server, &admin);
    let words = ["run", "risky", "-n", "n1"];
    let jobs = || admin.get("/api/jobs").ok().list("jobs").len();
    for (answer, code, queued) in [("n\r", 125, 0), ("\r", 125, 0), ("y\r", 0, 1)] {
        let mut tty = Tty::start(&cli, &words);
        tty.shows("risky is a high-risk preset. Queue it on n1? [y/N] ");
        tty.type_in(answer);
        let (ended, shown) = tty.ended();
        assert_eq!((ended, jobs()), (code, queued), "{shown:?}");
    }
    let (ended, shown) = Tty::start(&cli, &[&words[..], &["--yes"]].concat()).ended();
    assert_eq!((ended, jobs()), (0, 2), "{shown:?}");
    // A program is not asked.
    cli.run(&words).ends(0);
    assert_eq!(jobs(), 3);
}
