//! Reading JSON without ceremony.

use serde_json::Value;

/// Fields that must be there.
pub trait Field {
    /// A field that is text.
    fn field(&self, name: &str) -> String;
    /// A field that is a whole number.
    fn count(&self, name: &str) -> u64;
    /// A field that is a list.
    fn list(&self, name: &str) -> Vec<Value>;
}

impl Field for Value {
    #[track_caller]
    fn field(&self, name: &str) -> String {
        let text = self[name].as_str();
        text.unwrap_or_else(|| panic!("no text {name} in {self}"))
            .to_owned()
    }

    #[track_caller]
    fn count(&self, name: &str) -> u64 {
        self[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {name} in {self}"))
    }

    #[track_caller]
    fn list(&self, name: &str) -> Vec<Value> {
        self[name]
            .as_array()
            .unwrap_or_else(|| panic!("no list {name} in {self}"))
            .clone()
    }
}

/// The id of a job, a node or a user.
#[track_caller]
pub fn id_of(value: &Value) -> String {
    value.field("id")
}

/// The ids of a page of jobs, in its order.
#[track_caller]
pub fn ids_of(page: &Value) -> Vec<String> {
    page.list("jobs").iter().map(id_of).collect()
}
