//! Notifications: channels, rules, and what receivers get when.

mod channels;
mod email;
mod events;
mod formats;
mod pages;
mod pings;
mod rules;
mod sending;

use serde_json::{Value, json};

pub(crate) use crate::harness::receiver;
use crate::harness::{Person, id_of};

/// Makes a channel of this kind; its id.
#[track_caller]
fn add_channel(admin: &Person, kind: &str, settings: &Value) -> String {
    let body = json!({"name": kind, "kind": kind, "settings": settings});
    id_of(&admin.post("/api/channels", &body).gives(201).json())
}

/// Makes a webhook channel that gets these events; its id.
#[track_caller]
pub(crate) fn webhook(admin: &Person, url: &str, on: &[&str]) -> String {
    let channel = add_channel(admin, "webhook", &json!({"url": url}));
    add_rule(admin, &channel, on, json!({}));
    channel
}

#[track_caller]
fn add_rule(admin: &Person, channel: &str, on: &[&str], more: Value) -> String {
    let mut body = json!({"channelId": channel, "on": on});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    id_of(&admin.post("/api/rules", &body).gives(201).json())
}

#[track_caller]
pub(crate) fn deliveries(admin: &Person, channel: &str) -> Vec<Value> {
    let path = format!("/api/channels/{channel}/deliveries");
    admin.get(&path).ok()["deliveries"]
        .as_array()
        .expect("a list")
        .clone()
}
