//! Turns a failed call into a message for the user: the problem and the fix.

use std::time::Duration;

use hyprbox_protocol::ErrorBody;
use reqwest::StatusCode;

use super::client::{CallError, Client};
use super::error::{CliError, exit};
use super::settings::TokenSource;

/// Maximum number of invalid fields shown, as many as a server names.
const FIELDS_SHOWN: usize = 20;

impl Client {
    /// The message and the fix for a failed call.
    pub(super) fn explain(&self, error: CallError) -> CliError {
        let base = self.url();
        match error {
            CallError::Connection { words, .. } => CliError::failed(format!("can't reach {base}: {words}"))
                .hint("is the server running at that address? Use `hyprbox login URL`, --url or HYPRBOX_URL to name another"),
            CallError::Protocol(words) => CliError::failed(format!(
                "the server at {base} is not a HyprBox server of this version: {words}"
            ))
            .hint("check the address; if there is a proxy, check what it forwards"),
            CallError::Refused { status, body, retry_after } => {
                self.explain_refusal(status, body, retry_after)
            }
        }
    }

    fn explain_refusal(
        &self,
        status: StatusCode,
        body: ErrorBody,
        retry_after: Option<Duration>,
    ) -> CliError {
        let words = if body.error.is_empty() {
            format!("{} responded with {status}", self.url())
        } else {
            body.error.clone()
        };
        let mut error = match status {
            StatusCode::UNAUTHORIZED => self.explain_unauthorized(&words),
            StatusCode::FORBIDDEN => CliError::new(exit::REFUSED, format!("refused: {words}"))
                .hint("an ADMIN can change your role: hyprbox users role EMAIL ROLE"),
            StatusCode::NOT_FOUND if body.code == "job_not_found" => CliError::not_found(words)
                .hint("`hyprbox jobs list` lists your jobs; add --scope all for everybody's (VIEWER, OPERATOR, ADMIN)"),
            StatusCode::NOT_FOUND => CliError::not_found(words),
            StatusCode::TOO_MANY_REQUESTS => CliError::failed(words).hint(match retry_after {
                Some(time) => format!("try again in {} s", time.as_secs()),
                None => "try again later".to_owned(),
            }),
            _ if !body.fields.is_empty() => {
                let mut error = CliError::failed("the server refused these values:");
                let named = body.fields.iter().take(FIELDS_SHOWN);
                error.hints = named.map(field_line).collect();
                error.hints.extend(more_fields(&body));
                error
            }
            _ => CliError::failed(words),
        };
        error.api = Some((body.code, body.fields));
        error
    }

    fn explain_unauthorized(&self, words: &str) -> CliError {
        let Some(from) = self.token_source() else {
            return CliError::new(exit::REFUSED, words);
        };
        let error = CliError::new(
            exit::REFUSED,
            format!("{} refused the token: {words}", self.url()),
        );
        error.hint(match from {
            TokenSource::File => format!("log in again: hyprbox login {}", self.url()),
            TokenSource::Given => {
                "check that you copied all of it; the Account page or `hyprbox tokens add NAME` creates another one".to_owned()
            }
            TokenSource::Environment => {
                "set HYPRBOX_TOKEN to a valid one: `hyprbox tokens add NAME` creates one where you are logged in".to_owned()
            }
        })
    }
}

/// The number of invalid fields that are not shown: as the server reports it, or counted here.
fn more_fields(body: &ErrorBody) -> Option<String> {
    let hidden = body.fields.len().saturating_sub(FIELDS_SHOWN);
    if hidden > 0 {
        return Some(format!("and {hidden} more"));
    }
    let (_, last) = body.error.rsplit_once(", ")?;
    (last.starts_with("and ") && last.ends_with(" more")).then(|| last.to_owned())
}

/// An invalid field, named as on the command line.
fn field_line((field, message): (&String, &String)) -> String {
    let name = match field.as_str() {
        "timeoutSeconds" => "--timeout".to_owned(),
        "nodeId" => "--node".to_owned(),
        "notBefore" => "--at".to_owned(),
        "expiresInSeconds" => "--expires".to_owned(),
        "plan.canary" => "--canary".to_owned(),
        "plan.batch" => "--batch".to_owned(),
        "plan.pauseSeconds" => "--pause".to_owned(),
        "plan.maxFailures" => "--max-failures".to_owned(),
        "expiresInDays" => "--expires-in-days".to_owned(),
        other => match other.split_once('.') {
            Some(("params", name)) => format!("-p {name}"),
            Some(("labels", key)) => format!("--label {key}"),
            _ => other.to_owned(),
        },
    };
    format!("{name}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_shown_are_counted() {
        let body = |error: &str, count: usize| ErrorBody {
            error: error.to_owned(),
            code: "bad_input".to_owned(),
            fields: (0..count)
                .map(|n| (format!("f{n}"), "is wrong".to_owned()))
                .collect(),
        };
        let more = |error, count| more_fields(&body(error, count));
        let words = "600,000 fields are invalid; first f0: is wrong, and 599,980 more";
        assert_eq!(more(words, 20).as_deref(), Some("and 599,980 more"));
        assert_eq!(more("2 fields are invalid; first a, b: no", 2), None);
        assert_eq!(
            more("30 fields are invalid", 30).as_deref(),
            Some("and 10 more")
        );
    }

    #[test]
    fn fields_are_named_as_the_flags_are() {
        let line = |field: &str| field_line((&field.to_owned(), &"is wrong".to_owned()));
        assert_eq!(line("params.ssh_port"), "-p ssh_port: is wrong");
        assert_eq!(line("timeoutSeconds"), "--timeout: is wrong");
        assert_eq!(line("email"), "email: is wrong");
    }
}
