//! From the press on Queue to the first line of output on the page, by the browser's own clock.
//! Told, not judged: other tests run beside this one.

use serde_json::Value;

use crate::browser::Browser;
use crate::harness::{RealAgent, Server};

const ROUNDS: usize = 9;

/// Notes when Queue was pressed, and when the first line was painted.
const CLOCK: &str = "
    addEventListener('submit', () => sessionStorage.setItem('pressed', performance.timeOrigin + performance.now()), true);
    new MutationObserver((_, observer) => {
      if (!document.querySelector('.l')) return;
      observer.disconnect();
      requestAnimationFrame(() => setTimeout(() => {
        window.took = performance.timeOrigin + performance.now() - Number(sessionStorage.getItem('pressed'));
      }));
    }).observe(document, { childList: true, subtree: true });
";

#[test]
fn from_queue_to_the_first_line() {
    let mut server = Server::start();
    let admin = server.admin();
    let identity = admin.add_node("node-1");
    let _agent = RealAgent::start(&server, &identity);
    let browser = Browser::of(&server, &admin);
    browser.on_every_page(CLOCK);
    browser.open("/nodes/node-1");
    browser.until("document.querySelector('[data-state=online]')");
    let mut took: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            browser.open("/presets/note");
            browser.press("Queue");
            browser.until("location.pathname.startsWith('/jobs/') && document.querySelector('[data-state=succeeded]')");
            browser.until("window.took").as_f64().unwrap_or_default()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let told = Value::from(took.iter().map(|ms| ms.round()).collect::<Vec<_>>());
    println!(
        "Queue to first line painted: median {:.0} ms of {told}",
        took[ROUNDS / 2]
    );
}
