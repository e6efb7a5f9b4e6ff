//! 200 MB of output while the server is down: tail and counts are exact, and the use of memory and
//! disk is bounded.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Field, Setup, eventually, eventually_within, id_of, write_preset};
use crate::node::Node;
use crate::processes::peak_memory;
use crate::script::{KEPT, digest};
use crate::setting;

/// A stream is written in this many parts, of a million bytes of stdout each.
const PARTS: u64 = 200;
const PART_LINES: u64 = 50_000;
/// `000000123456 out ok\n`
const LINE_BYTES: u64 = 20;
/// The documented size of a stream's spool, and one segment more while the oldest is removed.
const SPOOL_BYTES: u64 = (8 + 1) << 20;
/// The index of the reads: 4 MiB, and the segment that is being written.
const INDEX_BYTES: u64 = (4 << 20) + (512 << 10);
const MEMORY_BYTES: u64 = 32_000_000;

const FLOOD: &str = r#"name: flood
title: Floods
description: For tests.
targets: [any]
risk: low
timeout: 60m
params:
  pause: { type: string, required: true }
  gone:  { type: string, required: true }
  wrote: { type: string, required: true }
  gate:  { type: string, required: true }
steps:
  - name: Flood
    run: |
      until [[ -e $gone ]]; do sleep 0.02; done
      for ((part = 0; part < 200; part++)); do
        seq -f '%012.0f out ok' $((part * 50000 + 1)) $((part * 50000 + 50000))
        seq -f '%012.0f err ok' $((part * 5000 + 1)) $((part * 5000 + 5000)) >&2
        sleep "$pause"
      done
      touch "$wrote"
      until [[ -e $gate ]]; do sleep 0.02; done
      exit 9
"#;

fn size_of(job: &Path, name: &str) -> u64 {
    let entries = std::fs::read_dir(job).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    files
        .map(|entry| entry.metadata().map_or(0, |metadata| metadata.len()))
        .sum()
}

/// Returns the length of a stream with `lines` lines, and the tail that the server keeps of it.
fn tail(lines: u64, word: &str, head: &str) -> (u64, Vec<u8>) {
    let total = lines * LINE_BYTES + head.len() as u64;
    let from = lines.saturating_sub(KEPT as u64 / LINE_BYTES + 2);
    let mut bytes = if from == 0 {
        head.to_owned()
    } else {
        String::new()
    };
    for line in from + 1..=lines {
        bytes.push_str(&format!("{line:012} {word} ok\n"));
    }
    let mut bytes = bytes.into_bytes();
    bytes.drain(..bytes.len().saturating_sub(KEPT));
    (total, bytes)
}

#[test]
fn two_hundred_megabytes_while_the_server_is_down() {
    let outage = Duration::from_secs(setting("HYPRBOX_CHAOS_OUTAGE_SECONDS", 10));
    let setup = Setup::new();
    write_preset(&setup.presets_dir(), "flood", FLOOD);
    let mut server = setup.start();
    let admin = server.admin();
    let node_identity = admin.add_node("n1");
    let faults = std::sync::Arc::new(crate::fault::Faults::new(1, 0));
    let proxy = crate::proxy::Proxy::start("n1", server.address(), &faults);
    let mut node = Node::new(&proxy.url(), &node_identity);
    node.start();
    let file = |name: &str| node.folder().join(name);
    let (gone, wrote, gate) = (file("gone"), file("wrote"), file("gate"));
    let pause = outage.as_secs_f64() / PARTS as f64 / 2.0;
    let params =
        json!({"pause": format!("{pause:.4}"), "gone": gone, "wrote": wrote, "gate": gate});
    let id = admin.queue_with("n1", "flood", params);
    eventually("the script", || {
        (admin.job(&id).count("stdoutBytes") > 0).then_some(())
    });
    server.kill9();
    let began = Instant::now();
    std::fs::write(&gone, "").expect("writes");

    let job = node.state().join("jobs").join(&id);
    let supervisor = node.supervisors()[0];
    let mut largest = [0; 3];
    let patience = outage + Duration::from_secs(240);
    eventually_within(patience, "the script's end and the outage's", || {
        for (largest, name) in largest.iter_mut().zip(["stdout.", "stderr.", "index."]) {
            *largest = size_of(&job, name).max(*largest);
        }
        (wrote.exists() && began.elapsed() >= outage).then_some(())
    });
    let supervisor_memory = peak_memory(supervisor).expect("the process runs");
    let away = began.elapsed();
    server.start_again();
    let admin = server.admin();
    proxy.set_server(server.address());
    let lines = PARTS * PART_LINES;
    let (stdout_bytes, stdout) = tail(lines, "out", "==> [1/1] Flood\n");
    let (stderr_bytes, stderr) = tail(lines / 10, "err", "");
    eventually("the output", || {
        let job = admin.job(&id);
        let counts = (job.count("stdoutBytes"), job.count("stderrBytes"));
        (counts == (stdout_bytes, stderr_bytes)).then_some(())
    });
    assert_eq!(admin.job(&id)["status"], "RUNNING");
    std::fs::write(&gate, "").expect("writes");
    let ended = eventually("its end", || {
        let job = admin.job(&id);
        (job["status"] != "RUNNING").then_some(job)
    });
    let agent_memory = peak_memory(node.pid()).expect("the process runs");
    eprintln!(
        "{stdout_bytes} + {stderr_bytes} bytes in {away:.0?} without a server; at most: agent {agent_memory}, supervisor {supervisor_memory}, \
         spool {largest:?} bytes"
    );
    assert_eq!(id_of(&ended), id);
    assert_eq!(
        (&ended["status"], &ended["exitCode"]),
        (&json!("FAILED"), &json!(9))
    );
    assert_eq!(ended["errorMsg"], json!(null));
    for (stream, total, tail) in [
        ("stdout", stdout_bytes, stdout),
        ("stderr", stderr_bytes, stderr),
    ] {
        assert_eq!(digest(&admin.log(&id, stream)), digest(&tail), "{stream}");
        let dropped = total - tail.len() as u64;
        let counts = (
            ended.count(&format!("{stream}Bytes")),
            ended.count(&format!("{stream}Dropped")),
        );
        assert_eq!(counts, (total, dropped), "{stream}");
    }
    let [stdout_spool, stderr_spool, index] = largest;
    assert!(
        stdout_spool > KEPT as u64,
        "the spool was never measured: {largest:?}"
    );
    assert!(
        stdout_spool <= SPOOL_BYTES && stderr_spool <= SPOOL_BYTES && index <= INDEX_BYTES,
        "{largest:?}"
    );
    assert!(
        agent_memory + supervisor_memory < MEMORY_BYTES,
        "{agent_memory} + {supervisor_memory}"
    );
}
