//! An exported job, opened from the disk.

use std::time::Instant;

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Server, chunk};

#[test]
fn an_export_opens_from_the_disk_and_asks_nobody_for_anything() {
    let mut server = Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "16777216")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue_with(
        "n1",
        "note",
        json!({"text": "<script>window.hacked = 1</script>"}),
    );
    agent.claim();
    let start = "==> [1/1] Say it\n</pre><script>window.hacked = 1</script><img src=/x onerror='window.hacked = 1'>\u{1b}[31mred\0\n";
    agent.say(&id, 0, start);
    agent.output(&id, &[chunk("stderr", 0, "a warning\n")]);
    let mut offset = start.len() as u64;
    let part = "a line of output that is neither short nor long\n".repeat(20_000);
    for _ in 0..11 {
        agent.say(&id, offset, &part);
        offset += part.len() as u64;
    }
    agent.succeed(&id);
    let page = admin.get(&format!("/api/jobs/{id}/export")).gives(200).body;
    let file = server.setup().folder().join("job.html");
    std::fs::write(&file, page).expect("writes");
    let browser = Browser::of(&server, &admin);
    server.terminate();
    browser.size(1200, 900);
    let began = Instant::now();
    browser.open(&format!("file://{}", file.display()));
    browser.until("document.readyState === 'complete'");
    println!("10 MiB open after {} ms", began.elapsed().as_millis());
    assert_eq!(browser.js("window.hacked ?? null"), json!(null));
    assert_eq!(
        browser.js("document.scripts.length + document.images.length"),
        0
    );
    let requests = "performance.getEntriesByType('resource').length";
    assert_eq!(browser.js(requests), 0);
    let style = "getComputedStyle(document.querySelector('h1')).fontWeight";
    assert_eq!(browser.js(style), "700");
    assert_eq!(
        browser.js("getComputedStyle(document.querySelector('main')).maxWidth"),
        "960px"
    );
    for width in [360, 1200] {
        browser.size(width, 900);
        let overflow = browser.js("document.documentElement.scrollWidth - innerWidth");
        assert!(
            overflow.as_i64().is_some_and(|pixels| pixels <= 0),
            "{overflow}"
        );
        browser.view(&format!("export-{width}"));
    }
}
