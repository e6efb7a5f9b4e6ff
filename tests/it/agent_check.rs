//! `hyprbox-agent check`: each problem between the node and the server, caused on purpose, is
//! reported with its fix.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Authority, FakeAgent, Server, Setup, eventually, free_port};

fn program() -> PathBuf {
    crate::harness::built("hyprbox-agent")
}

/// A machine with the agent's settings.
struct Machine {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Machine {
    fn new(url: &str, node: &FakeAgent) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let machine = Self {
            folder,
            variables: Vec::new(),
        };
        machine
            .with("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .with("HYPRBOX_API_URL", url)
            .with("HYPRBOX_NODE_ID", &node.node_id)
            .with("HYPRBOX_NODE_TOKEN", &node.token)
            .with("HYPRBOX_STATE_DIR", state.to_str().expect("UTF-8"))
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Returns the output, and whether the command succeeded.
    fn run(&self, mut command: Command) -> (String, bool) {
        let output = command
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8")
            + &String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{text}");
        (text, output.status.success())
    }

    fn check(&self) -> (String, bool) {
        let mut command = Command::new(program());
        command.arg("check");
        self.run(command)
    }

    #[track_caller]
    fn is_well(&self) -> String {
        let (text, is_well) = self.check();
        assert!(is_well && !text.contains("wrong"), "{text}");
        text
    }

    /// Exactly one problem is reported, with this text and fix.
    #[track_caller]
    fn reports(&self, subject: &str, message: &str, fix: &str) {
        assert_reported(&self.check(), subject, message, fix);
    }

    /// Like [`Machine::reports`], in a mount namespace where a script has broken something.
    #[track_caller]
    fn reports_after(&self, script: &str, subject: &str, message: &str, fix: &str) {
        let mut command = Command::new("unshare");
        let line = format!("{script} && exec {} check", program().display());
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "dash",
            "-euc",
            &line,
        ]);
        assert_reported(&self.run(command), subject, message, fix);
    }
}

#[track_caller]
fn assert_reported((text, is_well): &(String, bool), subject: &str, message: &str, fix: &str) {
    assert!(!is_well, "{text}");
    let wrong: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("wrong"))
        .collect();
    assert_eq!(wrong.len(), 1, "{text}");
    assert!(
        wrong[0].starts_with(&format!("wrong  {subject}: ")),
        "{text}"
    );
    assert!(wrong[0].contains(message), "{text}");
    let next_line = text
        .lines()
        .skip_while(|line| !line.starts_with("wrong"))
        .nth(1);
    let next_line = next_line.unwrap_or_default();
    assert!(
        next_line.starts_with("       fix: ") && next_line.contains(fix),
        "{text}"
    );
}

/// Starts a server that calls `answer` for each connection.
fn listener(answer: impl Fn(&mut TcpStream, &[u8]) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut bytes = [0; 4096];
            // An error means that the client only checked whether the port is open.
            let count = stream.read(&mut bytes).unwrap_or(0);
            if count > 0 {
                answer(&mut stream, &bytes[..count]);
            }
        }
    });
    address.to_string()
}

fn responds(text: &'static str) -> impl Fn(&mut TcpStream, &[u8]) {
    move |stream, _| {
        // An error means that the client has gone.
        let _sent = stream.write_all(text.as_bytes());
    }
}

#[test]
fn every_step_is_reported_if_all_is_well() {
    let authority = Authority::new();
    let mut server = Setup::new().with_tls(&authority).start();
    let node = server.admin().add_node("n1");
    let ca_file = authority.ca_file();
    let machine =
        Machine::new(server.url(), &node).with("HYPRBOX_CA_FILE", ca_file.to_str().expect("UTF-8"));
    let text = machine.is_well();
    for what in [
        "bash",
        "state folder",
        "connection",
        "clock",
        "server",
        "token",
    ] {
        assert!(text.contains(&format!("ok     {what}: ")), "{text}");
    }
    // The check creates no folder, and leaves nothing in an existing one.
    assert!(!machine.state().exists());
    std::fs::create_dir(machine.state()).expect("a folder");
    machine.is_well();
    assert_eq!(
        std::fs::read_dir(machine.state()).expect("reads").count(),
        0
    );
}

/// Makes a certificate that has a fault.
type Change<'a> = &'a dyn Fn(&mut rcgen::CertificateParams);

#[test]
fn each_problem_with_tls_is_reported() {
    let authority = Authority::new();
    let mut server = Setup::new().with_tls(&authority).start();
    let node = server.admin().add_node("n1");
    let ca_file = authority.ca_file();
    let ca_file = ca_file.to_str().expect("UTF-8");
    let machine = Machine::new(server.url(), &node).with("HYPRBOX_CA_FILE", ca_file);
    machine.is_well();

    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 4, 1);
    };
    let early = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2999, 1, 1);
        params.not_after = rcgen::date_time_ymd(2999, 4, 1);
    };
    let other_name = |params: &mut rcgen::CertificateParams| {
        let name = "other.example.org".try_into().expect("a name");
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    };
    let cases: [(Change, &str, &str); 3] = [
        (
            &expired,
            "has expired (this machine's clock says 2",
            "renew it",
        ),
        (&early, "is not valid yet", "timedatectl"),
        (&other_name, "is not for 127.0.0.1", "HYPRBOX_API_URL"),
    ];
    for (change, message, fix) in cases {
        authority.renew_as(|params| change(params));
        eventually("the other certificate", || {
            machine.check().0.contains(message).then_some(())
        });
        machine.reports("tls", message, fix);
    }
    authority.renew();
    let unknown = Authority::new();
    let ca_file = unknown.ca_file();
    let machine = machine.with("HYPRBOX_CA_FILE", ca_file.to_str().expect("UTF-8"));
    eventually("the good certificate", || {
        machine
            .check()
            .0
            .contains("not signed by an authority")
            .then_some(())
    });
    machine.reports(
        "tls",
        "not signed by an authority that this machine trusts",
        "HYPRBOX_CA_FILE",
    );

    // Not TLS at all, and TLS of another age.
    let plain = Server::start();
    let plain = plain.url().replace("http://", "https://");
    Machine::new(&plain, &node).reports("tls", "doesn't speak TLS", "http://");
    let old = listener(|stream, _| {
        let _sent = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 70]);
    });
    Machine::new(&format!("https://{old}"), &node).reports("tls", "new enough", "TLS 1.2 or 1.3");
}

#[test]
fn each_problem_with_name_port_and_server_is_reported() {
    let mut server = Server::start();
    let node = server.admin().add_node("n1");
    let insecure = |url: &str| Machine::new(url, &node).with("HYPRBOX_INSECURE_HTTP", "1");
    insecure("http://nowhere.invalid").reports(
        "dns",
        "can't resolve nowhere.invalid",
        "/etc/resolv.conf",
    );
    let closed = format!("http://127.0.0.1:{}", free_port());
    insecure(&closed).reports("connection", "can't connect to", "HYPRBOX_LISTEN");
    let other = listener(responds(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone",
    ));
    insecure(&format!("http://{other}")).reports(
        "server",
        "doesn't answer as a HyprBox server",
        "HYPRBOX_API_URL",
    );
    let moved = listener(responds(
        "HTTP/1.1 301 Moved\r\nLocation: https://jobs.example.org/healthz\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ));
    insecure(&format!("http://{moved}")).reports(
        "server",
        "redirects to https://jobs.example.org, and the agent never follows redirects",
        "set HYPRBOX_API_URL=https://jobs.example.org",
    );
    let late = listener(responds(
        "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2020 09:30:00 GMT\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\
         {\"job\": null, \"cancel\": [], \"leaseSeconds\": 90}",
    ));
    insecure(&format!("http://{late}")).reports(
        "clock",
        "days ahead of the server's",
        "timedatectl",
    );
}

#[test]
fn a_wrong_node_id_and_a_revoked_token_are_reported() {
    let mut server = Server::start();
    let admin = server.admin();
    let (node, other) = (admin.add_node("n1"), admin.add_node("n2"));
    let machine = Machine::new(server.url(), &node);
    machine.is_well();
    let mixed = Machine::new(server.url(), &node).with("HYPRBOX_NODE_ID", &other.node_id);
    mixed.reports("token", "does not belong to node n2", "HYPRBOX_NODE_ID");
    let tokens = admin.get("/api/nodes/n1/tokens").ok();
    let id = tokens["tokens"][0]["id"].as_str().expect("an id");
    admin
        .delete(&format!("/api/nodes/n1/tokens/{id}"))
        .gives(204);
    machine.reports("token", "revoked", "HYPRBOX_NODE_TOKEN");
}

#[test]
fn each_problem_with_the_proxy_is_reported() {
    let authority = Authority::new();
    authority.renew_as(|params| {
        let name = "jobs.example.org".try_into().expect("a name");
        params.subject_alt_names.push(rcgen::SanType::DnsName(name));
    });
    let mut server = Setup::new().with_tls(&authority).start();
    let node = server.admin().add_node("n1");
    let ca_file = authority.ca_file();
    let ca_file = ca_file.to_str().expect("UTF-8").to_owned();
    let with = |proxy: &str| {
        Machine::new("https://jobs.example.org", &node)
            .with("HYPRBOX_CA_FILE", &ca_file)
            .with("HTTPS_PROXY", proxy)
    };
    let closed = format!("http://me:hunter2@127.0.0.1:{}", free_port());
    let (text, _) = with(&closed).check();
    assert!(!text.contains("hunter2"), "{text}");
    with(&closed).reports(
        "proxy",
        "the proxy that the environment sets for jobs.example.org",
        "NO_PROXY",
    );
    // The proxy resolves the server's name; without a proxy, the agent does.
    with(&closed).with("NO_PROXY", "example.org").reports(
        "dns",
        "can't resolve jobs.example.org",
        "resolv.conf",
    );
    let strict = listener(responds(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ));
    with(&format!("http://{strict}")).reports(
        "proxy",
        "does not connect to jobs.example.org",
        "allow this machine",
    );
    let target = server.address().to_owned();
    let tunnel = listener(move |stream, head| {
        assert!(head.starts_with(b"CONNECT jobs.example.org:443 HTTP/1.1\r\n"));
        let mut server = TcpStream::connect(&target).expect("connects");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .expect("writes");
        let (mut up, mut down) = (
            stream.try_clone().expect("clones"),
            server.try_clone().expect("clones"),
        );
        // An error ends the copy.
        std::thread::spawn(move || std::io::copy(&mut up, &mut server));
        let mut back = stream.try_clone().expect("clones");
        std::thread::spawn(move || std::io::copy(&mut down, &mut back));
    });
    let text = with(&format!("http://{tunnel}")).is_well();
    assert!(
        text.contains("ok     proxy: ") && !text.contains("ok     dns"),
        "{text}"
    );
}

#[test]
fn each_problem_of_the_machine_is_reported() {
    let mut server = Server::start();
    let node = server.admin().add_node("n1");
    let machine = Machine::new(server.url(), &node);
    let state = machine.state();
    let shown = state.display();
    std::fs::create_dir(&state).expect("a folder");
    machine.reports_after(
        "mount --bind /dev/null /bin/bash",
        "bash",
        "/bin/bash can't be started",
        "install the package bash",
    );
    machine.reports_after(
        "mount --bind /bin/false /bin/bash",
        "bash",
        "/bin/bash doesn't work",
        "reinstall the package bash",
    );
    machine.reports_after(
        &format!("mount -t tmpfs -o ro,mode=0700 tmpfs {shown}"),
        "state folder",
        "is mounted read-only",
        "read-write",
    );
    machine.reports_after(
        &format!("mount -t tmpfs -o size=32k,mode=0700 tmpfs {shown}"),
        "state folder",
        "is full",
        "free space",
    );
    machine.reports_after(
        &format!("mount -t tmpfs -o size=4m,mode=0700 tmpfs {shown}"),
        "state folder",
        "MiB free",
        "free space",
    );
    // Nothing is started from the state folder, so `noexec` is not a problem.
    let mut command = Command::new("unshare");
    let line = format!(
        "mount -t tmpfs -o noexec,size=64m,mode=0700 tmpfs {shown} && exec {} check",
        program().display()
    );
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "dash",
        "-euc",
        &line,
    ]);
    let (text, is_well) = machine.run(command);
    assert!(is_well, "{text}");

    // A folder that belongs to another user.
    use std::os::unix::process::CommandExt;
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod")
    };
    open(machine.folder.path(), 0o755);
    open(&state, 0o555);
    let copy = machine.folder.path().join("hyprbox-agent");
    std::fs::copy(program(), &copy).expect("copies");
    let mut command = Command::new(copy);
    command.arg("check");
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    assert_reported(
        &machine.run(command),
        "state folder",
        "can't write to",
        "chown",
    );
    std::fs::remove_dir(&state).expect("removes");
    std::fs::write(&state, "").expect("writes");
    machine.reports("state folder", "is not a folder", "HYPRBOX_STATE_DIR");
}
