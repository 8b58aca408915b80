//! Answers of every kind.

use balancer_core::StickError;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::Done;
use crate::api::{Fault, Reply};

pub(super) const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

pub(super) fn with_body(code: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut r = Response::new(body.into());
    *r.status_mut() = code;
    r.headers_mut().insert(header::CONTENT_TYPE, kind);
    r
}

pub(super) fn status(code: StatusCode) -> Response<Bytes> {
    let mut r = Response::new(Bytes::new());
    *r.status_mut() = code;
    r
}

pub(super) fn forbidden() -> Response<Bytes> {
    plain(StatusCode::FORBIDDEN, "this host name is not served here")
}

pub(crate) fn plain(code: StatusCode, text: &str) -> Response<Bytes> {
    with_body(code, TEXT, text.to_owned())
}

pub(super) fn json(code: StatusCode, value: &serde_json::Value) -> Response<Bytes> {
    with_body(code, JSON, value.to_string())
}

pub(super) fn xml(size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Response<Bytes> {
    let mut out = Vec::with_capacity(size);
    write(&mut out);
    with_body(StatusCode::OK, XML, out)
}

pub(super) fn fault(f: &Fault) -> Response<Bytes> {
    xml(256, |out| f.write_xml(out))
}

/// A server's answer as it is passed on: its document on success, its key and message otherwise.
pub(super) fn relay(bytes: &[u8], no_key: Fault) -> Done {
    let Ok(reply) = Reply::parse(bytes) else { return Err(Fault::NoReturncode) };
    if reply.is_success() {
        return Ok(xml(bytes.len() + 64, |out| reply.write_xml(out)));
    }
    Err(reply.fault().unwrap_or(no_key))
}

/// The store's trouble as a failure of the API: the operator reads the details in the log.
pub(super) fn store_fault(e: &StickError) -> Fault {
    tracing::error!(error = %e, "the store cannot be asked");
    store_away()
}

pub(super) fn store_away() -> Fault {
    Fault::Passed { key: "internalError".into(), message: "The balancer cannot reach its store. Try again.".into() }
}
