//! An export as one JSON object.

use hyprbox_protocol::{Chunk, PerStream, Stream};
use serde_json::{Value, json};

use super::{Export, Totals, Writer};
use crate::store::output::StoredChunk;

/// Writes an export as JSON.
#[derive(Default)]
pub(super) struct JsonWriter {
    has_output: bool,
}

impl Writer for JsonWriter {
    fn head(&mut self, export: &Export) -> String {
        let steps: Vec<Value> = export
            .steps
            .iter()
            .map(|step| {
                let duration = step.duration();
                json!({"number": step.number, "name": step.name, "state": step.state.words(),
                    "beganAt": step.began_at, "endedAt": step.ended_at,
                    "milliseconds": duration.map(|duration| duration.millis)})
            })
            .collect();
        let head = json!({
            "exportedAt": export.exported_at,
            "exportedBy": export.exported_by,
            "job": export.job,
            "script": export.script,
            "steps": steps,
            "signatures": export.signed,
        });
        // The object goes on with the output.
        let mut head = head.to_string();
        head.pop();
        format!("{head},\"output\":[")
    }

    fn output(&mut self, chunk: &StoredChunk) -> String {
        let chunk = Chunk::new(chunk.stream, chunk.start_offset, &chunk.data);
        let json = serde_json::to_string(&chunk).unwrap_or_default();
        match std::mem::replace(&mut self.has_output, true) {
            true => format!(",\n{json}"),
            false => json,
        }
    }

    fn tail(&mut self, export: &Export, totals: &Totals) -> String {
        let of = |hashes: &PerStream<Option<String>>| json!({"stdout": hashes[Stream::Stdout], "stderr": hashes[Stream::Stderr]});
        let kept = totals.kept.clone().map(Some);
        format!(
            "],\"outputOmitted\":{},\"sha256\":{{\"reported\":{},\"kept\":{}}}}}\n",
            totals.omitted,
            of(&export.reported),
            of(&kept),
        )
    }
}
