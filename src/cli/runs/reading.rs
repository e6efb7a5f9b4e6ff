//! A run as it is known at one moment: read from the server, then kept up to date by events.

use serde_json::Value;

use crate::cli::answers::RunAnswer;
use crate::cli::client::Client;
use crate::cli::sse::Event;
use crate::nodes::NodeView;
use crate::runs::RunJobView;

/// A run with its jobs.
pub(super) struct Reading {
    pub(super) run: RunAnswer,
    pub(super) json: Value,
    /// The nodes that are known, in the order of their ids. They show what keeps jobs waiting.
    pub(super) nodes: Vec<NodeView>,
}

impl Reading {
    /// Applies an event of the run's stream. Returns whether it changes what is shown; `None` if
    /// the event can't be understood, as from a newer server.
    pub(super) fn apply(&mut self, event: &Event) -> Option<bool> {
        match event.name.as_str() {
            "run" => self.apply_run(serde_json::from_str(&event.data).ok()?),
            "job" => self.apply_job(serde_json::from_str(&event.data).ok()?),
            "node" => self.apply_node(serde_json::from_str(&event.data).ok()?),
            _ => Some(false),
        }
    }

    fn apply_run(&mut self, data: Value) -> Option<bool> {
        let run: RunAnswer = serde_json::from_value(data.clone()).ok()?;
        let jobs = std::mem::take(&mut self.run.jobs);
        self.run = RunAnswer { jobs, ..run };
        if let (Value::Object(known), Value::Object(new)) = (&mut self.json, data) {
            known.extend(new);
        }
        Some(true)
    }

    /// An event's job has more fields than a run's. The run's are kept.
    fn apply_job(&mut self, data: Value) -> Option<bool> {
        let place = self.run.jobs.iter().position(|job| data["id"] == job.id);
        let Some((place, known)) = place.zip(self.json["jobs"].as_array_mut()) else {
            return Some(false);
        };
        let known = known.get_mut(place)?;
        for (name, value) in known.as_object_mut()? {
            if let Some(new) = data.get(name) {
                value.clone_from(new);
            }
        }
        let job: RunJobView = serde_json::from_value(known.clone()).ok()?;
        let is_new = self.run.jobs[place] != job;
        self.run.jobs[place] = job;
        Some(is_new)
    }

    fn apply_node(&mut self, node: NodeView) -> Option<bool> {
        let place = self.nodes.binary_search_by(|known| known.id.cmp(&node.id));
        match place {
            Ok(place) => self.nodes[place] = node,
            Err(place) => self.nodes.insert(place, node),
        }
        // A node's beat alone changes nothing that is shown.
        Some(false)
    }
}

/// The nodes, if some of them keep released jobs of the run waiting. They only explain why: none if
/// they can't be read.
pub(super) async fn nodes_of(client: &Client, run: &RunAnswer) -> Vec<NodeView> {
    if run.counts.queued == 0 {
        return Vec::new();
    }
    let nodes = client.list::<NodeView>("/api/nodes", "nodes").await;
    nodes.map_or_else(|_| Vec::new(), |nodes| nodes.value)
}
