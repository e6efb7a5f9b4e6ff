//! Presets saved in the app: conditions, versions, precedence, and what a job records.

use serde_json::{Value, json};

use crate::harness::{Answer, Call, Field, Person, Server, id_of, write_preset};

fn ready() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    (server, admin)
}

/// A preset whose step prints a line.
fn saying(name: &str, line: &str) -> String {
    format!(
        "name: {name}\ntargets: [any]\nparams:\n  who: {{ type: string, default: world }}\n\
         steps:\n  - name: Say it\n    run: echo {line} \"$who\"\n"
    )
}

fn put(person: &Person, name: &str, source: &str) -> Call {
    let body = json!({"source": source});
    person
        .call("PUT", &format!("/api/presets/{name}"))
        .json(&body)
}

fn create(person: &Person, name: &str, source: &str) -> Answer {
    put(person, name, source)
        .header("if-none-match", "*")
        .gives(201)
}

fn etag(person: &Person, name: &str) -> String {
    let answer = person.get(&format!("/api/presets/{name}")).gives(200);
    answer.header("etag")
}

fn rendered(person: &Person, name: &str) -> String {
    let path = format!("/api/presets/{name}/render");
    person.post(&path, &json!({})).ok().field("script")
}

#[test]
fn a_preset_is_created_changed_and_deleted_under_conditions() {
    let (_server, admin) = ready();
    let first = saying("hi", "one");
    let second = saying("hi", "two");
    put(&admin, "hi", &first).refused(428, "condition_required");
    put(&admin, "hi", &first)
        .header("if-match", "\"1-abc\"")
        .refused(412, "preset_changed");
    let created = create(&admin, "hi", &first);
    let view = created.json();
    assert_eq!(view["origin"], "app");
    assert_eq!(view["version"], 1);
    assert_eq!(view["savedBy"], "admin@example.org");
    assert_eq!(view["source"], first.as_str());
    assert_eq!(view["findings"], json!([]));
    assert_eq!(view["hiddenBy"], Value::Null);
    assert_eq!(view["hides"], json!([]));
    assert_eq!(created.header("etag"), etag(&admin, "hi"));
    let shown = admin.get("/api/presets/hi").ok();
    assert_eq!(shown["version"], 1);
    put(&admin, "hi", &second)
        .header("if-none-match", "*")
        .refused(412, "preset_changed");
    let stale = etag(&admin, "hi");
    let changed = put(&admin, "hi", &second)
        .header("if-match", &stale)
        .gives(200);
    assert_eq!(changed.json()["version"], 2);
    put(&admin, "hi", &first)
        .header("if-match", &stale)
        .refused(412, "preset_changed");
    assert!(rendered(&admin, "hi").contains("echo two"));

    let delete = || admin.delete("/api/presets/hi");
    delete().refused(428, "condition_required");
    delete()
        .header("if-match", &stale)
        .refused(412, "preset_changed");
    delete().header("if-match", &etag(&admin, "hi")).gives(204);
    admin
        .get("/api/presets/hi")
        .refused(404, "preset_not_found");
    delete()
        .header("if-match", "*")
        .refused(404, "preset_not_found");
    put(&admin, "hi", &first)
        .header("if-match", "*")
        .refused(412, "preset_changed");
    // The versions stay, and their numbers continue.
    assert_eq!(create(&admin, "hi", &first).json()["version"], 3);
    let page = admin.get("/api/presets/hi/versions").ok();
    let versions = page.list("versions");
    let numbers: Vec<&Value> = versions.iter().map(|it| &it["version"]).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(page["nextCursor"], Value::Null);
    let page = admin.get("/api/presets/hi/versions?limit=2").ok();
    let cursor = page.field("nextCursor");
    let rest = admin
        .get(&format!("/api/presets/hi/versions?limit=2&cursor={cursor}"))
        .ok();
    assert_eq!(rest.list("versions").len(), 1);
    assert_eq!(rest["nextCursor"], Value::Null);
    let version = admin.get("/api/presets/hi/versions/2").ok();
    assert_eq!(version["source"], second.as_str());
    assert_eq!(version["createdByEmail"], "admin@example.org");
    assert_eq!(version.field("sha256").len(), 64);
    for unknown in [
        "hi/versions/4",
        "hi/versions/0",
        "hi/versions/x",
        "none/versions",
        "none/versions/1",
    ] {
        admin
            .get(&format!("/api/presets/{unknown}"))
            .refused(404, "preset_not_found");
    }
    let audited = admin.audit("action=preset.save");
    assert_eq!(audited.len(), 3, "{audited:?}");
    let entries = admin.get("/api/audit?action=preset.save").ok();
    assert_eq!(entries.list("entries")[0]["detail"], "hi, version 3");
    let entries = admin.get("/api/audit?action=preset.delete").ok();
    assert_eq!(entries.list("entries")[0]["detail"], "hi, version 2");
}

#[test]
fn of_two_people_who_save_at_the_same_time_one_wins() {
    let (_server, admin) = ready();
    create(&admin, "hi", &saying("hi", "one"));
    let tag = etag(&admin, "hi");
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let source = saying("hi", &format!("line{n}"));
            put(&admin, "hi", &source)
                .header("if-match", &tag)
                .send_later()
        })
        .collect();
    let mut statuses: Vec<u16> = calls
        .into_iter()
        .map(|call| call.join().expect("an answer").status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses[..2], [200, 412]);
    assert!(
        statuses[1..]
            .iter()
            .all(|status| matches!(status, 412 | 503)),
        "{statuses:?}"
    );
    let page = admin.get("/api/presets/hi/versions").ok();
    assert_eq!(page.list("versions").len(), 2);
}

#[test]
fn a_folder_hides_the_app_which_hides_the_built_in_ones() {
    let (mut server, admin) = ready();
    let origin = |admin: &Person| {
        let shown = admin.get("/api/presets/system-report").ok();
        (shown.field("origin"), shown["hides"].clone())
    };
    assert_eq!(origin(&admin), ("built-in".to_owned(), json!([])));
    create(&admin, "system-report", &saying("system-report", "mine"));
    assert_eq!(origin(&admin), ("app".to_owned(), json!(["built-in"])));
    let file = saying("system-report", "file");
    write_preset(&server.presets_dir(), "system-report", &file);
    assert_eq!(
        origin(&admin),
        ("override".to_owned(), json!(["app", "built-in"]))
    );
    assert!(rendered(&admin, "system-report").contains("echo file"));
    // A hidden preset is changed by the same tag.
    let changed = put(&admin, "system-report", &saying("system-report", "more"))
        .header("if-match", &etag(&admin, "system-report"))
        .gives(200)
        .json();
    assert_eq!(changed["hiddenBy"], "override");
    std::fs::remove_file(server.presets_dir().join("system-report.yaml")).expect("removes");
    assert!(rendered(&admin, "system-report").contains("echo more"));

    server.set("HYPRBOX_PRESETS", "files");
    server.restart();
    let admin = admin.at_url(server.url());
    assert_eq!(origin(&admin), ("built-in".to_owned(), json!([])));
    let refused = put(&admin, "new", &saying("new", "x"))
        .header("if-none-match", "*")
        .refused(403, "presets_are_files");
    assert!(
        refused.text().contains("HYPRBOX_PRESETS=app"),
        "{refused:?}"
    );
    admin
        .delete("/api/presets/system-report")
        .header("if-match", "*")
        .refused(403, "presets_are_files");
    server.set("HYPRBOX_PRESETS", "app");
    server.restart();
    let admin = admin.at_url(server.url());
    assert_eq!(origin(&admin), ("app".to_owned(), json!(["built-in"])));
    admin
        .delete("/api/presets/system-report")
        .header("if-match", &etag(&admin, "system-report"))
        .gives(204);
    assert_eq!(origin(&admin), ("built-in".to_owned(), json!([])));
}

#[test]
fn errors_of_the_linter_are_a_400_and_warnings_come_with_the_answer() {
    let (_server, admin) = ready();
    let broken = "name: hi\ntargets: [any]\nsteps:\n  - name: One\n    run: |\n      echo \"$nowhere\"\n      echo )\n";
    let refused = put(&admin, "hi", broken)
        .header("if-none-match", "*")
        .refused(400, "preset_invalid");
    let fault = refused.json()["fields"].field("source");
    assert!(fault.contains("line 7, column 7: "), "{fault}");
    let refused = put(&admin, "hi", "name: hi\nwrong: 1\n")
        .header("if-none-match", "*")
        .refused(400, "preset_invalid");
    let fault = refused.json()["fields"].field("source");
    assert!(fault.starts_with("line 2, column 1: "), "{fault}");
    admin.get("/api/presets/hi/versions").gives(404);
    let careless = "name: hi\ntargets: [any]\nparams:\n  unused: { type: string }\nsteps:\n  - { name: One, run: 'true' }\n";
    let saved = create(&admin, "hi", careless).json();
    let finding = &saved.list("findings")[0];
    assert_eq!(
        (&finding["line"], &finding["rule"]),
        (&json!(4), &json!("unused-param"))
    );
    assert_eq!(finding["severity"], "warning");
    let checked = admin
        .post("/api/presets/hi/check", &json!({"source": careless}))
        .ok();
    assert_eq!(checked["findings"], saved["findings"]);
    let body = json!({"source": saying("hi", "draft"), "params": {"who": "me"}});
    let draft = admin.post("/api/presets/hi/render", &body).ok();
    assert!(draft.field("script").contains("readonly who='me'"));
    let body = json!({"source": "name: other\n"});
    admin
        .post("/api/presets/hi/render", &body)
        .refused(400, "preset_invalid");
}

#[test]
fn names_texts_and_roles_that_do_not_fit_are_refused() {
    let (mut server, admin) = ready();
    let save = |name: &str, source: &str| put(&admin, name, source).header("if-none-match", "*");
    for name in [
        "-",
        "A",
        "a_b",
        "%C3%BC",
        "a%2Fb",
        "..%2Fx",
        "a%00b",
        &"a".repeat(101),
    ] {
        let refused = save(name, "x").refused(400, "bad_input");
        assert_eq!(refused.fields(), ["name"], "{name}");
    }
    save("..", "x").gives(404);
    for (source, wanted) in [
        (format!("# {}", "x".repeat(262_143)), "bad_input"),
        ("name: hi\0".to_owned(), "bad_input"),
        (String::new(), "preset_invalid"),
        // A YAML bomb, and depth.
        (bomb(), "preset_invalid"),
        ("[".repeat(200_000), "preset_invalid"),
        ("- ".repeat(100_000), "preset_invalid"),
        (
            format!("name: hi\n\"{}", "a: ".repeat(80_000)),
            "preset_invalid",
        ),
    ] {
        let start = &source[..source.len().min(40)];
        let refused = save("hi", &source).refused(400, wanted);
        assert_eq!(refused.fields(), ["source"], "{start}");
    }
    save("hi", &"x".repeat(9 << 20)).gives(413);
    let bytes = b"{\"source\": \"\xff\"}".to_vec();
    admin
        .call("PUT", "/api/presets/hi")
        .header("if-none-match", "*")
        .body("application/json", bytes)
        .gives(400);
    save("import", &saying("import", "x")).gives(201);
    assert_eq!(admin.get("/api/presets/import").ok()["name"], "import");
    assert!(rendered(&admin, "import").contains("echo x"));
    let tag = etag(&admin, "import");
    admin
        .delete("/api/presets/import")
        .header("if-match", &tag)
        .gives(204);
    let (viewer, operator) = (server.person("v", "VIEWER"), server.person("o", "OPERATOR"));
    for person in [&viewer, &operator] {
        put(person, "hi", &saying("hi", "x"))
            .header("if-none-match", "*")
            .refused(403, "forbidden");
        let script = json!({"script": "true", "nodes": ["n1"]});
        person.post("/api/exec", &script).refused(403, "forbidden");
    }
    let script = json!({"script": "echo hi\n"});
    viewer
        .post("/api/presets/import", &script)
        .refused(403, "forbidden");
    operator.post("/api/presets/import", &script).gives(200);
    let draft = json!({"source": saying("hi", "x")});
    viewer
        .post("/api/presets/hi/render", &draft)
        .refused(403, "forbidden");
}

fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    text
}

#[test]
fn a_job_records_the_version_that_it_was_rendered_from() {
    let (_server, admin) = ready();
    create(&admin, "hi", &saying("hi", "one"));
    let first = admin.queue_with("n1", "hi", json!({}));
    put(&admin, "hi", &saying("hi", "two"))
        .header("if-match", &etag(&admin, "hi"))
        .gives(200);
    let second = admin.queue_with("n1", "hi", json!({}));
    let body = json!({"preset": "hi", "nodes": ["n1"]});
    let run = id_of(&admin.post("/api/runs", &body).gives(201).json());
    let of_run = admin.get(&format!("/api/jobs?runId={run}")).ok();
    let version = |id: &str| admin.job(id)["presetVersion"].clone();
    assert_eq!(version(&first), 1);
    assert_eq!(version(&second), 2);
    assert_eq!(of_run.list("jobs")[0]["presetVersion"], 2);
    let other = admin.job(&admin.queue("n1"));
    assert_eq!(
        (&other["presetVersion"], &other["presetCommit"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_job_records_the_commit_of_a_presets_folder_that_is_a_checkout() {
    let (server, admin) = ready();
    let folder = server.presets_dir();
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
            .args(args)
            .current_dir(&folder)
            .output()
            .expect("this test needs git");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    let commit =
        |name: &str| admin.job(&admin.queue_with("n1", name, json!({})))["presetCommit"].clone();
    write_preset(&folder, "hi", &saying("hi", "one"));
    assert_eq!(commit("hi"), Value::Null);
    git(&["init", "--quiet"]);
    git(&["add", "hi.yaml"]);
    git(&["commit", "--quiet", "-m", "one"]);
    let head = git(&["rev-parse", "HEAD"]);
    assert_eq!(commit("hi"), head);
    assert_eq!(commit("note"), format!("{head}-dirty"), "not committed");
    write_preset(&folder, "hi", &saying("hi", "two"));
    assert_eq!(commit("hi"), format!("{head}-dirty"));
    assert_eq!(
        admin.get("/api/presets/hi").ok()["commit"],
        format!("{head}-dirty")
    );
    git(&["checkout", "--quiet", "hi.yaml"]);
    assert_eq!(commit("hi"), head);
    assert_eq!(commit("system-report"), Value::Null);
}
