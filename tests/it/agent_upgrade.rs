//! `hyprbox-agent upgrade`: from the command line and as a job, under a fake service manager, with
//! agents that differ only in their version. One file, because all tests share the fake service
//! manager and the built agents.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    FakeAgent, Field, PATIENCE, Person, Server, Setup, eventually, eventually_within, write_file,
};
use crate::signed_upgrade::sha256;

const OWN: &str = env!("CARGO_PKG_VERSION");
pub(crate) const NEWER: &str = "9.1.0";
const OLDER: &str = "0.0.1";
const MARK: &[u8] = concat!("hyprbox-agent-version=", env!("CARGO_PKG_VERSION"), "\n").as_bytes();

/// Keeps its service running, as OpenRC's does: `supervise-daemon NAME PROGRAM`.
const SUPERVISOR: &str = r#"#!/bin/bash
while :; do
    "$2" run >>"$HERE/agent.log" 2>&1 &
    echo $! >"$HERE/agent.pid"
    wait $!
    sleep 0.05
done
"#;

const RC_SERVICE: &str = r#"#!/bin/bash
echo "$*" >>"$HERE/restarts"
kill -TERM "$(<"$HERE/agent.pid")"
"#;

/// The agent's program, with another version in it.
pub(crate) fn agent_of(version: &str) -> Vec<u8> {
    let program = Path::new(env!("CARGO_BIN_EXE_hyprbox")).with_file_name("hyprbox-agent");
    let mut bytes = std::fs::read(program).expect("reads");
    let marks = memchr::memmem::find_iter(&bytes, MARK);
    let at: Vec<usize> = marks.map(|at| at + MARK.len() - OWN.len() - 1).collect();
    assert_eq!(at.len(), 1, "the version stands in the program once");
    assert_eq!(version.len(), OWN.len());
    bytes[at[0]..at[0] + OWN.len()].copy_from_slice(version.as_bytes());
    bytes
}

/// Puts a program under a name, whole and at once.
fn install(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("making");
    std::fs::write(&new, bytes).expect("writes");
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("allowed");
    std::fs::rename(new, path).expect("renames");
}

fn machine() -> &'static str {
    std::env::consts::ARCH
}

/// A server that ships an agent.
pub(crate) struct Shipping {
    server: Server,
    pub(crate) admin: Person,
    agents: PathBuf,
}

impl Shipping {
    pub(crate) fn start(agent: &[u8]) -> Self {
        let setup = Setup::new();
        let agents = setup.folder().join("agents");
        std::fs::create_dir(&agents).expect("a folder");
        install(&agents.join(format!("hyprbox-agent-{}", machine())), agent);
        let mut server = setup
            .with("HYPRBOX_AGENT_DIR", agents.to_str().expect("UTF-8"))
            .start();
        let admin = server.admin();
        Self {
            server,
            admin,
            agents,
        }
    }

    pub(crate) fn ship(&self, agent: &[u8]) {
        install(
            &self.agents.join(format!("hyprbox-agent-{}", machine())),
            agent,
        );
    }

    pub(crate) fn node(&self) -> Machine {
        Machine::new(self.server.url(), &self.admin.add_node("n1"))
    }

    /// The job, once it has ended.
    pub(crate) fn end_of(&self, id: &str) -> Value {
        eventually("the job's end", || {
            let job = self.admin.job(id);
            (job.field("status") != "QUEUED" && job.field("status") != "RUNNING").then_some(job)
        })
    }

    pub(crate) fn view(&self) -> Value {
        self.admin.get("/api/nodes/n1").ok()
    }
}

/// A machine with an agent in a folder of its own, and programs that stand in for the machine's.
pub(crate) struct Machine {
    folder: TempDir,
    pub(crate) variables: Vec<(String, String)>,
    supervisor: Option<Child>,
}

impl Machine {
    fn new(url: &str, identity: &FakeAgent) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["bin", "fakes"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            folder.path().join("fakes").display()
        );
        let variables = [
            ("HYPRBOX_API_URL", url.to_owned()),
            ("HYPRBOX_NODE_TOKEN", identity.token.clone()),
            ("HYPRBOX_NODE_ID", identity.node_id.clone()),
            ("HYPRBOX_STATE_DIR", text(folder.path().join("state"))),
            ("HYPRBOX_INTERVAL", "1s".to_owned()),
            ("HOME", text(folder.path().to_owned())),
            ("PATH", path),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let machine = Self {
            variables: variables.into(),
            folder,
            supervisor: None,
        };
        let here = format!("HERE={}\n", machine.at("").display());
        let fake = |name: &str, text: &str| {
            let text = text.replacen('\n', &format!("\n{here}"), 1);
            write_file(&machine.at("fakes").join(name), &text, 0o755);
        };
        fake("supervise-daemon", SUPERVISOR);
        fake("rc-service", RC_SERVICE);
        // The machine of the tests may have the agent's package; this one has not.
        fake("dpkg-query", "#!/bin/bash\nexit 1\n");
        install(&machine.program(), &agent_of(OWN));
        machine
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.at("bin/hyprbox-agent")
    }

    fn fake(&self, name: &str, text: &str) {
        write_file(&self.at("fakes").join(name), text, 0o755);
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Has the agent kept running.
    pub(crate) fn start(&mut self) {
        let mut command = self.command(&self.at("fakes/supervise-daemon"));
        let child = command
            .arg("hyprbox-agent")
            .arg(self.program())
            .process_group(0)
            .spawn();
        self.supervisor = Some(child.expect("starts"));
        // Made by the agent that holds the folder.
        eventually("the agent", || {
            self.at("state/instance").exists().then_some(())
        });
    }

    fn pid(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.at("agent.pid")).ok()?;
        text.trim().parse().ok()
    }

    /// By a person at the machine.
    fn upgrade(&self, words: &[&str]) -> Output {
        let mut command = self.command(&self.program());
        command.arg("upgrade").args(words).output().expect("runs")
    }

    #[track_caller]
    fn refuses(&self, words: &[&str], says: &str) {
        let before = std::fs::read(self.program()).expect("reads");
        let output = self.upgrade(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(std::fs::read(self.program()).expect("reads") == before);
        assert_eq!(self.files(), ["hyprbox-agent"], "{said}");
    }

    #[track_caller]
    pub(crate) fn upgrades(&self, words: &[&str], says: &str) -> String {
        let output = self.upgrade(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains(says), "{said}");
        said
    }

    /// What is beside the program.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.at("bin")).expect("reads");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    pub(crate) fn version(&self, file: &str) -> String {
        let asked = Command::new(self.at("bin").join(file))
            .arg("--version")
            .output();
        String::from_utf8(asked.expect("runs").stdout).expect("UTF-8")
    }

    fn restarts(&self) -> usize {
        let text = std::fs::read_to_string(self.at("restarts")).unwrap_or_default();
        assert!(
            text.lines().all(|line| line == "hyprbox-agent restart"),
            "{text}"
        );
        text.lines().count()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.at("agent.log")).unwrap_or_default();
                eprintln!("--- the agent's log\n{log}");
            }
            // Errors say that they are gone already.
            let group = Pid::from_raw(supervisor.id().cast_signed());
            let _gone = killpg(group, Signal::SIGKILL);
            let _status = supervisor.wait();
            if let Some(pid) = self.pid() {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

#[test]
fn a_job_runs_on_across_an_upgrade_by_hand() {
    let shipping = Shipping::start(&agent_of(NEWER));
    let mut node = shipping.node();
    std::fs::set_permissions(node.program(), PermissionsExt::from_mode(0o750)).expect("chmod");
    node.start();
    let gate = node.at("gate");
    let code = format!(
        "echo ran >>{0}/ran; for ((i = 1; i <= 2000; i++)); do echo \"line $i\"; [[ $i -lt 1500 || -e {1} ]] || sleep 0.05; \
         done; until [[ -e {1} ]]; do sleep 0.05; done; exit 7",
        node.at("").display(),
        gate.display()
    );
    let id = shipping
        .admin
        .queue_with("n1", "shell", json!({"code": code}));
    eventually("the script", || node.at("ran").exists().then_some(()));
    let old = node.pid();
    let said = node.upgrades(
        &[],
        &format!("this agent is {OWN}, the server ships {NEWER}"),
    );
    assert!(said.contains("the agent runs it, as process"), "{said}");
    assert!(!said.contains("plain http"), "{said}");
    assert_ne!(node.pid(), old);
    assert_eq!(
        node.version("hyprbox-agent"),
        format!("hyprbox-agent {NEWER}\n")
    );
    assert_eq!(
        node.version("hyprbox-agent.old"),
        format!("hyprbox-agent {OWN}\n")
    );
    assert_eq!(node.files(), ["hyprbox-agent", "hyprbox-agent.old"]);
    let about = node.program().metadata().expect("there");
    let model = node.at("bin/hyprbox-agent.old").metadata().expect("there");
    assert_eq!((about.mode() & 0o7777, about.uid()), (0o750, model.uid()));
    assert_eq!(shipping.admin.job(&id).field("status"), "RUNNING");

    // Nothing is done twice.
    node.upgrades(&[], &format!("already at version {NEWER}\n"));
    assert_eq!(node.restarts(), 1);

    std::fs::write(gate, "").expect("writes");
    let job = shipping.end_of(&id);
    assert_eq!(
        (job.field("status"), job.count("exitCode")),
        ("FAILED".to_owned(), 7),
        "{job}"
    );
    let lines: Vec<String> = (1..=2000).map(|line| format!("line {line}\n")).collect();
    let log = String::from_utf8(shipping.admin.log(&id, "stdout")).expect("UTF-8");
    assert_eq!(log, format!("==> [1/1] Run it\n{}", lines.concat()));
    let ran = std::fs::read_to_string(node.at("ran")).expect("reads");
    assert_eq!(ran, "ran\n");
}

#[test]
fn a_node_behind_is_shown_and_a_job_upgrades_it() {
    let shipping = Shipping::start(&agent_of(NEWER));
    let admin = &shipping.admin;
    let mut node = shipping.node();
    assert_eq!(shipping.view()["agentUpgrade"], Value::Null);
    node.start();
    let view = eventually("the agent", || {
        let view = shipping.view();
        (view["agentVersion"] == OWN).then_some(view)
    });
    assert_eq!(view["agentUpgrade"], NEWER, "{view}");
    let all = admin.get("/api/nodes").ok().list("nodes");
    assert_eq!(all[0]["agentUpgrade"], NEWER);
    let page = |path: &str| admin.browser("GET", path).gives(200).text();
    let shown = page("/nodes/n1");
    assert!(
        shown.contains(&format!("the server ships {NEWER}")),
        "{shown}"
    );
    assert!(
        shown.contains("href=\"/presets/agent-upgrade?node=n1\""),
        "{shown}"
    );
    assert!(page("/nodes").contains(&format!("(the server ships {NEWER})")));
    assert!(page("/presets/agent-upgrade?node=n1").contains("value=\"n1\""));

    let id = admin.queue_with("n1", "agent-upgrade", json!({}));
    let job = shipping.end_of(&id);
    let log = String::from_utf8(admin.log(&id, "both")).expect("UTF-8");
    assert_eq!(job.field("status"), "SUCCEEDED", "{log}");
    let after = log.split_once("rc-service hyprbox-agent restart\n");
    let (before, after) = after.unwrap_or_else(|| panic!("{log}"));
    assert!(before.starts_with("==> [1/1] Upgrade the agent\n"), "{log}");
    assert!(after.starts_with("the agent runs it, as process "), "{log}");
    assert_eq!(after.lines().count(), 1, "{log}");
    let view = eventually("the new agent", || {
        let view = shipping.view();
        (view["agentVersion"] == NEWER).then_some(view)
    });
    assert_eq!(view["agentUpgrade"], Value::Null, "{view}");
    assert!(!page("/nodes/n1").contains("the server ships"));

    let id = admin.queue_with("n1", "agent-upgrade", json!({}));
    assert_eq!(shipping.end_of(&id).field("status"), "SUCCEEDED");
    let log = String::from_utf8(admin.log(&id, "stdout")).expect("UTF-8");
    assert!(
        log.ends_with(&format!("already at version {NEWER}\n")),
        "{log}"
    );
    assert_eq!(node.restarts(), 1);
}

#[test]
fn an_agent_that_does_not_keep_running_is_replaced_by_the_old_one() {
    let dies = format!(
        "#!/bin/sh\n# hyprbox-agent-version={NEWER}\n[ \"$1\" != --version ] || {{ echo 'hyprbox-agent {NEWER}'; exit 0; }}\nexit 1\n"
    );
    let shipping = Shipping::start(dies.as_bytes());
    let mut node = shipping.node();
    node.start();
    let before = std::fs::read(node.program()).expect("reads");
    let id = shipping.admin.queue_with("n1", "agent-upgrade", json!({}));
    eventually_within(3 * PATIENCE, "the upgrade to fail", || {
        (shipping.admin.job(&id).field("status") == "FAILED").then_some(())
    });
    let log = String::from_utf8(shipping.admin.log(&id, "both")).expect("UTF-8");
    assert!(log.contains("the new agent does not keep running"), "{log}");
    assert!(
        log.contains(&format!("undone: {OWN} is running again")),
        "{log}"
    );
    assert_eq!(shipping.admin.job(&id).count("exitCode"), 1);
    assert!(std::fs::read(node.program()).expect("reads") == before);
    assert_eq!(node.files(), ["hyprbox-agent"]);
    let id = shipping
        .admin
        .queue_with("n1", "shell", json!({"code": "echo on"}));
    assert_eq!(shipping.end_of(&id).field("status"), "SUCCEEDED");
}

#[test]
fn an_unusable_agent_changes_nothing() {
    let shipping = Shipping::start(b"#!/bin/sh\n# none\n");
    let node = shipping.node();
    node.refuses(&[], "does not state its version");
    let liar =
        |does: &str| format!("#!/bin/sh\n# hyprbox-agent-version={NEWER}\n{does}\n").into_bytes();
    shipping.ship(&liar("exit 3"));
    node.refuses(&[], "does not run as an agent here: exit status: 3");
    shipping.ship(&liar("echo hyprbox-agent 1.0.0"));
    node.refuses(&[], &format!("is version 1.0.0 and not {NEWER}"));
    let other = [b"\x7fELF".to_vec(), liar("")].concat();
    shipping.ship(&other);
    node.refuses(&[], "can't be started");
    shipping.ship(&agent_of(OLDER));
    node.refuses(
        &[],
        &format!("ships {OLDER}, which is older than this {OWN}"),
    );
    node.refuses(&["--back"], "the previous program can't be used");
    std::fs::remove_file(shipping.agents.join(format!("hyprbox-agent-{}", machine())))
        .expect("removes");
    node.refuses(&[], "has no hyprbox-agent-");
    // Two at once.
    shipping.ship(&agent_of(NEWER));
    let folder = std::fs::File::open(node.at("bin")).expect("opens");
    let lock = nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusiveNonblock);
    node.refuses(&[], "another upgrade is running");
    drop(lock);
    node.upgrades(&[], "no agent is running here");
    // A wrong command line has another exit code.
    for (words, says) in [
        (&["--api-url", "ftp://x"][..], "--api-url"),
        (&["--now"], "--now"),
        (&["--api-url", "http://192.0.2.1"], "HYPRBOX_INSECURE_HTTP"),
    ] {
        let output = node.upgrade(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn there_is_a_way_back_and_forth_again() {
    let shipping = Shipping::start(&agent_of(NEWER));
    let mut node = shipping.node();
    node.start();
    node.upgrades(&["--no-restart"], "until it is restarted");
    assert_eq!(node.restarts(), 0);
    // The file is there, the agent is not: that is made good.
    let said = node.upgrades(&[], "but the agent still runs the previous program");
    assert!(said.contains("the agent runs it"), "{said}");
    assert_eq!(node.restarts(), 1);
    node.upgrades(&["--back"], &format!("is {OWN} again"));
    assert_eq!(
        node.version("hyprbox-agent.old"),
        format!("hyprbox-agent {NEWER}\n")
    );
    eventually("the old agent", || {
        (shipping.view()["agentVersion"] == OWN).then_some(())
    });
    node.upgrades(&["--back"], &format!("is {NEWER} again"));
    assert_eq!(node.restarts(), 3);
    // An older one is taken when that is meant.
    shipping.ship(&agent_of(OLDER));
    node.upgrades(&["--anyway"], &format!("the server ships {OLDER}"));
    assert_eq!(
        node.version("hyprbox-agent"),
        format!("hyprbox-agent {OLDER}\n")
    );
    // Another build of the same version is not an upgrade.
    let mut other = agent_of(OLDER);
    other.extend(b"another build");
    shipping.ship(&other);
    node.upgrades(
        &[],
        &format!("already at version {OLDER}, in another build"),
    );
    assert_eq!(node.restarts(), 4);
}

#[test]
fn without_a_service_manager_the_user_reads_how_to_restart_it() {
    let shipping = Shipping::start(&agent_of(NEWER));
    let mut node = shipping.node();
    node.supervisor = Some(
        node.command(&node.program())
            .arg("run")
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("starts"),
    );
    let pid = node.supervisor.as_ref().expect("started").id();
    eventually("the agent", || {
        (shipping.view()["status"] == "ONLINE").then_some(())
    });
    let said = node.upgrades(&[], &format!("stop process {pid}"));
    assert!(
        said.contains("start it again with the same command"),
        "{said}"
    );
}

#[test]
fn a_package_is_upgraded_by_apt_with_the_servers() {
    let shipping = Shipping::start(&agent_of(NEWER));
    let mut node = shipping.node();
    let owner = format!(
        "#!/bin/sh\necho \"hyprbox-agent: {}\"\n",
        node.program().display()
    );
    node.fake("dpkg-query", &owner);
    node.refuses(&[], "ships no package");
    node.refuses(&["--back"], "--allow-downgrades");

    // Its package, built by the real tool, and an apt that does nothing but unpack it there.
    let tree = node.at("tree");
    std::fs::create_dir_all(tree.join("usr/bin")).expect("folders");
    std::fs::create_dir(tree.join("DEBIAN")).expect("a folder");
    let control = "Package: hyprbox-agent\nVersion: 9.1.0-1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: x\n";
    std::fs::write(tree.join("DEBIAN/control"), control).expect("writes");
    install(&tree.join("usr/bin/hyprbox-agent"), &agent_of(NEWER));
    let deb = shipping
        .agents
        .join(format!("hyprbox-agent-{}.deb", machine()));
    let built = Command::new("dpkg-deb")
        .arg("-Znone")
        .arg("-b")
        .arg(&tree)
        .arg(&deb)
        .output();
    assert!(built.expect("dpkg-deb").status.success());
    let apt = format!(
        "#!/bin/bash\nset -e\necho \"$*\" >>{here}/apt\nfor deb; do :; done\ndpkg-deb -x \"$deb\" {here}/there\n\
         mv {here}/there/usr/bin/hyprbox-agent {program}\n",
        here = node.at("").display(),
        program = node.program().display()
    );
    node.fake("apt-get", &apt);
    node.start();
    // What is named is the package, since the package is what is installed.
    for other in [agent_of(NEWER), b"another".to_vec()] {
        node.refuses(&["--sha256", &sha256(&other)], "which was named");
    }
    assert!(!node.at("apt").exists());
    let named = sha256(&std::fs::read(&deb).expect("reads"));
    let said = node.upgrades(&["--sha256", &named], "apt upgrades it");
    assert!(said.contains("the agent runs it"), "{said}");
    assert_eq!(
        node.version("hyprbox-agent"),
        format!("hyprbox-agent {NEWER}\n")
    );
    assert_eq!(node.files(), ["hyprbox-agent"]);
    let apt = std::fs::read_to_string(node.at("apt")).expect("reads");
    assert!(
        apt.contains("--force-confold") && apt.contains("install"),
        "{apt}"
    );
    assert!(!apt.contains("downgrade"), "{apt}");
    let left = std::fs::read_dir(node.at("state")).expect("reads");
    let names = left.map(|entry| entry.expect("an entry").file_name());
    assert!(
        names
            .filter(|name| name.to_string_lossy().starts_with("upgrade"))
            .count()
            == 0
    );
}

/// Answers as a server whose files are not what it says, or that goes away in the middle.
#[test]
fn a_download_with_another_hash_is_refused() {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let agent = agent_of(NEWER);
    let length = agent.len();
    let named = move |bytes: usize| json!({"machine": machine(), "version": NEWER, "program": {"sha256": "00".repeat(32), "bytes": bytes}, "package": null});
    std::thread::spawn(move || {
        for (round, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("clones")).lines();
            let first = lines.next().expect("a line").expect("reads");
            while lines
                .next()
                .is_some_and(|line| !line.expect("reads").is_empty())
            {}
            let wanted = if round >= 4 { 1 << 40 } else { length };
            let body = match first.contains(".json") {
                true => named(wanted).to_string().into_bytes(),
                // The second time it is cut.
                false if round >= 3 => agent[..length / 2].to_vec(),
                false => agent.clone(),
            };
            let announced = if first.contains(".json") {
                body.len()
            } else {
                length
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n"
            );
            // An error says that the other side has seen enough.
            let _sent = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body));
        }
    });
    let mut server = Server::start();
    let node = Machine::new(&url, &server.admin().add_node("n1"));
    node.refuses(&[], "does not match the SHA-256 from the server");
    node.refuses(&[], "the connection broke after");
    node.refuses(&[], "too large for an agent");
    // Something that is not a HyprBox server.
    let closed = format!("http://127.0.0.1:{}", crate::harness::free_port());
    node.refuses(&["--api-url", &closed], "can't be reached");
}
