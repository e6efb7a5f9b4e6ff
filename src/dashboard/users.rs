//! `/users`: the users and their roles. For ADMINs.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::{self, Faults, Form, Input, RestorableForm, around};
use super::layout::{self, Page};
use super::{Site, saved_form, words};
use crate::auth::{Admin, ClientAddress, NewUser, Role, User, UserChange};
use crate::http::{ApiError, Path};

const ROLES: [(Role, &str); 4] = [
    (Role::Viewer, "reads everybody's jobs"),
    (Role::Operator, "reads, queues jobs and cancels their own"),
    (Role::Admin, "everything, with users, nodes and tokens"),
    (Role::Pending, "sees nothing yet"),
];

/// The page.
pub(super) async fn show(State(site): State<Site>, Admin(user): Admin) -> Result<Markup, ApiError> {
    page(&site, &user, &NewUser::default(), None).await
}

/// Adds a user.
pub(super) async fn add(
    State(site): State<Site>,
    Admin(admin): Admin,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let wanted = NewUser {
        email: form.text("email"),
        password: form.0.get("password").unwrap_or_default().to_owned(),
        name: form.filled("name"),
        role: form.text("role"),
    };
    if is_restored {
        let page = page(&site, &admin, &wanted, Some(&saved_form::restored_notice())).await?;
        return Ok(page.into_response());
    }
    match site.auth.add_user(&admin, wanted.clone()).await {
        Ok(_) => Ok(Redirect::to("/users").into_response()),
        Err(error) if error.status.is_server_error() => Err(error),
        Err(error) => {
            let again = page(&site, &admin, &wanted, Some(&error)).await?;
            Ok((error.status, again).into_response())
        }
    }
}

/// Changes a role or a password.
pub(super) async fn change(
    State(site): State<Site>,
    Admin(admin): Admin,
    Path(id): Path<String>,
    from: ClientAddress,
    form: Form,
) -> Result<Redirect, ApiError> {
    let change = UserChange {
        role: form.filled("role"),
        password: form.filled("password"),
        old_password: form.filled("old"),
    };
    site.auth.change_user(&admin, &id, change, from).await?;
    Ok(Redirect::to("/users"))
}

/// Removes a user.
pub(super) async fn remove(
    State(site): State<Site>,
    Admin(admin): Admin,
    Path(id): Path<String>,
) -> Result<Redirect, ApiError> {
    site.auth.remove_user(&admin, &id).await?;
    Ok(Redirect::to("/users"))
}

async fn page(
    site: &Site,
    admin: &User,
    wanted: &NewUser,
    error: Option<&ApiError>,
) -> Result<Markup, ApiError> {
    let users = site.auth.users().await?;
    let body = html! {
        h1 { "Users" }
        (add_form(wanted, error))
        table.users {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Email" } th scope="col" { "Role" } th scope="col" { "Added" } th scope="col" { "Change" } } }
            tbody { @for user in &users { (row(admin, user)) } }
        }
    };
    let page = Page::new("Users", body)
        .for_user(Some(admin))
        .under("/users");
    Ok(layout::draw(&page))
}

fn add_form(wanted: &NewUser, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let email = Input {
        name: "email",
        label: "Email",
        kind: "email",
        value: &wanted.email,
        fault: faults.at("email"),
        autocomplete: "off",
        has_focus: error.is_some(),
        ..Input::default()
    };
    let name = Input {
        name: "name",
        label: "Name (optional)",
        value: wanted.name.as_deref().unwrap_or_default(),
        fault: faults.at("name"),
        autocomplete: "off",
        is_optional: true,
        ..Input::default()
    };
    let password = Input::new_password(
        "Initial password",
        "At least 10 characters. The user can change it on their account page",
        faults.at("password"),
    );
    html! {
        details.card.add open[error.is_some()] {
            summary { "Add a user" }
            (faults.summary(&["email", "name", "password", "role"]))
            form method="post" action="/users" {
                (email.draw()) (name.draw()) (password.draw())
                (around("f-role", "Role", None, faults.at("role"), role_select("f-role", &wanted.role)))
                button.primary { "Add" }
            }
        }
    }
}

fn role_select(id: &str, chosen: &str) -> Markup {
    html! {
        select id=(id) name="role" aria-describedby=(form::described_by(id)) {
            @for (role, words) in ROLES {
                option value=(role) selected[role.as_str() == chosen] { (role) ": " (words) }
            }
        }
    }
}

fn row(admin: &User, user: &User) -> Markup {
    let address = format!("/users/{}", user.id);
    let ask = format!(
        "Remove {}? Their sessions and tokens end. Their jobs are kept.",
        user.email
    );
    let select = format!("role-{}", user.id);
    html! {
        tr {
            td.main { bdi { (words::visible(&user.name)) } @if user.id == admin.id { span.dim { " (you)" } } }
            td data-label="Email" { bdi { (user.email) } }
            td data-label="Role" { (user.role) }
            td data-label="Added" { (words::since(user.created_at)) }
            td {
                div.actions {
                    form.inline method="post" action=(address) data-ask="Change the role? The user's sessions end, and they must sign in again." {
                        label.unseen for=(select) { "Role of " (user.email) }
                        select id=(select) name="role" {
                            @for (role, _) in ROLES { option value=(role) selected[role == user.role] { (role) } }
                        }
                        button { "Set" }
                    }
                    a.button href=(format!("{address}/tokens")) aria-label=(format!("Tokens of {}", user.email)) { "Tokens" }
                    (form::button(&format!("{address}/remove"), "danger", "Remove", Some(&ask)))
                }
            }
        }
    }
}
