//! The script that the jobs run, and the results that it must have.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Field, Person, id_of, write_preset};

/// How many bytes of a stream the server keeps.
pub(crate) const KEPT: usize = 4_194_304;

/// Appends a line to its own file, writes known bytes to both streams at a given pace, waits for a
/// file if `gate` is set, and exits with a given code.
const TALLY: &str = r#"name: tally
title: Tallies
description: For tests.
targets: [any]
risk: low
timeout: 60m
params:
  file:  { type: string, required: true }
  word:  { type: string, required: true }
  bulk:  { type: int, default: 0 }
  lines: { type: int, default: 0 }
  every: { type: int, default: 1000000 }
  pause: { type: string, default: "0" }
  gate:  { type: string }
  code:  { type: int, default: 0 }
steps:
  - name: Tally
    run: |
      echo ran >> "$file"
      seq 1 "$bulk"
      for ((i = 1; i <= lines; i++)); do
        printf '%s out %d \xc3\xa6 \xf0\x9f\xa6\x80 \xff\n' "$word" "$i"
        printf '%s err %d\n' "$word" "$i" >&2
        if ((i % every == 0)); then sleep "$pause"; fi
      done
      if [[ -n $gate ]]; then
        until [[ -e $gate ]]; do sleep 0.02; done
        echo "the gate is open"
      fi
      exit "$code"
"#;

pub(crate) fn write_tally(presets: &Path) {
    write_preset(presets, "tally", TALLY);
}

/// The parameters of one script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) file: PathBuf,
    pub(crate) word: String,
    /// The script first prints `seq 1 bulk`.
    pub(crate) bulk: u64,
    pub(crate) lines: u64,
    /// After each this many lines, the script sleeps.
    pub(crate) every: u64,
    pub(crate) pause_ms: u64,
    /// The file for which the script waits at its end.
    pub(crate) gate: Option<PathBuf>,
    pub(crate) code: i64,
}

impl Tally {
    pub(crate) fn params(&self) -> Value {
        let pause = format!("{}.{:03}", self.pause_ms / 1000, self.pause_ms % 1000);
        let mut params = json!({"file": self.file, "word": self.word, "bulk": self.bulk, "lines": self.lines,
            "every": self.every.max(1), "pause": pause, "code": self.code});
        if let Some(gate) = &self.gate {
            params["gate"] = json!(gate);
        }
        params
    }

    pub(crate) fn queue(&self, person: &Person, node_id: &str) -> String {
        let body = json!({"preset": "tally", "nodeId": node_id, "params": self.params()});
        id_of(&person.post("/api/jobs", &body).gives(201).json())
    }

    /// Counts how often the script has started.
    pub(crate) fn runs(&self) -> usize {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().count()
    }

    pub(crate) fn stdout(&self) -> Vec<u8> {
        let mut bytes = b"==> [1/1] Tally\n".to_vec();
        for number in 1..=self.bulk {
            writeln!(bytes, "{number}").expect("memory takes it");
        }
        for line in 1..=self.lines {
            let text = format!("{} out {line} \u{e6} \u{1f980} ", self.word);
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(b"\xff\n");
        }
        if self.gate.is_some() {
            bytes.extend_from_slice(b"the gate is open\n");
        }
        bytes
    }

    pub(crate) fn stderr(&self) -> Vec<u8> {
        let lines = (1..=self.lines).map(|line| format!("{} err {line}\n", self.word));
        lines.collect::<String>().into_bytes()
    }

    /// Returns what is wrong with the finished job `id` of this script.
    pub(crate) fn faults(&self, person: &Person, id: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let job = person.job(id);
        let mut expect = |what: &str, is: Value, should: Value| {
            if is != should {
                faults.push(format!("{what} is {is}, not {should}"));
            }
        };
        let end = if self.code == 0 {
            "SUCCEEDED"
        } else {
            "FAILED"
        };
        expect("runs", json!(self.runs()), json!(1));
        expect("status", job["status"].clone(), json!(end));
        expect("exitCode", job["exitCode"].clone(), json!(self.code));
        expect("errorMsg", job["errorMsg"].clone(), Value::Null);
        expect("signal", job["signal"].clone(), Value::Null);
        for (stream, written) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let dropped = written.len().saturating_sub(KEPT);
            let kept = person.log(id, stream);
            expect(
                &format!("kept {stream}"),
                json!(digest(&kept)),
                json!(digest(&written[dropped..])),
            );
            let counts = (
                job.count(&format!("{stream}Bytes")),
                job.count(&format!("{stream}Dropped")),
            );
            expect(
                &format!("counts of {stream}"),
                json!(counts),
                json!((written.len(), dropped)),
            );
        }
        if !faults.is_empty() {
            faults.push(format!("{self:?}"));
        }
        faults
    }
}

/// Describes bytes by length and SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes, {hex}", bytes.len())
}
