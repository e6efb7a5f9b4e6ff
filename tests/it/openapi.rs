//! Every operation that the server's own description names, held to what no operation may get
//! wrong: who may call it, whose things it shows, what it makes of nonsense, and which states
//! forbid it. An operation that the table below does not have fails the test, so that none is added
//! without its checks. One file, because it is one table.

use serde_json::{Value, json};

use crate::harness::{Answer, Call, FakeAgent, Field, PASSWORD, Person, Server, id_of};

/// Stands for a code that holds.
const CODE: &str = "hbe_";
/// Stands for the channel that is there.
const CHANNEL: &str = "channel";
/// A preset that is saved in the app.
const MINE: &str = "name: mine\ntargets: [any]\nsteps: [{ name: One, run: echo hi }]\n";
const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";

/// The least that opens an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Anybody,
    /// Of any role, even PENDING.
    Person,
    Viewer,
    Operator,
    Admin,
    Node,
}

/// How an operation is called so that nothing is wrong with the call.
struct Entry {
    operation: &'static str,
    who: Who,
    /// The path of something that is there.
    path: fn(&World) -> String,
    body: Option<Value>,
    /// A header that it needs.
    header: Option<(&'static str, &'static str)>,
    /// What an unknown id in the path gives; `None` where there is none.
    unknown: Option<u16>,
    /// Somebody else's is not there.
    is_owned: bool,
    /// A state that forbids it.
    conflict: Option<fn(&World) -> Answer>,
}

struct World {
    server: Server,
    admin: Person,
    pending: Person,
    viewer: Person,
    operator: Person,
    other: Person,
    agent: FakeAgent,
    stranger: FakeAgent,
    /// The operator's, QUEUED.
    job: String,
    /// The operator's, RUNNING on `agent`.
    running: String,
    waiting: String,
    /// The operator's, SUCCEEDED.
    ended: String,
    /// The operator's schedule.
    schedule: String,
    /// A channel with a rule and a delivery.
    channel: String,
    rule: String,
    delivery: String,
    /// The operator's runs by their state: RUNNING, PAUSED, CANCELLED, and RUNNING again.
    runs: [String; 4],
    token: String,
    node_token: String,
    /// A one-time code that nobody used yet.
    code: String,
}

fn world() -> World {
    let mut server = Server::with(&[("HYPRBOX_ALLOW_PUBLIC_REGISTRATION", "true")]);
    let admin = server.admin();
    let body = json!({"email": "pending@example.org", "password": PASSWORD});
    server.post("/api/auth/register", &body).gives(201);
    let pending = server.login("pending@example.org", PASSWORD);
    let viewer = server.person("viewer", "VIEWER");
    let operator = server.person("operator", "OPERATOR");
    let other = server.person("other", "OPERATOR");
    let save = admin.call("PUT", "/api/presets/mine");
    save.header("if-none-match", "*")
        .json(&json!({"source": MINE}))
        .gives(201);
    let (agent, stranger) = (admin.add_node("n1"), admin.add_node("n2"));
    let ended = operator.queue("n1");
    agent.claim();
    agent.succeed(&ended);
    let channel = id_of(&admin.post("/api/channels", &webhook()).gives(201).json());
    let rule = json!({"channelId": channel, "on": ["job_failed"]});
    let rule = id_of(&admin.post("/api/rules", &rule).gives(201).json());
    let failed = operator.queue("n1");
    agent.claim();
    agent.complete(&failed, &json!({"exitCode": 1})).gives(200);
    let deliveries = admin.get(&format!("/api/channels/{channel}/deliveries"));
    let delivery = id_of(&deliveries.ok()["deliveries"][0]);
    let waiting = operator.queue("n1");
    agent.claim();
    let wait = json!({"confirmBy": "2026-12-01T12:34:56.000Z", "seconds": 300});
    let body = json!({"chunks": [], "confirmWait": wait});
    agent.output_call(&waiting, &body).gives(200);
    let running = operator.queue("n1");
    // The waiting job would be sent again if it were not listed.
    agent.poll(&format!("running={waiting}")).gives(200);
    let job = operator.queue("n1");
    admin.add_node("n5");
    let runs = ["", "pause", "cancel", ""].map(|action| {
        let body = json!({"preset": "note", "nodes": ["n5"]});
        let id = id_of(&operator.post("/api/runs", &body).gives(201).json());
        if !action.is_empty() {
            let path = format!("/api/runs/{id}/{action}");
            operator.call("POST", &path).gives(200);
        }
        id
    });
    let secret = json!({"value": "hunter22-hunter22", "presets": ["vault"]});
    for name in ["spare", "used"] {
        let put = admin.call("PUT", &format!("/api/secrets/{name}"));
        put.json(&secret).gives(201);
    }
    let schedule = operator
        .post("/api/schedules", &nightly())
        .gives(201)
        .json();
    let token = operator
        .post("/api/auth/tokens", &json!({"name": "ci"}))
        .gives(201)
        .json();
    let node_token = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
    admin.add_node("n4");
    let enrolment = admin
        .call("POST", "/api/nodes/n4/enrolments")
        .gives(201)
        .json();
    World {
        code: enrolment.field("code"),
        token: id_of(&token),
        node_token: id_of(&node_token),
        server,
        admin,
        pending,
        viewer,
        operator,
        other,
        agent,
        stranger,
        job,
        running,
        waiting,
        ended,
        runs,
        schedule: id_of(&schedule),
        channel,
        rule,
        delivery,
    }
}

/// A schedule that names the stored secret `used`.
fn nightly() -> Value {
    json!({"name": "nightly", "preset": "vault", "params": {"key": {"secret": "used"}},
        "nodes": ["n1"], "cron": "0 3 1 1 *", "timeZone": "UTC"})
}

impl World {
    /// Somebody whose role just suffices.
    fn fit(&self, who: Who) -> &Person {
        match who {
            Who::Anybody | Who::Person => &self.pending,
            Who::Viewer | Who::Operator => &self.operator,
            Who::Admin | Who::Node => &self.admin,
        }
    }

    fn fit_call(&self, who: Who, method: &str, path: &str) -> Call {
        match who {
            Who::Anybody => self.server.call(method, path),
            Who::Node => self.agent.call(method, path),
            Who::Person | Who::Viewer | Who::Operator | Who::Admin => {
                self.fit(who).call(method, path)
            }
        }
    }

    /// Those whose role is too low.
    fn too_low(&self, who: Who) -> Vec<&Person> {
        match who {
            Who::Anybody | Who::Person | Who::Node => vec![],
            Who::Viewer => vec![&self.pending],
            Who::Operator => vec![&self.pending, &self.viewer],
            Who::Admin => vec![&self.pending, &self.viewer, &self.operator],
        }
    }
}

fn entry(operation: &'static str, who: Who, path: fn(&World) -> String) -> Entry {
    Entry {
        operation,
        who,
        path,
        body: None,
        header: None,
        unknown: None,
        is_owned: false,
        conflict: None,
    }
}

impl Entry {
    fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn unknown(mut self, status: u16) -> Self {
        self.unknown = Some(status);
        self
    }

    fn owned(mut self) -> Self {
        self.is_owned = true;
        self.unknown(404)
    }

    fn conflict(mut self, conflict: fn(&World) -> Answer) -> Self {
        self.conflict = Some(conflict);
        self
    }

    fn method(&self) -> &str {
        self.operation.split(' ').next().unwrap_or_default()
    }

    fn template(&self) -> &str {
        self.operation.split(' ').nth(1).unwrap_or_default()
    }

    fn with_body(&self, call: Call) -> Call {
        let call = match self.header {
            Some((name, value)) => call.header(name, value),
            None => call,
        };
        match &self.body {
            Some(body) => call.json(body),
            None => call,
        }
    }

    fn call(&self, world: &World) -> Call {
        let call = world.fit_call(self.who, self.method(), &(self.path)(world));
        match &self.body {
            Some(body) if body["code"] == CODE => call.json(&json!({"code": world.code})),
            Some(body) if body["channelId"] == CHANNEL => {
                call.json(&json!({"channelId": world.channel, "on": body["on"]}))
            }
            Some(body) if body["envelope"].is_string() => call.json(&standing(world)),
            Some(body) if body["signature"].is_string() => {
                let path = format!("/api/jobs/{}/envelope", world.job);
                let envelope = world.operator.get(&path).gives(200).text();
                let key = hyprbox_signing::SignKey::generate("");
                let signature = key.sign(hyprbox_signing::JOB_NAMESPACE, envelope.as_bytes());
                call.json(&json!({"signature": signature}))
            }
            _ => self.with_body(call),
        }
    }

    /// The path with one param after the other unknown.
    fn unknown_paths(&self, world: &World) -> Vec<String> {
        let path = (self.path)(world);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let parts: Vec<&str> = path.split('/').collect();
        let params = self.template().split('/').enumerate();
        params
            .filter(|(_, part)| part.starts_with('{'))
            .map(|(at, _)| {
                let mut parts = parts.clone();
                parts[at] = UNKNOWN;
                format!("{}?{query}", parts.join("/"))
            })
            .collect()
    }
}

fn fixed<const N: usize>(entries: [Entry; N]) -> Vec<Entry> {
    entries.into()
}

fn people() -> Vec<Entry> {
    let credentials = json!({"email": "admin@example.org", "password": PASSWORD});
    fixed([
        entry("POST /api/auth/register", Who::Anybody, |_| "/api/auth/register".into())
            .body(json!({"email": "new@example.org", "password": PASSWORD}))
            .conflict(|world| {
                let body = json!({"email": "admin@example.org", "password": PASSWORD});
                world.server.post("/api/auth/register", &body).send()
            }),
        entry("POST /api/auth/login", Who::Anybody, |_| "/api/auth/login".into()).body(credentials),
        entry("POST /api/auth/logout", Who::Person, |_| "/api/auth/logout".into()).conflict(|world| {
            let made = world
                .operator
                .post("/api/auth/tokens", &json!({"name": "no session"}))
                .gives(201);
            let script = world.operator.with_token(&made.json().field("token"));
            script.call("POST", "/api/auth/logout").send()
        }),
        entry("GET /api/auth/me", Who::Person, |_| "/api/auth/me".into()),
        // The password is changed by nobody else here: that state is reached by a race alone.
        entry("PATCH /api/auth/me", Who::Person, |_| "/api/auth/me".into())
            .body(json!({"oldPassword": PASSWORD, "password": PASSWORD})),
        entry("GET /api/auth/tokens", Who::Viewer, |_| "/api/auth/tokens".into()),
        entry("POST /api/auth/tokens", Who::Viewer, |_| "/api/auth/tokens".into())
            .body(json!({"name": "one more"})),
        entry("DELETE /api/auth/tokens/{id}", Who::Viewer, |world| {
            format!("/api/auth/tokens/{}", world.token)
        })
        .owned(),
        entry("GET /api/users", Who::Admin, |_| "/api/users".into()),
        entry("POST /api/users", Who::Admin, |_| "/api/users".into())
            .body(json!({"email": "more@example.org", "password": PASSWORD, "name": "x", "role": "VIEWER"}))
            .conflict(|world| {
                let body = json!({"email": "viewer@example.org", "password": PASSWORD, "name": "x",
                    "role": "VIEWER"});
                world.admin.post("/api/users", &body).send()
            }),
        entry("PATCH /api/users/{id}", Who::Admin, |world| format!("/api/users/{}", world.viewer.id))
            .body(json!({"role": "VIEWER"}))
            .unknown(404)
            .conflict(|world| {
                let path = format!("/api/users/{}", world.admin.id);
                world.admin.call("PATCH", &path).json(&json!({"role": "VIEWER"})).send()
            }),
        entry("DELETE /api/users/{id}", Who::Admin, |world| format!("/api/users/{}", world.viewer.id))
            .unknown(404)
            .conflict(|world| world.admin.delete(&format!("/api/users/{}", world.admin.id)).send()),
        entry("GET /api/users/{id}/tokens", Who::Admin, |world| {
            format!("/api/users/{}/tokens", world.operator.id)
        })
        .unknown(404),
        entry("DELETE /api/users/{id}/tokens/{token_id}", Who::Admin, |world| {
            format!("/api/users/{}/tokens/{}", world.operator.id, world.token)
        })
        .unknown(404),
        entry("GET /api/audit", Who::Admin, |_| "/api/audit".into()),
        entry("GET /api/ledger/head", Who::Admin, |_| {
            "/api/ledger/head".into()
        }),
        entry("POST /api/ledger/acknowledge", Who::Admin, |_| {
            "/api/ledger/acknowledge".into()
        }),
    ])
}

fn nodes() -> Vec<Entry> {
    fixed([
        entry("GET /api/nodes", Who::Viewer, |_| "/api/nodes".into()),
        entry("POST /api/nodes", Who::Admin, |_| "/api/nodes".into())
            .body(json!({"id": "n3"}))
            .conflict(|world| world.admin.post("/api/nodes", &json!({"id": "n1"})).send()),
        entry("GET /api/nodes/{id}", Who::Viewer, |_| {
            "/api/nodes/n1".into()
        })
        .unknown(404),
        entry("PATCH /api/nodes/{id}", Who::Admin, |_| {
            "/api/nodes/n1".into()
        })
        .body(json!({"name": "One", "labels": {"role": "web"}, "paused": false}))
        .unknown(404),
        entry("DELETE /api/nodes/{id}", Who::Admin, |_| {
            "/api/nodes/n2".into()
        })
        .unknown(404)
        .conflict(|world| world.admin.delete("/api/nodes/n1").send()),
        entry("GET /api/nodes/{id}/tokens", Who::Admin, |_| {
            "/api/nodes/n1/tokens".into()
        })
        .unknown(404),
        entry("POST /api/nodes/{id}/tokens", Who::Admin, |_| {
            "/api/nodes/n1/tokens".into()
        })
        .unknown(404),
        entry(
            "DELETE /api/nodes/{id}/tokens/{token_id}",
            Who::Admin,
            |world| format!("/api/nodes/n1/tokens/{}", world.node_token),
        )
        .unknown(404),
        entry("POST /api/nodes/{id}/enrolments", Who::Admin, |_| {
            "/api/nodes/n1/enrolments".into()
        })
        .unknown(404),
        entry("POST /api/enrol", Who::Anybody, |_| "/api/enrol".into()).body(json!({"code": CODE})),
        entry("POST /api/nodes/{id}/heartbeat", Who::Node, |_| {
            "/api/nodes/n1/heartbeat".into()
        })
        .body(json!({"instance": "one", "intervalSeconds": 30}))
        .unknown(403),
        entry("GET /api/presets", Who::Viewer, |_| "/api/presets".into()),
        entry("PUT /api/presets/{name}", Who::Admin, |_| {
            "/api/presets/mine".into()
        })
        .body(json!({"source": MINE}))
        .header("if-match", "*")
        .unknown(412),
        entry("DELETE /api/presets/{name}", Who::Admin, |_| {
            "/api/presets/mine".into()
        })
        .header("if-match", "*")
        .unknown(404),
        entry("POST /api/presets/{name}/check", Who::Operator, |_| {
            "/api/presets/mine/check".into()
        })
        .body(json!({"source": MINE}))
        .unknown(200),
        entry("GET /api/presets/{name}/versions", Who::Viewer, |_| {
            "/api/presets/mine/versions".into()
        })
        .unknown(404),
        entry(
            "GET /api/presets/{name}/versions/{version}",
            Who::Viewer,
            |_| "/api/presets/mine/versions/1".into(),
        )
        .unknown(404),
        entry("POST /api/presets/import", Who::Operator, |_| {
            "/api/presets/import".into()
        })
        .body(json!({"script": "echo hi"})),
        entry("GET /api/presets/{name}", Who::Viewer, |_| {
            "/api/presets/note".into()
        })
        .unknown(404),
        entry("POST /api/presets/{name}/render", Who::Viewer, |_| {
            "/api/presets/note/render".into()
        })
        .body(json!({"params": {}}))
        .unknown(404),
    ])
}

/// A well-formed signature of something else, in whose place [`Entry::call`] puts one that holds.
/// A standing envelope for the operator's schedule.
fn standing(world: &World) -> Value {
    let path = format!("/api/schedules/{}/script", world.schedule);
    let script = world.operator.get(&path).ok();
    let envelope = hyprbox_signing::StandingEnvelope {
        v: 1,
        server: script.field("server"),
        schedule: world.schedule.clone(),
        preset: "vault".to_owned(),
        script_sha256: script.field("scriptSha256"),
        nodes: vec!["n1".to_owned()],
        from: "2026-01-01T00:00:00.000Z".to_owned(),
        until: "2099-01-01T00:00:00.000Z".to_owned(),
        max_per_day: 1,
    };
    let key = hyprbox_signing::SignKey::generate("");
    let envelope = envelope.to_json();
    let signature = key.sign(hyprbox_signing::JOB_NAMESPACE, envelope.as_bytes());
    json!({"envelope": envelope, "signature": signature})
}

fn foreign_signature() -> Value {
    let key = hyprbox_signing::SignKey::generate("");
    json!({"signature": key.sign(hyprbox_signing::JOB_NAMESPACE, b"x")})
}

fn jobs() -> Vec<Entry> {
    fixed([
        entry("POST /api/jobs", Who::Operator, |_| "/api/jobs".into())
            .body(json!({"preset": "note", "nodeId": "n1"}))
            .conflict(|world| {
                let queue = |preset: &str| {
                    let body = json!({"preset": preset, "nodeId": "n1", "params": {}});
                    let call = world.operator.post("/api/jobs", &body);
                    call.header("idempotency-key", "taken").send()
                };
                queue("note");
                queue("system-report")
            }),
        entry("GET /api/jobs", Who::Viewer, |_| "/api/jobs".into()),
        entry("GET /api/jobs/{id}", Who::Viewer, |world| {
            format!("/api/jobs/{}", world.job)
        })
        .owned(),
        entry("GET /api/jobs/{id}/log", Who::Viewer, |world| {
            format!("/api/jobs/{}/log", world.job)
        })
        .owned(),
        entry("GET /api/jobs/{id}/export", Who::Viewer, |world| {
            format!("/api/jobs/{}/export", world.job)
        })
        .owned(),
        entry("GET /api/jobs/{id}/stream", Who::Viewer, |world| {
            format!("/api/jobs/{}/stream", world.ended)
        })
        .owned(),
        entry("GET /api/jobs/{id}/envelope", Who::Viewer, |world| {
            format!("/api/jobs/{}/envelope", world.job)
        })
        .owned(),
        entry("GET /api/jobs/{id}/signatures", Who::Viewer, |world| {
            format!("/api/jobs/{}/signatures", world.job)
        })
        .owned(),
        entry("POST /api/jobs/{id}/signatures", Who::Operator, |world| {
            format!("/api/jobs/{}/signatures", world.job)
        })
        .body(foreign_signature())
        .owned()
        .conflict(|world| {
            let path = format!("/api/jobs/{}/signatures", world.ended);
            world.operator.post(&path, &foreign_signature()).send()
        }),
        entry("POST /api/jobs/{id}/cancel", Who::Operator, |world| {
            format!("/api/jobs/{}/cancel", world.job)
        })
        .owned()
        .conflict(|world| world.operator.cancel(&world.ended).send()),
        entry("POST /api/jobs/{id}/confirm", Who::Operator, |world| {
            format!("/api/jobs/{}/confirm", world.waiting)
        })
        .owned()
        .conflict(|world| {
            let path = format!("/api/jobs/{}/confirm", world.running);
            world.operator.call("POST", &path).send()
        }),
        entry("POST /api/jobs/{id}/fail", Who::Admin, |world| {
            format!("/api/jobs/{}/fail?scope=all", world.running)
        })
        .body(json!({"errorMsg": "by hand"}))
        .unknown(404)
        .conflict(|world| {
            let path = format!("/api/jobs/{}/fail?scope=all", world.ended);
            world.admin.post(&path, &json!({"errorMsg": "late"})).send()
        }),
        entry("GET /api/jobs/{a}/diff/{b}", Who::Viewer, |world| {
            format!("/api/jobs/{}/diff/{}", world.job, world.ended)
        })
        .owned(),
        entry("GET /api/jobs/pending", Who::Node, |_| {
            "/api/jobs/pending?nodeId=n1&agent=one".into()
        }),
        entry("POST /api/jobs/{id}/output", Who::Node, |world| {
            format!("/api/jobs/{}/output?agent=one", world.running)
        })
        .body(json!({"chunks": []}))
        .unknown(404)
        .conflict(|world| {
            world
                .agent
                .output_call(&world.ended, &json!({"chunks": []}))
                .send()
        }),
        entry("POST /api/jobs/{id}/complete", Who::Node, |world| {
            format!("/api/jobs/{}/complete?agent=one", world.running)
        })
        .body(json!({"exitCode": 0}))
        .unknown(404)
        .conflict(|world| {
            world
                .agent
                .complete(&world.ended, &json!({"exitCode": 1}))
                .send()
        }),
        entry("GET /api/events", Who::Viewer, |_| "/api/events".into()),
    ])
}

fn runs() -> Vec<Entry> {
    fixed([
        entry("POST /api/runs", Who::Operator, |_| "/api/runs".into())
            .body(json!({"preset": "note", "nodes": ["n5"]}))
            .conflict(|world| {
                let queue = |nodes: Value| {
                    let body = json!({"preset": "note", "nodes": nodes});
                    let call = world.operator.post("/api/runs", &body);
                    call.header("idempotency-key", "taken").send()
                };
                queue(json!(["n5"]));
                queue(json!(["n5", "n4"]))
            }),
        entry("POST /api/exec", Who::Admin, |_| "/api/exec".into())
            .body(json!({"script": "echo hi", "nodes": ["n5"]}))
            .conflict(|world| {
                let exec = |script: &str| {
                    let body = json!({"script": script, "nodes": ["n5"]});
                    let call = world.admin.post("/api/exec", &body);
                    call.header("idempotency-key", "taken").send()
                };
                exec("true");
                exec("false")
            }),
        entry("GET /api/drift", Who::Viewer, |_| "/api/drift".into()),
        entry("POST /api/drift/check", Who::Operator, |_| {
            "/api/drift/check".into()
        })
        .body(json!({"selector": "node=n1"})),
        entry("GET /api/runs", Who::Viewer, |_| "/api/runs".into()),
        entry("GET /api/runs/{id}", Who::Viewer, |world| {
            format!("/api/runs/{}", world.runs[0])
        })
        .owned(),
        entry("POST /api/runs/{id}/pause", Who::Operator, |world| {
            format!("/api/runs/{}/pause", world.runs[0])
        })
        .owned()
        .conflict(|world| act_on(world, 1, "pause")),
        entry("POST /api/runs/{id}/resume", Who::Operator, |world| {
            format!("/api/runs/{}/resume", world.runs[1])
        })
        .owned()
        .conflict(|world| act_on(world, 3, "resume")),
        entry("POST /api/runs/{id}/cancel", Who::Operator, |world| {
            format!("/api/runs/{}/cancel", world.runs[3])
        })
        .owned()
        .conflict(|world| act_on(world, 2, "cancel")),
        entry("POST /api/runs/{id}/retry", Who::Operator, |world| {
            format!("/api/runs/{}/retry", world.runs[2])
        })
        .body(json!({}))
        .owned()
        .conflict(|world| act_on(world, 3, "retry")),
    ])
}

fn schedules() -> Vec<Entry> {
    fn path(world: &World) -> String {
        format!("/api/schedules/{}", world.schedule)
    }
    fixed([
        entry("GET /api/schedules", Who::Viewer, |_| {
            "/api/schedules".into()
        }),
        entry("POST /api/schedules", Who::Operator, |_| {
            "/api/schedules".into()
        })
        .body(nightly()),
        entry("POST /api/schedules/preview", Who::Viewer, |_| {
            "/api/schedules/preview".into()
        })
        .body(json!({"cron": "@daily", "timeZone": "UTC"})),
        entry("GET /api/schedules/{id}", Who::Viewer, path).unknown(404),
        entry("PATCH /api/schedules/{id}", Who::Operator, path)
            .body(json!({"paused": false}))
            .unknown(404),
        entry("DELETE /api/schedules/{id}", Who::Operator, path).unknown(404),
        entry("POST /api/schedules/{id}/run", Who::Operator, |world| {
            format!("{}/run", path(world))
        })
        .unknown(404),
        entry("GET /api/schedules/{id}/script", Who::Viewer, |world| {
            format!("{}/script", path(world))
        })
        .unknown(404),
        entry(
            "POST /api/schedules/{id}/signatures",
            Who::Operator,
            |world| format!("{}/signatures", path(world)),
        )
        .body(json!({"envelope": "{}", "signature": foreign_signature()["signature"]}))
        .unknown(404),
        entry("GET /api/schedules/{id}/slots", Who::Viewer, |world| {
            format!("{}/slots", path(world))
        })
        .unknown(404),
        entry("GET /api/secrets", Who::Operator, |_| "/api/secrets".into()),
        // Before the PUT, which creates the unknown one.
        entry("DELETE /api/secrets/{name}", Who::Admin, |_| {
            "/api/secrets/spare".into()
        })
        .unknown(404)
        .conflict(|world| world.admin.delete("/api/secrets/used").send()),
        entry("PUT /api/secrets/{name}", Who::Admin, |_| {
            "/api/secrets/spare".into()
        })
        .body(json!({"value": "hunter22-hunter22", "presets": ["vault"]}))
        .unknown(201),
    ])
}

/// A channel whose receiver does not answer.
fn webhook() -> Value {
    json!({"name": "ops", "kind": "webhook", "settings": {"url": "http://127.0.0.1:1/"}})
}

/// Makes more of these than there may be.
fn too_many(world: &World, path: &str, body: &Value) -> Answer {
    loop {
        let answer = world.admin.post(path, body).send();
        if answer.status != 201 {
            return answer;
        }
    }
}

fn notifications() -> Vec<Entry> {
    fn channel(world: &World) -> String {
        format!("/api/channels/{}", world.channel)
    }
    fn rule(world: &World) -> String {
        format!("/api/rules/{}", world.rule)
    }
    fixed([
        entry("GET /api/channels", Who::Admin, |_| "/api/channels".into()),
        entry("POST /api/channels", Who::Admin, |_| "/api/channels".into())
            .body(webhook())
            .conflict(|world| too_many(world, "/api/channels", &webhook())),
        entry("GET /api/channels/{id}", Who::Admin, channel).unknown(404),
        entry("PATCH /api/channels/{id}", Who::Admin, channel)
            .body(json!({"paused": false}))
            .unknown(404),
        entry("DELETE /api/channels/{id}", Who::Admin, channel).unknown(404),
        entry("POST /api/channels/{id}/test", Who::Admin, |world| {
            format!("{}/test", channel(world))
        })
        .unknown(404),
        entry("GET /api/channels/{id}/deliveries", Who::Admin, |world| {
            format!("{}/deliveries", channel(world))
        })
        .unknown(404),
        entry("POST /api/deliveries/{id}/resend", Who::Admin, |world| {
            format!("/api/deliveries/{}/resend", world.delivery)
        })
        .unknown(404),
        entry("GET /api/rules", Who::Admin, |_| "/api/rules".into()),
        entry("POST /api/rules", Who::Admin, |_| "/api/rules".into())
            .body(json!({"channelId": CHANNEL, "on": ["job_failed"]}))
            .conflict(|world| {
                let body = json!({"channelId": world.channel, "on": ["job_failed"]});
                too_many(world, "/api/rules", &body)
            }),
        entry("PATCH /api/rules/{id}", Who::Admin, rule)
            .body(json!({"on": ["job_lost"]}))
            .unknown(404),
        entry("DELETE /api/rules/{id}", Who::Admin, rule).unknown(404),
    ])
}

/// Does this to one of the operator's runs.
fn act_on(world: &World, run: usize, action: &str) -> Answer {
    let path = format!("/api/runs/{}/{action}", world.runs[run]);
    world.operator.call("POST", &path).send()
}

fn operations() -> Vec<Entry> {
    fixed([
        entry("GET /healthz", Who::Anybody, |_| "/healthz".into()),
        entry("GET /readyz", Who::Anybody, |_| "/readyz".into()),
        entry("GET /metrics", Who::Admin, |_| "/metrics".into()),
        entry("GET /api/openapi.json", Who::Anybody, |_| {
            "/api/openapi.json".into()
        }),
    ])
}

fn table() -> Vec<Entry> {
    [
        people(),
        nodes(),
        jobs(),
        runs(),
        schedules(),
        notifications(),
        operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The operations of the description, as `METHOD /path`, each with what is said of it.
fn described(server: &Server) -> Vec<(String, Value)> {
    let document = server.get("/api/openapi.json").ok();
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut found = Vec::new();
    for (path, item) in paths {
        for method in [
            "get", "put", "post", "delete", "patch", "head", "options", "trace",
        ] {
            if let Some(operation) = item.get(method) {
                found.push((
                    format!("{} {path}", method.to_uppercase()),
                    operation.clone(),
                ));
            }
        }
    }
    found
}

#[test]
fn every_operation_has_its_checks() {
    let server = Server::start();
    let mut described: Vec<String> = described(&server)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut known: Vec<String> = table()
        .iter()
        .map(|entry| entry.operation.to_owned())
        .collect();
    described.sort();
    known.sort();
    assert_eq!(
        described, known,
        "left: described by the server; right: in this test's table"
    );
}

/// Each entry of the table beside what the description says of its operation.
fn each(world: &World, mut check: impl FnMut(&Entry, &Value)) {
    let described = described(&world.server);
    for entry in table() {
        let found = described.iter().find(|(name, _)| name == entry.operation);
        let Some((_, operation)) = found else {
            panic!("{} is not described", entry.operation);
        };
        check(&entry, operation);
    }
}

#[test]
fn the_description_lists_roles_and_errors() {
    let world = world();
    each(&world, |entry, operation| {
        let name = entry.operation;
        let schemes: Vec<String> = operation["security"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|one| one.as_object().expect("a scheme").keys().cloned())
            .collect();
        let expected: &[&str] = match entry.who {
            Who::Anybody => &[],
            Who::Node => &["node"],
            Who::Person | Who::Viewer | Who::Operator | Who::Admin => &["bearer", "cookie"],
        };
        assert_eq!(schemes, expected, "{name}");
        let says = |status: u16| operation["responses"].get(status.to_string()).is_some();
        assert!(says(401) || entry.who == Who::Anybody, "401 of {name}");
        if entry.body.is_some() {
            assert!(operation["requestBody"].is_object(), "the body of {name}");
            assert!(says(400), "400 of {name}");
        } else {
            assert!(operation.get("requestBody").is_none(), "a body of {name}");
        }
        if let Some(status) = entry.unknown {
            assert!(says(status), "{status} of {name}");
        }
        let races_alone = name == "PATCH /api/auth/me";
        assert_eq!(
            says(409),
            entry.conflict.is_some() || races_alone,
            "409 of {name}"
        );
    });
}

#[test]
fn without_credentials_or_with_those_of_the_wrong_kind_it_is_a_401() {
    let world = world();
    each(&world, |entry, _| {
        if entry.who == Who::Anybody {
            return;
        }
        let (method, path) = (entry.method(), (entry.path)(&world));
        let bare = || entry.with_body(world.server.call(method, &path));
        let wrong_kind = match entry.who {
            Who::Node => &world.admin.token,
            Who::Anybody | Who::Person | Who::Viewer | Who::Operator | Who::Admin => {
                &world.agent.token
            }
        };
        for call in [
            bare(),
            bare().bearer("nonsense"),
            bare().cookie("nonsense"),
            bare().bearer(wrong_kind),
            bare().cookie(&world.agent.token),
        ] {
            let answer = call.refused(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{answer:?}");
        }
        // Who has no credentials learns nothing of what is there.
        for path in entry.unknown_paths(&world) {
            entry.with_body(world.server.call(method, &path)).gives(401);
        }
    });
}

#[test]
fn with_too_low_a_role_it_is_a_403() {
    let world = world();
    each(&world, |entry, _| {
        for person in world.too_low(entry.who) {
            let call = person.call(entry.method(), &(entry.path)(&world));
            let answer = entry.with_body(call).refused(403, "forbidden");
            assert!(answer.fields().is_empty(), "{answer:?}");
        }
    });
}

#[test]
fn a_change_with_only_the_cookie_is_a_403() {
    let world = world();
    each(&world, |entry, _| {
        if matches!(entry.who, Who::Anybody | Who::Node) || entry.method() == "GET" {
            return;
        }
        let person = world.fit(entry.who);
        let path = (entry.path)(&world);
        let call = || entry.with_body(person.browser(entry.method(), &path));
        call().refused(403, "cross_origin");
        call()
            .header("origin", "http://evil.example")
            .refused(403, "cross_origin");
    });
}

#[test]
fn nonsense_is_a_400_and_another_type_a_415() {
    let world = world();
    each(&world, |entry, operation| {
        if operation.get("requestBody").is_none() {
            return;
        }
        let path = (entry.path)(&world);
        let send = |kind: &str, body: &[u8]| {
            let call = world.fit_call(entry.who, entry.method(), &path);
            call.body(kind, body)
        };
        if operation["requestBody"]["required"] == true {
            send("application/json", b"").gives(400);
        }
        for body in [
            &b"{"[..],
            b"[]",
            b"null",
            b"7",
            b"\"x\"",
            b"{\"\xff\":1}",
            b"{} {}",
        ] {
            send("application/json", body).gives(400);
        }
        send("text/plain", b"{}").gives(415);
        send("application/x-www-form-urlencoded", b"a=b").gives(415);
        let mut more = entry.body.clone().expect("the table has a body");
        more["unheardOf"] = json!(1);
        let answer = send("application/json", more.to_string().as_bytes()).send();
        if entry.who == Who::Node {
            assert!(answer.status < 400, "ignored: {answer:?}");
        } else {
            assert_eq!(answer.status, 400, "{answer:?}");
            assert_eq!(answer.fields(), ["unheardOf"]);
        }
    });
}

#[test]
fn an_unknown_object_is_a_404() {
    let world = world();
    each(&world, |entry, _| {
        let paths = entry.unknown_paths(&world);
        assert_eq!(
            paths.is_empty(),
            entry.unknown.is_none(),
            "{}",
            entry.operation
        );
        for path in paths {
            let call = world.fit_call(entry.who, entry.method(), &path);
            entry
                .with_body(call)
                .gives(entry.unknown.unwrap_or_default());
        }
    });
}

#[test]
fn another_users_object_is_a_404() {
    let world = world();
    each(&world, |entry, _| {
        if !entry.is_owned {
            return;
        }
        for person in [&world.other, &world.admin] {
            let call = person.call(entry.method(), &(entry.path)(&world));
            entry.with_body(call).gives(404);
        }
        // It is there for its owner.
        let answer = entry.call(&world).send();
        assert!(answer.status < 300, "{answer:?}");
    });
}

#[test]
fn an_unknown_query_parameter_is_a_400_for_people_and_nothing_to_agents() {
    let world = world();
    each(&world, |entry, operation| {
        if !entry.template().starts_with("/api/") {
            return;
        }
        let path = (entry.path)(&world);
        let mark = if path.contains('?') { '&' } else { '?' };
        let call = world.fit_call(
            entry.who,
            entry.method(),
            &format!("{path}{mark}unheardOf=1"),
        );
        if entry.who == Who::Node || entry.template() == "/api/enrol" {
            let answer = entry.with_body(call).send();
            assert_ne!(answer.status, 400, "{answer:?}");
            return;
        }
        let answer = entry.with_body(call).refused(400, "bad_input");
        assert_eq!(answer.fields(), ["unheardOf"], "{answer:?}");
        // What is described is known.
        let described = operation["parameters"].as_array().into_iter().flatten();
        for parameter in described.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            let path = format!("{path}{mark}{name}=%00");
            let call = world.fit_call(entry.who, entry.method(), &path);
            let answer = entry.with_body(call).send();
            let words = answer.text();
            assert!(!words.contains("not a query parameter"), "{answer:?}");
        }
    });
}

#[test]
fn another_nodes_token_opens_nothing() {
    let world = world();
    each(&world, |entry, _| {
        if entry.who != Who::Node {
            return;
        }
        let call = world.stranger.call(entry.method(), &(entry.path)(&world));
        let answer = entry.with_body(call).send();
        let is_job = entry.template().starts_with("/api/jobs/{");
        assert_eq!(answer.status, if is_job { 404 } else { 403 }, "{answer:?}");
    });
}

#[test]
fn a_state_that_forbids_it_is_a_409() {
    let world = world();
    each(&world, |entry, _| {
        if let Some(conflict) = entry.conflict {
            let answer = conflict(&world);
            assert_eq!(answer.status, 409, "{}: {answer:?}", entry.operation);
            assert!(!answer.code().is_empty());
        }
    });
}

#[test]
fn nothing_of_it_is_a_500_and_the_right_call_works() {
    // A world for each: the right call to one may take away what the next one needs.
    let count = table().len();
    let worlds = world();
    for index in 0..count {
        let table = table();
        let entry = &table[index];
        if entry.operation == "GET /api/events" {
            // It never ends.
            continue;
        }
        let takes_away = matches!(entry.method(), "DELETE")
            || entry.operation.contains("logout")
            || entry.operation.contains("cancel")
            || entry.operation.contains("fail")
            || entry.operation.contains("complete")
            || entry.operation.starts_with("PATCH");
        let answer = if takes_away {
            entry.call(&world()).send()
        } else {
            entry.call(&worlds).send()
        };
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
}

#[test]
fn the_document_states_what_its_pass_adds() {
    let server = Server::start();
    let document = server.get("/api/openapi.json").ok();
    for (name, operation) in described(&server) {
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let words = response["description"].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "{name} {status}");
            if status.as_str() >= "400" {
                let body = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(body, "#/components/schemas/ErrorBody", "{name} {status}");
            }
            let has_retry = response["headers"]["Retry-After"].is_object();
            assert_eq!(
                has_retry,
                matches!(status.as_str(), "429" | "503"),
                "{name} {status}"
            );
        }
        let is_agents = operation["security"][0].get("node").is_some();
        let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        if let Some(schema) = body.as_str().and_then(|path| path.rsplit('/').next()) {
            let closed = &document["components"]["schemas"][schema]["additionalProperties"];
            assert_eq!(closed == false, !is_agents, "{name}: {schema}");
        }
    }
    let schemas = &document["components"]["schemas"];
    let password = &schemas["NewUser"]["properties"]["password"];
    assert_eq!(
        (&password["minLength"], &password["maxLength"]),
        (&json!(10), &json!(1024))
    );
    let limit = &document["paths"]["/api/jobs"]["get"]["parameters"]
        .as_array()
        .expect("parameters")
        .iter()
        .find(|one| one["name"] == "limit")
        .expect("limit")["schema"];
    assert_eq!(
        (&limit["minimum"], &limit["maximum"]),
        (&json!(1), &json!(200))
    );
    let labels = &schemas["AddNode"]["properties"]["labels"];
    assert_eq!(labels["maxProperties"], 32);
    assert_eq!(labels["propertyNames"]["maxLength"], 63);
}

#[test]
fn a_page_shows_the_whole_document_to_anybody() {
    let mut server = Server::start();
    server.admin();
    let page = server.get("/docs/api").gives(200).text();
    for (name, _) in described(&server) {
        let (method, path) = name.split_once(' ').expect("a method");
        assert!(
            page.contains(&format!("<code>{method} {path}</code>")),
            "{name}"
        );
    }
    assert!(page.contains("at most this many characters: 1024"));
    // From every page.
    assert!(
        server
            .get("/login")
            .gives(200)
            .text()
            .contains("href=\"/docs/api\"")
    );
}

#[test]
fn an_object_is_not_read_from_a_list_of_its_values() {
    let (_server, admin, agent) = crate::harness::with_node();
    let beat =
        json!({"instance": "one", "intervalSeconds": 30, "os": ["debian", null, null, null]});
    let answer = agent
        .call("POST", "/api/nodes/n1/heartbeat")
        .json(&beat)
        .gives(400);
    assert_eq!(answer.fields(), ["os"]);
    let job = admin.queue("n1");
    agent.claim();
    let chunks = json!({"chunks": [["stdout", 0, "x", null]]});
    agent.output_call(&job, &chunks).gives(400);
    let end = json!({"chunks": [], "end": [0, null, null, null, null, null, null]});
    agent.output_call(&job, &end).gives(400);
    agent.succeed(&job);
}
