//! `/docs/api`: the OpenAPI document as a page.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use maud::{Markup, html};
use serde_json::Value;

use super::Site;
use super::layout::{self, Page};
use crate::auth::SignedIn;
use crate::http::ApiError;

/// The page, which is public like the document itself.
pub(super) async fn show(State(site): State<Site>, mut parts: Parts) -> Result<Markup, ApiError> {
    let user = SignedIn::from_request_parts(&mut parts, &()).await.ok();
    let document = serde_json::from_slice(&site.api).map_err(ApiError::internal)?;
    let page = Page::new("API", body(&document)).for_user(user.as_ref().map(|SignedIn(user)| user));
    Ok(layout::draw(&page))
}

fn body(document: &Value) -> Markup {
    html! {
        div.head {
            h1 { "API" }
            a href="/api/openapi.json" { "OpenAPI document" }
        }
        p.prose {
            "Every endpoint of this server, version " (text(&document["info"]["version"])) ". "
            "Send a personal token from the " a href="/account" { "account page" } " as "
            code { "Authorization: Bearer hbu_…" } "."
        }
        (operations(document))
        section {
            h2 { "Schemas" }
            @for (name, schema) in fields(&document["components"]["schemas"]) {
                section id=(format!("schema-{name}")) {
                    h3 { code { (name) } }
                    (paragraph(&schema["description"]))
                    (properties(schema))
                }
            }
        }
    }
}

fn operations(document: &Value) -> Markup {
    let all = fields(&document["paths"]).flat_map(|(path, item)| {
        fields(item).map(move |(method, operation)| (path, method, operation))
    });
    let all: Vec<_> = all.collect();
    let mut tags: Vec<&str> = all.iter().map(|(.., one)| text(&one["tags"][0])).collect();
    tags.sort_unstable();
    tags.dedup();
    html! {
        @for tag in tags {
            section {
                h2 { (tag) }
                @for (path, method, operation) in all.iter().filter(|(.., one)| text(&one["tags"][0]) == tag) {
                    details #(text(&operation["operationId"])) {
                        summary {
                            code { (method.to_uppercase()) " " (path) } " "
                            span.dim { (text(&operation["summary"])) }
                        }
                        (paragraph(&operation["description"]))
                        p { "Credentials: " (credentials(operation)) }
                        (parameters(operation))
                        @if let Some(schema) = json_of(&operation["requestBody"]) {
                            p { "Body: " (type_of(schema)) }
                        }
                        (responses(operation))
                    }
                }
            }
        }
    }
}

fn credentials(operation: &Value) -> String {
    let schemes: Vec<&str> = items(&operation["security"])
        .flat_map(|one| fields(one).map(|(name, _)| name))
        .collect();
    if schemes.is_empty() {
        "none".to_owned()
    } else {
        schemes.join(" or ")
    }
}

fn parameters(operation: &Value) -> Markup {
    html! {
        @if items(&operation["parameters"]).next().is_some() {
            table {
                thead { tr { th { "Parameter" } th { "In" } th { "Type" } th { "Meaning" } } }
                tbody { @for one in items(&operation["parameters"]) {
                    tr {
                        td { code { (text(&one["name"])) } @if one["required"] == true { " (required)" } }
                        td { (text(&one["in"])) }
                        td { (type_of(&one["schema"])) }
                        td { (text(&one["description"])) }
                    }
                } }
            }
        }
    }
}

fn responses(operation: &Value) -> Markup {
    html! {
        table {
            thead { tr { th { "Status" } th { "Meaning" } th { "Body" } } }
            tbody { @for (status, response) in fields(&operation["responses"]) {
                tr {
                    td { (status) }
                    td { (text(&response["description"])) }
                    td {
                        @match json_of(response) {
                            Some(schema) => (type_of(schema)),
                            None => @for (kind, _) in fields(&response["content"]) { code { (kind) } },
                        }
                    }
                }
            } }
        }
    }
}

/// The fields of an object, also of one that is composed of others, or the values of an enum.
fn properties(schema: &Value) -> Markup {
    let is_required = |name: &str| items(&schema["required"]).any(|one| one == name);
    html! {
        @if schema["properties"].is_object() {
            table {
                thead { tr { th { "Field" } th { "Type" } th { "Meaning" } } }
                tbody { @for (name, field) in fields(&schema["properties"]) {
                    tr {
                        td { code { (name) } @if is_required(name) { " (required)" } }
                        td { (type_of(field)) }
                        td { (text(&field["description"])) }
                    }
                } }
            }
        } @else {
            p { (type_of(schema)) }
            @for part in items(&schema["allOf"]).filter(|part| part["properties"].is_object()) { (properties(part)) }
        }
    }
}

/// The type of a value with its limits, in a few words.
fn type_of(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
    {
        return html! { a href=(format!("#schema-{name}")) { (name) } };
    }
    let kinds = &schema["type"];
    let kinds = if let Some(kinds) = kinds.as_array() {
        kinds.iter().map(text).collect::<Vec<_>>().join(" or ")
    } else {
        text(kinds).to_owned()
    };
    let alternatives = ["oneOf", "allOf"].map(|key| items(&schema[key]));
    let alternatives: Vec<&Value> = alternatives.into_iter().flatten().collect();
    html! {
        @if kinds.is_empty() {
            @for (at, one) in alternatives.iter().enumerate() { @if at > 0 { ", " } (type_of(one)) }
            @if alternatives.is_empty() { "any" }
        } @else {
            (kinds)
            @if schema["items"].is_object() { " of " (type_of(&schema["items"])) }
            @for limit in limits(schema) { br; span.dim { (limit) } }
        }
    }
}

fn limits(schema: &Value) -> Vec<String> {
    const NAMES: [(&str, &str); 10] = [
        ("format", "format "),
        ("minimum", "at least "),
        ("maximum", "at most "),
        ("minLength", "at least this many characters: "),
        ("maxLength", "at most this many characters: "),
        ("maxItems", "at most this many items: "),
        ("maxProperties", "at most this many entries: "),
        ("pattern", "pattern "),
        ("enum", "one of "),
        ("default", "default "),
    ];
    let given = NAMES.iter().filter(|(key, _)| !schema[*key].is_null());
    given
        .map(|(key, words)| {
            let value = &schema[*key];
            if let Some(text) = value.as_str() {
                format!("{words}{text}")
            } else if let Some(values) = value.as_array() {
                let values: Vec<&str> = values.iter().map(text).collect();
                format!("{words}{}", values.join(", "))
            } else {
                format!("{words}{value}")
            }
        })
        .collect()
}

fn json_of(content: &Value) -> Option<&Value> {
    content
        .get("content")?
        .get("application/json")?
        .get("schema")
}

fn paragraph(description: &Value) -> Markup {
    html! { @if let Some(text) = description.as_str() { p.prose { (text) } } }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.as_str(), value))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
