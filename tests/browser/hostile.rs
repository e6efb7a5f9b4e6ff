//! What comes from jobs, agents and people is text, whatever it looks like.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Server, bytes_chunk, chunk, write_preset};

const SCRIPT: &str = "<script>window.hurt=1</script><img src=x onerror=window.hurt=1>\"'>";

#[test]
fn hostile_output_is_shown_harmlessly() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let long = "x".repeat(1_000_000);
    let text = format!(
        "{SCRIPT}\n\u{1b}]0;title\u{7}after a title\n\u{1b}]8;;javascript:alert(1)\u{7}link\u{1b}]8;;\u{7}\n\u{1b}]never ends\nnot hidden\n\
         \u{1b}P{{dcs\u{1b}\\gone\n\u{1b}[31;1mred\u{1b}[0m \u{1b}[38;5;22mdark\u{1b}[0m \u{1b}[48;2;255;255;0mbright\u{1b}[0m\n\
         \u{1b}[2J\u{1b}[H\u{1b}[?25lcursor\n\u{202e}txet\u{200f}\nnul\0nul\n{long}\nlast\n"
    );
    agent.output(
        &id,
        &[
            chunk("stdout", 0, &text),
            bytes_chunk("stderr", 0, b"\xff\xfe bad\n"),
        ],
    );
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.getElementById('log').textContent.includes('last')");
    let lines = browser.js("[...document.querySelectorAll('.l[data-n]')].map((l) => l.textContent).filter((t) => t.length < 200)");
    let wanted = json!([
        SCRIPT,
        "after a title",
        "link",
        "",
        "not hidden",
        "gone",
        "red dark bright",
        "cursor",
        "⟨U+202E⟩txet⟨U+200F⟩",
        "nulnul",
        "last",
        "\u{fffd}\u{fffd} bad"
    ]);
    assert_eq!(lines, wanted);
    assert_eq!(
        browser.js("document.querySelectorAll('.lines script, .lines img, .lines a').length"),
        0
    );
    assert_eq!(browser.js("[...document.querySelectorAll('.l')].map((l) => l.textContent.length).reduce((a, b) => Math.max(a, b))"), 4000);
    assert_eq!(
        browser.js("document.documentElement.scrollWidth <= innerWidth"),
        true,
        "the page stays within the window"
    );
    assert_eq!(browser.js("window.hurt ?? null"), json!(null));
    browser.js(
        "scrollTo(0, document.querySelector('.l').getBoundingClientRect().top + scrollY - 200)",
    );
    browser.view("hostile-output");
    browser.is_content();
}

#[test]
fn hostile_names_and_params_are_shown_harmlessly() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let about = format!("{SCRIPT} \u{202e}");
    let preset = json!({"name": "evil", "title": SCRIPT, "description": about, "targets": ["any"],
        "params": {"text": {"type": "string", "description": SCRIPT, "default": SCRIPT}},
        "steps": [{"name": "x", "run": "true"}]});
    write_preset(&server.presets_dir(), "evil", &preset.to_string());
    let body = json!({"instance": "one", "hostname": SCRIPT, "agentVersion": SCRIPT, "os": {"id": "x", "prettyName": SCRIPT}});
    agent.heartbeat(&body).ok();
    let id = admin.queue_with(
        "node-1",
        "evil",
        json!({"text": format!("{SCRIPT}\u{202e}\n</textarea>")}),
    );
    agent.claim();
    agent
        .complete(
            &id,
            &json!({"exitCode": 1, "errorMsg": format!("{SCRIPT}\u{202e}")}),
        )
        .ok();
    let browser = Browser::of(&server, &admin);
    let again = format!("/presets/evil?from={id}");
    let job = format!("/jobs/{id}");
    for path in [
        "/",
        "/nodes",
        "/nodes/node-1",
        "/presets",
        "/presets/evil",
        &again,
        "/jobs",
        &job,
        "/audit",
        "/jobs?node=%22%3E%3Cscript%3E",
    ] {
        browser.open(path);
        browser.until("document.readyState === 'complete'");
        assert_eq!(browser.js("window.hurt ?? null"), json!(null), "{path}");
        assert_eq!(
            browser.js("document.querySelectorAll('main script, main img').length"),
            0,
            "{path}"
        );
        browser.is_content();
    }
    browser.open(&again);
    assert_eq!(
        browser.js("document.getElementById('f-p.text').value"),
        format!("{SCRIPT}\u{202e}\n</textarea>")
    );
}

#[test]
fn output_is_shown_as_programs_mean_it() {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let long = format!("<{}>", "👨\u{200d}👩\u{200d}👧é".repeat(2_000));
    let text = format!(
        "\u{1b}[58;2;255;0;0mplain\u{1b}[0m\n\u{1b}[4:3;58:5:9mcurly\u{1b}[0m\n\u{1b}[38:2::255:0:0mred\u{1b}[38;5;9mred\u{1b}[0m\n\
         \u{1b}(Bset\u{e}\u{f}\n10%\u{8}\u{8}\u{8}20%\nname\u{1b}[10Gvalue\n日本\rxy\nab\u{1b}[1D\u{1b}[K!\n\
         می\u{200c}خواهم a\u{200d}b\n{long}\nlast\n"
    );
    agent.output(&id, &[chunk("stdout", 0, &text)]);
    agent.succeed(&id);
    let browser = Browser::of(&server, &admin);
    browser.open(&format!("/jobs/{id}"));
    browser.until("document.getElementById('log').textContent.includes('last')");
    let lines = browser.js("[...document.querySelectorAll('.l[data-n]')].map((l) => l.textContent).filter((t) => t.length < 200)");
    let wanted = json!([
        "plain",
        "curly",
        "redred",
        "set",
        "20%",
        "name     value",
        "xy本",
        "a!",
        "می\u{200c}خواهم a⟨U+200D⟩b",
        "last"
    ]);
    assert_eq!(lines, wanted);
    let styles = browser.js(
        "[...document.querySelectorAll('.l span')].map((s) => `${s.textContent} ${s.className}`)",
    );
    assert_eq!(styles, json!(["curly underline", "red f196", "red f9"]));
    // Each row holds whole characters, and they copy as the one line that they are.
    let broken = "[...document.querySelectorAll('.part-of-line')].filter((row) => [...new Intl.Segmenter().segment(row.textContent)]\
        .some(({ segment }) => !['<', '>', 'é', '👨\u{200d}👩\u{200d}👧'].includes(segment))).length";
    assert_eq!(browser.js(broken), 0);
    assert!(
        browser
            .js("document.querySelectorAll('.part-of-line').length")
            .as_u64()
            > Some(2)
    );
    let copied = browser.js(
        "(getSelection().selectAllChildren(document.querySelector('.lines')), getSelection().toString())",
    );
    let copied = copied.as_str().expect("text");
    assert!(
        copied.contains(&format!("b\n{long}\nlast")),
        "{:?}",
        copied.lines().map(str::len).collect::<Vec<_>>()
    );
    for width in [360, 1440] {
        browser.size(width, 900);
        browser.view(&format!("programs-mean-{width}"));
    }
    browser.is_content();
}
