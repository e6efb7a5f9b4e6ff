//! The form with a node's name and labels, and the button that pauses and resumes the node.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::form::{self, Faults, Form, Input};
use crate::http::ApiError;
use crate::nodes::{EditNode, NodeView};

/// Most labels of a node.
const LABELS_MAX: usize = 32;
/// Empty rows after the labels, for new ones.
const EMPTY_ROWS: usize = 3;

/// The fields of the form.
pub(super) struct NodeForm {
    name: String,
    /// Keys and values, in the order of the rows.
    labels: Vec<(String, String)>,
}

impl NodeForm {
    /// The form as it is first shown.
    pub(super) fn of_node(node: &NodeView) -> Self {
        Self {
            name: node.name.clone(),
            labels: node.labels.clone().into_iter().collect(),
        }
    }

    /// The fields that were submitted.
    pub(super) fn of_form(form: &Form) -> Self {
        let pairs = form.0.all("key").zip(form.0.all("value"));
        Self {
            name: form.text("name").trim().to_owned(),
            labels: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .filter(|(key, value)| !key.is_empty() || !value.is_empty())
                .collect(),
        }
    }

    /// The change that the fields ask for.
    pub(super) fn change(&self) -> Result<EditNode, ApiError> {
        let mut labels = BTreeMap::new();
        for (key, value) in &self.labels {
            let fault = if key.is_empty() {
                format!("must have a key for the value {value}")
            } else if labels.insert(key.clone(), value.clone()).is_some() {
                format!("must have {key} only once")
            } else {
                continue;
            };
            let error = ApiError::bad_request("bad_input", format!("labels: {fault}"));
            return Err(error.with_field("labels", fault));
        }
        Ok(EditNode {
            name: Some(self.name.clone()),
            labels: Some(labels),
            paused: None,
        })
    }

    /// The form, open if it was refused.
    pub(super) fn draw(&self, node_id: &str, error: Option<&ApiError>) -> Markup {
        let faults = Faults::of(error);
        let name = Input {
            name: "name",
            label: "Display name",
            value: &self.name,
            hint: Some("The node's id does not change"),
            fault: faults.at("name"),
            autocomplete: "off",
            is_optional: true,
            max_length: Some(255),
            has_focus: error.is_some(),
            ..Input::default()
        };
        let rows = (self.labels.len() + EMPTY_ROWS).min(LABELS_MAX.max(self.labels.len()));
        let row = |index: usize| self.labels.get(index).map_or(("", ""), |(k, v)| (k, v));
        html! {
            details.card.add open[error.is_some()] {
                summary { "Edit name and labels" }
                (faults.summary(&["name"]))
                form method="post" action=(format!("/nodes/{node_id}")) {
                    (name.draw())
                    fieldset.labels aria-describedby="labels-hint" {
                        legend { "Labels" }
                        p.hint #labels-hint { "Clear a label's key and value to remove it. Selectors such as role=web choose nodes by their labels." }
                        @for (index, (key, value)) in (0..rows).map(|index| (index + 1, row(index))) {
                            div.pair {
                                input name="key" value=(key) maxlength="126" autocomplete="off" autocapitalize="none" spellcheck="false"
                                    placeholder="Key" aria-label=(format!("Key of label {index}"));
                                input name="value" value=(value) maxlength="510" autocomplete="off" autocapitalize="none" spellcheck="false"
                                    placeholder="Value" aria-label=(format!("Value of label {index}"));
                            }
                        }
                    }
                    button.primary { "Save" }
                }
            }
        }
    }
}

/// The button that pauses or resumes the node.
pub(super) fn pause_button(node: &NodeView) -> Markup {
    let (verb, words) = if node.paused {
        ("resume", "Resume")
    } else {
        ("pause", "Pause")
    };
    form::button(&format!("/nodes/{}/{verb}", node.id), "", words, None)
}
