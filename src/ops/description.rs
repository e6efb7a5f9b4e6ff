//! The OpenAPI document.

use bytes::Bytes;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};

/// Where it is served. It asks no store, and has no fault of its own.
const PATH: &str = "/api/openapi.json";

/// The description as JSON: what the handlers say of themselves, and what holds for all of them.
pub(super) fn written(mut api: utoipa::openapi::OpenApi) -> Bytes {
    let components = api.components.get_or_insert_default();
    let bearer = |text: &str| {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(text))
            .build();
        SecurityScheme::Http(scheme)
    };
    components.add_security_scheme(
        "bearer",
        bearer("A session (hbs_…) or personal token (hbu_…)"),
    );
    components.add_security_scheme("node", bearer("A node's token (hbn_…)"));
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("hb_token")));
    components.add_security_scheme("cookie", cookie);
    for (path, item) in &mut api.paths.paths {
        if path.starts_with("/api/") && path != PATH {
            add_common_faults(item);
        }
    }
    Bytes::from(api.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the description of the API could not be written");
        "{}".to_owned()
    }))
}

/// What may go wrong with any call of the API: its body, where it has one, and the store.
fn add_common_faults(item: &mut PathItem) {
    let operations = [
        &mut item.get,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ];
    for operation in operations.into_iter().flatten() {
        let mut faults = vec![(
            "503",
            "The store is busy, or its disk is full; try again after Retry-After",
        )];
        if operation.request_body.is_some() {
            faults.push(("413", "The body is larger than 8 MiB"));
            faults.push((
                "415",
                "The body is not JSON, or packed otherwise than by gzip",
            ));
        }
        for (status, words) in faults {
            let body = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("ErrorBody")))
                .build();
            let fault = ResponseBuilder::new()
                .description(words)
                .content("application/json", body)
                .build();
            operation
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert(fault.into());
        }
    }
}
