//! Every page of a team's server, at three widths, light and dark. axe-core must find no violation.
//! If `HYPRBOX_TEST_PICTURES` names a folder, pictures of all pages are saved there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::browser::Browser;
use crate::harness::Server;
use crate::looks;
use crate::team::Team;

/// The source of axe-core.
static AXE: LazyLock<String> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/axe-core");
    let output = Command::new(&script).output().expect("tests/axe-core");
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/axe-core failed: {error}");
    std::fs::read_to_string(&path).expect("axe-core")
});

/// Every rule of WCAG 2.2 at A and AA, and the best practices. What a violation is, in short.
const RUN_AXE: &str = "axe.run(document, {resultTypes: ['violations']}).then((found) => { \
    window.axeFound = found.violations.map((one) => `${one.id} (${one.impact}): ${one.nodes.slice(0, 4).map((node) => node.html.slice(0, 160) + ' ' + node.target.join(' ')).join(' | ')}`); \
    }, (error) => { window.axeFound = [`axe failed: ${error}`]; })";

/// The violations that axe-core finds in what the page shows now.
fn violations(browser: &Browser) -> Vec<String> {
    // Through the developer tools, to which the page's Content-Security-Policy does not apply.
    browser.evaluate(&AXE);
    browser.evaluate(&format!("delete window.axeFound; {RUN_AXE}"));
    let found = browser.until("window.axeFound");
    let found = found.as_array().expect("a list of violations");
    found.iter().map(Value::to_string).collect()
}

/// A page: whose browser shows it, the picture's name and its address.
type Stop<'t> = (&'t Browser, &'static str, String);

#[test]
fn axe_finds_no_violation_on_any_page() {
    let folder = std::env::var_os("HYPRBOX_TEST_PICTURES").map(PathBuf::from);
    let team = Team::start();
    let mut new = Server::start();
    let empty = Server::start();
    let newcomer = new.admin();
    let [admin, operator, outside, first, starting] = [
        Browser::of(&team.server, &team.admin),
        Browser::of(&team.server, &team.operator),
        Browser::on(&team.server),
        Browser::on(&empty),
        Browser::of(&new, &newcomer),
    ];
    let ann = &team.operator.id;
    let job = |id: &str| format!("/jobs/{id}");
    let stops: Vec<Stop<'_>> = vec![
        (&admin, "overview", "/".to_owned()),
        (&admin, "overview-all", "/?scope=all".to_owned()),
        (&operator, "overview-operator", "/".to_owned()),
        (&admin, "nodes", "/nodes".to_owned()),
        (&admin, "node", "/nodes/build-01?scope=all".to_owned()),
        (&admin, "node-offline", "/nodes/lab-08".to_owned()),
        (&admin, "node-quiet", "/nodes/garage-pi".to_owned()),
        (&admin, "presets", "/presets".to_owned()),
        (&admin, "preset", "/presets/deploy-web".to_owned()),
        (&admin, "preset-form", "/presets/server-light".to_owned()),
        (&admin, "preset-new", "/presets/-/new".to_owned()),
        (&admin, "preset-import", "/presets/-/import".to_owned()),
        (&admin, "preset-edit", "/presets/greet/edit".to_owned()),
        (
            &admin,
            "preset-versions",
            "/presets/greet/versions".to_owned(),
        ),
        (
            &admin,
            "preset-version",
            "/presets/greet/versions/1".to_owned(),
        ),
        (&admin, "exec", "/exec".to_owned()),
        (&admin, "run-form", "/presets/deploy-web?on=many".to_owned()),
        (&admin, "jobs", "/jobs".to_owned()),
        (&admin, "jobs-all", "/jobs?scope=all".to_owned()),
        (&admin, "job-succeeded", job(&team.succeeded)),
        (&admin, "job-failed", job(&team.failed)),
        (&admin, "job-running", job(&team.running)),
        (&admin, "job-queued", job(&team.queued)),
        (
            &admin,
            "job-plain",
            job(&format!("{}?view=plain", team.failed)),
        ),
        (&admin, "compare", job(&format!("{}/compare", team.failed))),
        (&admin, "job-colours", job(&team.colours)),
        (&admin, "runs", "/runs".to_owned()),
        (&admin, "run", format!("/runs/{}", team.run)),
        (&admin, "schedules", "/schedules".to_owned()),
        (
            &admin,
            "schedule-new",
            "/schedules/new?preset=note".to_owned(),
        ),
        (&admin, "schedule", format!("/schedules/{}", team.schedule)),
        (
            &admin,
            "schedule-edit",
            format!("/schedules/{}/edit", team.schedule),
        ),
        (&admin, "secrets", "/secrets".to_owned()),
        (&admin, "drift", "/drift".to_owned()),
        (&admin, "drift-again", "/drift/again".to_owned()),
        (&admin, "channels", "/channels".to_owned()),
        (&admin, "channel-new", "/channels/new?kind=email".to_owned()),
        (&admin, "channel", format!("/channels/{}", team.channel)),
        (&admin, "account", "/account".to_owned()),
        (&admin, "users", "/users".to_owned()),
        (&admin, "user-tokens", format!("/users/{ann}/tokens")),
        (&admin, "audit", "/audit".to_owned()),
        (&admin, "api", "/docs/api".to_owned()),
        (&admin, "error", "/nowhere".to_owned()),
        (&outside, "login", "/login".to_owned()),
        (&first, "setup", "/setup".to_owned()),
        (&starting, "first-overview", "/".to_owned()),
        (&starting, "first-nodes", "/nodes".to_owned()),
    ];
    for route in routes() {
        let is_here = stops.iter().any(|(_, _, address)| is_at(address, route));
        assert!(is_here, "nobody looks at {route}: give it a stop");
    }
    let mut faults: Vec<String> = Vec::new();
    for scheme in ["light", "dark"] {
        for width in [1440, 720, 360] {
            if width == 720 && folder.is_none() {
                continue;
            }
            team.beat();
            for browser in [&admin, &operator, &outside, &first, &starting] {
                browser.colours(scheme);
                browser.size(width, 900);
            }
            let mut visit = |browser: &Browser, name: &str| {
                let name = format!("{name}-{width}-{scheme}");
                browser.until(
                    "document.readyState === 'complete' && (!document.getElementById('log') || document.querySelector('.l, .part') || document.querySelector('[data-state=queued]'))",
                );
                if let Some(folder) = &folder {
                    browser.picture_in(folder, &name);
                }
                let found = [looks::faults(browser), violations(browser)].concat();
                faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
            };
            for (browser, name, address) in &stops {
                browser.open(address);
                visit(browser, name);
            }
            admin.open("/");
            admin.ctrl("k");
            admin.until("document.querySelector('#palette [role=option]')");
            visit(&admin, "palette");
            admin.keys("\u{e00c}");
            admin.until("!document.activeElement.closest('dialog')");
            admin.keys("?");
            admin.until("document.getElementById('keys')?.open");
            visit(&admin, "keys");
            starting.open("/nodes");
            starting.fill("#f-id", "attic-pi");
            starting.press("Add");
            starting.see("Paste this on");
            visit(&starting, "node-added");
            // A page whose node is gone would complain.
            starting.open("about:blank");
            newcomer.delete("/api/nodes/attic-pi").gives(204);
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    for browser in [&operator, &outside, &first, &starting] {
        browser.is_content();
    }
    let complaints = admin.complaints();
    assert!(
        complaints.iter().all(|line| line.contains("/nowhere")),
        "{complaints:#?}"
    );
}

/// The addresses of all pages, as the dashboard's own list of routes has them.
fn routes() -> Vec<&'static str> {
    // A link that is used up by a look, a part of a page, and files.
    const NO_PAGES: [&str; 5] = [
        "/once/{code}",
        "/runs/{id}/rows",
        "/palette",
        "/presets/{name}/nodes",
        "/assets/{version}/{*file}",
    ];
    let source = include_str!("../../src/dashboard/mod.rs");
    let calls = source.split(".route(").skip(1);
    let routes: Vec<&str> = calls
        .filter_map(|call| {
            let (_, rest) = call.split_once('"')?;
            let (route, handlers) = rest.split_once('"')?;
            let is_page = handlers.contains("get(") && !NO_PAGES.contains(&route);
            is_page.then_some(route)
        })
        .collect();
    assert!(routes.len() > 10, "{routes:?}");
    routes
}

/// Whether an address is one of a route's: `/jobs/{id}`.
fn is_at(address: &str, route: &str) -> bool {
    let path = address.split('?').next().unwrap_or_default();
    let (parts, wanted): (Vec<_>, Vec<_>) = (path.split('/').collect(), route.split('/').collect());
    let fits = |(part, wanted): (&&str, &&str)| wanted.starts_with('{') || part == wanted;
    parts.len() == wanted.len() && parts.iter().zip(&wanted).all(fits)
}
