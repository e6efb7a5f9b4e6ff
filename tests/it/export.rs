//! The export of a job: one file that has everything, needs nothing and does nothing.

use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Field, Person, Server, bytes_chunk, chunk, with_node, with_operator};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn export(person: &Person, id: &str, query: &str) -> String {
    let path = format!("/api/jobs/{id}/export?{query}");
    let answer = person.get(&path).gives(200);
    String::from_utf8(answer.body).expect("UTF-8")
}

#[test]
fn an_export_has_everything_and_hostile_output_is_text() {
    let (_server, admin, agent) = with_node();
    let hostile =
        "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\u{1b}[31mred\0\u{202e}\r\n";
    let params = json!({"text": "<b>'\"&", "extra": hostile.replace('\0', "")});
    let id = admin.queue_with("n1", "note", params);
    agent.claim();
    agent.say(&id, 0, "==> [1/1] Say it\n");
    let out = [b"==> [1/1] Say it\n", hostile.as_bytes(), b"\xff\xc3"].concat();
    agent.output(&id, &[bytes_chunk("stdout", 17, &out[17..])]);
    agent.output(&id, &[chunk("stderr", 0, "<i>oops</i>\n")]);
    // The rest of a character that was split by the other stream.
    agent.output(&id, &[bytes_chunk("stdout", out.len() as u64, b"\xa9\n")]);
    let out = [&out[..], b"\xa9\n"].concat();
    let end = json!({"exitCode": 3, "errorMsg": "<u>why</u>", "stdoutSha256": sha256(&out),
        "stderrSha256": sha256(b"<i>oops</i>\n")});
    agent.complete(&id, &end).ok();
    let page = export(&admin, &id, "");
    for gone in [
        "<script", "<img", "<b>", "<i>", "<u>", "\0", "\u{1b}", "\u{202e}", "href=", "url(",
        "@import",
    ] {
        assert!(!page.contains(gone), "{gone}: {page}");
    }
    assert!(
        page.contains("default-src &#39;none&#39;; style-src &#39;sha256-"),
        "{page}"
    );
    let job = admin.job(&id);
    let shown = "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;␛[31mred␀⟨U+202E⟩␍\n\u{fffd}";
    for part in [
        id.as_str(),
        "note on n1",
        "FAILED: &lt;u&gt;why&lt;/u&gt; (exit code 3)",
        &admin.email,
        "&lt;b&gt;&#39;&quot;&amp;",
        "printf &#39;%s\\n&#39; &quot;$text&quot;",
        "<td>1</td><td>Say it</td>",
        shown,
        "<span class=\"e\">&lt;i&gt;oops&lt;/i&gt;\n</span>é\n",
        &sha256(&out),
        &job.field("scriptSha256"),
        "verified the agent",
        "ssh-keygen -Y verify",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let whole: Value = serde_json::from_str(&export(&admin, &id, "format=json")).expect("JSON");
    assert_eq!(whole["job"]["id"], job["id"]);
    assert_eq!(whole["script"], job["script"]);
    assert_eq!(whole["outputOmitted"], 0);
    assert_eq!(whole["sha256"]["kept"]["stdout"], sha256(&out));
    assert_eq!(whole["sha256"]["reported"], whole["sha256"]["kept"]);
    assert_eq!(whole["output"][1]["stream"], "stdout");
    assert_eq!(whole["steps"][0]["name"], "Say it");
    admin
        .get(&format!("/api/jobs/{id}/export?format=pdf"))
        .gives(400);
    let queued = admin.queue("n1");
    let page = export(&admin, &queued, "");
    assert!(
        page.contains("QUEUED") && page.contains("not started"),
        "{page}"
    );
}

#[test]
fn the_commands_in_an_export_verify_its_signatures() {
    let (server, admin, _agent) = with_node();
    let id = admin.queue_with("n1", "note", json!({"text": "it's"}));
    let folder = tempfile::tempdir().expect("a folder");
    let run = |command: &str| {
        let output = Command::new("sh")
            .args(["-ec", command])
            .current_dir(folder.path())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}\n{output:?}");
        text
    };
    let envelope = admin.get(&format!("/api/jobs/{id}/envelope")).gives(200);
    std::fs::write(folder.path().join("job"), envelope.body).expect("writes");
    run(
        "ssh-keygen -q -t ed25519 -N '' -C ada@example.org -f key && ssh-keygen -q -Y sign -n hyprbox-job-v1 -f key job",
    );
    let signature = std::fs::read_to_string(folder.path().join("job.sig")).expect("reads");
    let body = json!({"signature": signature, "comment": "ada@example.org"});
    admin
        .post(&format!("/api/jobs/{id}/signatures"), &body)
        .ok();
    let whole: Value = serde_json::from_str(&export(&admin, &id, "format=json")).expect("JSON");
    let signatures = whole.list("signatures");
    let by: Vec<String> = signatures.iter().map(|one| one.field("by")).collect();
    assert_eq!(by, ["server", "person"]);
    let page = export(&admin, &id, "");
    for one in signatures {
        let said = run(&one.field("verify"));
        let words = format!("Good \"hyprbox-job-v1\" signature for {}", one.field("by"));
        assert!(said.starts_with(&words), "{said}");
        assert!(said.contains(&one.field("fingerprint")), "{said}");
        let shown = one
            .field("verify")
            .replace('\'', "&#39;")
            .replace('"', "&quot;");
        let shown = shown.replace('<', "&lt;").replace('>', "&gt;");
        assert!(page.contains(&shown), "{shown}\n{page}");
    }
    drop(server);
}

#[test]
fn output_beyond_ten_mebibytes_is_in_the_hashes() {
    let mut server = Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "16777216")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let line = "0123456789abcde\n";
    let part = line.repeat(1 << 16);
    let mut whole = String::new();
    for _ in 0..12 {
        agent.say(&id, whole.len() as u64, &part);
        whole.push_str(&part);
    }
    let page = export(&admin, &id, "");
    assert_eq!(page.matches(line).count(), 10 << 16);
    assert!(
        page.contains("first 10 MiB. 2,097,152 more bytes"),
        "no words"
    );
    assert!(page.contains(&sha256(whole.as_bytes())), "no hash");
}

#[test]
fn an_export_has_the_rights_of_a_log() {
    let (mut server, ann, agent) = with_operator();
    let admin = server.admin();
    let id = admin.queue("n1");
    agent.claim();
    let path = format!("/api/jobs/{id}/export");
    ann.get(&path).gives(404);
    ann.get(&format!("{path}?scope=all")).gives(200);
    let read = (ann.email.clone(), "job.export".to_owned());
    assert_eq!(admin.audit(&format!("jobId={id}"))[0], read);
    let page = admin.browser("GET", &format!("/jobs/{id}")).gives(200);
    assert!(page.text().contains(&format!("{path}?format=html")));
}
