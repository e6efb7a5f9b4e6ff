//! The steps of a job's output: what makes one, how they fold, and what is found in those that are
//! folded.

use serde_json::{Value, json};

use crate::browser::{Browser, on_a_running_job};
use crate::harness::{FakeAgent, Field, Server, chunk};

const ENTER: &str = "\u{e007}";

/// State, name and time of each step, as the list next to the log has them.
const LIST: &str = "[...document.querySelectorAll('#job-steps li')].map((li) => \
    [li.dataset.step, li.querySelector('a').lastChild.textContent, li.querySelector('.took').textContent])";
/// Which steps are folded.
const FOLDED: &str = "[...document.querySelectorAll('.fold')].map((b) => b.getAttribute('aria-expanded') === 'false')";

/// What five steps write, of which the third fails.
const STEPS: [Writes; 8] = [
    (
        "stdout",
        "==> [1/5] Update the package lists (already done)\n",
        0,
    ),
    (
        "stdout",
        "==> [2/5] Install the packages\nReading package lists...\n\u{1b}[32mSetting up openssh-server\u{1b}[0m (1:9.2p1-2) ...\n",
        1,
    ),
    (
        "stdout",
        "10%\r50%\r100%\nProcessing triggers for \u{1b}[1msystemd\u{1b}[0m\n",
        30,
    ),
    (
        "stdout",
        "==> [3/5] Set the SSH port\nwriting /etc/ssh/sshd_config.d/10-hyprbox.conf\n",
        201,
    ),
    ("stderr", "a harmless warning\n", 202),
    (
        "stderr",
        "/etc/ssh/sshd_config.d/10-hyprbox.conf: line 12: \u{1b}[31merror: Bad configuration option: Prot\u{1b}[0m\n",
        210,
    ),
    ("stdout", "trying again\n", 211),
    ("stderr", "==> [3/5] verify failed: Set the SSH port\n", 213),
];

/// What a step or a part of one writes: the stream, the text, and when, in seconds after the start.
type Writes<'t> = (&'t str, &'t str, u32);

/// A job that failed in its third step, two months ago.
fn failed_job(server: &Server, agent: &FakeAgent, id: &str) {
    past_job(server, agent, id, &STEPS, (1, 214));
}

/// A job that wrote this two months ago, and ended with that exit code, so many seconds after its
/// start.
fn past_job(
    server: &Server,
    agent: &FakeAgent,
    id: &str,
    writes: &[Writes],
    (exit_code, ended): (i32, u32),
) {
    agent.claim();
    let (mut stdout, mut stderr) = (0, 0);
    for (stream, text, _) in writes {
        let at = if *stream == "stdout" {
            &mut stdout
        } else {
            &mut stderr
        };
        agent.output(id, &[chunk(stream, *at, text)]);
        *at += text.len() as u64;
    }
    agent.complete(id, &json!({"exitCode": exit_code})).ok();
    let at = |seconds: u32| format!("2026-09-01T10:{:02}:{:02}.000Z", seconds / 60, seconds % 60);
    let (mut position, mut written) = (0, 0);
    for (stream, text, seconds) in writes {
        if *stream == "stdout" {
            let after = written;
            written += text.len();
            server.database().execute(&format!(
                "UPDATE job_steps SET arrived_at = '{}' WHERE job_id = '{id}' AND line_end > {after} AND line_end <= {written}",
                at(*seconds)
            ));
        }
        server.database().execute(&format!(
            "UPDATE chunks SET arrived_at = '{}' WHERE job_id = '{id}' AND position = {position}",
            at(*seconds)
        ));
        position += text.len();
    }
    server.database().execute(&format!(
        "UPDATE jobs SET started_at = '{}', finished_at = '{}' WHERE id = '{id}'",
        at(0),
        at(ended)
    ));
}

fn folded(browser: &Browser, wanted: &[bool]) {
    let wanted = json!(wanted);
    browser.until(&format!(
        "document.querySelector('.part') && JSON.stringify({FOLDED}) === '{wanted}'"
    ));
}

#[test]
fn a_job_that_failed_shows_the_step_in_which_it_did() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    failed_job(&server, &agent, &id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelector('.part[data-step=failed]')");
    assert_eq!(
        browser.js(LIST),
        json!([
            ["skipped", "Update the package lists", ""],
            ["succeeded", "Install the packages", "about 3 min 20 s"],
            ["failed", "Set the SSH port", "about 13 s"],
            ["waiting", "Step 4", ""],
            ["waiting", "Step 5", ""]
        ])
    );
    assert_eq!(browser.text("#job-step"), "step 3 of 5");
    folded(&browser, &[true, true, false]);
    let heads = "[...document.querySelectorAll('.part-head .state')].map((s) => s.textContent)";
    assert_eq!(
        browser.js(heads),
        json!(["Already done", "Done", "Verify failed"])
    );
    let box_of_head =
        "document.querySelector('[data-step=failed] .part-head').getBoundingClientRect()";
    assert_eq!(
        browser.js(&format!("{box_of_head}.top < innerHeight * 0.7")),
        true
    );
    browser.picture("steps-failed-light");
    // The error that matters is the one in that step.
    browser.keys("e");
    browser.until(
        "document.querySelector('.target')?.textContent.includes('Bad configuration option')",
    );
    browser.colours("dark");
    browser.picture("steps-failed-dark");
    browser.size(360, 800);
    browser.picture("steps-failed-360");
    // On a phone, too, the page opens with the reason in sight.
    browser.size(360, 640);
    browser.js("location.replace(location.pathname)");
    browser.until("document.querySelector('.part[data-step=failed]') && document.querySelector('[data-step=failed] .part-head').getBoundingClientRect().top > innerHeight");
    assert_eq!(
        browser.js("[scrollY, document.querySelector('#job-why .sentence').getBoundingClientRect().bottom < innerHeight]"),
        json!([0, true])
    );
    assert_eq!(
        browser.js("document.documentElement.scrollWidth <= innerWidth"),
        true
    );
    browser.is_content();
}

#[test]
fn steps_fold_by_mouse_and_keyboard_and_open_for_a_search() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    failed_job(&server, &agent, &id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    folded(&browser, &[true, true, false]);
    // A button, the head, keys.
    browser.js("document.querySelector('.fold').click()");
    folded(&browser, &[false, true, false]);
    browser.js("document.querySelectorAll('.part-head .state')[0].click()");
    folded(&browser, &[true, true, false]);
    browser.js("(document.activeElement.blur(), scrollTo(0, 0))");
    browser.keys("j");
    assert_eq!(
        browser.js("document.activeElement.getAttribute('aria-label')"),
        "Step 1 of 5: Update the package lists (already done)"
    );
    browser.keys("j");
    browser.keys(ENTER);
    folded(&browser, &[true, false, false]);
    browser.keys("k");
    browser.keys(ENTER);
    folded(&browser, &[false, false, false]);
    browser.press("Fold all");
    folded(&browser, &[true, true, true]);
    browser.keys("z");
    folded(&browser, &[false, false, false]);
    browser.keys("z");
    folded(&browser, &[true, true, true]);

    // A link to a line.
    browser.js("(location.hash = '#L4')");
    folded(&browser, &[true, false, true]);
    browser.until("document.querySelector('.target')?.textContent.startsWith('Setting up')");
    // The browser's own search: it shows what it finds. A link to a text goes the same way.
    browser.open("about:blank");
    browser.open(&format!("/jobs/{id}"));
    folded(&browser, &[true, true, false]);
    assert_eq!(
        browser.js("document.querySelectorAll('.part-body')[2].getAttribute('hidden')"),
        "until-found"
    );
    browser.js("document.querySelectorAll('.part-body')[2].dispatchEvent(new Event('beforematch', {bubbles: true}))");
    folded(&browser, &[true, false, false]);
    browser.js("(location.hash = '#L6')");
    browser.press("Fold all");
    browser.js("(document.querySelector('#job-steps li:nth-child(2) a').click())");
    browser.until("document.querySelector('.target.step')");
    browser.is_content();
}

#[test]
fn a_selection_contains_only_the_text() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    failed_job(&server, &agent, &id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    folded(&browser, &[true, true, false]);
    browser.keys("t");
    browser.until("document.querySelector('.l[data-t]')");
    browser.js(
        "(document.querySelector('[aria-expanded=false]') ? document.activeElement.blur() : 0)",
    );
    let selected = browser.js(
        "(getSelection().selectAllChildren(document.querySelector('.part[data-step=failed]')), getSelection().toString())",
    );
    let lines: Vec<&str> = selected
        .as_str()
        .expect("text")
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(
        lines,
        [
            "==> [3/5] Set the SSH port",
            "writing /etc/ssh/sshd_config.d/10-hyprbox.conf",
            "a harmless warning",
            "/etc/ssh/sshd_config.d/10-hyprbox.conf: line 12: error: Bad configuration option: Prot",
            "trying again",
            "==> [3/5] verify failed: Set the SSH port"
        ]
    );
}

#[test]
fn times_are_shown_on_request_of_day_and_since_the_start() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    failed_job(&server, &agent, &id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    folded(&browser, &[true, true, false]);
    let shown = "document.querySelector('[data-step=failed] .err').dataset.t";
    assert_eq!(browser.js(&format!("{shown} ?? null")), Value::Null);
    browser.press("Timestamps");
    let local = "new Date('2026-09-01T10:03:22Z').toLocaleTimeString('en-GB')";
    browser.until(&format!("{shown} === {local}"));
    browser.view("times");
    browser.js(
        "document.querySelector('[data-step=failed] .err').dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))",
    );
    assert_eq!(
        browser.js("document.querySelector('[data-step=failed] .err').title"),
        "2026-09-01T10:03:22.000Z"
    );
    browser.keys("t");
    browser.until(&format!("{shown} === '+3:22.0'"));
    assert_eq!(
        browser.text(".part-head .l"),
        "==> [1/5] Update the package lists (already done)"
    );
    // It stays so.
    browser.open("about:blank");
    browser.open(&format!("/jobs/{id}"));
    browser.until(&format!(
        "document.querySelector('[data-step=failed] .err') && {shown} === '+3:22.0'"
    ));
    browser.press("Timestamps: since start");
    browser.until("!document.querySelector('.lines.times')");
    browser.is_content();
}

#[test]
fn a_step_that_runs_is_timed_and_its_head_stays_in_sight() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    browser.open(&format!("/jobs/{id}"));
    // Its line comes in two pieces, with the other stream between them.
    agent.output(&id, &[chunk("stdout", 0, "before\n==> [1/2] Look ar")]);
    browser.until("document.querySelectorAll('.l').length === 2");
    agent.output(&id, &[chunk("stderr", 0, "err\n")]);
    browser.until("document.querySelectorAll('.l').length === 3");
    let mut sent = agent.say(&id, 24, "ound\n").count("stdoutBytes");
    browser.until("document.querySelector('.part[data-step=running] .err')");
    assert_eq!(
        browser.js(
            "[...document.querySelectorAll('.l')].map((l) => `${l.dataset.n} ${l.textContent}`)"
        ),
        json!(["1 before", "2 ==> [1/2] Look around", "3 err"])
    );
    browser
        .until("document.querySelector('.part-head .took').textContent.match(/^[1-9]\\.\\d s$/)");
    let text: String = (0..300).map(|n| format!("line {n}\n")).collect();
    sent = agent.say(&id, sent, &text).count("stdoutBytes");
    browser.until("document.querySelectorAll('.l').length === 303");
    let is_below_the_tools = "(() => { const head = document.querySelector('.part-head').getBoundingClientRect(); \
        const tools = document.querySelector('.tools').getBoundingClientRect(); \
        return scrollY > 1000 && Math.abs(head.top - tools.bottom) < 2; })()";
    browser.until(is_below_the_tools);
    agent.say(&id, sent, "==> [2/2] Go on\nmore\n");
    browser.until("document.querySelector('.part[data-step=succeeded]')");
    browser.view("steps-running");
    agent.succeed(&id);
    browser.until("document.querySelectorAll('.part[data-step=succeeded]').length === 2");
    folded(&browser, &[false, false]);
    browser.is_content();
}

#[test]
fn lines_that_only_resemble_steps_stay_lines() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let text = "==> [3/3] not the first\n==> [1/3] One\n==> [1/2] of another\n==> [1/3] again\n==> [0/3] none\n==> [4/3] too many\n\
        ==> [2/3] Two\n==> [1/3] backwards\n==> [2/3]\n ==> [3/3] indented\n==> [3/3] <b>Three</b>\n";
    agent.say(&id, 0, text);
    agent.output(
        &id,
        &[chunk(
            "stderr",
            0,
            "==> [1/3] on stderr\n==> [1/3] verify failed: One\n",
        )],
    );
    agent.succeed(&id);
    let other = admin.queue("node-1");
    agent.claim();
    let many: String = (1..=100_000)
        .map(|n| format!("==> [{n}/100000] s\n"))
        .collect();
    let mut sent = 0;
    for part in many.as_bytes().chunks(1_000_000) {
        sent = agent
            .say(&other, sent, std::str::from_utf8(part).expect("ASCII"))
            .count("stdoutBytes");
    }
    agent.succeed(&other);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.querySelectorAll('.l').length === 13");
    browser.until("document.querySelector('#job-steps li:nth-child(3)[data-step=succeeded]')");
    let names = browser
        .js("[...document.querySelectorAll('#job-steps a')].map((a) => a.lastChild.textContent)");
    assert_eq!(names, json!(["One", "Two", "<b>Three</b>"]));
    browser.open(&format!("/jobs/{other}"));
    browser.until("document.querySelectorAll('.l').length === 100000");
    assert_eq!(browser.js("document.querySelectorAll('.part').length"), 0);
    browser.is_content();
}

#[test]
fn two_runs_are_compared_step_by_step_with_the_time_that_each_took() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let before = admin.queue("node-1");
    failed_job(&server, &agent, &before);
    let now = admin.queue("node-1");
    let writes = [
        ("stdout", "==> [1/5] Update the package lists\n", 0),
        ("stdout", "==> [2/5] Install the packages\n", 8),
        ("stdout", "==> [3/5] Set the SSH port\n", 20),
        (
            "stdout",
            "==> [4/5] Turn the <firewall> on\n==> [5/5] Restart sshd\n",
            35,
        ),
    ];
    past_job(&server, &agent, &now, &writes, (0, 36));
    // Without JavaScript, too: the page itself says it.
    let path = format!("/jobs/{now}/compare");
    let page = admin.browser("GET", &path).gives(200).text();
    assert!(page.contains("Turn the &lt;firewall&gt; on"), "{page}");

    let browser = Browser::of(&server, &admin);
    browser.open(&path);
    let cells = "[...document.querySelectorAll('#steps tbody tr')].map((row) => \
        [...row.cells].map((cell) => cell.textContent))";
    assert_eq!(
        browser.js(cells),
        json!([
            [
                "Update the package lists",
                "Already done",
                "Done about 8.0 s",
                "–"
            ],
            [
                "Install the packages",
                "Done about 3 min 20 s",
                "Done about 12 s",
                "3 min 8 s shorter"
            ],
            [
                "Set the SSH port",
                "Verify failed about 13 s",
                "Done about 15 s",
                "2.0 s longer"
            ],
            ["Turn the <firewall> on", "–", "Done under 2 s", "–"],
            ["Restart sshd", "–", "Done about 1.0 s", "–"]
        ])
    );
    browser.view("compare-steps");
    browser.size(360, 900);
    let overflow = browser.js("document.documentElement.scrollWidth - innerWidth");
    assert_eq!(overflow, 0);
    browser.is_content();
}
