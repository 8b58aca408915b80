//! One HTTP request.

use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The most bytes of an answer.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Sends a request without a body, with the token if there is one; the answer's status and body.
///
/// # Errors
///
/// In words: why nobody answered, or not in time.
pub(crate) async fn call(
    method: Method,
    uri: &Uri,
    token: Option<&str>,
    limit: Duration,
) -> Result<(StatusCode, String), String> {
    let told = timeout(limit, exchange(method, uri, token)).await;
    told.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
}

/// The host and port, if it can be called. Anything but plain HTTP is refused: it would be spoken in clear text all the same, the token too.
///
/// # Errors
///
/// In words: no host, another scheme.
pub(crate) fn check(uri: &Uri) -> Result<&Authority, String> {
    match (uri.authority(), uri.scheme_str()) {
        (None, _) => Err("the URL names no host".to_owned()),
        (Some(authority), Some("http")) => Ok(authority),
        (_, None) => Err("the URL does not begin with http://".to_owned()),
        (_, Some(scheme)) => {
            Err(format!("the URL begins with {scheme}: only http is spoken here; something before it has to speak TLS"))
        }
    }
}

async fn exchange(method: Method, uri: &Uri, token: Option<&str>) -> Result<(StatusCode, String), String> {
    let words = |e: &dyn std::fmt::Display| e.to_string();
    let authority = check(uri)?;
    let to = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(to).await.map_err(|e| words(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| words(&e))?;
    let driven = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| words(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| words(&e))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| words(&e))?;
    driven.abort();
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}
