//! Settings that are refused, their messages, and `check`.

use crate::agent::Node;
use crate::server::{Fault, Server};

/// Expects exit code 2, and one line that contains all of `words`.
fn refused(node: &Node, args: &[&str], words: &[&str]) {
    refused_with(2, node, args, words);
}

fn refused_with(code: i32, node: &Node, args: &[&str], words: &[&str]) {
    let output = node.output(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}");
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} has no {word:?}");
    }
    assert!(!node.state().exists(), "nothing is changed on disk");
}

#[test]
fn bad_values_stop_the_start_with_one_line() {
    let server = Server::start();
    for (name, value, allowed) in [
        ("HYPRBOX_API_URL", "localhost:4000", "https://"),
        ("HYPRBOX_API_URL", "ftp://jobs.example.org", "https://"),
        (
            "HYPRBOX_API_URL",
            "http://jobs.example.org",
            "HYPRBOX_INSECURE_HTTP",
        ),
        ("HYPRBOX_API_URL", "http://[::2]:4000", "token"),
        ("HYPRBOX_NODE_ID", "Node_1", "a-z"),
        ("HYPRBOX_NODE_ID", "-a", "a-z"),
        ("HYPRBOX_INTERVAL", "30", "90s"),
        ("HYPRBOX_INTERVAL", "500ms", "1s"),
        ("HYPRBOX_INTERVAL", "2h", "1h"),
        ("HYPRBOX_INTERVAL", "-1s", "1h"),
        ("HYPRBOX_INTERVAL", "99999999999999999h", "1h"),
        ("HYPRBOX_CA_FILE", "/no/such/file", "PEM"),
        ("HYPRBOX_CA_FILE", "/etc/os-release", "PEM"),
        ("HYPRBOX_INSECURE_HTTP", "yes", "1"),
        ("HYPRBOX_FORCE", "please", "1"),
        ("HYPRBOX_JOB_ENV", "TZ,HYPRBOX_NODE_TOKEN", "HTTPS_PROXY"),
        ("HYPRBOX_JOB_ENV", "1TZ", "comma-separated"),
        ("HYPRBOX_JOB_ENV", "TZ,,LANG", "comma-separated"),
        ("HYPRBOX_JOB_ENV", "TZ=UTC", "comma-separated"),
        ("HYPRBOX_JOB_ENV", "TZ,BASH_ENV", "without BASH_ENV"),
        ("HYPRBOX_JOB_ENV", "ENV", "without ENV"),
        ("HYPRBOX_JOB_ENV", "SHELLOPTS", "without SHELLOPTS"),
        ("HYPRBOX_JOB_ENV", "LD_PRELOAD", "without LD_PRELOAD"),
        ("HYPRBOX_JOB_ENV", "LD_LIBRARY_PATH", "without LD_LIB"),
        ("HYPRBOX_SPOOL_MAX", "lots", "64MiB or 1GiB"),
        ("HYPRBOX_SPOOL_MAX", "3MiB", "from 4MiB to 1TiB"),
        ("HYPRBOX_SPOOL_MAX", "2TiB", "from 4MiB to 1TiB"),
        ("HYPRBOX_LOG", "loud", "debug"),
    ] {
        let mut node = Node::new(&server);
        node.set(name, value);
        refused(&node, &["run"], &[name, value, allowed]);
    }
    for flag in [
        "--api-url",
        "--node-id",
        "--interval",
        "--ca-file",
        "--job-env",
    ] {
        // The command line is wrong.
        refused_with(
            64,
            &Node::new(&server),
            &["run", flag, "b@d"],
            &[flag, "b@d", "it must be"],
        );
    }
}

#[test]
fn missing_settings_are_named() {
    let server = Server::start();
    for name in ["HYPRBOX_API_URL", "HYPRBOX_NODE_ID", "HYPRBOX_NODE_TOKEN"] {
        for value in [None, Some("")] {
            let mut node = Node::new(&server);
            node.env.retain(|(known, _)| known != name);
            if let Some(value) = value {
                node.set(name, value);
            }
            refused(&node, &["run"], &[name, "--", "is not set"]);
        }
    }
}

#[test]
fn secrets_are_never_shown() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_NODE_TOKEN", "hbn_with a space");
    let output = node.output(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("space"));
    let mut node = Node::new(&server);
    node.set("HYPRBOX_API_URL", "https://user:hunter2@jobs.example.org");
    let output = node.output(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
}

#[test]
fn unknown_commands_and_flags_are_named() {
    let server = Server::start();
    let node = Node::new(&server);
    refused_with(64, &node, &["dance"], &["dance", "run"]);
    refused_with(64, &node, &[], &["--help"]);
    refused_with(64, &node, &["--nope"], &["--nope", "--help"]);
    for command in ["run", "check", "enroll", "upgrade", "confirm", "stop-jobs"] {
        refused_with(64, &node, &[command, "--loud"], &["--loud", "--help"]);
    }
    refused_with(64, &node, &["enroll"], &["--help"]);
    refused_with(64, &node, &["run", "--interval"], &["--interval"]);
    refused_with(
        64,
        &node,
        &["enroll", "notaurl", "code"],
        &["URL", "notaurl"],
    );
    let with_password = "https://user:hunter2@jobs.example.org";
    refused_with(64, &node, &["enroll", with_password, "code"], &["URL"]);
    assert!(node.output(&["--version"]).status.success());
    let help = node.output(&["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("HYPRBOX_API_URL"));
}

#[test]
fn a_flag_overrides_the_environment() {
    let server = Server::start();
    let mut node = Node::new(&server);
    node.set("HYPRBOX_NODE_ID", "not this one");
    let url = format!("--api-url=http://{}", server.addr);
    node.set("HYPRBOX_API_URL", "http://127.0.0.1:1");
    let output = node.output(&["check", &url, "--node-id", "node-2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let heads = server.world().heads.clone();
    assert!(
        heads.iter().any(|head| head.contains("nodeId=node-2")),
        "{heads:?}"
    );
}

#[test]
fn check_reports_each_problem_with_its_fix() {
    let server = Server::start();
    let node = Node::new(&server);
    let text = |node: &Node| {
        let output = node.output(&["check"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.success(), !text.contains("fix:"), "{text}");
        text
    };
    let good = text(&node);
    for what in ["bash", "state folder", "spool", "server", "token"] {
        assert!(good.contains(&format!("ok     {what}: ")), "{good}");
    }
    assert!(
        good.contains("up to 1GiB of a job's output can wait"),
        "{good}"
    );
    server.fault("pending", Fault::Status(401));
    assert!(text(&node).contains("HYPRBOX_NODE_TOKEN"));
    server.fault("pending", Fault::Status(403));
    assert!(text(&node).contains("HYPRBOX_NODE_ID"));
    server.fault("pending", Fault::Status(404));
    assert!(text(&node).contains("HYPRBOX_API_URL"));
    server.change(|world| world.down = true);
    assert!(text(&node).contains("can't be reached"));
    std::fs::write(node.state(), "not a folder").unwrap();
    assert!(text(&node).contains("is not a folder"));
    assert!(server.world().polls.iter().all(|poll| poll.capacity == 0));
}
