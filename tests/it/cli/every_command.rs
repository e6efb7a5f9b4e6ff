//! Every command of the program, as the parser defines them, under what can go wrong: no reader, a
//! full disk, a dumb or narrow terminal, no input, no server, a token that is no longer valid. A
//! command that is added is tested with no further work, unless its arguments need a new value in
//! `World::value`. One file, because its tests share the world and the list of commands.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use unicode_width::UnicodeWidthStr;

use super::{Cli, Tty};
use crate::harness::{Field, Person, Server, eventually, id_of};
use crate::notify::deliveries;

/// The exit codes that docs/cli.md has, but for a wrong command line: these are right.
const CODES: [i32; 10] = [0, 1, 124, 125, 126, 127, 130, 137, 141, 143];
/// They run until a signal, or need two databases. tests/it/logging.rs and
/// tests/it/migrate_store.rs have them.
const ELSEWHERE: [&str; 4] = ["serve", "demo", "supervise", "migrate-store"];

/// A command with the arguments that it needs.
#[derive(Debug, Clone)]
struct Leaf {
    words: Vec<String>,
    /// It talks to a server that a flag or the environment names.
    has_server: bool,
    /// It prints a table of many rows.
    is_list: bool,
    /// It takes `-o`, so that it prints something.
    prints: bool,
    /// It goes on until Ctrl-C.
    waits: bool,
    /// Its questions are answered by `--yes`.
    asks: bool,
}

struct World {
    server: Server,
    admin: Person,
    folder: TempDir,
    job: String,
    run: String,
    /// The admin's command line, with a saved server that is not in use.
    cli: Cli,
    is_over: Arc<AtomicBool>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// A server with an agent that ends each job of `n1`, and a job of `idle` that waits.
    fn new() -> Self {
        let mut server = Server::start();
        let admin = server.admin();
        let agent = admin.add_node("n1");
        admin.add_node("idle");
        admin.queue("idle");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // Errors say that the server is gone.
                if let Ok(answer) = agent.poll("wait=1").try_send()
                    && answer.status == 200
                    && let Some(id) = answer.json()["job"]["id"].as_str()
                {
                    agent.say(id, 0, "==> [1/1] Say it\nhello\n");
                    agent.succeed(id);
                }
            }
        });
        let channel =
            json!({"name": "ops", "kind": "webhook", "settings": {"url": "http://127.0.0.1:1/"}});
        let channel = id_of(&admin.post("/api/channels", &channel).gives(201).json());
        let rule = json!({"channelId": channel, "on": ["run_finished"]});
        admin.post("/api/rules", &rule).gives(201);
        let body = json!({"preset": "note", "nodes": ["n1"]});
        let run = id_of(&admin.post("/api/runs", &body).gives(201).json());
        let schedule = crate::schedules::add(&admin, json!({}));
        crate::schedules::next_slot(&server, &admin, &schedule);
        let secret = json!({"value": "hunter22", "presets": ["vault"]});
        admin
            .call("PUT", "/api/secrets/restic")
            .json(&secret)
            .gives(201);
        let job = admin.queue("n1");
        eventually("the job's end", || {
            (admin.job(&job)["status"] == "SUCCEEDED").then_some(())
        });
        eventually("a message about the run", || {
            deliveries(&admin, &channel).pop()
        });
        let folder = tempfile::tempdir().expect("a folder");
        let preset = "name: own\ntitle: Own\ntargets: [any]\nrisk: low\nsteps:\n  - {name: One, run: echo one}\n";
        std::fs::write(folder.path().join("own.yaml"), preset).expect("writes");
        let data = folder.path().join("data");
        let data = data.to_str().expect("UTF-8");
        let cli = Cli::of(&server, &admin).with("HYPRBOX_DATA_DIR", data);
        let config = cli.home().join(".config/hyprbox");
        std::fs::create_dir_all(&config).expect("a folder");
        let saved = json!({"others": {"nothing": {"url": "http://127.0.0.1:1", "token": "hbu_x"}}});
        std::fs::write(config.join("login.json"), saved.to_string()).expect("writes");
        Self {
            server,
            admin,
            folder,
            job,
            run,
            cli,
            is_over,
        }
    }

    fn at(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A value for an argument, by the name that the help shows.
    fn value(&self, path: &[String], name: &str) -> String {
        match name {
            "JOB" | "OLD" | "NEW" => self.job.clone(),
            "RUN" => self.run.clone(),
            // It would be missed by the commands that follow.
            "NODE" | "SCHEDULE" | "SECRET" | "CHANNEL"
                if path.last().is_some_and(|verb| verb == "remove") =>
            {
                "nothing".to_owned()
            }
            "NODE" => "n1".to_owned(),
            "SCHEDULE" => "nightly".to_owned(),
            "CHANNEL" => "ops".to_owned(),
            "KIND" => "webhook".to_owned(),
            "EVENT" => "history_altered".to_owned(),
            "PRESET" => "note".to_owned(),
            "FILE" => self.at("own.yaml"),
            "DIR" => self.at("new"),
            "URL" => self.server.url().to_owned(),
            "EMAIL" | "email" if path.last().is_some_and(|verb| verb == "tokens") => {
                self.admin.email.clone()
            }
            "EMAIL" | "email" => "nobody@example.org".to_owned(),
            "KEY=VALUE" => "key=value".to_owned(),
            "ROLE" | "role" => "viewer".to_owned(),
            "SHELL" | "shell" => "bash".to_owned(),
            "SELECTOR" => "node=n1".to_owned(),
            _ => "nothing".to_owned(),
        }
    }

    /// Every command that is not a group.
    fn leaves(&self) -> Vec<Leaf> {
        let mut whole = hyprbox::program::command();
        whole.build();
        let mut found = Vec::new();
        self.collect(&whole, &[], &mut found);
        assert!(found.len() > 60, "{}", found.len());
        found
    }

    fn collect(&self, command: &clap::Command, path: &[String], found: &mut Vec<Leaf>) {
        let inner: Vec<&clap::Command> = command.get_subcommands().collect();
        if inner.is_empty() {
            found.extend(self.variants(command, path));
        }
        for inner in inner {
            let name = inner.get_name();
            if name != "help" && !(path.is_empty() && ELSEWHERE.contains(&name)) {
                self.collect(inner, &[path, &[name.to_owned()]].concat(), found);
            }
        }
    }

    /// The command, and the same followed if it can be.
    fn variants(&self, command: &clap::Command, path: &[String]) -> Vec<Leaf> {
        let has = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
        let name = command.get_name();
        let leaf = |more: &[&str]| Leaf {
            words: self.complete(path, more),
            has_server: has("url"),
            is_list: has("output") && name != "show" || name == "watch",
            prints: has("output") || name == "watch",
            waits: name == "watch",
            asks: has("yes"),
        };
        // It needs something to change.
        let change: &[&str] = match has("unset") {
            true => &["--overlap", "skip"],
            false => &[],
        };
        let mut variants = vec![leaf(change)];
        if has("follow") {
            variants.push(leaf(&["--follow"]));
        }
        variants
    }

    /// Adds what the parser says is missing.
    fn complete(&self, path: &[String], more: &[&str]) -> Vec<String> {
        let mut words = path.to_vec();
        words.extend(more.iter().map(|word| (*word).to_owned()));
        for _ in 0..8 {
            let line = [&["hyprbox".to_owned()], &words[..]].concat();
            let error = match hyprbox::program::command().try_get_matches_from(line) {
                Ok(_) => return words,
                Err(error) => error,
            };
            assert_eq!(
                error.kind(),
                ErrorKind::MissingRequiredArgument,
                "add a value to World::value: {words:?}: {error}"
            );
            let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
                panic!("{words:?}: {error}");
            };
            for argument in missing {
                // `--node <NODE>`, `<JOB>`, `<FILE>...`, or one of several in angle brackets
                let first = argument.split('|').next().unwrap_or_default();
                let parts = first.split([' ', '<', '>', '.', '[', ']']);
                for part in parts.filter(|part| !part.is_empty()) {
                    words.push(match part.starts_with("--") {
                        true => part.to_owned(),
                        false => self.value(path, part),
                    });
                }
            }
        }
        panic!("{words:?} is never complete");
    }

    fn command(&self, leaf: &Leaf) -> Command {
        self.cli.command(&words_of(leaf))
    }
}

fn words_of(leaf: &Leaf) -> Vec<&str> {
    leaf.words.iter().map(String::as_str).collect()
}

/// Runs a command to its end; one that waits for changes gets Ctrl-C once it has printed.
fn run(leaf: &Leaf, mut command: Command) -> (i32, String, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let stdout = child.stdout.take().map(super::program::Bytes::of);
    let stderr = super::program::Bytes::of(child.stderr.take().expect("a pipe"));
    let status = eventually(&format!("the end of {:?}", leaf.words), || {
        let has_printed = stdout.as_ref().is_some_and(|out| !out.so_far().is_empty());
        if leaf.waits && has_printed {
            let pid = i32::try_from(child.id()).expect("a pid");
            // An error says that it has ended.
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGINT);
        }
        child.try_wait().expect("a child")
    });
    let out = stdout.map(|out| out.all()).unwrap_or_default();
    let out = String::from_utf8_lossy(&out).into_owned();
    let errors = String::from_utf8_lossy(&stderr.all()).into_owned();
    (status.code().unwrap_or(-1), out, errors)
}

/// The code is documented, and nothing broke.
#[track_caller]
fn check(leaf: &Leaf, code: i32, errors: &str) {
    let words = &leaf.words;
    assert!(CODES.contains(&code), "{words:?}: {code}: {errors}");
    assert!(!errors.contains("panicked"), "{words:?}: {errors}");
    assert!(!errors.contains('\u{1b}'), "{words:?}: {errors:?}");
}

#[test]
fn every_command_ends_with_141_when_its_reader_is_gone() {
    let world = World::new();
    for leaf in world.leaves() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = world.command(&leaf);
        command.stdin(Stdio::null()).stdout(writer);
        let (code, _, errors) = run(&leaf, command);
        check(&leaf, code, &errors);
        assert!(!leaf.prints || code == 141, "{leaf:?}: {code}: {errors}");
    }
}

#[test]
fn every_command_that_can_not_write_ends_with_125() {
    let world = World::new();
    for leaf in world.leaves() {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = world.command(&leaf);
        command.stdin(Stdio::null()).stdout(full.expect("opens"));
        let (code, _, errors) = run(&leaf, command);
        check(&leaf, code, &errors);
        if leaf.prints {
            assert_eq!(code, 125, "{leaf:?}: {errors}");
            assert!(errors.contains("can't be written"), "{leaf:?}: {errors}");
        }
    }
}

#[test]
fn every_command_works_without_standard_input() {
    let world = World::new();
    for leaf in world.leaves() {
        let program = world.command(&leaf);
        let mut command = Command::new("sh");
        world.cli.dress(&mut command);
        command
            .args(["-c", "exec \"$@\" <&-", "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .stdout(Stdio::piped());
        let (code, out, errors) = run(&leaf, command);
        check(&leaf, code, &errors);
        assert!(!leaf.prints || !out.is_empty(), "{leaf:?}: {errors}");
    }
}

#[test]
fn every_command_that_needs_a_server_says_that_it_is_unreachable() {
    let world = World::new();
    for leaf in world.leaves().iter().filter(|leaf| leaf.has_server) {
        let mut command = world.command(leaf);
        command.env("HYPRBOX_URL", "http://127.0.0.1:1");
        if leaf.asks {
            command.arg("--yes");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let (code, out, errors) = run(leaf, command);
        check(leaf, code, &errors);
        if needs_no_answer(leaf) {
            continue;
        }
        assert_eq!((code, out.as_str()), (125, ""), "{leaf:?}: {errors}");
        let words = "hyprbox: can't reach http://127.0.0.1:1: ";
        assert!(errors.contains(words), "{leaf:?}: {errors}");
    }
}

#[test]
fn every_command_that_needs_a_server_says_that_the_token_has_expired() {
    let world = World::new();
    let made = world.admin.post(
        "/api/auth/tokens",
        &json!({"name": "old", "expiresInDays": 1}),
    );
    let token = made.gives(201).json().field("token");
    let past = world.server.database().ago("1 hours");
    let expire = format!("UPDATE user_tokens SET expires_at = {past} WHERE name = 'old'");
    assert_eq!(world.server.database().execute(&expire), 1);
    for leaf in world.leaves().iter().filter(|leaf| leaf.has_server) {
        let mut command = world.command(leaf);
        command.env("HYPRBOX_TOKEN", &token);
        if leaf.asks {
            command.arg("--yes");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let (code, out, errors) = run(leaf, command);
        check(leaf, code, &errors);
        if needs_no_answer(leaf) {
            continue;
        }
        assert_eq!((code, out.as_str()), (126, ""), "{leaf:?}: {errors}");
        assert!(errors.contains("HYPRBOX_TOKEN"), "{leaf:?}: {errors}");
        assert!(!errors.contains(&token), "{leaf:?}: {errors}");
    }
}

/// The overview's address is known, and files are checked here.
fn needs_no_answer(leaf: &Leaf) -> bool {
    let path: Vec<&str> = words_of(leaf);
    path == ["open"]
        || path.starts_with(&["presets", "check"])
        || path.starts_with(&["presets", "import"])
}

/// Runs a command on a terminal. Questions are left with Ctrl-C.
fn on_terminal(cli: &Cli, leaf: &Leaf, term: &str, columns: u16) -> String {
    let mut words = words_of(leaf);
    if leaf.asks {
        words.push("--yes");
    }
    let mut tty = Tty::of_kind(cli, &words, term, columns);
    eventually(&format!("the end of {words:?}"), || {
        let shown = tty.screen.text();
        let is_asked = ["assword: ", "characters): ", "Email: ", "Token (", "[y/N]"]
            .iter()
            .any(|question| shown.contains(question));
        if is_asked || leaf.waits && shown.contains("QUEUED") {
            tty.type_in("\x03");
        }
        tty.has_ended().then_some(())
    });
    let (code, shown) = tty.ended();
    assert!(CODES.contains(&code), "{leaf:?}: {code}: {shown}");
    assert!(!shown.contains("panicked"), "{leaf:?}: {shown}");
    shown
}

#[test]
fn no_command_writes_an_escape_sequence_to_a_dumb_terminal() {
    let world = World::new();
    for leaf in world.leaves() {
        let shown = on_terminal(&world.cli, &leaf, "dumb", 80);
        assert!(!shown.contains('\u{1b}'), "{leaf:?}: {shown:?}");
    }
}

#[test]
fn every_table_fits_a_terminal_of_60_columns_without_stray_escapes() {
    let world = World::new();
    for leaf in world.leaves() {
        let shown = on_terminal(&world.cli, &leaf, "xterm-256color", 60);
        let mut plain = String::new();
        let mut rest = shown.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            let end = after.find(|c: char| c.is_ascii_alphabetic());
            let (escape, after) = after.split_at(end.map_or(after.len(), |end| end + 1));
            // Colours, the cursor that goes up, and the rest of a line and of the terminal.
            let known = escape.starts_with('[') && escape.ends_with(['m', 'A', 'K', 'J']);
            assert!(known, "{leaf:?}: {escape:?} in {shown:?}");
            rest = after;
        }
        plain.push_str(rest);
        for line in plain.lines().filter(|_| leaf.is_list) {
            let line = line.rsplit('\r').next().unwrap_or_default();
            assert!(line.width() <= 60, "{leaf:?}: {line:?}");
        }
    }
}

#[test]
fn the_values_of_this_test_reach_what_they_name() {
    let world = World::new();
    let leaves = world.leaves();
    let find = |words: &[&str]| {
        let leaf = leaves.iter().find(|leaf| {
            let path: Vec<&str> = words_of(leaf);
            path.starts_with(words)
        });
        leaf.unwrap_or_else(|| panic!("{words:?}")).clone()
    };
    for words in [
        &["jobs", "show"][..],
        &["jobs", "log"],
        &["jobs", "diff"],
        &["runs", "show"],
        &["nodes", "show"],
        &["nodes", "label"],
        &["presets", "render"],
        &["presets", "check"],
        &["schedules", "show"],
        &["schedules", "slots"],
        &["run"],
        &["logs"],
    ] {
        let leaf = find(words);
        let mut command = world.command(&leaf);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let (code, _, errors) = run(&leaf, command);
        assert_eq!(code, 0, "{leaf:?}: {errors}");
    }
}
