//! Lists with ten thousand jobs behind them.

use std::time::Instant;

use crate::harness::{Person, Server};

fn page(person: &Person, path: &str) -> String {
    person.browser("GET", path).gives(200).text()
}

/// Ten thousand jobs in a database that the server has opened before.
fn with_many_jobs() -> (Server, Person) {
    let mut server = Server::start();
    server.admin();
    server.person("ann", "OPERATOR");
    server.terminate();
    let database = server.database();
    let user = |name: &str| {
        database.texts(&format!("SELECT id FROM users WHERE email LIKE '{name}@%'"))[0].clone()
    };
    let users = [user("admin"), user("ann")];
    let script = "echo a line of a script\n".repeat(200);
    for slice in (0..10_000).collect::<Vec<u64>>().chunks(500) {
        let rows: Vec<String> = slice.iter().map(|n| {
            let n = *n;
            let at = database.ago(&format!("{} minutes", 10_001 - n));
            let (status, code, step) = match n % 20 {
                0 => ("FAILED", 3, "'2/3 Migrate the database'"),
                1 => ("CANCELLED", 0, "NULL"),
                _ => ("SUCCEEDED", 0, "NULL"),
            };
            let millis = 1_700_000_000_000 + n * 60_000;
            let (preset, params) = match n % 3 {
                0 => ("note", format!("{{\"text\":\"number {n}\",\"count\":1}}")),
                1 => ("shell", format!("{{\"code\":\"make release-{n}\"}}")),
                _ => ("system-report", "{}".to_owned()),
            };
            let (high, low) = (millis >> 16, millis & 0xffff);
            format!("('{high:08x}-{low:04x}-7000-8000-{n:012x}', '{status}', '{preset}', 'node-{:02}', '{}', '{}@example.org', {at}, {at}, {at}, {code}, 600, 'aa', '{params}', '{script}', {step})",
                n % 30, users[(n % 2) as usize], ["admin", "ann"][(n % 2) as usize])
        }).collect();
        database.execute(&format!(
            "INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, started_at, finished_at,
                 exit_code, timeout_seconds, script_sha256, params, script, step) VALUES {}",
            rows.join(", ")
        ));
    }
    server.start_again();
    let admin = server.admin();
    (server, admin)
}

/// Prints how long each takes, with `-- --nocapture`.
#[test]
fn filters_over_ten_thousand_jobs() {
    let (_server, admin) = with_many_jobs();
    for (path, rows) in [
        ("/jobs", 50),
        ("/jobs?state=failed", 50),
        ("/jobs?node=node-07", 50),
        ("/jobs?by=ann%40example.org", 50),
        ("/jobs?by=nobody%40example.org", 0),
        ("/jobs?preset=shell&node=node-07", 50),
        ("/jobs?preset=note&node=node-07", 0),
        ("/jobs?time=24h&state=failed", 50),
        ("/jobs?q=release-9", 50),
        ("/jobs?q=release-1234", 1),
        ("/jobs?q=nothing-like-this", 0),
        ("/jobs?q=migrate+database", 50),
        ("/jobs?q=number&by=ann%40example.org&time=30d", 50),
        (
            "/jobs?q=number+1&state=failed&node=node-00&by=admin%40example.org&time=7d&preset=note",
            50,
        ),
        ("/", 0),
        ("/nodes", 0),
        ("/presets", 0),
    ] {
        let mut times: Vec<_> = (0..5)
            .map(|_| {
                let began = Instant::now();
                let shown = page(&admin, path);
                let took = began.elapsed();
                let found = shown.matches("class=\"row\"").count();
                if path.starts_with("/jobs") {
                    assert_eq!(found, rows, "{path}");
                }
                took
            })
            .collect();
        times.sort_unstable();
        println!("{path}: median {:.1?}, longest {:.1?}", times[2], times[4]);
    }
}
