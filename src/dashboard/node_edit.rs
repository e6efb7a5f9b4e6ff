//! Changing a node from its page.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::form::RestorableForm;
use super::node_form::NodeForm;
use super::{Site, node, saved_form};
use crate::auth::Admin;
use crate::http::{ApiError, Path};
use crate::nodes::EditNode;

/// Saves the form.
pub(super) async fn submit(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let form = NodeForm::of_form(&form);
    let saved = match form.change() {
        _ if is_restored => Err(saved_form::restored_notice()),
        Ok(change) => site.jobs.edit_node(user.clone(), id.clone(), change).await,
        Err(error) => Err(error),
    };
    match saved {
        Ok(_) => Ok(Redirect::to(&format!("/nodes/{id}")).into_response()),
        Err(error) if error.status.is_server_error() || error.code == "node_not_found" => {
            Err(error)
        }
        Err(error) => {
            let page = node::page_with_form(&site, &user, id, &form, &error).await?;
            let status = if is_restored {
                StatusCode::OK
            } else {
                error.status
            };
            Ok((status, page).into_response())
        }
    }
}

/// Pauses the node.
pub(super) async fn pause(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<Redirect, ApiError> {
    let back = format!("/nodes/{id}");
    site.jobs.edit_node(user, id, EditNode::pause(true)).await?;
    Ok(Redirect::to(&back))
}

/// Resumes the node.
pub(super) async fn resume(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<Redirect, ApiError> {
    let back = format!("/nodes/{id}");
    site.jobs
        .edit_node(user, id, EditNode::pause(false))
        .await?;
    Ok(Redirect::to(&back))
}
