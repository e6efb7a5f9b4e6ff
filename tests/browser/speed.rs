//! From the press on Queue to the first lines of output on the page, by the browser's own clock.
//! Told, not judged: other tests run beside this one.

use serde_json::Value;

use crate::browser::Browser;
use crate::harness::{RealAgent, Server, eventually, write_preset};

const ROUNDS: usize = 9;

/// Writes ten lines at once, and then works for a while.
const TEN: &str = r#"name: ten
title: Ten lines at once
description: For tests.
targets: [any]
risk: low
timeout: 10m
steps:
  - name: Write
    run: seq -f 'line %.0f' 9
  - name: Work
    run: sleep 1
"#;

/// Notes when Queue was pressed, when so many lines were painted, and what came between.
const CLOCK: &str = "
    addEventListener('submit', () => sessionStorage.setItem('pressed', performance.timeOrigin + performance.now()), true);
    window.marks = {};
    const note = (name) => (window.marks[name] ??= performance.timeOrigin + performance.now() - Number(sessionStorage.getItem('pressed')));
    const Worker = window.SharedWorker;
    window.SharedWorker = class extends Worker {
      constructor(...options) {
        super(...options);
        note('script');
        this.port.addEventListener('message', ({ data }) => note(Object.keys(data)[0]));
      }
    };
    new MutationObserver((_, observer) => {
      if (document.getElementsByClassName('l').length < WANTED) return;
      observer.disconnect();
      requestAnimationFrame(() => setTimeout(() => {
        const [page] = performance.getEntriesByType('navigation');
        const of = (name) => performance.timeOrigin + page[name] - Number(sessionStorage.getItem('pressed'));
        Object.assign(window.marks, { queued: of('redirectEnd'), page: of('responseEnd') });
        note('painted');
        window.took = window.marks;
      }));
    }).observe(document, { childList: true, subtree: true });
";

/// What is measured, in its order: the answer to the form, the job's page, its script, the worker,
/// its stream, the first state, the first output, and the lines on the screen.
const MARKS: [&str; 8] = [
    "queued",
    "page",
    "script",
    "alive",
    "connected",
    "job",
    "output",
    "painted",
];

/// Queues the preset some times, and prints how long it took until so many lines were painted.
fn measure(preset: &str, lines: u32) {
    let mut server = Server::start();
    let admin = server.admin();
    let identity = admin.add_node("node-1");
    write_preset(&server.presets_dir(), "ten", TEN);
    eventually("the preset", || {
        (admin.get("/api/presets/ten").send().status == 200).then_some(())
    });
    let _agent = RealAgent::start(&server, &identity);
    let browser = Browser::of(&server, &admin);
    browser.on_every_page(&CLOCK.replace("WANTED", &lines.to_string()));
    browser.open("/nodes/node-1");
    browser.until("document.querySelector('[data-state=online]')");
    let took: Vec<Value> = (0..ROUNDS)
        .map(|_| {
            browser.open(&format!("/presets/{preset}"));
            browser.press("Queue");
            // The job's own state: steps, and bars of earlier runs, also have one. A job that still
            // runs would keep the next one waiting.
            browser.until("location.pathname.startsWith('/jobs/') && document.querySelector('#job-state [data-state=succeeded]')");
            browser.until("window.took")
        })
        .collect();
    let sorted = |mark: &str| {
        let mut all: Vec<f64> = took
            .iter()
            .filter_map(|marks| marks[mark].as_f64())
            .collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let parts =
        MARKS.map(|mark| format!("{mark} {:.0}", sorted(mark).get(ROUNDS / 2).unwrap_or(&0.0)));
    let painted = sorted("painted");
    let all: Vec<f64> = painted.iter().map(|ms| ms.round()).collect();
    eprintln!(
        "Queue to {lines} lines painted: median {:.0} ms of {all:?}; after ms: {}",
        painted[ROUNDS / 2],
        parts.join(", ")
    );
}

#[test]
fn from_queue_to_the_first_line() {
    measure("note", 1);
}

#[test]
fn from_queue_to_ten_lines_of_a_job_that_goes_on() {
    measure("ten", 10);
}
