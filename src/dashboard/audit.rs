//! `/audit`: who did what, with filters, paged, and as CSV. For ADMINs.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{self, Page};
use super::{Site, local, words};
use crate::auth::{Admin, User};
use crate::http::{ApiError, Query};
use crate::store::audit::{self, AuditRecord, Filter};

/// Entries on a page.
const PAGE: u64 = 100;
/// Maximum number of entries in a CSV file.
const CSV_MAX: u64 = 100_000;

const FIELDS: [(&str, &str); 4] = [
    ("actor", "Who"),
    ("action", "What"),
    ("node", "Node"),
    ("job", "Job"),
];

/// The page. `?as=csv` returns the same entries as a file.
pub(super) async fn show(
    State(site): State<Site>,
    Admin(user): Admin,
    query: Query,
) -> Result<Response, ApiError> {
    let filter = filter_of(&query)?;
    if query.get("as") == Some("csv") {
        let entries = read(&site, CSV_MAX, filter).await?;
        return Ok(csv_response(&entries));
    }
    // One entry more than is shown tells whether there is a next page.
    let mut entries = read(&site, PAGE + 1, filter).await?;
    let has_more = entries.len() > PAGE as usize;
    entries.truncate(PAGE as usize);
    Ok(page(&user, &query, &entries, has_more).into_response())
}

async fn read(site: &Site, limit: u64, filter: Filter) -> Result<Vec<AuditRecord>, ApiError> {
    Ok(site
        .jobs
        .store
        .read(move |tx| audit::list(tx, limit, filter))
        .await?)
}

fn filter_of(query: &Query) -> Result<Filter, ApiError> {
    let given = |name| {
        query
            .get(name)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    let before = given("before")
        .map(|id| uuid::Uuid::parse_str(&id))
        .transpose();
    Ok(Filter {
        before: before
            .map_err(|_| {
                ApiError::bad_request("bad_input", "This link to older entries is incomplete")
            })?
            .map(|id| id.to_string()),
        actor: given("actor"),
        action: given("action"),
        job_id: given("job"),
        node_id: given("node"),
    })
}

fn page(user: &User, query: &Query, entries: &[AuditRecord], has_more: bool) -> Markup {
    let filters: Vec<(&str, &str)> = query
        .pairs()
        .filter(|(name, value)| FIELDS.iter().any(|(known, _)| known == name) && !value.is_empty())
        .collect();
    let with = |more: (&'static str, &str)| {
        let mut pairs = filters.clone();
        pairs.push(more);
        format!("/audit?{}", local::query(&pairs))
    };
    let body = html! {
        div.head { h1 { "Audit log" } a.button href=(with(("as", "csv"))) download="audit.csv" { "CSV" } }
        form.filters action="/audit" {
            @for (name, words) in FIELDS {
                label.unseen for=(format!("by-{name}")) { (words) }
                input id=(format!("by-{name}")) name=(name) placeholder=(words) value=(query.get(name).unwrap_or_default()) autocomplete="off";
            }
            button { "Filter" }
        }
        @if entries.is_empty() { p.none { "No entry matches." } } @else { (table(entries)) }
        @if let (true, Some(last)) = (has_more, entries.last()) {
            nav.pager aria-label="Pages" { a.button rel="next" href=(with(("before", &last.id))) { "Older" } }
        }
    };
    let page = Page::new("Audit log", body)
        .for_user(Some(user))
        .under("/audit");
    layout::draw(&page)
}

fn table(entries: &[AuditRecord]) -> Markup {
    html! {
        table.audit {
            thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "On" } th scope="col" { "Details" } } }
            tbody { @for entry in entries {
                tr {
                    td { (words::moment(entry.at)) }
                    td.main { bdi { (words::visible(&entry.actor)) } }
                    td data-label="What" { code { (entry.action) } }
                    td data-label="On" { (subject(entry)) }
                    td data-label="Details" { bdi { (words::visible(entry.detail.as_deref().unwrap_or_default())) } }
                }
            } }
        }
    }
}

fn subject(entry: &AuditRecord) -> Markup {
    html! {
        @if let Some(node) = &entry.node_id { a href=(format!("/nodes/{node}")) { (node) } " " }
        @if let Some(job) = &entry.job_id { a href=(format!("/jobs/{job}?scope=all")) { "job …" (job.get(28..).unwrap_or(job)) } }
        @if entry.node_id.is_none() && entry.job_id.is_none() { "–" }
    }
}

fn csv_response(entries: &[AuditRecord]) -> Response {
    let mut csv = String::from("at,actor,action,job,node,detail\r\n");
    for entry in entries {
        let at = entry.at.to_string();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let cells = [
            at,
            entry.actor.clone(),
            entry.action.clone(),
            text(&entry.job_id),
            text(&entry.node_id),
            text(&entry.detail),
        ];
        csv.push_str(&cells.map(|text| cell(&text)).join(","));
        csv.push_str("\r\n");
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"audit.csv\"",
        ),
    ];
    (headers, csv).into_response()
}

/// A cell that spreadsheets don't execute: text that starts like a formula gets a leading quote.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let defused = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if defused.contains(['"', ',', '\n', '\r', '\'']) {
        format!("\"{}\"", defused.replace('"', "\"\""))
    } else {
        defused
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_quoted_and_defused() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-2", "\"'-2\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), wanted);
        }
    }
}
