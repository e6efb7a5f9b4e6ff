//! A team's server: thirty nodes, three hundred jobs in every state over four days, and runs. Pages
//! are looked at with this behind them, because an empty page has no faults.

use serde_json::json;

use crate::harness::{FakeAgent, Person, Server, chunk, eventually, id_of, write_preset};

/// Nodes by name; the first ones run jobs.
const NODES: [&str; 30] = [
    "web-01",
    "web-02",
    "web-03",
    "web-04",
    "web-05",
    "web-06",
    "db-01",
    "db-02",
    "cache-01",
    "cache-02",
    "build-01",
    "build-02",
    "edge-fra-1",
    "edge-ams-1",
    "edge-nyc-1",
    "edge-sfo-1",
    "edge-sin-1",
    "metrics-01",
    "logs-01",
    "mail-01",
    "vpn-01",
    "nas",
    "attic-pi",
    "garage-pi",
    "kitchen-pi",
    "staging-1",
    "staging-2",
    "lab-07",
    "lab-08",
    "router-basement",
];
/// Number of nodes that are online; four more were, and the rest was never seen.
const ONLINE: usize = 22;
const SEEN: usize = 26;
/// Number of jobs that have ended.
const ENDED: usize = 282;
/// Minutes between two jobs.
const EVERY: usize = 21;

const DEPLOY: &str = "name: deploy-web\ntitle: Deploy the web shop\ndescription: Builds a release, migrates the database and restarts the shop.\n\
    targets: [any]\nrisk: medium\ntimeout: 20m\nparams:\n  release: { type: string, default: v2.4.1 }\n  maintenance: { type: bool, default: false }\nsteps:\n\
    \x20 - name: Fetch the release\n    run: echo fetch\n  - name: Migrate the database\n    run: echo migrate\n\
    \x20 - name: Restart the workers\n    run: echo restart\n  - name: Warm the caches\n    run: echo warm\n  - name: Check the shop\n    run: echo check\n";
const BACKUP: &str = "name: backup-db\ntitle: Back up the database\ndescription: Dumps and uploads the database.\n\
    targets: [any]\nrisk: low\ntimeout: 2h\nsteps:\n  - name: Dump\n    run: echo dump\n  - name: Upload\n    run: echo upload\n  - name: Prune\n    run: echo prune\n";
const ROTATE: &str = "name: rotate-certificates\ntitle: Rotate the certificates\ndescription: Replaces certificates before they expire.\n\
    targets: [any]\nrisk: high\ntimeout: 10m\nsteps:\n  - name: Request\n    run: echo request\n  - name: Install\n    run: echo install\n";

/// The steps of each preset, and about how many seconds one takes.
const PRESETS: [(&str, &str, &[&str], usize); 3] = [
    (
        "deploy-web",
        DEPLOY,
        &[
            "Fetch the release",
            "Migrate the database",
            "Restart the workers",
            "Warm the caches",
            "Check the shop",
        ],
        9,
    ),
    ("backup-db", BACKUP, &["Dump", "Upload", "Prune"], 140),
    ("rotate-certificates", ROTATE, &["Request", "Install"], 3),
];

/// The server with ids of what is on it.
pub(crate) struct Team {
    /// Those of the nodes that are online.
    agents: Vec<FakeAgent>,
    pub(crate) server: Server,
    pub(crate) admin: Person,
    pub(crate) operator: Person,
    pub(crate) succeeded: String,
    pub(crate) failed: String,
    pub(crate) running: String,
    pub(crate) queued: String,
    /// A failed job whose output has every kind of colour.
    pub(crate) colours: String,
    /// One run that waits for its nodes.
    pub(crate) run: String,
    pub(crate) schedule: String,
    pub(crate) channel: String,
}

/// What the job with all colours has written, in this order.
const COLOURS: [(&str, &str); 6] = [
    (
        "stdout",
        "==> [1/3] Install the packages\nReading package lists...\nBuilding dependency tree...\n",
    ),
    (
        "stdout",
        "\u{1b}[32mok\u{1b}[0m \u{1b}[1mbold\u{1b}[0m \u{1b}[2mdim\u{1b}[0m \u{1b}[33mwarn\u{1b}[0m \u{1b}[34mblue\u{1b}[0m ",
    ),
    (
        "stdout",
        "\u{1b}[38;5;208morange\u{1b}[0m \u{1b}[38;5;17mnavy\u{1b}[0m \u{1b}[93myellow\u{1b}[0m \u{1b}[41mred\u{1b}[0m \u{1b}[7minverse\u{1b}[0m\n",
    ),
    ("stdout", "==> [2/3] Set the SSH port\n"),
    (
        "stderr",
        "sshd: error: bad configuration option on line 12 of /etc/ssh/sshd_config.d/10-hyprbox.conf\n",
    ),
    ("stderr", "==> [2/3] verify failed: Set the SSH port\n"),
];

/// A preset that is saved in the app.
const SAVED: &str =
    "name: greet\ntitle: Greet\ntargets: [any]\nsteps:\n  - name: Greet\n    run: echo hello\n";

/// How a job ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Success,
    Failure,
    Cancelled,
}

impl Team {
    pub(crate) fn start() -> Self {
        // Jobs without a sign of life stay as they are while somebody looks.
        let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "86400")]);
        for (name, text, _, _) in PRESETS {
            write_preset(&server.presets_dir(), name, text);
        }
        let admin = server.admin();
        let operator = server.person("ann", "OPERATOR");
        server.person("bob", "VIEWER");
        let agents = add_nodes(&admin);
        let mut ended = Vec::new();
        for number in 0..ENDED {
            let person = if number % 3 == 1 { &operator } else { &admin };
            ended.push(work_one(person, &agents[number % ONLINE], number));
        }
        let finished_run = queue_run(&admin, &NODES[..4]);
        for agent in &agents[..4] {
            let id = claim_soon(agent);
            work(agent, &id, &PRESETS[1], 3);
            agent.succeed(&id);
        }
        age(&mut server, &ended, &finished_run);
        let admin = server.admin();
        let operator = operator.at_url(server.url());
        let online = agents.iter().take(ONLINE);
        let agents: Vec<_> = online.map(|agent| agent.at(&server)).collect();
        agents.iter().for_each(FakeAgent::beat);

        let failed_run = queue_run(&admin, &NODES[..8]);
        for (index, agent) in agents[..6].iter().enumerate() {
            let id = claim_soon(agent);
            work(agent, &id, &PRESETS[1], 1 + index % 3);
            match index {
                2 => drop(agent.complete(&id, &json!({"exitCode": 7})).ok()),
                5 => {}
                _ => drop(agent.succeed(&id)),
            }
        }
        let last = |wanted: End| {
            let is_wanted = |number: &usize| {
                number % 3 != 1 && end_of(*number) == wanted && preset_of(*number).0 == "deploy-web"
            };
            let number = (0..ENDED).rev().find(is_wanted).expect("one of each");
            ended[number].clone()
        };
        let start = |agent: &FakeAgent, steps: usize| {
            let params = json!({"release": "v2.5.0"});
            let id = admin.queue_with(&agent.node_id, "deploy-web", params);
            agent.claim();
            work(agent, &id, &PRESETS[0], steps);
            id
        };
        let running = start(&agents[10], 3);
        start(&agents[12], 1);
        start(&agents[14], 5);
        let colours = write_colours(&admin, &agents[16]);
        let body = json!({"source": SAVED});
        let saved = admin.call("PUT", "/api/presets/greet").json(&body);
        saved.header("if-none-match", "*").gives(201);
        let queued = admin.queue_with("attic-pi", "backup-db", json!({}));
        for node in ["web-06", "build-01", "garage-pi", "staging-1"] {
            operator.queue_with(node, "backup-db", json!({}));
        }
        let schedule = json!({"name": "nightly backup", "preset": "backup-db", "selector": "role=db",
            "cron": "30 2 * * *", "timeZone": "Europe/Berlin"});
        let schedule = id_of(&admin.post("/api/schedules", &schedule).gives(201).json());
        let secret = json!({"value": "correct horse battery", "presets": ["greet"]});
        admin
            .call("PUT", "/api/secrets/restic")
            .json(&secret)
            .gives(201);
        let channel =
            json!({"name": "ops", "kind": "webhook", "settings": {"url": "http://127.0.0.1:1/"}});
        let channel = id_of(&admin.post("/api/channels", &channel).gives(201).json());
        Self {
            schedule,
            channel,
            succeeded: last(End::Success),
            failed: last(End::Failure),
            running,
            queued,
            colours,
            run: failed_run,
            agents,
            admin,
            operator,
            server,
        }
    }
}

/// A failed job with colours; its id.
fn write_colours(admin: &Person, agent: &FakeAgent) -> String {
    let id = admin.queue(&agent.node_id);
    agent.claim();
    let (mut stdout, mut stderr) = (0, 0);
    for (stream, text) in COLOURS {
        let at = match stream {
            "stdout" => &mut stdout,
            _ => &mut stderr,
        };
        agent.output(&id, &[chunk(stream, *at, text)]);
        *at += text.len() as u64;
    }
    agent.complete(&id, &json!({"exitCode": 1})).ok();
    id
}

impl Team {
    /// Keeps the nodes online that are.
    pub(crate) fn beat(&self) {
        self.agents.iter().for_each(FakeAgent::beat);
    }
}

fn add_nodes(admin: &Person) -> Vec<FakeAgent> {
    let add = |(index, name): (usize, &&str)| {
        let site = ["fra", "home", "nyc"][index % 3];
        let labels = json!({"site": site, "role": name.split('-').next()});
        let body = json!({"id": name, "labels": labels});
        admin.post("/api/nodes", &body).gives(201);
        admin.agent_of(name)
    };
    let agents: Vec<_> = NODES.iter().enumerate().map(add).collect();
    agents[..SEEN].iter().for_each(FakeAgent::beat);
    agents
}

fn preset_of(
    number: usize,
) -> &'static (&'static str, &'static str, &'static [&'static str], usize) {
    &PRESETS[[0, 1, 0, 2, 0, 1][number / 2 % 6]]
}

fn end_of(number: usize) -> End {
    match number % 17 {
        4 | 11 => End::Failure,
        9 => End::Cancelled,
        _ => End::Success,
    }
}

/// Queues a job, does it and ends it; its id.
fn work_one(person: &Person, agent: &FakeAgent, number: usize) -> String {
    let preset = preset_of(number);
    let params = match preset.0 {
        "deploy-web" => json!({"release": format!("v2.{}.{}", number / 60, number % 20)}),
        _ => json!({}),
    };
    let id = person.queue_with(&agent.node_id, preset.0, params);
    agent.claim();
    match end_of(number) {
        End::Success => {
            work(agent, &id, preset, preset.2.len());
            agent.succeed(&id);
        }
        End::Failure => {
            let at = work(agent, &id, preset, 2);
            let text = "error: relation \"orders\" is locked by process 4711\n";
            agent.output(&id, &[chunk("stderr", 0, text)]);
            agent.say(&id, at, "");
            agent.complete(&id, &json!({"exitCode": 3})).ok();
        }
        End::Cancelled => {
            work(agent, &id, preset, 1);
            person.cancel(&id).gives(202);
            let body = json!({"exitCode": null, "cancelled": true});
            agent.complete(&id, &body).ok();
        }
    }
    id
}

/// Writes what the first steps write; the offset after it.
fn work(agent: &FakeAgent, id: &str, preset: &(&str, &str, &[&str], usize), steps: usize) -> u64 {
    let mut at = 0;
    for (index, step) in preset.2.iter().take(steps).enumerate() {
        let text = format!(
            "==> [{}/{}] {step}\n\u{1b}[32mok\u{1b}[0m {step} on {}\n  4 files, 12.5 MB\n",
            index + 1,
            preset.2.len(),
            agent.node_id
        );
        agent.say(id, at, &text);
        at += text.len() as u64;
    }
    at
}

/// Claims a job of a batch, which is released a moment after the one before.
fn claim_soon(agent: &FakeAgent) -> String {
    eventually("a job of the run", || {
        let job = agent.poll("wait=1").ok()["job"].clone();
        job.is_object().then(|| id_of(&job))
    })
}

fn queue_run(admin: &Person, nodes: &[&str]) -> String {
    let plan = json!({"batch": 4, "maxFailures": 3});
    let body = json!({"preset": "backup-db", "nodes": nodes, "plan": plan});
    id_of(&admin.post("/api/runs", &body).gives(201).json())
}

/// Moves the jobs back in time, each `EVERY` minutes after the one before. Their lengths differ.
fn age(server: &mut Server, ended: &[String], run: &str) {
    server.kill9();
    let database = server.database();
    let mut sql = String::new();
    for (number, id) in ended.iter().enumerate() {
        let minutes = (ended.len() - number) * EVERY;
        let (_, _, steps, seconds) = preset_of(number);
        let took = steps.len() * seconds * (70 + number * 37 % 61) / 100;
        let at = |passed: usize| database.ago(&format!("{} seconds", minutes * 60 - passed));
        sql.push_str(&format!(
            "UPDATE jobs SET created_at = {}, started_at = {}, finished_at = {} WHERE id = '{id}';\n",
            at(0),
            at(2),
            at(2 + took)
        ));
        let per_step = took / steps.len();
        for step in 0..steps.len() {
            sql.push_str(&format!(
                "UPDATE job_steps SET arrived_at = {} WHERE job_id = '{id}' AND number = {};\n",
                at(2 + step * per_step),
                step + 1
            ));
        }
        for step in 0..=steps.len() {
            sql.push_str(&format!(
                "UPDATE chunks SET arrived_at = {} WHERE job_id = '{id}' AND position >= {};\n",
                at(2 + step * per_step),
                step * 40
            ));
        }
    }
    let ago = database.ago("50 minutes");
    sql.push_str(&format!(
        "UPDATE runs SET created_at = {ago} WHERE id = '{run}';\nUPDATE nodes SET last_seen_at = {} WHERE id IN ('{}');\n",
        database.ago("7 hours"),
        NODES[ONLINE..SEEN].join("', '")
    ));
    // The ledger begins again, as it would find these changes.
    sql.push_str(
        "DELETE FROM ledger;\nDELETE FROM ledger_state;\nDELETE FROM ledger_due;\n\
         INSERT INTO ledger_due (id, kind, row_id) SELECT '0 ' || id || ' 1', 'job_queued', id FROM jobs;\n\
         INSERT INTO ledger_due (id, kind, row_id) SELECT '0 ' || id || ' 2', 'job_ended', id FROM jobs\n\
         WHERE status IN ('SUCCEEDED', 'FAILED', 'CANCELLED');\n\
         INSERT INTO ledger_due (id, kind, row_id) SELECT '0 ' || id || ' 0', 'audit', id FROM audit_entries;\n",
    );
    database.execute_all(&sql);
    server.start_again();
}
