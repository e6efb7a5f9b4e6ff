//! A long log: 100,000 coloured lines, and what the browser's main thread has to say about it.

use std::time::Duration;

use serde_json::json;

use crate::browser::{Browser, on_a_running_job};
use crate::harness::{FakeAgent, Field, Person, Server, chunk, pass};

const PACE: &str = include_str!("pace.js");

/// Scrolls for 120 frames, and tells how far apart they were.
const SCROLL: &str = "window.frames_done ?? (window.scrolls ||= (() => {
    const times = [];
    const height = document.documentElement.scrollHeight;
    const step = (at) => {
      times.push(at);
      if (times.length < 120) { scrollTo(0, height * times.length / 120); requestAnimationFrame(step); return; }
      const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
      window.frames_done = { median: Math.round(gaps[gaps.length >> 1]), slowest: Math.round(gaps.at(-1)) };
    };
    requestAnimationFrame(step);
    return true;
  })(), null)";

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
    browser.on_every_page(&format!("window.wanted = 100000; {PACE}"));
    browser.measure();
    browser.open(&format!("/jobs/{id}"));
    let pace = browser.until("window.pace.all && window.pace");
    println!(
        "100,000 coloured lines: the first after {} ms, all after {} ms, tasks over 50 ms: {}",
        pace["first"], pace["all"], pace["tasks"]
    );
    println!(
        "after ms: page {}, script {}, alive {}, connected {}, output {}",
        pace["page"], pace["script"], pace["alive"], pace["connected"], pace["output"]
    );
    println!("the page's thread worked {}", browser.work());
    // The first rows are painted before most of the 500 blocks are even read.
    let before = pace["blocks"].as_u64().expect("a count");
    assert!(before < 250, "{before} blocks were read first");
    // Through all of it, in two seconds.
    let frames = browser.until(SCROLL);
    println!(
        "scrolling through them: a frame every {} ms, the slowest {} ms",
        frames["median"], frames["slowest"]
    );
    assert_eq!(
        browser.js("document.querySelectorAll('.l').length"),
        100_000
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

/// How many rows have elements.
const DRAWN: &str = "document.querySelectorAll('.l').length";

/// A finished job whose output is the given lines.
fn job_with(admin: &Person, agent: &FakeAgent, lines: &[String]) -> String {
    let id = admin.queue("node-1");
    agent.claim();
    let mut sent = 0;
    for part in lines {
        sent = agent.say(&id, sent, part).count("stdoutBytes");
    }
    agent.succeed(&id);
    id
}

#[test]
fn lines_far_above_the_drawn_ones_are_found_and_shown() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = job_with(
        &admin,
        &agent,
        &[
            "the beginning\n".to_owned(),
            "x\n".repeat(400_000),
            "the end\n".to_owned(),
        ],
    );
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until(&format!(
        "document.querySelector('.block:last-child .l:last-child')?.textContent === 'the end' && {DRAWN} > 100000"
    ));
    assert_eq!(
        browser.js("document.querySelector('.block:last-child .l:last-child').dataset.n"),
        "400002"
    );
    // The search covers every line, from wherever the page is.
    let found = |text: &str, number: &str, count: &str| {
        browser.fill(".search-log input", text);
        browser.until(&format!(
            "document.querySelector('.search-log .count').textContent === '{count}'"
        ));
        let found = "document.querySelector('.found')";
        browser.until(&format!("{found}?.dataset.n === '{number}'"));
        // In sight, with its neighbours around it.
        browser.until(&format!(
            "document.elementsFromPoint(innerWidth / 2, {found}.getBoundingClientRect().top + 5).includes({found})"
        ));
    };
    found("the end", "400002", "1 of 1");
    found("the beginning", "1", "1 of 1");
    found("x", "2", "1 of 400,000");
    browser.press("↑");
    browser.until("document.querySelector('.found')?.dataset.n === '400001'");
    // A link leads to a line that has no element yet.
    browser.js("(location.hash = '#L200000')");
    browser.until("document.querySelector('.target')?.dataset.n === '200000'");
    let count = browser.js(DRAWN).as_u64().unwrap_or(0);
    assert!(count <= 122_000, "{count} rows have elements");
    browser.is_content();
}

#[test]
fn more_lines_than_a_page_can_bear_are_left_to_the_download() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = job_with(
        &admin,
        &agent,
        &["x\n".repeat(1_100_000), "the end\n".to_owned()],
    );
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until(
        "document.querySelector('.block:last-child .l:last-child')?.textContent === 'the end'",
    );
    assert_eq!(
        browser.js("document.querySelector('.block:last-child .l:last-child').dataset.n"),
        "1100001"
    );
    browser.until("document.querySelector('.gap')?.textContent.startsWith('Earlier lines are neither shown nor searched here')");
    browser.until(&format!("{DRAWN} > 100000"));
    let count = browser.js(DRAWN).as_u64().unwrap_or(0);
    assert!(count <= 122_000, "{count} rows have elements");
    // The search says which lines it covers.
    browser.fill(".search-log input", "the end");
    let count = "document.querySelector('.search-log .count').textContent";
    let first = browser.until(&format!(
        "/^1 of 1 from line ([0-9,]+) on$/.exec({count})?.[1].replaceAll(',', '')"
    ));
    let first: u32 = first
        .as_str()
        .unwrap_or_default()
        .parse()
        .expect("a number");
    browser.fill(".search-log input", "nowhere");
    browser.until(&format!("{count}.startsWith('None from line ')"));
    browser.js(&format!("(location.hash = '#L{}')", first - 1));
    browser.see("is not shown here because the log is too long");
    browser.js(&format!("(location.hash = '#L{first}')"));
    browser.until(&format!(
        "document.querySelector('.target')?.dataset.n === '{first}'"
    ));
    browser.is_content();
}

#[test]
fn dropped_bytes_of_the_head_are_reported() {
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
        browser.text(".l"),
        "The first 43.4 KiB of stdout are not kept: only the end of long output is."
    );
    // Lines keep the numbers that they had from the start.
    let numbers =
        "[...document.querySelectorAll('.l[data-n]')].map((l) => [l.dataset.n, l.textContent])";
    let first = browser.js(&format!("{numbers}.find((l) => l[1].startsWith('line'))"));
    assert_eq!(first, json!(["4044", "line 04043"]));
    let last = browser.js(&format!("{numbers}.at(-1)"));
    assert_eq!(last, json!(["10000", "line 09999"]));
    browser.open(&format!("/jobs/{id}#L120"));
    browser.see("Line 120 is no longer kept: the log now begins with line 4,043.");
    browser.js("(location.hash = '#L100-L5000')");
    browser.see("Lines 100 to 4,042 are no longer kept");
    browser.until("document.querySelectorAll('.target').length === 958");
    browser.js("(location.hash = '#L10001')");
    browser.see("There is no line 10,001: the last one is 10,000.");
    browser.js("(location.hash = '#L5000')");
    browser.until("document.querySelector('.target')?.textContent === 'line 04999'");
    browser.until("document.querySelector('.notice').hidden");
    browser.view("job-gap");
    browser.is_content();
}

#[test]
fn lines_of_both_streams_keep_their_numbers_whichever_lost_its_head() {
    let mut server = Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "65536")]);
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    // stderr: lines 1 and 20,002, and one that begins before stdout's and ends after; stdout loses
    // its head.
    agent.output(&id, &[chunk("stderr", 0, "first\nbeg")]);
    let text: String = (3..20_003).map(|n| format!("line {n}\n")).collect();
    agent.say(&id, 0, &text);
    agent.output(&id, &[chunk("stderr", 9, "un\n\u{1b}[0mlast\n")]);
    agent.say(&id, text.len() as u64, "the end\n");
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('.part-body')?.textContent.includes('the end')");
    // The first one that is left has lost its beginning.
    let wrong = "[...document.querySelectorAll('.l[data-n]')].map((l) => [l.dataset.n, l.textContent])\
        .filter(([n, text]) => /\\d$/.test(text) && !`line ${n}`.endsWith(text))";
    assert_eq!(browser.js(wrong), json!([]));
    let others = "[...document.querySelectorAll('.l[data-n]')].map((l) => `${l.dataset.n} ${l.textContent}`)\
        .filter((l) => / (first|begun|last|the end)$/.test(l))";
    let wanted = json!(["1 first", "2 begun", "20003 last", "20004 the end"]);
    browser.until(&format!("JSON.stringify({others}) === '{wanted}'"));
}

#[test]
fn two_thousand_lines_a_second_keep_the_page_smooth() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    browser.on_every_page(PACE);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('#job-state [data-state=running]')");
    // Not the page's own start.
    browser.js("(window.pace.tasks = [])");
    browser.measure();
    let mut sent = 0;
    for round in 0..20_u32 {
        let text: String = (0..200)
            .map(|n| format!("\u{1b}[32mround {round}\u{1b}[0m line {n} of some output\n"))
            .collect();
        sent = agent.say(&id, sent, &text).count("stdoutBytes");
        pass(
            Duration::from_millis(100),
            "200 lines each tenth of a second are the pace under test",
        );
    }
    browser.until("document.querySelectorAll('.l').length === 4000");
    let tasks = browser.js("window.pace.tasks");
    println!(
        "2,000 lines a second for two seconds: tasks over 50 ms: {tasks}; the page's thread worked {}",
        browser.work()
    );
    browser.is_content();
}
