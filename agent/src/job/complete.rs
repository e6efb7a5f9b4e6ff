//! Reports a job's end until the server itself accepts or refuses the report.
//!
//! Something on the path, such as a firewall that filters content, may refuse the report for what
//! is in it. The end then goes in another call, and at last without its message.

use std::borrow::Cow;

use hyprbox_protocol::{CompleteRequest, FailureReason};

use super::body::{LastPart, More, body};
use super::context::Context;
use crate::backoff::Backoff;
use crate::client::CallError;
use crate::spool::Batch;
use crate::trouble::Caller;

/// Stands for a message that something on the path refuses.
const NO_MESSAGE: &str = "failed; something between agent and server refused the message, which is in the agent's log on the node";

/// How one attempt reports the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    /// In an `output` call, which has another path and another shape.
    as_output: bool,
    with_message: bool,
}

const USUAL: Form = Form {
    as_output: false,
    with_message: true,
};
/// The forms after that many refusals in a row; then it starts again.
const FORMS: [Form; 6] = [
    USUAL,
    USUAL,
    Form {
        as_output: true,
        ..USUAL
    },
    // Only if the server has answered another call about this job since: see `complete`.
    USUAL,
    Form {
        with_message: false,
        ..USUAL
    },
    Form {
        as_output: true,
        with_message: false,
    },
];
/// From this attempt on, the refusals must be about the content: an outage also refuses.
const FIRST_CERTAIN: usize = 3;

/// Reports a job's end until the server itself accepts or refuses it.
pub(crate) async fn complete(ctx: &Context, id: &str, request: &CompleteRequest) {
    let mut backoff = Backoff::default();
    let mut refusals = 0;
    let end = loop {
        if refusals == FIRST_CERTAIN && !is_reachable(ctx, id).await {
            refusals = 0;
        }
        let form = FORMS[refusals];
        let end = if form.with_message {
            Cow::Borrowed(request)
        } else {
            Cow::Owned(without_message(request))
        };
        match attempt(ctx, id, form, &end).await {
            Ok(()) => {
                if end.error_msg != request.error_msg {
                    let message = request.error_msg.as_deref().unwrap_or_default();
                    tracing::warn!("[jobrunner] job {id}: reported without its message: {message}");
                }
                break end;
            }
            Err(e) if matches!(e.status(), Some(404 | 409)) => {
                tracing::warn!("[jobrunner] job {id}: the server refused its completion: {e}");
                break end;
            }
            Err(e) => {
                ctx.client.trouble.failed(Caller::Complete, &e);
                refusals = match e {
                    CallError::Foreign { .. } => (refusals + 1) % FORMS.len(),
                    CallError::Network(_)
                    | CallError::Status { .. }
                    | CallError::Unauthorized { .. } => 0,
                };
                ctx.wait_out(&e, &mut backoff).await;
            }
        }
    };
    ctx.client.trouble.ended(Caller::Complete);
    ctx.completions.record(id, &end);
}

async fn attempt(
    ctx: &Context,
    id: &str,
    form: Form,
    end: &CompleteRequest,
) -> Result<(), CallError> {
    if !form.as_output {
        return ctx.client.complete(id, &ctx.instance, end).await;
    }
    let more = More {
        last: Some(LastPart { end, next: false }),
        ..More::default()
    };
    let content = body(&Batch::default(), more, false);
    let answer = ctx.client.output(id, &ctx.instance, content).await?;
    if answer.ended {
        return Ok(());
    }
    Err(CallError::Network(
        "the server is older and takes no end with the output".to_owned(),
    ))
}

/// Whether a call about this job reaches the server.
async fn is_reachable(ctx: &Context, id: &str) -> bool {
    let empty = body(&Batch::default(), More::default(), false);
    match ctx.client.output(id, &ctx.instance, empty).await {
        Ok(_) => true,
        Err(error) => error.status().is_some(),
    }
}

/// The end without its message, unless the server derives the same message from the rest. A failure
/// stays one.
fn without_message(request: &CompleteRequest) -> CompleteRequest {
    let is_derived = request.timed_out == Some(true)
        || request.signal.as_deref().map(FailureReason::killed_by) == request.error_msg;
    CompleteRequest {
        error_msg: request
            .error_msg
            .as_ref()
            .filter(|_| !is_derived)
            .map(|_| NO_MESSAGE.to_owned()),
        ..request.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_its_message_is_still_the_same_end() {
        let end = |json: &str| serde_json::from_str::<CompleteRequest>(json).expect("an end");
        for (with, without) in [
            (r#"{"exitCode":0}"#, r#"{"exitCode":0}"#),
            (
                r#"{"signal":"SIGKILL","errorMsg":"killed by SIGKILL"}"#,
                r#"{"signal":"SIGKILL"}"#,
            ),
            (
                r#"{"exitCode":0,"timedOut":true,"errorMsg":"timed out after 9 s"}"#,
                r#"{"exitCode":0,"timedOut":true}"#,
            ),
        ] {
            assert_eq!(without_message(&end(with)), end(without), "{with}");
        }
        for with in [
            r#"{"errorMsg":"<b>"}"#,
            r#"{"exitCode":0,"errorMsg":"<b>"}"#,
            r#"{"signal":"SIGTERM","errorMsg":"<b>"}"#,
        ] {
            let wanted = CompleteRequest {
                error_msg: Some(NO_MESSAGE.to_owned()),
                ..end(with)
            };
            assert_eq!(without_message(&end(with)), wanted, "{with}");
        }
    }
}
