//! The pages for people.
//!
//! One page per file. A handler uses the API's extractors for access control, calls the same
//! functions and returns markup. Its errors are [`ApiError`]s, which [`shell`] shows as pages.
//! Every change is an urlencoded post to the page's own path, so that reading, queueing and
//! cancelling work without JavaScript. Pages are kept up to date by the modules in `assets/`, which
//! fetch the page again and swap the regions that changed: all markup is made here.

mod account;
mod api_reference;
mod assets;
mod audit;
mod channels;
mod compare;
mod drift;
mod editor;
mod exec;
mod first_run;
mod form;
mod history;
mod import;
mod job;
mod job_confirm;
mod job_content;
mod job_filters;
mod job_head;
mod job_rows;
mod job_runs;
mod job_steps;
mod job_words;
mod jobs;
mod layout;
mod local;
mod login;
mod node;
mod node_added;
mod node_edit;
mod node_facts;
mod node_form;
mod node_picker;
mod nodes;
mod not_found;
mod online;
mod overview;
mod palette;
mod param;
mod parts;
mod plain;
mod policy;
mod preset;
mod preset_values;
mod presets;
mod preview;
mod run;
mod run_form;
mod run_words;
mod runs;
mod saved_form;
mod schedules;
mod secrets;
mod session_end;
mod setup;
mod shell;
mod side_by_side;
mod step_times;
mod user_tokens;
mod users;
mod versions;
mod words;
mod would_change;

use axum::routing::{get, post};
use axum::{Router, middleware};
use bytes::Bytes;

pub use not_found::not_found;

use crate::auth::Auth;
use crate::jobs::Jobs;
use crate::notify::Notifications;
use crate::runs::Runs;
use crate::schedules::Schedules;

/// The services behind the pages.
#[derive(Clone)]
struct Site {
    auth: Auth,
    jobs: Jobs,
    runs: Runs,
    schedules: Schedules,
    notifications: Notifications,
    /// The OpenAPI document.
    api: Bytes,
}

/// The query parameters of each page. A page that is not listed has none. Unknown parameters are
/// refused, as in the API.
const PARAMETERS: &[(&str, &[&str])] = &[
    ("/", &["scope"]),
    ("/setup", &["code"]),
    ("/login", &["to", "kept"]),
    ("/once/{code}", &["to"]),
    ("/nodes", &["q", "selector", "state", "after"]),
    ("/nodes/{id}", &["scope"]),
    ("/presets", &["q", "node"]),
    ("/presets/{name}", &["node", "from", "scope", "on", "saved"]),
    ("/presets/{name}/edit", &["version"]),
    ("/presets/{name}/versions", &["before"]),
    ("/exec", &["from", "node", "scope"]),
    ("/presets/{name}/nodes", &["q"]),
    (
        "/jobs",
        &[
            "q", "node", "preset", "state", "status", "by", "time", "run", "from", "to", "scope",
            "cursor",
        ],
    ),
    ("/jobs/{id}", &["scope", "view"]),
    ("/jobs/{id}/cancel", &["scope"]),
    ("/jobs/{id}/confirm", &["scope"]),
    ("/jobs/{id}/compare", &["with", "scope"]),
    ("/drift", &["selector", "preset", "after"]),
    ("/drift/again", &["node", "preset"]),
    ("/palette", &["q"]),
    ("/runs", &["state", "preset", "schedule", "scope", "cursor"]),
    ("/runs/{id}", &["scope", "state", "view"]),
    ("/runs/{id}/rows", &["scope", "state", "job"]),
    ("/runs/{id}/{action}", &["scope"]),
    ("/schedules", &["q", "after"]),
    ("/schedules/new", &["preset", "node"]),
    ("/schedules/{id}", &["before"]),
    ("/schedules/{id}/edit", &["preset"]),
    ("/secrets", &["name"]),
    ("/channels/new", &["kind"]),
    ("/channels/{id}", &["before", "rule"]),
    (
        "/audit",
        &["actor", "action", "job", "node", "before", "as"],
    ),
];

/// Every page.
pub fn routes(auth: Auth, jobs: Jobs, api: Bytes) -> Router {
    let runs = Runs::new(jobs.clone());
    let site = Site {
        auth,
        schedules: Schedules::new(runs.clone()),
        notifications: Notifications::new(jobs.clone()),
        jobs,
        runs,
        api,
    };
    Router::new()
        .route("/", get(overview::show))
        .route("/setup", get(setup::show).post(setup::submit))
        .route("/login", get(login::show).post(login::submit))
        .route("/logout", post(login::logout))
        // A program that only checks the link must not use it up.
        .route("/once/{code}", get(login::once).head(login::show))
        .route("/nodes", get(nodes::show).post(node_added::submit))
        .route("/nodes/{id}", get(node::show).post(node_edit::submit))
        .route("/nodes/{id}/pause", post(node_edit::pause))
        .route("/nodes/{id}/resume", post(node_edit::resume))
        .route("/nodes/{id}/delete", post(node::delete))
        .route("/nodes/{id}/tokens", post(node_added::add_token))
        .route(
            "/nodes/{id}/tokens/{token_id}/revoke",
            post(node::revoke_token),
        )
        .route("/presets", get(presets::show))
        .route("/presets/{name}", get(preset::show).post(preset::submit))
        .route("/presets/{name}/nodes", get(node_picker::show_found))
        .route(
            "/presets/{name}/edit",
            get(editor::show).post(editor::submit),
        )
        .route("/presets/{name}/versions", get(versions::show))
        .route(
            "/presets/{name}/versions/{version}",
            get(versions::show_one),
        )
        .route("/presets/{name}/delete", post(versions::delete))
        // No preset can have the name "-".
        .route(
            "/presets/-/new",
            get(editor::show_new).post(editor::submit_new),
        )
        .route("/presets/-/import", get(import::show).post(import::submit))
        .route("/exec", get(exec::show).post(exec::submit))
        .route("/jobs", get(jobs::show))
        .route("/jobs/{id}", get(job::show))
        .route("/jobs/{id}/cancel", post(job::cancel))
        .route("/jobs/{id}/confirm", post(job::confirm))
        .route("/jobs/{id}/compare", get(compare::show))
        .route("/runs", get(runs::show))
        .route("/runs/{id}", get(run::show))
        .route("/runs/{id}/rows", get(run::show_rows))
        .route("/runs/{id}/{action}", post(run::act))
        .route("/drift", get(drift::show).post(drift::check))
        .route(
            "/drift/again",
            get(drift::show_again).post(drift::submit_again),
        )
        .route("/schedules", get(schedules::show_list))
        .route(
            "/schedules/new",
            get(schedules::show_new).post(schedules::submit_new),
        )
        .route("/schedules/{id}", get(schedules::show_one))
        .route(
            "/schedules/{id}/edit",
            get(schedules::show_edit).post(schedules::submit_edit),
        )
        .route("/schedules/{id}/{action}", post(schedules::act))
        .route("/secrets", get(secrets::show).post(secrets::submit))
        .route("/secrets/{name}/remove", post(secrets::remove))
        .route("/channels", get(channels::show_list))
        .route(
            "/channels/new",
            get(channels::show_new).post(channels::submit_new),
        )
        .route(
            "/channels/{id}",
            get(channels::show_one).post(channels::change),
        )
        .route("/channels/{id}/rules", post(channels::add_rule))
        .route(
            "/channels/{id}/rules/{rule_id}",
            post(channels::change_rule),
        )
        .route(
            "/channels/{id}/rules/{rule_id}/remove",
            post(channels::remove_rule),
        )
        .route(
            "/channels/{id}/deliveries/{delivery_id}/resend",
            post(channels::resend),
        )
        .route("/channels/{id}/{action}", post(channels::act))
        .route("/palette", get(palette::show))
        .route("/account", get(account::show))
        .route("/account/password", post(account::change_password))
        .route("/account/tokens", post(account::add_token))
        .route("/account/tokens/{id}/revoke", post(account::revoke_token))
        .route("/users", get(users::show).post(users::add))
        .route("/users/{id}", post(users::change))
        .route("/users/{id}/remove", post(users::remove))
        .route("/users/{id}/tokens", get(user_tokens::show))
        .route(
            "/users/{id}/tokens/{token_id}/revoke",
            post(user_tokens::revoke),
        )
        .route("/audit", get(audit::show))
        .route("/docs/api", get(api_reference::show))
        .layer(middleware::from_fn_with_state(site.clone(), shell::wrap))
        .route("/assets/{version}/{*file}", get(assets::serve))
        .with_state(site)
}
