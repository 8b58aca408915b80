//! One server, called from here as the balancer calls it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adapter_bbb::{Algorithm, meetings, sign};
use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;

use super::date;
use super::report::{Report, Section};
use crate::client::Connections;
use crate::commands::{host, text};
use crate::settings::{masked, weakness};
use console::printable;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;
/// The largest difference between two clocks that needs no mending, in seconds.
const CLOCK_SLACK: i64 = 10;

/// What a call brought.
struct Answer {
    status: u16,
    date: Option<i64>,
    body: Bytes,
}

enum Trouble {
    Refused,
    Silent,
    Tls(String),
    Other(String),
}

/// Whether this address is the machine itself.
fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Looks at one server; whether it can take meetings.
pub(super) async fn examine(pool: &Connections, server: &Value, limit: Duration) -> (Report, bool) {
    let mut report = Report::default();
    let (id, url, secret) = (text(server, "id"), text(server, "url"), text(server, "secret"));
    let mut section = Section::new(format!("Server {id}"));
    section.fact("url", url);
    section.fact("secret", masked(secret));
    section.fact("state", format!("{}, {}", text(server, "state"), text(server, "online")));
    let shape = shape(&mut report, id, url);
    if let Some(why) = weakness(secret) {
        let fix = format!(
            "on the server run `bbb-conf --setsecret $(openssl rand -hex 32)`, then here `bbb-balancer servers update \
             {id} --server-secret SECRET`"
        );
        report.warning("BBB-D23", id, format!("its secret {why}"), fix);
    }
    let answers = if shape && resolves(&mut report, &mut section, id, url).await {
        ask(&mut report, &mut section, pool, server, limit).await
    } else {
        section.fact("answers", "not asked");
        false
    };
    report.sections.push(section);
    (report, answers && text(server, "state") == "enabled")
}

/// The form of the URL; whether it can be called at all.
fn shape(report: &mut Report, id: &str, url: &str) -> bool {
    let add = |url: &str| format!("`bbb-balancer servers add {url} SECRET --enable`, then `servers remove {id}`");
    if !url.starts_with("http://") && !url.starts_with("https://") {
        let fix = add("https://HOST/bigbluebutton/api");
        report.error("BBB-D20", id, "its URL begins with neither http:// nor https://", fix);
        return false;
    }
    if let Some(rest) = url.strip_prefix("http://").filter(|_| !is_local(host(url))) {
        let fix =
            format!("set up a certificate on the server (`bbb-install`), then {}", add(&format!("https://{rest}")));
        let what =
            "it is called over plain http: everybody on the way can read joins, and browsers allow no microphone";
        report.warning("BBB-D21", id, what, fix);
    }
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    if !path.ends_with("/api") {
        let whole = if path.ends_with("/bigbluebutton") { "" } else { "/bigbluebutton" };
        let what = "its URL lacks `/api` at the end: every call goes to a page that is not the API";
        report.error("BBB-D22", id, what, add(&format!("{path}{whole}/api")));
        return false;
    }
    true
}

async fn resolves(report: &mut Report, section: &mut Section, id: &str, url: &str) -> bool {
    let name = host(url).trim_matches(['[', ']']).to_owned();
    let found = tokio::net::lookup_host((name.as_str(), 443)).await;
    match found.map(|all| all.map(|a| a.ip().to_string()).collect::<std::collections::BTreeSet<_>>()) {
        Ok(addresses) if !addresses.is_empty() => {
            section.fact("address", addresses.into_iter().collect::<Vec<_>>().join(", "));
            true
        }
        _ => {
            section.fact("address", "");
            let fix =
                format!("mend the name in DNS or in /etc/hosts; `getent hosts {name}` shows what this machine finds");
            report.error("BBB-D24", id, format!("the name {name} has no address"), fix);
            false
        }
    }
}

/// Calls it: first without a signature, then with one.
async fn ask(report: &mut Report, section: &mut Section, pool: &Connections, server: &Value, limit: Duration) -> bool {
    let (id, url) = (text(server, "id"), text(server, "url").trim_end_matches('/'));
    let first = match fetch(pool, url, limit).await {
        Ok(answer) => answer,
        Err(trouble) => {
            section.fact("answers", "no");
            unreachable(report, id, host(url), limit, &trouble);
            return false;
        }
    };
    let page = String::from_utf8_lossy(&first.body).into_owned();
    let version = between(&page, "<bbbVersion>", "</bbbVersion>");
    section.fact("version", version.map(printable).unwrap_or_default());
    clock(report, section, id, first.date);
    let query = format!("checksum={}", sign(Algorithm::Sha256, "getMeetings", "", text(server, "secret")));
    let signed = match fetch(pool, &format!("{url}/getMeetings?{query}"), limit).await {
        Ok(answer) => answer,
        Err(trouble) => {
            section.fact("answers", "no");
            unreachable(report, id, host(url), limit, &trouble);
            return false;
        }
    };
    let document = String::from_utf8_lossy(&signed.body);
    if between(&document, "<messageKey>", "</messageKey>") == Some("checksumError") {
        section.fact("answers", "yes, but does not accept the secret");
        let fix = format!(
            "run `bbb-conf --secret` on the server, then here `bbb-balancer servers update {id} --server-secret SECRET`"
        );
        report.error("BBB-D26", id, "it does not accept the secret that is kept for it", fix);
        return false;
    }
    match meetings(&signed.body).map(|all| all.len()) {
        Ok(count) if document.contains("<returncode>SUCCESS</returncode>") => {
            section.fact("answers", format!("yes, {}", console::counted(count, "meeting")));
            if text(server, "online") == "offline" && text(server, "state") != "disabled" {
                let what = "it answers here, and yet it is offline for the balancer: the last polls failed";
                let fix = "`bbb-balancer poll` asks it at once and says why it fails, if it still does";
                report.warning("BBB-D33", id, what, fix);
            }
            true
        }
        _ => {
            section.fact("answers", format!("HTTP {} that is not the API's", signed.status));
            let fix = "look at `bbb-conf --status` and `bbb-conf --check` on the server; its URL must be what `bbb-conf \
                       --secret` prints, with `api` at the end";
            report.error("BBB-D27", id, format!("it answers HTTP {} that is not the API's", signed.status), fix);
            false
        }
    }
}

/// Compares a clock with the one of this machine; both in seconds since 1970.
pub(super) fn clock(report: &mut Report, section: &mut Section, id: &str, theirs: Option<i64>) {
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok());
    let (Some(theirs), Some(ours)) = (theirs, ours) else {
        section.fact("clock", "not told");
        return;
    };
    let ahead = theirs - ours;
    if ahead.abs() <= CLOCK_SLACK {
        section.fact("clock", "in step");
        return;
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    let what = format!("its clock is {} s {way} the one of this machine", ahead.abs());
    section.fact("clock", format!("{} s {way} ours", ahead.abs()));
    let fix = "run `timedatectl set-ntp true` on both, and look at `timedatectl timesync-status`";
    report.warning("BBB-D25", id, what, fix);
}

fn unreachable(report: &mut Report, id: &str, name: &str, limit: Duration, trouble: &Trouble) {
    let (what, fix) = match trouble {
        Trouble::Refused => (
            "it refuses connections".to_owned(),
            "run `bbb-conf --status` and `systemctl status nginx` on the server, and look at its firewall".to_owned(),
        ),
        Trouble::Silent => (
            format!("it does not answer within {} s", limit.as_secs_f64()),
            format!("look at the server's firewall and load; until it answers: `bbb-balancer servers cordon {id}`"),
        ),
        Trouble::Tls(why) => (
            format!("no TLS connection: {}", printable(why)),
            format!("renew the server's certificate; `openssl s_client -connect {name}:443` shows what it sends"),
        ),
        Trouble::Other(why) => (
            format!("it cannot be called: {}", printable(why)),
            "run `bbb-conf --check` on the server, and look at what stands between it and this machine".to_owned(),
        ),
    };
    report.error("BBB-D28", id, what, fix);
}

async fn fetch(pool: &Connections, url: &str, limit: Duration) -> Result<Answer, Trouble> {
    let request = http::Request::builder().uri(url).body(Full::new(Bytes::new()));
    let request = request.map_err(|e| Trouble::Other(e.to_string()))?;
    let work = async {
        let answer = pool.request(request).await.map_err(|e| trouble(&e))?;
        let (head, body) = answer.into_parts();
        let date = head.headers.get(header::DATE).and_then(|d| d.to_str().ok()).and_then(date::seconds);
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| Trouble::Other(e.to_string()))?;
        Ok(Answer { status: head.status.as_u16(), date, body: body.to_bytes() })
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Trouble::Silent))
}

fn trouble(e: &hyper_util::client::legacy::Error) -> Trouble {
    let mut root: &dyn std::error::Error = e;
    let (mut kind, mut tls) = (None, false);
    while let Some(source) = root.source() {
        if let Some(io) = source.downcast_ref::<std::io::Error>() {
            kind = Some(io.kind());
            tls |= io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        }
        tls |= source.is::<rustls::Error>();
        root = source;
    }
    match kind {
        Some(std::io::ErrorKind::ConnectionRefused) => Trouble::Refused,
        Some(std::io::ErrorKind::TimedOut) => Trouble::Silent,
        _ if tls => Trouble::Tls(root.to_string()),
        _ => Trouble::Other(root.to_string()),
    }
}

fn between<'t>(text: &'t str, open: &str, close: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner)
}
