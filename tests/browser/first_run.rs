//! From an empty data folder to the first job on a second machine, by what the pages say. The
//! second machine is a network namespace with an address of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::browser::Browser;
use crate::harness::{PASSWORD, Setup, write_file, write_preset};

/// A machine that reaches this one over a cable: a network namespace, a root to install into, and a
/// stand-in for `sudo`.
struct Machine {
    name: String,
    /// This machine's end of the cable.
    here: String,
    folder: TempDir,
    agent: Option<Child>,
}

#[track_caller]
fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output();
    let done = done.expect("ip is needed: apt-get install iproute2");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {words}: {error}");
}

impl Machine {
    fn start() -> Self {
        let pid = std::process::id();
        let name = format!("hyprbox-{pid}");
        // A network of four addresses, another one for each process: 198.18.0.0/15 is for tests.
        let net = format!("198.{}.{}", 18 + pid / 16_384 % 2, pid / 64 % 256);
        let first = pid % 64 * 4;
        let (here, there) = (
            format!("{net}.{}", first + 1),
            format!("{net}.{}", first + 2),
        );
        let cable = format!("hb{pid}");
        ip(&format!("netns add {name}"));
        let machine = Self {
            folder: tempfile::tempdir().expect("a folder"),
            here,
            agent: None,
            name,
        };
        let Self { name, here, .. } = &machine;
        ip(&format!(
            "link add {cable} type veth peer name eth0 netns {name}"
        ));
        ip(&format!("address add {here}/30 dev {cable}"));
        ip(&format!("link set {cable} up"));
        ip(&format!("-n {name} address add {there}/30 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        let sudo = machine.folder.path().join("sudo");
        write_file(&sudo, "#!/bin/sh\nexec env \"$@\"\n", 0o755);
        machine
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ip");
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.folder.path().display()
        );
        command
            .args(["netns", "exec", &self.name, "sh", "-c"])
            .env_clear()
            .env("PATH", path)
            .env("HOME", "/root")
            .env("DESTDIR", self.root())
            .env("HYPRBOX_INIT", "systemd")
            .stdin(Stdio::null());
        command
    }

    /// Pastes a line, and starts what it installs as systemd would.
    #[track_caller]
    fn paste(&mut self, line: &str) {
        let output = self.command().arg(line).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let root = self.root();
        let start = format!(
            "set -a; . {0}/etc/hyprbox/agent.env; HYPRBOX_TRUSTED_SERVERS={0}/etc/hyprbox/trusted_servers; \
             exec {0}/usr/local/bin/hyprbox-agent run",
            root.display()
        );
        let mut service = self.command();
        service.arg(start);
        service.env("HYPRBOX_STATE_DIR", root.join("state"));
        let agent = service.stderr(Stdio::null()).spawn().expect("starts");
        self.agent = Some(agent);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _gone = agent.kill();
            let _status = agent.wait();
        }
        // The cable goes with it.
        let _gone = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// A person who counts.
struct Hand<'b> {
    browser: &'b Browser,
    clicks: u32,
    fields: u32,
}

impl Hand<'_> {
    fn press(&mut self, words: &str) {
        self.browser.press(words);
        self.clicks += 1;
    }

    fn fill(&mut self, css: &str, text: &str) {
        self.browser.fill(css, text);
        self.fields += 1;
    }
}

fn is_ticked(browser: &Browser, step: &str) -> bool {
    let is = format!(
        "[...document.querySelectorAll('.ticks li[data-done]')].some((item) => item.querySelector('h3').textContent === 'Done: {step}')"
    );
    browser.js(&is) == true
}

#[test]
fn a_second_machine_runs_its_first_job_by_what_the_pages_say() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: a network namespace needs root");
        return;
    }
    let mut machine = Machine::start();
    let setup = Setup::new().with("HYPRBOX_LISTEN", "0.0.0.0:0");
    for preset in ["note", "shell", "vault"] {
        let file = setup.presets_dir().join(format!("{preset}.yaml"));
        std::fs::remove_file(file).expect("there");
    }
    let began = Instant::now();
    let server = setup.start();
    let port = server.url().rsplit(':').next().expect("a port").to_owned();
    let here = format!("http://{}:{port}", machine.here);
    let browser = Browser::on(&server);
    let mut hand = Hand {
        browser: &browser,
        clicks: 0,
        fields: 0,
    };
    // The link of the terminal, with this machine's name in it, as the terminal says.
    browser.open(&format!("{here}/setup?code={}", server.setup_code()));
    hand.fill("#f-email", "admin@example.org");
    hand.fill("#f-password", PASSWORD);
    hand.press("Set up");
    browser.see("First steps");
    browser.picture("first-run-1-empty");
    for step in ["Add a node", "Run the report", "Write a preset"] {
        assert!(!is_ticked(&browser, step), "{step}");
    }
    hand.fill("#f-id", "attic-pi");
    hand.press("Add");
    browser.see("Paste this on attic-pi");
    browser.picture("first-run-2-paste");
    let line = browser.text(".paste pre");
    assert!(line.contains(&format!("{here}/install.sh")), "{line}");
    assert!(!browser.shown().contains("works only on the server"));
    hand.press("Copy");
    browser.js("(window.notReloaded = true)");
    machine.paste(&line);
    // The line gives way to the next step, live.
    browser.see("Run the report on attic-pi");
    assert!(!browser.shown().contains("Paste this on"));
    assert_eq!(browser.js("window.notReloaded"), true, "it was reloaded");
    browser.picture("first-run-3-online");
    hand.press("Run the report on attic-pi");
    browser.until("location.pathname.startsWith('/jobs/')");
    browser.until("document.querySelector('#job-state [data-state=succeeded]')");
    let took = began.elapsed();
    println!(
        "from the empty folder to the first job's end on a second machine: {} clicks, {} fields, 1 paste, {:.1} s",
        hand.clicks,
        hand.fields,
        took.as_secs_f64()
    );
    assert_eq!((hand.clicks, hand.fields), (4, 3));

    browser.press("Overview");
    browser.see("First steps");
    browser.picture("first-run-4-ticked");
    assert!(is_ticked(&browser, "Add a node"));
    assert!(is_ticked(&browser, "Run the report"));
    hand.press("Write one");
    browser.until("location.pathname === '/presets/-/new'");
    browser.press("Overview");
    browser.see("First steps");
    // A file in the presets folder is a preset of one's own as well. Whoever comes back from the
    // editor finds the last step ticked, and the list gone.
    let hello = "name: hello\ntitle: Say hello\ntargets: [any]\nsteps:\n  - name: Say it\n    run: echo hello\n";
    write_preset(&server.presets_dir(), "hello", hello);
    browser.until("(dispatchEvent(new Event('focus')), !document.querySelector('.ticks'))");
    browser.is_content();
}
