//! How an agent gets onto a machine: the line of the node's page is run as it stands, into a root
//! of its own, and the agent that it leaves there runs a job.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{Authority, Field, Person, Server, Setup, eventually, write_file};

/// A machine: a root to install into, and a stand-in for `sudo`.
struct Machine {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sudo = folder.path().join("sudo");
        write_file(&sudo, "#!/bin/sh\nexec env \"$@\"\n", 0o755);
        Self {
            folder,
            variables: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.folder.path().display()
        );
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", "/root")
            .env("DESTDIR", self.root())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a line in the plainest shell.
    fn paste(&self, line: &str) -> Output {
        self.command("dash")
            .args(["-c", line])
            .output()
            .expect("it runs")
    }
}

fn words(output: &Output) -> String {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    of(&output.stdout) + &of(&output.stderr)
}

/// The line that the page of a new node shows.
fn line_of(admin: &Person, node_id: &str) -> String {
    let page = admin
        .browser("POST", "/nodes")
        .header("sec-fetch-site", "same-origin")
        .body("application/x-www-form-urlencoded", format!("id={node_id}"))
        .gives(201)
        .text();
    let from = page.find("s=$(curl").expect("a line");
    let line = page[from..].split('<').next().expect("its end");
    line.replace("&amp;", "&")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
}

fn has_curl() -> bool {
    let asked = Command::new("curl").arg("--version").output();
    assert!(asked.is_ok(), "curl is needed: apt-get install curl");
    true
}

#[test]
fn the_pasted_line_makes_a_machine_a_node_that_runs_jobs() {
    assert!(has_curl());
    let mut server = Server::start();
    let admin = server.admin();
    let line = line_of(&admin, "box-1");
    let machine = Machine::new().with("HYPRBOX_INIT", "systemd");
    let output = machine.paste(&line);
    assert!(output.status.success(), "{}", words(&output));
    let said = words(&output);
    assert!(
        said.contains("this machine is node box-1") && said.contains("ok     token"),
        "{said}"
    );
    assert!(!said.contains("hbn_"), "{said}");

    let env_file = machine.root().join("etc/hyprbox/agent.env");
    let mode = env_file.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let unit = machine
        .root()
        .join("etc/systemd/system/hyprbox-agent.service");
    let unit = std::fs::read_to_string(unit).expect("a unit");
    assert!(
        unit.contains("ExecStart=/usr/local/bin/hyprbox-agent run"),
        "{unit}"
    );
    assert!(
        unit.contains("KillMode=process") && unit.contains("WantedBy="),
        "{unit}"
    );

    // Once is once.
    let again = machine.paste(&line);
    assert!(
        !again.status.success() && words(&again).contains("already used"),
        "{}",
        words(&again)
    );

    let state = machine.folder.path().join("state");
    let start = format!(
        "set -a; . {}; exec {}/usr/local/bin/hyprbox-agent run",
        env_file.display(),
        machine.root().display()
    );
    let mut agent = machine
        .command("dash")
        .args(["-c", &start])
        .env("HYPRBOX_STATE_DIR", &state)
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let id = admin.queue_with("box-1", "shell", json!({"code": "echo here"}));
    let job = eventually("the job's end", || {
        let job = admin.job(&id);
        (job.field("status") != "QUEUED" && job.field("status") != "RUNNING").then_some(job)
    });
    agent.kill().expect("kills");
    agent.wait().expect("its end");
    assert_eq!(job.field("status"), "SUCCEEDED", "{job}");
}

#[test]
fn a_script_or_an_agent_that_is_another_is_not_run() {
    let mut server = Server::start();
    let admin = server.admin();
    let line = line_of(&admin, "box-1");
    let at = line.find("grep -q ^").expect("a digest") + "grep -q ^".len();
    let digest = &line[at..at + 64];
    let script = server.get("/install.sh").gives(200);
    let hex = |bytes: &[u8]| -> String {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    assert_eq!(hex(&script.body), digest);
    let other = line.replace(digest, &hex(b"another"));
    let machine = Machine::new();
    let output = machine.paste(&other);
    assert!(!output.status.success(), "{}", words(&output));
    assert!(
        words(&output).contains("nothing was done"),
        "{}",
        words(&output)
    );
    assert!(!machine.root().exists());

    // The script names the agent's digest; another agent stays out.
    let agent = server.get("/agent/hyprbox-agent-x86_64");
    if std::env::consts::ARCH == "x86_64" {
        let agent = agent.gives(200).body;
        let script = script.text();
        assert!(script.contains(&hex(&agent)));
        let changed = script.replace(&hex(&agent), &hex(b"another"));
        let path = machine.folder.path().join("changed.sh");
        write_file(&path, &changed, 0o644);
        let run = format!("sh {} {} hbe_x", path.display(), server.url());
        let output = machine.paste(&run);
        assert!(
            words(&output).contains("nothing was installed"),
            "{}",
            words(&output)
        );
        let bin = machine.root().join("usr/local/bin");
        assert_eq!(std::fs::read_dir(bin).expect("reads").count(), 0);
        let sum = server.get("/agent/hyprbox-agent-x86_64.sha256").gives(200);
        assert_eq!(
            sum.text(),
            format!("{}  hyprbox-agent-x86_64\n", hex(&agent))
        );
    }
}

#[test]
fn a_blocked_installation_explains_the_reason() {
    let server = Server::start();
    let script = server.get("/install.sh").gives(200).text();
    let machine = Machine::new();
    let path = machine.folder.path().join("install.sh");
    write_file(&path, &script, 0o644);
    let url = server.url();
    for (arguments, says) in [
        (String::new(), "usage"),
        (format!("{url} hbe_x"), "wrong, already used"),
        ("http://192.0.2.1 hbe_x".to_owned(), "HYPRBOX_INSECURE_HTTP"),
        ("ftp://x hbe_x".to_owned(), "not an http"),
    ] {
        let output = machine.paste(&format!("sh {} {arguments}", path.display()));
        assert!(!output.status.success());
        assert!(
            words(&output).contains(says),
            "{arguments}: {}",
            words(&output)
        );
    }
    let output = machine.paste(&format!(
        "HYPRBOX_INIT=upstart sh {} {url} hbe_x",
        path.display()
    ));
    assert!(
        words(&output).contains("systemd, openrc or none"),
        "{}",
        words(&output)
    );
    for init in ["openrc", "none"] {
        let output = machine.paste(&format!(
            "HYPRBOX_INIT={init} sh {} {url} hbe_x",
            path.display()
        ));
        assert!(
            words(&output).contains("wrong, already used"),
            "{}",
            words(&output)
        );
    }
    let service = machine.root().join("etc/init.d/hyprbox-agent");
    let checked = machine.paste(&format!("sh -n {}", service.display()));
    assert!(checked.status.success(), "{}", words(&checked));
    assert!(!machine.root().join("etc/hyprbox/agent.env").exists());
}

#[test]
fn a_server_without_agents_explains_it() {
    let setup = Setup::new();
    let empty = setup.folder().join("agents");
    std::fs::create_dir(&empty).expect("a folder");
    let mut server = setup
        .with("HYPRBOX_AGENT_DIR", empty.to_str().expect("UTF-8"))
        .start();
    let admin = server.admin();
    let page = admin
        .browser("POST", "/nodes")
        .header("sec-fetch-site", "same-origin")
        .body("application/x-www-form-urlencoded", "id=box-1")
        .gives(201)
        .text();
    assert!(page.contains("no agent to install") && page.contains(empty.to_str().expect("UTF-8")));
    let missing = server
        .get("/agent/hyprbox-agent-x86_64")
        .refused(404, "agent_not_found");
    // A stranger learns no path of the machine.
    let told = missing.text();
    assert!(
        !told.contains(empty.to_str().expect("UTF-8")) && !told.contains("/tmp"),
        "{told}"
    );
    let machine = Machine::new();
    let path = machine.folder.path().join("install.sh");
    write_file(&path, &server.get("/install.sh").gives(200).text(), 0o644);
    let output = machine.paste(&format!("sh {} {} hbe_x", path.display(), server.url()));
    assert!(
        words(&output).contains("hyprbox-agent enroll"),
        "{}",
        words(&output)
    );
    // One that is put there is offered without a restart, and nothing else of the folder or beside
    // it.
    std::fs::write(empty.join("hyprbox-agent-riscv64"), "x").expect("writes");
    std::fs::write(empty.join("hyprbox-agent-x.y"), "x").expect("writes");
    server.get("/agent/hyprbox-agent-riscv64").gives(200);
    let script = server.get("/install.sh").gives(200).text();
    assert!(
        script.contains("riscv64 2d711642b726b04401627ca9fbac32f5"),
        "{script}"
    );
    for odd in [
        "hyprbox-agent-x.y",
        "hyprbox-agent-..%2fx",
        "..%2f..%2fetc%2fpasswd",
        "hyprbox.db",
        "hyprbox-agent-",
    ] {
        server.get(&format!("/agent/{odd}")).gives(404);
    }
}

#[test]
fn the_script_passes_the_checks_of_scripts() {
    let server = Server::start();
    let machine = Machine::new();
    let path = machine.folder.path().join("install.sh");
    write_file(&path, &server.get("/install.sh").gives(200).text(), 0o644);
    let shown = path.display();
    for check in [
        format!("dash -n {shown}"),
        format!("shellcheck -s sh -o all -e SC1091,SC2250,SC2312 {shown}"),
    ] {
        let output = machine.paste(&check);
        assert!(output.status.success(), "{check}: {}", words(&output));
    }
}

#[test]
fn enrolling_keeps_what_else_stands_in_the_file() {
    let authority = Authority::new();
    let mut server = Setup::new().with_tls(&authority).start();
    let admin = server.admin();
    admin.add_node("n1");
    let machine = Machine::new();
    let env_file = machine.folder.path().join("agent.env");
    write_file(
        &env_file,
        "# mine\nHYPRBOX_INTERVAL=10s\nHYPRBOX_NODE_TOKEN=hbn_old\n",
        0o644,
    );
    let agent = Path::new(env!("CARGO_BIN_EXE_hyprbox")).with_file_name("hyprbox-agent");
    let enroll = |more: &str| {
        let code = admin
            .call("POST", "/api/nodes/n1/enrolments")
            .gives(201)
            .json()
            .field("code");
        machine.paste(&format!(
            "{} enroll --no-start --env-file {} {more} {} {code}",
            agent.display(),
            env_file.display(),
            server.url()
        ))
    };
    // An authority that is not known, first: the code is not used up by that.
    let output = enroll("");
    assert!(words(&output).contains("certificate"), "{}", words(&output));
    let output = enroll(&format!("--ca-file {}", authority.ca_file().display()));
    assert!(output.status.success(), "{}", words(&output));
    let text = std::fs::read_to_string(&env_file).expect("reads");
    for line in [
        "# mine",
        "HYPRBOX_INTERVAL=10s",
        "HYPRBOX_NODE_ID=n1",
        "HYPRBOX_CA_FILE=",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("hbn_old"), "{text}");
    let mode = env_file.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = machine.paste(&format!("{} enroll --no-start x", agent.display()));
    assert!(
        words(&output).contains("enroll URL CODE"),
        "{}",
        words(&output)
    );
}
