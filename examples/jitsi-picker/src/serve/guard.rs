//! What is refused because a browser may have been talked into it.
//!
//! A page from anywhere can make its reader's browser post to the loopback; and by a name that first leads to the page's
//! own server and then to 127.0.0.1 it can read the answers too. Nobody logs in here, so this is what stands in its way.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{Method, Request, StatusCode, header};

use super::http::Problem;

/// Browsers send it with what a page asks for, and no page can leave it out.
const FETCH_SITE: &str = "sec-fetch-site";

/// Who may ask.
#[derive(Debug)]
pub(super) struct Guard {
    names: Vec<String>,
    /// Whether other names are refused.
    strict: bool,
}

impl Guard {
    /// For what listens there and is known by these names. On the loopback, or if there are names, no other name is
    /// answered to; an address and `localhost` always are.
    pub(super) fn new(at: SocketAddr, names: &[String]) -> Self {
        let strict = at.ip().to_canonical().is_loopback() || !names.is_empty();
        Self { names: names.iter().map(|name| bare(name).to_ascii_lowercase()).collect(), strict }
    }

    /// Refuses changes that a page asks for, and names that are not ours. A request of HTTP/1.0 may have no name.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let (headers, reading) = (request.headers(), matches!(*request.method(), Method::GET | Method::HEAD));
        if !reading && (headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE)) {
            let text = "a page in a browser may change nothing here";
            return Err((StatusCode::FORBIDDEN, "browser", text.to_owned()));
        }
        let named = headers.get_all(header::HOST).iter().map(|host| Authority::try_from(host.as_bytes()).ok());
        let whole = request.uri().authority().map(|whole| Some(whole.clone()));
        for host in named.chain(whole) {
            if self.strict && !host.is_some_and(|host| self.is_ours(host.host())) {
                let text = "asked by a name that is not ours: use the address, or start `serve` with --host NAME";
                return Err((StatusCode::MISDIRECTED_REQUEST, "host", text.to_owned()));
            }
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = bare(host).to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        address || host == "localhost" || self.names.contains(&host)
    }
}

/// Without the dot that ends a full name.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let request = Request::builder().method(method).uri("/order?shard=a&to=drain");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        guard.check(&request.body(()).unwrap()).map_err(|(_, code, _)| code)
    }

    #[test]
    fn pages_change_nothing_and_foreign_names_learn_nothing() {
        let loopback = Guard::new("127.0.0.1:8990".parse().unwrap(), &["Picker.Example.".to_owned()]);
        for host in ["127.0.0.1:8990", "localhost:8990", "LOCALHOST", "[::1]:8990", "10.0.0.7", "picker.example:80"] {
            assert_eq!(asked(&loopback, "POST", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(asked(&loopback, "GET", &[]), Ok(()), "a check of HTTP/1.0");
        for host in ["evil.example:8990", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b", "2130706433"] {
            assert_eq!(asked(&loopback, "GET", &[("host", host)]), Err("host"), "{host}");
        }
        assert_eq!(asked(&loopback, "GET", &[("host", "127.0.0.1"), ("host", "evil.example")]), Err("host"));
        for header in [("origin", "http://127.0.0.1:8990"), ("origin", "null"), ("sec-fetch-site", "same-origin")] {
            assert_eq!(asked(&loopback, "POST", &[("host", "127.0.0.1"), header]), Err("browser"), "{header:?}");
            assert_eq!(asked(&loopback, "GET", &[("host", "127.0.0.1"), header]), Ok(()), "{header:?}");
        }
    }

    #[test]
    fn a_network_has_names_of_its_own() {
        let open = Guard::new("10.0.0.7:8990".parse().unwrap(), &[]);
        assert_eq!(asked(&open, "POST", &[("host", "picker.internal")]), Ok(()));
        assert_eq!(asked(&open, "POST", &[("host", "picker.internal"), ("origin", "http://x")]), Err("browser"));
        let named = Guard::new("0.0.0.0:8990".parse().unwrap(), &["picker.internal".to_owned()]);
        assert_eq!(asked(&named, "GET", &[("host", "picker.internal")]), Ok(()));
        assert_eq!(asked(&named, "GET", &[("host", "evil.example")]), Err("host"));
    }
}
