//! `hyprbox-agent check`: each thing that goes wrong on the way to the server, made on purpose, is
//! named with its mend.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Authority, FakeAgent, Server, Setup, eventually, free_port};

fn program() -> PathBuf {
    crate::harness::built("hyprbox-agent")
}

/// A machine's settings.
struct Machine {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Machine {
    fn new(url: &str, node: &FakeAgent) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let made = Self {
            folder,
            variables: Vec::new(),
        };
        made.with("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
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

    /// What it says, and whether all is well.
    fn ends(&self, mut command: Command) -> (String, bool) {
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
        self.ends(command)
    }

    #[track_caller]
    fn is_well(&self) -> String {
        let (text, is_well) = self.check();
        assert!(is_well && !text.contains("wrong"), "{text}");
        text
    }

    /// One thing is wrong: what, how, and with which mend.
    #[track_caller]
    fn finds(&self, what: &str, seen: &str, mend: &str) {
        told(&self.check(), what, seen, mend);
    }

    /// The same in a mount namespace of its own, after a script has broken something there.
    #[track_caller]
    fn finds_after(&self, script: &str, what: &str, seen: &str, mend: &str) {
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
        told(&self.ends(command), what, seen, mend);
    }
}

#[track_caller]
fn told((text, is_well): &(String, bool), what: &str, seen: &str, mend: &str) {
    assert!(!is_well, "{text}");
    let wrong: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("wrong"))
        .collect();
    assert_eq!(wrong.len(), 1, "{text}");
    assert!(wrong[0].starts_with(&format!("wrong  {what}: ")), "{text}");
    assert!(wrong[0].contains(seen), "{text}");
    let mends = text
        .lines()
        .skip_while(|line| !line.starts_with("wrong"))
        .nth(1);
    let mends = mends.unwrap_or_default();
    assert!(
        mends.starts_with("       mend: ") && mends.contains(mend),
        "{text}"
    );
}

/// Answers each connection in its own way.
fn listener(answer: impl Fn(&mut TcpStream, &[u8]) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut bytes = [0; 4096];
            // An error says that the other side only looked whether the port is open.
            let count = stream.read(&mut bytes).unwrap_or(0);
            if count > 0 {
                answer(&mut stream, &bytes[..count]);
            }
        }
    });
    address.to_string()
}

fn says(text: &'static str) -> impl Fn(&mut TcpStream, &[u8]) {
    move |stream, _| {
        // An error says that nobody listens any more.
        let _sent = stream.write_all(text.as_bytes());
    }
}

#[test]
fn a_machine_that_is_well_has_every_step_said() {
    let authority = Authority::new();
    let mut server = Setup::new().with_tls(&authority).start();
    let node = server.admin().add_node("n1");
    let ca_file = authority.ca_file();
    let machine =
        Machine::new(server.url(), &node).with("HYPRBOX_CA_FILE", ca_file.to_str().expect("UTF-8"));
    let text = machine.is_well();
    for what in ["bash", "state folder", "line", "clock", "server", "token"] {
        assert!(text.contains(&format!("ok     {what}: ")), "{text}");
    }
    // It makes nothing, and a look into a folder leaves nothing.
    assert!(!machine.state().exists());
    std::fs::create_dir(machine.state()).expect("a folder");
    machine.is_well();
    assert_eq!(
        std::fs::read_dir(machine.state()).expect("reads").count(),
        0
    );
}

/// Makes a certificate otherwise than it should be.
type Change<'a> = &'a dyn Fn(&mut rcgen::CertificateParams);

#[test]
fn what_is_wrong_with_tls_is_told_apart() {
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
        (
            &other_name,
            "another name's than 127.0.0.1",
            "HYPRBOX_API_URL",
        ),
    ];
    for (change, seen, mend) in cases {
        authority.renew_as(|params| change(params));
        eventually("the other certificate", || {
            machine.check().0.contains(seen).then_some(())
        });
        machine.finds("tls", seen, mend);
    }
    authority.renew();
    let unknown = Authority::new();
    let ca_file = unknown.ca_file();
    let machine = machine.with("HYPRBOX_CA_FILE", ca_file.to_str().expect("UTF-8"));
    eventually("the good certificate", || {
        machine.check().0.contains("signed by nobody").then_some(())
    });
    machine.finds(
        "tls",
        "signed by nobody that this machine trusts",
        "HYPRBOX_CA_FILE",
    );

    // Not TLS at all, and TLS of another age.
    let plain = Server::start();
    let plain = plain.url().replace("http://", "https://");
    Machine::new(&plain, &node).finds("tls", "doesn't speak TLS", "http://");
    let old = listener(|stream, _| {
        let _sent = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 70]);
    });
    Machine::new(&format!("https://{old}"), &node).finds("tls", "new enough", "TLS 1.2 or 1.3");
}

#[test]
fn a_name_a_port_and_what_listens_there_are_told_apart() {
    let mut server = Server::start();
    let node = server.admin().add_node("n1");
    let insecure = |url: &str| Machine::new(url, &node).with("HYPRBOX_INSECURE_HTTP", "1");
    insecure("http://nowhere.invalid").finds(
        "name",
        "nowhere.invalid leads to no address",
        "/etc/resolv.conf",
    );
    let closed = format!("http://127.0.0.1:{}", free_port());
    insecure(&closed).finds("line", "can't be reached", "HYPRBOX_LISTEN");
    let other = listener(says(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone",
    ));
    insecure(&format!("http://{other}")).finds(
        "server",
        "doesn't answer as a HyprBox server",
        "HYPRBOX_API_URL",
    );
    let moved = listener(says(
        "HTTP/1.1 301 Moved\r\nLocation: https://jobs.example.org/healthz\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ));
    insecure(&format!("http://{moved}")).finds(
        "server",
        "sends on to https://jobs.example.org, and redirects are never followed",
        "set HYPRBOX_API_URL=https://jobs.example.org",
    );
    let late = listener(says(
        "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2020 09:30:00 GMT\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\
         {\"job\": null, \"cancel\": [], \"leaseSeconds\": 90}",
    ));
    insecure(&format!("http://{late}")).finds("clock", "days ahead of the server's", "timedatectl");
}

#[test]
fn the_token_and_the_node_are_told_apart() {
    let mut server = Server::start();
    let admin = server.admin();
    let (node, other) = (admin.add_node("n1"), admin.add_node("n2"));
    let machine = Machine::new(server.url(), &node);
    machine.is_well();
    let mixed = Machine::new(server.url(), &node).with("HYPRBOX_NODE_ID", &other.node_id);
    mixed.finds("token", "is not that of node n2", "HYPRBOX_NODE_ID");
    let tokens = admin.get("/api/nodes/n1/tokens").ok();
    let id = tokens["tokens"][0]["id"].as_str().expect("an id");
    admin
        .delete(&format!("/api/nodes/n1/tokens/{id}"))
        .gives(204);
    machine.finds("token", "revoked", "HYPRBOX_NODE_TOKEN");
}

#[test]
fn a_proxy_is_found_tried_and_gone_through() {
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
    with(&closed).finds(
        "proxy",
        "which the environment names for jobs.example.org, can't be reached",
        "NO_PROXY",
    );
    // No name is asked for that the proxy is to ask for; without the proxy it is.
    with(&closed).with("NO_PROXY", "example.org").finds(
        "name",
        "jobs.example.org leads to no address",
        "resolv.conf",
    );
    let strict = listener(says(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ));
    with(&format!("http://{strict}")).finds(
        "proxy",
        "gives no way to jobs.example.org",
        "let this machine through",
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
        // Errors are ends.
        std::thread::spawn(move || std::io::copy(&mut up, &mut server));
        let mut back = stream.try_clone().expect("clones");
        std::thread::spawn(move || std::io::copy(&mut down, &mut back));
    });
    let text = with(&format!("http://{tunnel}")).is_well();
    assert!(
        text.contains("ok     proxy: ") && !text.contains("ok     name"),
        "{text}"
    );
}

#[test]
fn what_the_machine_lacks_is_told() {
    let mut server = Server::start();
    let node = server.admin().add_node("n1");
    let machine = Machine::new(server.url(), &node);
    let state = machine.state();
    let shown = state.display();
    std::fs::create_dir(&state).expect("a folder");
    machine.finds_after(
        "mount --bind /dev/null /bin/bash",
        "bash",
        "/bin/bash can't be started",
        "install the package bash",
    );
    machine.finds_after(
        "mount --bind /bin/false /bin/bash",
        "bash",
        "/bin/bash doesn't work",
        "reinstall the package bash",
    );
    machine.finds_after(
        &format!("mount -t tmpfs -o ro tmpfs {shown}"),
        "state folder",
        "is mounted read-only",
        "read-write",
    );
    machine.finds_after(
        &format!("mount -t tmpfs -o size=32k tmpfs {shown}"),
        "state folder",
        "on a disk that is full",
        "make room",
    );
    machine.finds_after(
        &format!("mount -t tmpfs -o size=4m tmpfs {shown}"),
        "state folder",
        "MiB left",
        "make room",
    );
    // That nothing can be started from there matters to nobody.
    let mut command = Command::new("unshare");
    let line = format!(
        "mount -t tmpfs -o noexec,size=64m tmpfs {shown} && exec {} check",
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
    let (text, is_well) = machine.ends(command);
    assert!(is_well, "{text}");

    // Another user's.
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
    told(
        &machine.ends(command),
        "state folder",
        "can't be written by user",
        "chown",
    );
    std::fs::remove_dir(&state).expect("removes");
    std::fs::write(&state, "").expect("writes");
    machine.finds("state folder", "is no folder", "HYPRBOX_STATE_DIR");
}
