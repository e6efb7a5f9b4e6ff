//! What people start from, run as the pages have it: one's own first preset, and a LAN without TLS.

use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::docs::root;
use crate::harness::{PASSWORD, built, eventually, free_port};

/// The shell examples below a heading of a page, up to the next heading.
fn examples(page: &str, heading: &str) -> Vec<String> {
    let path = root().join("docs").join(page);
    let text = std::fs::read_to_string(path).expect(page);
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("{page} has no {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .map(str::to_owned)
        .collect()
}

/// A process that is killed with all that it has started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        // An error says that it is gone already.
        let _gone = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _status = self.0.wait();
    }
}

/// Somebody with a shell, both programs and an empty folder.
struct Shell {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Shell {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(home.path().join("work")).expect("a folder");
        Self {
            home,
            variables: Vec::new(),
        }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    fn command(&self, line: &str) -> Command {
        let programs = built("hyprbox-agent");
        let programs = programs.parent().expect("a folder").display();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", line])
            .current_dir(self.home.path().join("work"))
            .env_clear()
            .env("PATH", format!("{programs}:/usr/sbin:/usr/bin:/sbin:/bin"))
            .env("HOME", self.home.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a line, with a password on standard input.
    fn try_run(&self, line: &str) -> Output {
        let password = self.home.path().join("password.txt");
        std::fs::write(&password, PASSWORD).expect("writes");
        let input = std::fs::File::open(password).expect("opens");
        self.command(line).stdin(input).output().expect("bash")
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let ran = self.try_run(line);
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{line}: {errors}");
        String::from_utf8(ran.stdout).expect("UTF-8")
    }

    fn start(&self, line: &str) -> Running {
        use std::os::unix::process::CommandExt;
        let mut command = self.command(line);
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Running(command.spawn().expect("it starts"))
    }

    /// A server, as the line starts it, at this address and with a first ADMIN, who is logged in.
    fn serve(&mut self, line: &str, listen: &str, url: &str) -> Running {
        let data = self.home.path().join("data");
        self.set("HYPRBOX_LISTEN", listen);
        self.set("HYPRBOX_DATA_DIR", data.to_str().expect("UTF-8"));
        self.set("HYPRBOX_ADMIN_EMAIL", "admin@example.org");
        self.set("HYPRBOX_ADMIN_PASSWORD", PASSWORD);
        let server = self.start(line);
        let login = format!("hyprbox login {url} --email admin@example.org");
        eventually("the login", || {
            let ran = self.try_run(&login);
            ran.status.success().then_some(())
        });
        server
    }

    /// Adds a node and starts its agent.
    fn add_node(&self, node: &str, url: &str) -> Running {
        let token = self.run(&format!("hyprbox nodes add {node}"));
        let state = self.home.path().join("state");
        self.start(&format!(
            "HYPRBOX_API_URL={url} HYPRBOX_NODE_ID={node} HYPRBOX_NODE_TOKEN={} HYPRBOX_STATE_DIR={} exec hyprbox-agent run",
            token.trim(),
            state.display()
        ))
    }
}

#[test]
fn the_first_preset_goes_from_an_empty_folder_to_a_job_in_ten_lines() {
    let blocks = examples("presets.md", "Your first preset");
    let lines: Vec<&str> = blocks[0].lines().collect();
    assert!(lines.len() <= 10, "{lines:?}");
    let serves = |line: &&&str| line.contains("hyprbox serve");
    let at = lines
        .iter()
        .position(|line| serves(&line))
        .expect("a server");
    let mut shell = Shell::new();
    // The lines before it need no server.
    shell.run(&lines[..at].join("\n"));
    assert!(
        shell
            .home
            .path()
            .join("work/my-presets/hello.yaml")
            .is_file()
    );
    let listen = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{listen}");
    let _server = shell.serve(lines[at], &listen, &url);
    let _agent = shell.add_node("prod-eu-1", &url);
    let printed = shell.run(&lines[at + 1..].join("\n"));
    assert_eq!(printed, "==> [1/1] Greet\nhello, Ada\n");
}

/// An address of this machine that another one could use.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this only chooses the way out.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn a_lan_without_tls_takes_five_lines() {
    let blocks = examples("install.md", "The LAN without TLS in five lines");
    assert!(
        blocks
            .iter()
            .map(|block| block.lines().count())
            .sum::<usize>()
            <= 5
    );
    let (settings, login) = (&blocks[0], blocks.last().expect("a login").trim());
    let Some(address) = own_address() else {
        // A machine without a network has no LAN.
        return;
    };
    let port = free_port().to_string();
    let here = |text: &str| {
        let text = text.replace("192.168.1.10", &address.to_string());
        text.replace(":4000", &format!(":{port}"))
    };
    let mut shell = Shell::new();
    let mut listen = String::new();
    for line in settings.lines() {
        match here(line).split_once('=').expect("a setting") {
            ("HYPRBOX_LISTEN", value) => listen = value.to_owned(),
            ("HYPRBOX_PUBLIC_URL", value) => shell.set("HYPRBOX_PUBLIC_URL", value),
            other => panic!("{other:?} is new"),
        }
    }
    let url = format!("http://{address}:{port}");
    let _server = shell.serve(
        "exec hyprbox serve",
        &listen,
        &format!("http://127.0.0.1:{port}"),
    );
    // The page's line logs in, and without its variable it is refused.
    let login = here(login) + " --email admin@example.org";
    shell.run(&login);
    let bare = login.replace("HYPRBOX_INSECURE_HTTP=1 ", "");
    let refused = shell.try_run(&bare);
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("HYPRBOX_INSECURE_HTTP=1"), "{words}");
    shell.set("HYPRBOX_INSECURE_HTTP", "1");
    // The line of the node's page enrols with a code, which brings the key of the server.
    shell.run("hyprbox nodes add attic");
    let token = shell.run("hyprbox tokens add docs");
    let code = shell.run(&format!(
        "curl -sS --fail-with-body -X POST -H 'Authorization: Bearer {}' {url}/api/nodes/attic/enrolments",
        token.trim()
    ));
    let code: serde_json::Value = serde_json::from_str(&code).expect("JSON");
    let code = code["code"].as_str().expect("a code");
    shell.run(&format!(
        "hyprbox-agent enroll --no-start --env-file agent.env {url} {code}"
    ));
    let _agent =
        shell.start("set -a; . ./agent.env; HYPRBOX_STATE_DIR=$PWD/state; exec hyprbox-agent run");
    let job = format!("hyprbox run system-report --node attic --follow --url {url}");
    assert!(shell.run(&job).contains("==> [1/"));
    // Both the log's fault and the fix are shown to whoever asks.
    let doctor = shell.try_run("hyprbox doctor");
    let findings = String::from_utf8_lossy(&doctor.stdout);
    assert!(findings.contains("plain http"), "{findings}");
}
