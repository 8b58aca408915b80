//! Answers of a service, and what it reads of a query.

use bytes::Bytes;
use form_urlencoded::parse;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json as object};

/// What is answered.
pub type Answer = Response<Full<Bytes>>;

/// Why a request is not carried out: the status, a name that stays, and words.
pub type Problem = (StatusCode, &'static str, String);

/// The answer, or the problem as one.
pub fn told(answer: Result<Answer, Problem>) -> Answer {
    answer.unwrap_or_else(|(status, code, text)| problem(status, code, &text))
}

/// A problem, as `{"error": …, "text": …}`.
pub fn problem(status: StatusCode, code: &str, text: &str) -> Answer {
    json(status, &object!({ "error": code, "text": text }))
}

/// Another method than these was asked for.
pub fn refused(allowed: &'static str) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method", allowed);
    answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    answer
}

/// JSON in one line.
pub fn json(status: StatusCode, value: &Value) -> Answer {
    typed(status, "application/json", format!("{value}\n"))
}

/// Plain text.
pub fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    typed(status, "text/plain; charset=utf-8", text)
}

/// Text of this type.
pub fn typed(status: StatusCode, kind: &'static str, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}

/// A value of the query, if there is one that is not empty.
///
/// # Errors
///
/// A value of more than so many bytes.
pub fn optional(query: &str, name: &str, most: usize) -> Result<Option<String>, Problem> {
    let value = parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    match value {
        Some(value) if value.len() > most => {
            Err((StatusCode::BAD_REQUEST, "too-long", format!("{name} is longer than {most} bytes")))
        }
        value => Ok(value.filter(|value| !value.is_empty())),
    }
}

/// A value that the query must have.
///
/// # Errors
///
/// None, or a value of more than so many bytes.
pub fn required(query: &str, name: &str, most: usize) -> Result<String, Problem> {
    let missing = || (StatusCode::BAD_REQUEST, "missing", format!("the query has no {name}"));
    optional(query, name, most)?.ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_limited() {
        assert_eq!(required("a=1&room=big+hall%21&room=x", "room", 9), Ok("big hall!".to_owned()));
        assert_eq!(optional("room=", "room", 9), Ok(None));
        assert_eq!(required("", "room", 9).unwrap_err().1, "missing");
        assert_eq!(required("room=0123456789", "room", 9).unwrap_err().1, "too-long");
    }
}
