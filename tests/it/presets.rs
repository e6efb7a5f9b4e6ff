//! Presets: what is listed, what would be frozen, files that change under a running server, and the
//! script that stays as it was.

use serde_json::{Value, json};

use crate::harness::{Field, Person, Server, eventually, write_preset};

fn ready() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    (server, admin)
}

/// A preset whose one step says a line.
fn saying(name: &str, line: &str) -> String {
    format!(
        "name: {name}\ntitle: Says a line\ndescription: For tests.\ntargets: [any]\nrisk: low\ntimeout: 10m\n\
         params:\n  who: {{ type: string, default: world }}\n\
         steps:\n  - name: Say it\n    run: |\n      echo {line} \"$who\"\n"
    )
}

/// The broken files that the list names.
fn broken(admin: &Person) -> Vec<String> {
    let list = admin.get("/api/presets").ok();
    let errors = list.list("errors");
    errors.iter().map(|error| error.field("file")).collect()
}

#[test]
fn presets_are_listed_with_all_that_a_form_needs() {
    let (server, admin) = ready();
    write_preset(
        &server.presets_dir(),
        "server-light",
        &saying("server-light", "mine"),
    );
    let list = admin.get("/api/presets").ok();
    assert_eq!(list["errors"], json!([]));
    let presets = list.list("presets");
    let names: Vec<String> = presets.iter().map(|preset| preset.field("name")).collect();
    for name in ["note", "shell", "system-report", "server-light"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        let shown = admin.get(&format!("/api/presets/{name}")).ok();
        assert!(presets.contains(&shown), "{name}");
    }
    let origin = |name: &str| {
        admin
            .get(&format!("/api/presets/{name}"))
            .ok()
            .field("origin")
    };
    assert_eq!(origin("note"), "folder");
    assert_eq!(origin("system-report"), "built-in");
    assert_eq!(origin("server-light"), "override");
    let note = admin.get("/api/presets/note").ok();
    assert_eq!(note["title"], "Says a text");
    assert_eq!(note["targets"], json!(["any"]));
    assert_eq!(note["risk"], "low");
    assert_eq!(note["timeoutSeconds"], 600);
    assert!(note.field("source").starts_with("name: note\n"), "{note}");
    let params = note.list("params");
    let names: Vec<String> = params.iter().map(|param| param.field("name")).collect();
    assert_eq!(names, ["text", "port", "count", "loud", "colour", "extra"]);
    assert_eq!(params[4]["values"], json!(["red", "green"]));
    assert_eq!(params[1]["default"], 22);
    admin
        .get("/api/presets/none")
        .refused(404, "preset_not_found");
    admin.get("/api/presets/..%2Fnote").gives(404);
}

#[test]
fn the_rendered_script_is_the_frozen_script() {
    let (mut server, admin) = ready();
    admin.add_node("n1");
    for params in [
        json!({}),
        json!({"text": "it's \"quoted\" $(rm -rf /) `x` \\ \u{e9}\nnext"}),
        json!({"port": 8080, "loud": true, "colour": "green", "extra": ""}),
    ] {
        let rendered = admin
            .post("/api/presets/note/render", &json!({"params": params}))
            .ok();
        let again = admin
            .post("/api/presets/note/render", &json!({"params": params}))
            .ok();
        assert_eq!(rendered, again);
        let job = admin.job(&admin.queue_with("n1", "note", params));
        assert_eq!(job["script"], rendered["script"]);
        assert_eq!(job["scriptSha256"], rendered["scriptSha256"]);
    }
    let render = |body: Value| admin.post("/api/presets/note/render", &body);
    let fields = render(json!({"params": {"port": "22", "none": 1}}))
        .gives(400)
        .fields();
    assert_eq!(fields, ["params.none", "params.port"]);
    assert_eq!(render(json!({"param": {}})).gives(400).fields(), ["param"]);
    admin
        .post("/api/presets/none/render", &json!({}))
        .refused(404, "preset_not_found");
    let vera = server.person("vera", "VIEWER");
    vera.post("/api/presets/note/render", &json!({})).gives(200);
}

#[test]
fn a_file_that_changes_is_read_without_a_restart() {
    let (server, admin) = ready();
    admin.add_node("n1");
    let folder = server.presets_dir();
    admin.get("/api/presets/fresh").gives(404);
    write_preset(&folder, "fresh", &saying("fresh", "one"));
    let script = |admin: &Person| {
        let answer = admin.post("/api/presets/fresh/render", &json!({})).send();
        (answer.status == 200).then(|| answer.json().field("script"))
    };
    let first = eventually("the new file", || script(&admin));
    assert!(first.contains("echo one"), "{first}");
    write_preset(&folder, "fresh", &saying("fresh", "two"));
    eventually("the change", || {
        script(&admin).filter(|text| text.contains("echo two"))
    });
    std::fs::remove_file(folder.join("fresh.yaml")).expect("removes");
    eventually("the file to be gone", || {
        script(&admin).is_none().then_some(())
    });
    let body = json!({"preset": "fresh", "nodeId": "n1"});
    admin
        .post("/api/jobs", &body)
        .refused(404, "preset_not_found");
}

#[test]
fn a_broken_file_is_named_and_the_last_good_version_stays() {
    let (mut server, admin) = ready();
    admin.add_node("n1");
    let folder = server.presets_dir();
    write_preset(&folder, "fresh", &saying("fresh", "good"));
    eventually("the new file", || {
        (admin.get("/api/presets/fresh").send().status == 200).then_some(())
    });
    write_preset(&folder, "fresh", "name: fresh\ntitle: [unclosed\n");
    write_preset(&folder, "never", "name: other-name\n");
    eventually("the broken files to be listed", || {
        (broken(&admin) == ["fresh.yaml", "never.yaml"]).then_some(())
    });
    let errors = admin.get("/api/presets").ok().list("errors");
    for error in &errors {
        assert!(!error.field("message").is_empty(), "{error}");
    }
    assert!(errors[0]["line"].is_u64(), "{}", errors[0]);
    eventually("the log to say so", || {
        (server.logged(&["fresh.yaml"]) && server.logged(&["never.yaml"])).then_some(())
    });
    let id = admin.queue_with("n1", "fresh", json!({}));
    assert!(admin.job(&id).field("script").contains("echo good"));
    admin.get("/api/presets/never").gives(404);
    // After a restart there is no last good version any more; the server runs all the same.
    server.restart();
    let admin = server.admin();
    admin.get("/api/presets/fresh").gives(404);
    assert_eq!(broken(&admin), ["fresh.yaml", "never.yaml"]);
    admin.get("/api/presets/note").ok();
    write_preset(&folder, "fresh", &saying("fresh", "repaired"));
    std::fs::remove_file(folder.join("never.yaml")).expect("removes");
    eventually("the repaired file", || {
        broken(&admin).is_empty().then_some(())
    });
    admin.get("/api/presets/fresh").ok();
}

#[test]
fn a_folder_that_goes_away_stops_nothing() {
    let (server, admin) = ready();
    let folder = server.presets_dir();
    let aside = folder.with_file_name("aside");
    std::fs::rename(&folder, &aside).expect("renames");
    eventually("the folder to be missed", || {
        (!broken(&admin).is_empty()).then_some(())
    });
    admin.get("/api/presets/system-report").ok();
    std::fs::rename(&aside, &folder).expect("renames");
    eventually("the folder to be back", || {
        broken(&admin).is_empty().then_some(())
    });
    admin.get("/api/presets/note").ok();
}

#[test]
fn a_preset_edited_between_queue_and_claim_changes_nothing_that_was_queued() {
    let (mut server, admin) = ready();
    let agent = admin.add_node("n1");
    let folder = server.presets_dir();
    write_preset(&folder, "apply", &saying("apply", "before"));
    let rendered = eventually("the new file", || {
        let answer = admin.post("/api/presets/apply/render", &json!({})).send();
        (answer.status == 200).then(|| answer.json().field("script"))
    });
    let old = admin.queue_with("n1", "apply", json!({"who": "you"}));
    let frozen = admin.job(&old).field("script");
    assert!(frozen.contains("echo before") && !rendered.is_empty());

    write_preset(&folder, "apply", &saying("apply", "after"));
    server.restart();
    let (admin, agent) = (server.admin(), agent.at(&server));
    let new = admin.queue_with("n1", "apply", json!({"who": "you"}));
    let claimed = agent.claim();
    assert_eq!(
        (claimed.field("id"), claimed.field("script")),
        (old.clone(), frozen.clone())
    );
    assert_eq!(admin.job(&old).field("script"), frozen);
    assert!(admin.job(&new).field("script").contains("echo after"));

    let diff = admin.get(&format!("/api/jobs/{old}/diff/{new}")).gives(200);
    assert!(
        diff.header("content-type").starts_with("text/x-diff"),
        "{diff:?}"
    );
    let text = diff.text();
    let changed: Vec<(char, &str)> = text
        .lines()
        .filter(|line| !line.starts_with("---") && !line.starts_with("+++"))
        .filter_map(|line| Some((line.chars().next()?, line.get(1..)?.trim())))
        .filter(|(sign, _)| *sign == '-' || *sign == '+')
        .collect();
    let expected = [('-', "echo before \"$who\""), ('+', "echo after \"$who\"")];
    assert_eq!(changed, expected, "{diff:?}");
    let same = admin.get(&format!("/api/jobs/{old}/diff/{old}")).gives(200);
    assert_eq!(same.text(), "");
    let unknown = "00000000-0000-7000-8000-000000000000";
    admin
        .get(&format!("/api/jobs/{old}/diff/{unknown}"))
        .gives(404);
    admin
        .get(&format!("/api/jobs/{unknown}/diff/{old}"))
        .gives(404);
}
