//! The picture in README.md: a job that runs, with earlier ones behind it. After a change of the
//! page, copy `tests/output/readme.png` to `docs/job.png`.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{RealAgent, Server, eventually, write_preset};

const DEPLOY: &str = r#"name: deploy-site
title: Deploy the site
description: Fetches a release, migrates the database and restarts the workers.
targets: [any]
risk: medium
timeout: 15m
params:
  release: { type: string, default: v2.14.0 }
  second: { type: string, default: "0" }
  is_locked: { type: bool, default: false }
  gate: { type: string, default: / }
steps:
  - name: Fetch the release
    run: |
      for part in app assets migrations; do
        printf 'fetching \e[36msite-%s-%s.tar.zst\e[0m\n' "$part" "$release"
        sleep "$second"
      done
      printf '\e[32mok\e[0m 3 archives, 18.4 MB, signatures valid\n'
  - name: Create the service account
    unless: "true"
    run: "true"
  - name: Check the configuration
    run: |
      echo 'caddy validate /etc/caddy/Caddyfile'
      printf '\e[33mwarn\e[0m  header_up X-Forwarded-Proto is redundant\n' >&2
      sleep "$second"
      printf '\e[32mok\e[0m configuration is valid\n'
  - name: Migrate the database
    run: |
      if "$is_locked"; then echo 'error: relation "orders" is locked by process 4711' >&2; exit 3; fi
      for number in $(seq 118 121); do
        printf 'migration 0%d  \e[2musers, sessions, orders\e[0m\n' "$number"
        sleep "$second"
      done
      while [ ! -e "$gate" ]; do sleep 0.1; done
  - name: Restart the workers
    run: echo restart
  - name: Check the site
    run: echo check
"#;

/// How many seconds the earlier jobs took; 0: it failed.
const TOOK: [u32; 14] = [13, 12, 14, 12, 0, 13, 15, 12, 13, 18, 12, 0, 13, 14];

#[test]
fn the_picture_of_the_readme() {
    let mut server = Server::start();
    server.admin();
    let ann = server.person("ann", "ADMIN");
    let identity = ann.add_node("prod-eu-1");
    write_preset(&server.presets_dir(), "deploy-site", DEPLOY);
    eventually("the preset", || {
        (ann.get("/api/presets/deploy-site").send().status == 200).then_some(())
    });
    let _agent = RealAgent::start(&server, &identity);
    let database = server.database();
    let count = TOOK.len();
    for (index, took) in TOOK.into_iter().enumerate() {
        let params = json!({"is_locked": took == 0, "release": format!("v2.{index}.0")});
        let id = ann.queue_with("prod-eu-1", "deploy-site", params);
        let ended = |status: &str| matches!(status, "SUCCEEDED" | "FAILED");
        eventually("its end", || {
            ended(ann.job(&id)["status"].as_str().unwrap_or_default()).then_some(())
        });
        let began = (count - index) * 26 * 3_600;
        let seconds = if took == 0 { 5 } else { took };
        let at = |passed: u32| database.ago(&format!("{} seconds", began - passed as usize));
        database.execute_all(&format!(
            "UPDATE jobs SET created_at = {0}, started_at = {0}, finished_at = {1}, ran_ms = {seconds}000 WHERE id = '{id}';\n\
             UPDATE job_steps SET began_ms = (number - 1) * {seconds}000 / 6 WHERE job_id = '{id}';\n",
            at(0),
            at(seconds)
        ));
    }
    let browser = Browser::of(&server, &ann);
    browser.size(1280, 820);
    browser.open("/presets/deploy-site?node=prod-eu-1");
    browser.fill("[id='f-p.second']", "1");
    let gate = server.setup().folder().join("gate");
    browser.fill("[id='f-p.gate']", gate.to_str().expect("UTF-8"));
    browser.press("Queue");
    browser.see("migration 0121");
    browser.until("document.querySelector('.now .left') && document.getElementById('job-step').textContent === 'step 4 of 6'");
    let steps = "[...document.querySelectorAll('#job-steps li')].map((li) => li.dataset.step)";
    assert_eq!(
        browser.js(steps),
        json!([
            "succeeded",
            "skipped",
            "succeeded",
            "running",
            "waiting",
            "waiting"
        ])
    );
    assert_eq!(
        browser.js("document.querySelectorAll('.bars li').length"),
        15
    );
    browser.js("(document.documentElement.style.scrollbarWidth = 'none')");
    browser.view("readme");
    browser.is_content();
}
