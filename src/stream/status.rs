//! The last word of an exec or attach, as its protocol writes it.
//!
//! From version 4 on it is a `metav1.Status` in JSON, always sent. Before, it is a plain text that is sent only when
//! something went wrong: an empty error stream means success.

use serde::Serialize;

use super::session::Outcome;

/// The longest message that is sent: what a runtime printed can be long, and clients read the whole of it.
pub const MAX_MESSAGE: usize = 16 << 10;

#[derive(Serialize)]
struct Status<'a> {
    metadata: Metadata,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

/// Always empty: a status is no stored object.
#[derive(Serialize)]
struct Metadata {}

#[derive(Serialize)]
struct Details<'a> {
    causes: [Cause<'a>; 1],
}

#[derive(Serialize)]
struct Cause<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    message: &'a str,
}

/// The outcome as a `metav1.Status`, for versions 4 and later.
pub fn json(outcome: &Outcome) -> String {
    let text = text(outcome);
    let code;
    let mut status = Status {
        metadata: Metadata {},
        status: "Failure",
        message: text.as_deref(),
        reason: None,
        details: None,
        code: None,
    };
    match outcome {
        Outcome::Success | Outcome::Exit(0) => status.status = "Success",
        Outcome::Exit(number) => {
            // Clients read the code from the cause, as an unsigned byte.
            code = number.to_string();
            status.reason = Some("NonZeroExitCode");
            status.details = Some(Details {
                causes: [Cause {
                    reason: Some("ExitCode"),
                    message: &code,
                }],
            });
        }
        Outcome::Failed(message) => {
            status.reason = Some("InternalError");
            status.code = Some(500);
            status.details = Some(Details {
                causes: [Cause {
                    reason: None,
                    message: shortened(message),
                }],
            });
        }
    }
    // Strings and numbers alone: this cannot fail, and were it to, clients know what an empty status is.
    serde_json::to_string(&status).unwrap_or_default()
}

/// The outcome as text, for versions before 4. `None` is success.
pub fn text(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Success | Outcome::Exit(0) => None,
        Outcome::Exit(code) => Some(format!("command terminated with exit code {code}")),
        // An empty text would mean success.
        Outcome::Failed(message) if message.is_empty() => Some("unknown error".to_owned()),
        Outcome::Failed(message) => Some(shortened(message).to_owned()),
    }
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json as value};

    use super::*;

    fn parsed(outcome: &Outcome) -> Value {
        serde_json::from_str(&json(outcome)).unwrap()
    }

    #[test]
    fn success() {
        let expected = value!({"metadata": {}, "status": "Success"});
        assert_eq!(parsed(&Outcome::Success), expected);
        assert_eq!(parsed(&Outcome::Exit(0)), expected);
        assert_eq!(text(&Outcome::Success), None);
        assert_eq!(text(&Outcome::Exit(0)), None);
    }

    #[test]
    fn an_exit_code_is_a_cause() {
        assert_eq!(
            parsed(&Outcome::Exit(137)),
            value!({
                "metadata": {},
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": "command terminated with exit code 137",
                "details": {"causes": [{"reason": "ExitCode", "message": "137"}]},
            })
        );
    }

    #[test]
    fn a_failure_is_an_internal_error() {
        let outcome = Outcome::Failed("cannot \"exec\"\n".to_owned());
        assert_eq!(
            parsed(&outcome),
            value!({
                "metadata": {},
                "status": "Failure",
                "reason": "InternalError",
                "code": 500,
                "message": "cannot \"exec\"\n",
                "details": {"causes": [{"message": "cannot \"exec\"\n"}]},
            })
        );
        assert_eq!(text(&outcome).as_deref(), Some("cannot \"exec\"\n"));
    }

    #[test]
    fn a_failure_without_a_message_is_no_success() {
        assert!(text(&Outcome::Failed(String::new())).is_some());
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let outcome = Outcome::Failed("é".repeat(MAX_MESSAGE));
        let text = text(&outcome).unwrap();
        assert_eq!(text.len(), MAX_MESSAGE);
        assert!(json(&outcome).len() < 3 * MAX_MESSAGE);
        let odd = Outcome::Failed(format!("x{}", "é".repeat(MAX_MESSAGE)));
        assert_eq!(super::text(&odd).unwrap().len(), MAX_MESSAGE - 1);
    }
}
