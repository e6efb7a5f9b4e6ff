//! A long log: 100,000 coloured lines, and what the browser's main thread has to say about it.

use std::time::Instant;

use serde_json::Value;

use crate::browser::Browser;
use crate::harness::{Field, Server, chunk};

#[test]
fn a_hundred_thousand_lines_are_all_there() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let line = |n: u32| format!("\u{1b}[3{}m{n:06}\u{1b}[0m the quick brown fox\n", n % 8);
    let text: String = (1..=100_000).map(line).collect();
    assert!(text.len() < 4_194_304);
    for (index, part) in text.as_bytes().chunks(1_000_000).enumerate() {
        agent.output(
            &id,
            &[chunk(
                "stdout",
                index as u64 * 1_000_000,
                std::str::from_utf8(part).expect("ASCII"),
            )],
        );
    }
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    let start = Instant::now();
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('.l')");
    let first = start.elapsed();
    let count = "document.querySelectorAll('.l').length";
    browser.until(&format!("{count} === 100000"));
    println!(
        "100,000 coloured lines: first after {first:?}, all after {:?}",
        start.elapsed()
    );
    assert_eq!(
        browser.text(".block:last-child .l:last-child"),
        "100000 the quick brown fox"
    );
    // The browser's own search finds what is far out of sight.
    assert_eq!(browser.js("window.find('054321 the quick')"), true);
    browser.js("(location.hash = '#L77777')");
    browser.until("document.querySelector('.target')?.textContent.startsWith('077777')");
    browser.is_content();
}

#[test]
fn more_lines_than_a_page_can_bear_are_left_to_the_download() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    agent.say(&id, 0, &"x\n".repeat(400_000));
    agent.say(&id, 800_000, "the end\n");
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until(
        "document.querySelector('.block:last-child .l:last-child')?.textContent === 'the end'",
    );
    assert_eq!(
        browser.js("document.querySelector('.block:last-child .l:last-child').dataset.n"),
        "400001"
    );
    let count = browser
        .js("document.querySelectorAll('.l').length")
        .as_u64()
        .unwrap_or(0);
    assert!((100_000..=120_400).contains(&count), "{count} rows");
    browser.see("Earlier lines are not shown here");
    browser.is_content();
}

#[test]
fn bytes_that_fell_off_the_head_are_told() {
    let mut server = Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "65536")]);
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let text: String = (0..10_000).map(|n| format!("line {n:05}\n")).collect();
    agent.say(&id, 0, &text);
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.getElementById('log').textContent.includes('line 09999')");
    assert_eq!(
        browser.text(".l:first-child"),
        "44,464 bytes of stdout are missing here: only the end of long output is kept. \
         Lines are counted from here."
    );
    browser.see("not kept");
    browser.view("job-gap");
    browser.is_content();
}

#[test]
fn two_thousand_lines_a_second_keep_the_page_smooth() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('#job-state [data-state=running]')");
    browser.js(
        "(window.tasks = [], new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((e) => e.duration)))\
         .observe({type: 'longtask'}))",
    );
    let mut sent = 0;
    for round in 0..20_u32 {
        let text: String = (0..200)
            .map(|n| format!("\u{1b}[32mround {round}\u{1b}[0m line {n} of some output\n"))
            .collect();
        sent = agent.say(&id, sent, &text).count("stdoutBytes");
        // The pace is what is measured: 200 lines each tenth of a second.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    browser.until("document.querySelectorAll('.l').length === 4000");
    let tasks = browser.js("window.tasks");
    let longest = tasks
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_f64)
        .fold(0.0, f64::max);
    println!(
        "2,000 lines a second: longest task {longest} ms of {tasks} (those under 50 ms don't count)"
    );
    browser.is_content();
}
