//! A browser as a person uses it: look, type, press. Every wait is for a condition, with an end.

use std::path::{Path, PathBuf};

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::driver::Driver;
use crate::harness::{FakeAgent, Person, Server, eventually};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// What the driver says of an element whose page was left.
const LEFT: [&str; 2] = ["stale element reference", "does not belong to the document"];

/// A headless Chromium on one server.
pub(crate) struct Browser {
    pub(crate) driver: Driver,
    url: String,
    _profile: TempDir,
}

impl Browser {
    /// One without a session on the server.
    pub(crate) fn on(server: &Server) -> Self {
        Self::with(server, &[])
    }

    /// One in which that person is signed in.
    pub(crate) fn of(server: &Server, person: &Person) -> Self {
        let browser = Self::on(server);
        browser.sign_in(person);
        browser
    }

    /// One in which that person is signed in, and that knows the server by this name: an address in
    /// a network of machines, which is not a secure context without https.
    pub(crate) fn at_host(server: &Server, host: &str, person: &Person) -> Self {
        let rule = format!("--host-resolver-rules=MAP {host} 127.0.0.1");
        let mut browser = Self::start(server, &[rule.as_str()], &[]);
        browser.url = server.url().replace("127.0.0.1", host);
        browser.sign_in(person);
        browser
    }

    /// One with more settings.
    pub(crate) fn with(server: &Server, more: &[(&str, Value)]) -> Self {
        Self::start(server, &[], more)
    }

    fn start(server: &Server, flags: &[&str], more: &[(&str, Value)]) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut options = json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=en-GB",
            "--force-color-profile=srgb", format!("--user-data-dir={}", profile.path().display()),
        ]});
        let args = options["args"].as_array_mut().expect("arguments");
        args.extend(flags.iter().map(|flag| json!(flag)));
        for (name, value) in more {
            options[*name] = value.clone();
        }
        let driver = Driver::start(&json!({
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
            "unhandledPromptBehavior": "ignore",
        }));
        let browser = Self {
            driver,
            url: server.url().to_owned(),
            _profile: profile,
        };
        browser.size(1200, 900);
        browser
    }

    /// Gives the browser that person's session.
    pub(crate) fn sign_in(&self, person: &Person) {
        self.driver.devtools(
            "Network.setCookie",
            json!({"name": "hb_token", "value": person.token, "url": self.url, "httpOnly": true, "sameSite": "Lax"}),
        );
    }

    /// The window's size, in CSS pixels.
    pub(crate) fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.driver
            .devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// The system's colours: `light` or `dark`.
    pub(crate) fn colours(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.driver.devtools("Emulation.setEmulatedMedia", features);
    }

    /// Goes to a path of the server, or to a whole address.
    #[track_caller]
    pub(crate) fn open(&self, address: &str) {
        let url = if address.starts_with('/') {
            format!("{}{address}", self.url)
        } else {
            address.to_owned()
        };
        self.driver
            .post("/url", &json!({"url": url}))
            .unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Path, query and fragment of where it is.
    pub(crate) fn path(&self) -> String {
        let url = self.driver.get("/url").expect("an address");
        let url = url.as_str().expect("text");
        url.strip_prefix(&self.url).unwrap_or(url).to_owned()
    }

    /// What a JavaScript expression gives.
    #[track_caller]
    pub(crate) fn js(&self, expression: &str) -> Value {
        let body = json!({"script": format!("return {expression}"), "args": []});
        self.driver
            .post("/execute/sync", &body)
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Runs a script as the developer tools do: the page's policy does not apply.
    #[track_caller]
    pub(crate) fn evaluate(&self, script: &str) {
        let params = json!({"expression": script});
        let done = self.driver.devtools("Runtime.evaluate", params);
        assert!(done.get("exceptionDetails").is_none(), "{done}");
    }

    /// Waits until a JavaScript expression gives something true; what it gave. A page that is being
    /// left has no answer.
    #[track_caller]
    pub(crate) fn until(&self, expression: &str) -> Value {
        let body = json!({"script": format!("return {expression}"), "args": []});
        eventually(expression, || {
            let value = self.driver.post("/execute/sync", &body).ok()?;
            let is_true = !matches!(&value, Value::Null | Value::Bool(false))
                && value != json!(0)
                && value != json!("");
            is_true.then_some(value)
        })
    }

    /// Waits until the page shows these words. What is far out of sight counts as not shown.
    #[track_caller]
    pub(crate) fn see(&self, words: &str) {
        let words = json!(words);
        self.until(&format!("document.body.innerText.includes({words})"));
    }

    /// What the page shows now.
    pub(crate) fn shown(&self) -> String {
        self.js("document.body.innerText")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The text of the first element that matches.
    #[track_caller]
    pub(crate) fn text(&self, css: &str) -> String {
        let css = json!(css);
        self.until(&format!("document.querySelector({css})"));
        self.js(&format!("document.querySelector({css}).textContent.trim()"))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    fn element(&self, using: &str, value: &str) -> String {
        let body = json!({"using": using, "value": value});
        eventually(value, || {
            let found = self.driver.post("/element", &body).ok()?;
            Some(found[ELEMENT].as_str()?.to_owned())
        })
    }

    /// Types into a field, in place of what is there.
    #[track_caller]
    pub(crate) fn fill(&self, css: &str, text: &str) {
        let id = self.element("css selector", css);
        self.driver
            .post(&format!("/element/{id}/clear"), &json!({}))
            .unwrap_or_else(|error| panic!("{css}: {error}"));
        self.driver
            .post(&format!("/element/{id}/value"), &json!({"text": text}))
            .unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Chooses an option of a select.
    #[track_caller]
    pub(crate) fn choose(&self, css: &str, value: &str) {
        let option = format!("{css} option[value={}]", json!(value));
        self.click("css selector", &option);
    }

    /// Presses the button, link or summary that says exactly this.
    #[track_caller]
    pub(crate) fn press(&self, words: &str) {
        let xpath =
            format!("//*[self::button or self::a or self::summary][normalize-space()='{words}']");
        self.click("xpath", &xpath);
    }

    /// Clicks what is found; once more where the page was left between the two, with nothing
    /// clicked.
    #[track_caller]
    fn click(&self, using: &str, value: &str) {
        eventually(value, || {
            let id = self.element(using, value);
            let clicked = self
                .driver
                .post(&format!("/element/{id}/click"), &json!({}));
            match clicked {
                Ok(_) => Some(()),
                Err(error) if LEFT.iter().any(|left| error.contains(left)) => None,
                Err(error) => panic!("{value}: {error}"),
            }
        });
    }

    /// Sends keys to whatever has the focus.
    pub(crate) fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({"type": "keyDown", "value": key}),
                    json!({"type": "keyUp", "value": key}),
                ]
            })
            .collect();
        let body = json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]});
        self.driver.post("/actions", &body).expect("keys");
    }

    /// Presses a key while Ctrl is held.
    pub(crate) fn ctrl(&self, key: &str) {
        const CTRL: &str = "\u{e009}";
        let of = |kind: &str, key: &str| json!({"type": kind, "value": key});
        let actions = [
            of("keyDown", CTRL),
            of("keyDown", key),
            of("keyUp", key),
            of("keyUp", CTRL),
        ];
        let body = json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]});
        self.driver.post("/actions", &body).expect("keys");
    }

    /// Says yes to what the page asks.
    #[track_caller]
    pub(crate) fn say_yes(&self) {
        eventually("a question", || {
            self.driver.post("/alert/accept", &json!({})).ok()
        });
    }

    /// Keeps a picture of the whole page in `tests/output/`.
    pub(crate) fn picture(&self, name: &str) {
        self.picture_in(&output(), name);
    }

    /// Keeps a picture of the whole page in this folder.
    pub(crate) fn picture_in(&self, folder: &Path, name: &str) {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.driver.devtools("Page.captureScreenshot", params);
        keep(folder, name, &picture["data"]);
    }

    /// Keeps a picture of what is in the window.
    pub(crate) fn view(&self, name: &str) {
        let picture = self
            .driver
            .devtools("Page.captureScreenshot", json!({"format": "png"}));
        keep(&output(), name, &picture["data"]);
    }

    /// What the browser has complained of since the last call: errors, warnings, refused loads.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self
            .driver
            .post("/se/log", &json!({"type": "browser"}))
            .expect("a log");
        let is_bad = |entry: &&Value| entry["level"] == "SEVERE" || entry["level"] == "WARNING";
        let entries = log.as_array().expect("entries").iter().filter(is_bad);
        entries
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Fails if the browser has complained of anything.
    #[track_caller]
    pub(crate) fn is_content(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "at {}: {complaints:#?}", self.path());
    }

    /// Runs this on every page before anything of the page's own.
    pub(crate) fn on_every_page(&self, script: &str) {
        let params = json!({"source": script});
        self.driver
            .devtools("Page.addScriptToEvaluateOnNewDocument", params);
    }

    /// Opens another tab and goes there; gives its handle.
    #[track_caller]
    pub(crate) fn new_tab(&self) -> String {
        let opened = self
            .driver
            .post("/window/new", &json!({"type": "tab"}))
            .expect("a tab");
        let handle = opened["handle"].as_str().expect("a handle").to_owned();
        self.to_tab(&handle);
        handle
    }

    /// Opens a window beside the others, which stay visible, and goes there; gives its handle.
    #[track_caller]
    pub(crate) fn new_window(&self) -> String {
        let opened = self
            .driver
            .post("/window/new", &json!({"type": "window"}))
            .expect("a window");
        let handle = opened["handle"].as_str().expect("a handle").to_owned();
        self.look_at(&handle);
        handle
    }

    /// Turns to a window without bringing it to the front.
    #[track_caller]
    pub(crate) fn look_at(&self, handle: &str) {
        self.driver
            .post("/window", &json!({"handle": handle}))
            .expect("a window");
    }

    /// Closes the window that it looks at.
    #[track_caller]
    pub(crate) fn close_window(&self) {
        self.driver
            .send(reqwest::Method::DELETE, "/window", None)
            .expect("closes");
    }

    /// Measures from now on what the page's own thread works, by the time that it has the
    /// processor.
    pub(crate) fn measure(&self) {
        self.driver.devtools("Performance.disable", json!({}));
        let params = json!({"timeDomain": "threadTicks"});
        self.driver.devtools("Performance.enable", params);
    }

    /// What it has worked since it was measured, in words.
    pub(crate) fn work(&self) -> String {
        let found = self.driver.devtools("Performance.getMetrics", json!({}));
        let metrics = found["metrics"].as_array().expect("metrics");
        let millis = |name: &str| {
            let metric = metrics.iter().find(|metric| metric["name"] == name);
            metric
                .and_then(|metric| metric["value"].as_f64())
                .unwrap_or_default()
                * 1_000.0
        };
        format!(
            "{:.0} ms, of these scripts {:.0}, styles {:.0}, layout {:.0}",
            millis("TaskDuration"),
            millis("ScriptDuration"),
            millis("RecalcStyleDuration"),
            millis("LayoutDuration")
        )
    }

    /// Kills the process that draws the window it looks at.
    pub(crate) fn crash(&self) {
        // The answer is that the tab has crashed.
        let params = json!({"cmd": "Page.crash", "params": {}});
        let _crashed = self.driver.post("/goog/cdp/execute", &params);
    }

    /// Brings a tab to the front.
    #[track_caller]
    pub(crate) fn to_tab(&self, handle: &str) {
        self.driver
            .post("/window", &json!({"handle": handle}))
            .expect("a tab");
        self.driver.devtools("Page.bringToFront", json!({}));
    }

    /// Presses Tab until the focus is on what says exactly this.
    #[track_caller]
    pub(crate) fn tab_to(&self, words: &str) {
        let words = json!(words);
        self.tab_until(&format!(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim() === {words}"
        ));
    }

    /// Presses Tab until this holds.
    #[track_caller]
    pub(crate) fn tab_until(&self, condition: &str) {
        for _ in 0..60 {
            self.keys("\u{e004}");
            if self.js(condition) == true {
                return;
            }
        }
        panic!("Tab does not lead to where {condition}");
    }

    /// Closes or opens the eyes of the tab: `document.hidden`, as when another tab is in front.
    pub(crate) fn hidden(&self, hidden: bool) {
        self.js(&format!(
            "(Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}}), \
             document.dispatchEvent(new Event('visibilitychange')))"
        ));
    }
}

/// The folder for pictures.
fn output() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/output")
}

fn keep(folder: &Path, name: &str, data: &Value) {
    std::fs::create_dir_all(folder).expect("a folder");
    let png = base64::engine::general_purpose::STANDARD
        .decode(data.as_str().expect("a picture"))
        .expect("base64");
    std::fs::write(folder.join(format!("{name}.png")), png).expect("writes");
}

/// Where most tests of a running job begin: its server, its ADMIN, the agent that has claimed it on
/// `node-1`, its id, and the ADMIN's browser.
pub(crate) fn on_a_running_job() -> (Server, Person, FakeAgent, String, Browser) {
    let mut server = Server::start();
    let admin = server.admin();
    let agent = admin.add_node("node-1");
    let id = admin.queue("node-1");
    agent.claim();
    let browser = Browser::of(&server, &admin);
    (server, admin, agent, id, browser)
}
