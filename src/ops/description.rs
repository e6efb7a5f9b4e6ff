//! The OpenAPI document: what the handlers declare, plus what applies to every operation.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The document's path. This endpoint does not use the store and declares no errors.
const PATH: &str = "/api/openapi.json";

/// Text without control characters.
const PRINTABLE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// The document as JSON.
///
/// A handler declares its successes and its own errors. The common errors follow from the
/// operation: 401 if it is secured, 413 if it has a body, 404 if it has an id in its path.
pub fn document(api: utoipa::openapi::OpenApi) -> Bytes {
    let mut document = serde_json::to_value(api).unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI document can't be written");
        json!({})
    });
    add_security_schemes(&mut document);
    let mut request_schemas = Vec::new();
    for (path, method, operation) in operations(&mut document) {
        describe_parameters(path, operation);
        add_common_errors(path, method, operation);
        complete_responses(operation);
        if !is_agents(operation) {
            collect_refs(&operation["requestBody"], &mut request_schemas);
        }
    }
    let schemas = &mut document["components"]["schemas"];
    add_rules(schemas);
    refuse_unknown_fields(schemas, request_schemas);
    Bytes::from(document.to_string())
}

/// Path, method and definition of every operation.
fn operations(document: &mut Value) -> impl Iterator<Item = (&str, &str, &mut Value)> {
    const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object_mut().into_iter().flatten();
        operations
            .filter(|(method, _)| METHODS.contains(&method.as_str()))
            .map(|(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn add_security_schemes(document: &mut Value) {
    let bearer =
        |description: &str| json!({"type": "http", "scheme": "bearer", "description": description});
    document["components"]["securitySchemes"] = json!({
        "bearer": bearer("A session (hbs_…) or a personal token (hbu_…)"),
        "node": bearer("A node's token (hbn_…)"),
        "cookie": {"type": "apiKey", "in": "cookie", "name": "hb_token",
            "description": "A session. A request that changes something must prove that it is same-origin"},
    });
}

/// The schemes that an operation accepts; none if it is public.
fn schemes(operation: &Value) -> Vec<&str> {
    let alternatives = operation["security"].as_array().into_iter().flatten();
    let names = alternatives
        .filter_map(Value::as_object)
        .flat_map(Map::keys);
    names.map(String::as_str).collect()
}

fn is_agents(operation: &Value) -> bool {
    schemes(operation).contains(&"node")
}

/// Limits of the parameters that many operations share.
fn describe_parameters(path: &str, operation: &mut Value) {
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let place = parameter["in"].as_str().unwrap_or_default();
        let name = parameter["name"].as_str().unwrap_or_default();
        let slug = json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"});
        let id = json!({"type": "string", "format": "uuid"});
        let (schema, description) = match (place, name) {
            ("path", "id") if path.starts_with("/api/nodes/") => (slug, "The node's id"),
            ("path", "name") => (
                json!({"type": "string", "pattern": "^[a-z0-9-]+$"}),
                "The preset's name",
            ),
            ("path", "id") if path.starts_with("/api/jobs/") => (id, "The job's id"),
            ("path", "a") => (id, "The id of the job that the diff starts from"),
            ("path", "b") => (id, "The id of the job that the diff leads to"),
            ("path", _) => (id, "The id"),
            ("query", "limit") => (
                json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
                "Entries per page",
            ),
            ("query", "cursor") => (id, "The nextCursor of the previous page"),
            ("query", "scope") => (
                json!({"type": "string", "enum": ["mine", "all"], "default": "mine"}),
                "`all`: also other people's jobs, if the role permits it",
            ),
            ("query", "agent") => (
                json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": PRINTABLE}),
                "The agent instance",
            ),
            ("query", "process") => (
                json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": PRINTABLE}),
                "The process of the agent instance; a claim is repeated to the same process only",
            ),
            _ => continue,
        };
        if parameter.get("description").is_none() {
            parameter["description"] = json!(description);
        }
        parameter["schema"] = schema;
    }
}

/// Adds the errors that follow from the kind of the operation.
fn add_common_errors(path: &str, method: &str, operation: &mut Value) {
    let schemes = schemes(operation);
    let (is_public, is_peoples) = (schemes.is_empty(), schemes.contains(&"bearer"));
    let has_body = operation.get("requestBody").is_some();
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let places: Vec<&str> = parameters.filter_map(|one| one["in"].as_str()).collect();
    // These endpoints refuse unknown query parameters.
    let knows_its_parameters = path.starts_with("/api/") && !is_agents(operation);
    let uses_store = path.starts_with("/api/") && path != PATH || path == "/metrics";
    let forbidden = match method {
        "get" => "The role is too low",
        _ => {
            "The role is too low, or the request has the cookie and no proof that it is same-origin"
        }
    };
    let errors = [
        (
            has_body || knows_its_parameters || places.iter().any(|place| *place != "path"),
            "400",
            "The request is invalid; `fields` names the wrong fields",
        ),
        (!is_public, "401", "No credentials, or wrong ones"),
        (is_peoples, "403", forbidden),
        (
            places.contains(&"path"),
            "404",
            "It does not exist, or belongs to somebody else",
        ),
        (has_body, "408", "The body did not arrive in time"),
        (has_body, "413", "The body is too large"),
        (
            has_body,
            "415",
            "The body is not JSON, or its Content-Encoding is not supported",
        ),
        (
            uses_store,
            "429",
            "The caller's other requests use all of the server's memory that one caller may use",
        ),
        (
            uses_store,
            "503",
            "The store is busy, its disk is full, or other requests use all memory",
        ),
    ];
    let responses = &mut operation["responses"];
    for (_, status, description) in errors.iter().filter(|(applies, ..)| *applies) {
        if responses.get(status).is_none() {
            responses[status] = json!({"description": description});
        }
    }
}

/// Adds a description to every response, the common body to every error, and Retry-After.
fn complete_responses(operation: &mut Value) {
    let responses = operation["responses"].as_object_mut().into_iter().flatten();
    for (status, response) in responses {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = json!(usual_description(status));
        }
        if status.as_str() < "400" {
            continue;
        }
        if response.get("content").is_none() {
            let schema = json!({"$ref": "#/components/schemas/ErrorBody"});
            response["content"] = json!({"application/json": {"schema": schema}});
        }
        if matches!(status.as_str(), "429" | "503") {
            response["headers"] = json!({"Retry-After": {
                "description": "Seconds to wait before the next attempt",
                "schema": {"type": "integer", "minimum": 1},
            }});
        }
    }
}

fn usual_description(status: &str) -> &'static str {
    match status {
        "200" => "OK",
        "201" => "Created",
        "202" => "Accepted",
        "204" => "Done; no body",
        "206" => "The part that was requested",
        "409" => "The current state forbids it",
        "416" => "The range lies outside the content",
        "429" => "Too many attempts",
        _ => "The request failed",
    }
}

/// Adds rules over several fields and over the keys of a map, which a derived schema can't express.
fn add_rules(schemas: &mut Value) {
    let needs =
        |name: &str, schema: Value| json!({"required": [name], "properties": {name: schema}});
    // As if and else instead of oneOf: client generators would create a type for each alternative.
    let mut add = |name: &str, first: Value, then: Value, otherwise: Value| {
        schemas[name]["if"] = first;
        schemas[name]["then"] = then;
        schemas[name]["else"] = otherwise;
    };
    add(
        "Chunk",
        needs("data", json!({"type": "string"})),
        json!({"properties": {"dataBase64": {"type": "null"}}}),
        needs("dataBase64", json!({"type": "string"})),
    );
    add(
        "CompleteRequest",
        needs("exitCode", json!({"type": "integer"})),
        json!({}),
        json!({"anyOf": [
            needs("signal", json!({"type": "string"})),
            needs("errorMsg", json!({"type": "string", "minLength": 1})),
            needs("cancelled", json!({"const": true})),
            needs("timedOut", json!({"const": true})),
        ]}),
    );
    add(
        "UserChange",
        needs("role", json!({"type": "string"})),
        json!({}),
        needs("password", json!({"type": "string"})),
    );
    let short = |max: u64| json!({"type": "string", "maxLength": max, "pattern": PRINTABLE});
    for body in ["AddNode", "EditNode"] {
        let labels = &mut schemas[body]["properties"]["labels"];
        labels["maxProperties"] = json!(32);
        labels["propertyNames"] = short(63);
        labels["propertyNames"]["minLength"] = json!(1);
        labels["additionalProperties"] = short(255);
    }
}

/// The names of the schemas that a value refers to.
fn collect_refs(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = value.as_str().and_then(|text| text.rsplit('/').next());
                match name.filter(|_| key == "$ref") {
                    Some(name) => names.push(name.to_owned()),
                    None => collect_refs(value, names),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_refs(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Marks the bodies of people's requests as strict, including nested objects.
fn refuse_unknown_fields(schemas: &mut Value, mut names: Vec<String>) {
    while let Some(name) = names.pop() {
        let Some(schema) = schemas.get_mut(&name).and_then(Value::as_object_mut) else {
            continue;
        };
        let has_fields = schema.contains_key("properties");
        if has_fields
            && schema
                .insert("additionalProperties".to_owned(), json!(false))
                .is_none()
        {
            collect_refs(&Value::Object(schema.clone()), &mut names);
        }
    }
}
