//! Many tabs on one server: a browser has six connections to it, and each stream takes one.

use serde_json::json;

use crate::browser::{Browser, on_a_running_job};
use crate::harness::{FakeAgent, Person, Server, bytes_chunk, chunk, eventually};

/// The text of the log, line by line.
const LOG: &str = "[...document.querySelectorAll('.l')].map((l) => l.textContent).join()";

/// How many streams the server has open.
fn streams(admin: &Person) -> u64 {
    let metrics = admin.get("/metrics").gives(200).text();
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("hyprbox_sse_clients "));
    count
        .unwrap_or_else(|| panic!("{metrics}"))
        .parse()
        .expect("a number")
}

/// Waits until the log has so many lines: a page may show its job's end, which it looks up now and
/// then, before it has drawn all of the output.
#[track_caller]
fn lines_are(browser: &Browser, count: u64) {
    browser.until(&format!(
        "document.querySelectorAll('.l[data-n]').length === {count}"
    ));
}

/// Opens that many visible windows on these addresses, in turn.
fn windows(browser: &Browser, count: usize, addresses: &[String]) -> Vec<String> {
    let open = |address: &String| {
        let window = browser.new_window();
        browser.open(address);
        window
    };
    let windows: Vec<String> = addresses.iter().cycle().take(count).map(open).collect();
    for window in &windows {
        browser.look_at(window);
        assert_eq!(browser.js("document.hidden"), false);
    }
    windows
}

fn all_show(browser: &Browser, windows: &[String], text: &str) {
    for window in windows {
        browser.look_at(window);
        let shows = format!("({LOG}) === '{text}'");
        browser.until(&shows);
    }
}

#[test]
fn eight_tabs_on_a_running_job_all_show_it() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    agent.say(&id, 0, "first\n");
    let browser = Browser::of(&server, &admin);
    let mut tabs = Vec::new();
    for _ in 0..8 {
        tabs.push(browser.new_tab());
        browser.open(&format!("/jobs/{id}"));
        browser.see("first");
    }
    agent.say(&id, 6, "second\n");
    for tab in &tabs {
        browser.to_tab(tab);
        browser.see("second");
    }
    agent.succeed(&id);
    for tab in &tabs {
        browser.to_tab(tab);
        browser.until("document.querySelector('#job-state [data-state=succeeded]')");
        lines_are(&browser, 2);
    }
}

#[test]
fn eight_visible_windows_share_their_line() {
    let mut server = Server::start();
    let admin = server.admin();
    let (one, two) = (admin.add_node("node-1"), admin.add_node("node-2"));
    let (a, b) = (admin.queue("node-1"), admin.queue("node-2"));
    one.claim();
    two.claim();
    one.say(&a, 0, "1\n");
    two.say(&b, 0, "1\n");
    let address = server.address().to_owned();
    let browser = Browser::of(&server, &admin);
    let of_both = [format!("/jobs/{a}"), format!("/jobs/{b}")];
    let mut windows = windows(&browser, 8, &of_both);
    all_show(&browser, &windows, "1");
    eventually("one stream", || (streams(&admin) == 1).then_some(()));
    // A page that is opened beside them has a connection left.
    windows.push(browser.new_window());
    browser.open("/");
    browser.see("node-2");
    windows.pop();

    one.say(&a, 2, "2\n");
    two.say(&b, 2, "2\n");
    all_show(&browser, &windows, "1,2");

    // The first one goes.
    browser.look_at(&windows.remove(0));
    browser.close_window();
    one.say(&a, 4, "3\n");
    two.say(&b, 4, "3\n");
    all_show(&browser, &windows, "1,2,3");

    server.terminate();
    for window in &windows {
        browser.look_at(window);
        browser.until("!document.getElementById('connection-lost').hidden");
    }
    server.set("HYPRBOX_LISTEN", &address);
    server.start_again();
    let (one, two) = (one.at(&server), two.at(&server));
    one.say(&a, 6, "4\n");
    two.say(&b, 6, "4\n");
    all_show(&browser, &windows, "1,2,3,4");
    for n in 0..20 {
        one.say(&a, 8 + 2 * n, "x\n");
    }
    one.succeed(&a);
    two.succeed(&b);
    for window in &windows {
        browser.look_at(window);
        browser.until("document.querySelector('#job-state [data-state=succeeded]')");
        browser.until("document.getElementById('connection-lost').hidden");
        let is_first = browser.path().ends_with(&a);
        lines_are(&browser, if is_first { 24 } else { 4 });
    }
}

#[test]
fn busy_output_is_whole_in_every_window() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    let mut windows = Vec::new();
    let (mut sent, mut said, mut held) = (0, 0, Vec::new());
    // Opened while it writes, characters and lines cut anywhere, and bytes that are no text: each
    // begins at the beginning while the others go on.
    for _ in 0..6 {
        windows.push(browser.new_window());
        browser.open(&format!("/jobs/{id}"));
        browser.js("(window.notReloaded = true)");
        for _ in 0..10 {
            for n in said..said + 20 {
                held.extend(format!("{n} é").bytes());
                held.extend(if n % 50 == 7 { &b"\xff\n"[..] } else { b"\n" });
            }
            said += 20;
            let rest = held.split_off(held.len() - said % 7);
            agent.output(&id, &[bytes_chunk("stdout", sent, &held)]);
            sent += held.len() as u64;
            held = rest;
        }
    }
    agent.output(&id, &[bytes_chunk("stdout", sent, &held)]);
    agent.succeed(&id);
    let bad = |n| if n % 50 == 7 { "\u{fffd}" } else { "" };
    let wanted: Vec<String> = (0..said).map(|n| format!("{n} é{}", bad(n))).collect();
    all_show(&browser, &windows, &wanted.join(","));
    for window in &windows {
        browser.look_at(window);
        assert_eq!(browser.js("window.notReloaded"), true);
    }
}

#[test]
fn a_tab_receives_nothing_of_a_stream_that_began_after_its_position() {
    let (_server, _admin, _agent, id, browser) = on_a_running_job();
    browser.open(&format!("/jobs/{id}"));
    let heard = browser.js(&format!(
        "(async () => {{ {} }})()",
        include_str!("shared-stream.js")
    ));
    let goes_on = json!([[0, "one\n"], [4, "two\n"], "SUCCEEDED", "SUCCEEDED"]);
    assert_eq!(heard["first"], goes_on);
    assert_eq!(heard["second"], json!([[0, "one\ntwo\n"], "SUCCEEDED"]));
    assert_eq!(heard["from"], json!(["1,j:0-0", "8,j:0-0"]));
}

/// Windows on the same few jobs.
struct Watched<'b> {
    browser: &'b Browser,
    admin: &'b Person,
    windows: Vec<(String, usize)>,
    agents: Vec<FakeAgent>,
    jobs: Vec<String>,
    said: u64,
}

impl Watched<'_> {
    /// Each job says another line, and every window shows all of them in order.
    #[track_caller]
    fn say_and_see(&mut self) {
        for (agent, job) in self.agents.iter().zip(&self.jobs) {
            agent.output(
                job,
                &[
                    chunk("stdout", 4 * self.said, &format!("{}é\n", self.said % 10)),
                    chunk("stderr", 2 * self.said, "!\n"),
                ],
            );
        }
        self.said += 1;
        self.see();
    }

    #[track_caller]
    fn see(&mut self) {
        let wanted: Vec<String> = (0..self.said).map(|n| format!("{}é,!", n % 10)).collect();
        let windows: Vec<String> = self.windows.iter().map(|(id, _)| id.clone()).collect();
        all_show(self.browser, &windows, &wanted.join(","));
        eventually("one stream", || (streams(self.admin) == 1).then_some(()));
    }

    fn look_at(&self, window: usize) {
        self.browser.look_at(&self.windows[window].0);
    }
}

/// A browser that knows the server by a name in the network is in no secure context: no locks, no
/// clipboard.
#[test]
fn twelve_windows_share_one_line_over_plain_http_whatever_happens() {
    let mut server = Server::start();
    let admin = server.admin();
    let address = server.address().to_owned();
    let agents = vec![admin.add_node("node-1"), admin.add_node("node-2")];
    let jobs = vec![admin.queue("node-1"), admin.queue("node-2")];
    agents.iter().for_each(|agent| drop(agent.claim()));
    let browser = Browser::at_host(&server, "hyprbox.test", &admin);
    let addresses: Vec<String> = jobs.iter().map(|job| format!("/jobs/{job}")).collect();
    let windows = windows(&browser, 12, &addresses);
    assert_eq!(browser.js("isSecureContext"), false);
    let mut watched = Watched {
        browser: &browser,
        admin: &admin,
        windows: windows.into_iter().zip((0..2).cycle()).collect(),
        agents,
        jobs,
        said: 0,
    };
    watched.say_and_see();
    watched.say_and_see();

    // The first window's process, where the worker may live, too, is killed; another one is closed.
    watched.look_at(0);
    browser.crash();
    watched.windows.remove(0);
    watched.say_and_see();
    watched.look_at(0);
    browser.close_window();
    watched.windows.remove(0);
    watched.say_and_see();

    // Hidden, written to, and shown again.
    watched.look_at(3);
    browser.hidden(true);
    let hidden = watched.windows.remove(3);
    watched.say_and_see();
    watched.windows.insert(3, hidden);
    watched.look_at(3);
    browser.hidden(false);
    watched.see();
    watched.say_and_see();

    server.terminate();
    for (window, _) in &watched.windows {
        browser.look_at(window);
        browser.until("!document.getElementById('connection-lost').hidden");
    }
    server.set("HYPRBOX_LISTEN", &address);
    server.start_again();
    let moved = watched.agents.iter().map(|agent| agent.at(&server));
    watched.agents = moved.collect();
    watched.say_and_see();
    browser.until("document.getElementById('connection-lost').hidden");

    // A job that is gone takes its own pages with it and no others.
    server.database().execute(&format!(
        "DELETE FROM jobs WHERE id = '{}'",
        watched.jobs[0]
    ));
    browser.new_window();
    browser.open("/");
    browser.open(&addresses[1]);
    let (of_gone, rest): (Vec<_>, Vec<_>) = watched
        .windows
        .drain(..)
        .partition(|(_, which)| *which == 0);
    watched.windows = rest;
    for (window, _) in of_gone {
        browser.look_at(&window);
        browser.see("Job not found");
    }
    (watched.agents, watched.jobs) = (watched.agents.split_off(1), watched.jobs.split_off(1));
    watched.say_and_see();

    // The end comes after the last of the output, everywhere, and leaves no line open.
    watched.agents[0].succeed(&watched.jobs[0]);
    for (window, _) in &watched.windows {
        browser.look_at(window);
        browser.until("document.querySelector('#job-state [data-state=succeeded]')");
        lines_are(&browser, 2 * watched.said);
    }
    eventually("no stream", || (streams(&admin) == 0).then_some(()));
}

#[test]
fn signing_out_in_one_window_ends_what_the_others_hear() {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("node-1");
    let ann = server.person("ann", "OPERATOR");
    let id = ann.queue("node-1");
    let browser = Browser::at_host(&server, "hyprbox.test", &ann);
    let windows = windows(&browser, 3, &["/".to_owned(), format!("/jobs/{id}")]);
    eventually("one stream", || (streams(&admin) == 1).then_some(()));
    browser.look_at(&windows[0]);
    browser.press("Sign out");
    for window in &windows {
        browser.look_at(window);
        browser.see("Sign in");
    }
    eventually("no stream", || (streams(&admin) == 0).then_some(()));
}

#[test]
fn without_shared_workers_a_tab_reads_for_itself_while_it_is_seen() {
    let (_server, admin, agent, id, browser) = on_a_running_job();
    browser.on_every_page("delete window.SharedWorker");
    browser.open(&format!("/jobs/{id}"));
    agent.say(&id, 0, "1\n");
    browser.until(&format!("({LOG}) === '1'"));
    browser.hidden(true);
    eventually("no stream", || (streams(&admin) == 0).then_some(()));
    agent.say(&id, 2, "2\n");
    browser.hidden(false);
    browser.until(&format!("({LOG}) === '1,2'"));
    agent.succeed(&id);
    browser.until("document.querySelector('#job-state [data-state=succeeded]')");
    browser.is_content();
}

/// As when a tab asks for a worker whose process has ended just now.
#[test]
fn tabs_share_a_stream_though_their_worker_failed_to_start_before() {
    let (_server, admin, agent, id, browser) = on_a_running_job();
    let open = |_| {
        let window = browser.new_window();
        browser.on_every_page(
            "const Worker = SharedWorker;
             window.failing = 2;
             window.SharedWorker = function (url, options) {
                 return new Worker(window.failing-- > 0 ? '/no-such-worker.js' : url, options);
             };",
        );
        browser.open(&format!("/jobs/{id}"));
        window
    };
    let windows: Vec<String> = (0..2).map(open).collect();
    agent.say(&id, 0, "1\n");
    all_show(&browser, &windows, "1");
    for window in &windows {
        browser.look_at(window);
        browser.until("window.failing < 0");
    }
    eventually("one stream", || (streams(&admin) == 1).then_some(()));
    agent.succeed(&id);
    for window in &windows {
        browser.look_at(window);
        browser.until("document.querySelector('#job-state [data-state=succeeded]')");
    }
    eventually("no stream", || (streams(&admin) == 0).then_some(()));
}

#[test]
fn a_slow_tab_is_not_drowned_and_misses_nothing() {
    let (_server, _admin, agent, id, browser) = on_a_running_job();
    let windows = windows(&browser, 2, &[format!("/jobs/{id}")]);
    let (slow, quick) = (&windows[0], &windows[1]);
    // Six megabytes, of which four may wait; the tab takes nothing for a while.
    browser.look_at(slow);
    browser.js(
        "setTimeout(() => { const end = Date.now() + 4000; while (Date.now() < end); }, 0) && true",
    );
    let line = format!("{}\n", "x".repeat(1_023));
    let mut sent = 0;
    for _ in 0..3 {
        for stream in ["stdout", "stderr"] {
            agent.output(&id, &[chunk(stream, sent, &line.repeat(1_024))]);
        }
        sent += line.len() as u64 * 1_024;
    }
    agent.succeed(&id);
    for window in [quick, slow] {
        browser.look_at(window);
        browser.until("document.querySelector('#job-state [data-state=succeeded]')");
        lines_are(&browser, 6 * 1_024);
    }
    browser.is_content();
}

#[test]
fn a_job_s_stream_is_open_before_the_page_s_modules_have_loaded() {
    let (_server, admin, _agent, id, browser) = on_a_running_job();
    browser.driver.devtools("Network.enable", json!({}));
    let blocked = json!({"urls": ["*/job.js"]});
    browser.driver.devtools("Network.setBlockedURLs", blocked);
    browser.open(&format!("/jobs/{id}"));
    eventually("one stream", || (streams(&admin) == 1).then_some(()));
}
