//! Calls to a running `serve`.

use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use console::{Failure, printable};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 512 << 20;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Calls one picker.
pub(super) struct Client {
    base: String,
    pool: Pool<HttpConnector, Empty<Bytes>>,
}

impl Client {
    /// For the picker at this URL.
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let fits = url.starts_with("http://") && !url.contains(['?', '#', '@']) && url.parse::<http::Uri>().is_ok();
        if !fits {
            return Err(Failure::usage(format!("the URL {url:?} cannot be called"))
                .hint("write --url http://HOST:PORT, as `serve` prints it"));
        }
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Ok(Self { base: url.trim_end_matches('/').to_owned(), pool })
    }

    /// A question.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.call(Method::GET, path, query).await
    }

    /// A change.
    pub(super) async fn post(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.call(Method::POST, path, query).await
    }

    /// A question whose answer is text.
    pub(super) async fn text(&self, path: &str) -> Result<String, Failure> {
        let (status, body) = self.send(Method::GET, path, &[]).await?;
        match status {
            StatusCode::OK => Ok(String::from_utf8_lossy(&body).into_owned()),
            _ => Err(self.refusal(status, &serde_json::from_slice(&body).unwrap_or_default())),
        }
    }

    async fn call(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let (status, body) = self.send(method, path, query).await?;
        let json: Value = serde_json::from_slice(&body).map_err(|e| {
            Failure::failed(format!("{} does not answer like a picker", self.base))
                .cause(e)
                .hint("give the address that `serve` prints, with --url or JITSI_PICKER_URL")
        })?;
        if status.is_success() { Ok(json) } else { Err(self.refusal(status, &json)) }
    }

    fn refusal(&self, status: StatusCode, json: &Value) -> Failure {
        let text = json.get("text").and_then(Value::as_str).unwrap_or_default();
        let failure = match text {
            "" => Failure::failed(format!("{} answers with status {}", self.base, status.as_u16())),
            text => Failure::failed(text),
        };
        match json.get("error").and_then(Value::as_str) {
            Some("unknown") => failure.hint("`jitsi-picker shards list` names the shards"),
            Some("not-found") => failure.hint("is it started with --shards FILE?"),
            Some("store") => failure.hint("known rooms go on; `jitsi-picker shards status` says what is wrong"),
            _ => failure,
        }
    }

    async fn send(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<(StatusCode, Bytes), Failure> {
        let query = Serializer::new(String::new()).extend_pairs(query).finish();
        let and = if query.is_empty() { "" } else { "?" };
        let failed = |what: &str| Failure::failed(format!("the picker at {} {what}", printable(&self.base)));
        let request = Request::builder().method(method).uri(format!("{}{path}{and}{query}", self.base));
        let request = request.body(Empty::new()).map_err(|e| failed("cannot be called").cause(e))?;
        let work = async {
            let answer = self.pool.request(request).await.map_err(|e| {
                let mut root: &dyn std::error::Error = &e;
                while let Some(source) = root.source() {
                    root = source;
                }
                let hint =
                    "is `jitsi-picker serve --shards FILE` running there? --url or JITSI_PICKER_URL names another";
                failed("cannot be reached").cause(root).hint(hint)
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|e| failed("sends an answer that cannot be read").cause(e))?;
            Ok((head.status, body.to_bytes()))
        };
        tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| {
            Err(Failure::timed_out(format!("{} does not answer within {LIMIT:?}", printable(&self.base)))
                .hint("it may still be carried out; look with `jitsi-picker shards status`"))
        })
    }
}
