//! Requests of an edumeet room server.

use super::query::{Target, param, room_text, text};
use super::state::room_from_state;
use super::{Classified, MAX_BODY_LEN, Request, RequestKind};

/// Folders and files of the web client; everything else below `/` is the page of a room.
const FOLDERS: [&[u8]; 6] = [b"/static/", b"/config/", b"/images/", b"/sounds/", b"/locales/", b"/.well-known/"];
const FILES: [&[u8]; 4] = [b"/favicon.ico", b"/robots.txt", b"/manifest.json", b"/service-worker.js"];

pub(super) fn classify(request: &Request<'_>, tenants: bool) -> Classified {
    let target = Target::read(request.target);
    let kind = kind(target.path);
    if target.fragment {
        return Classified::new(kind, None, None);
    }
    let by_name = || room_text(target.query, "roomId");
    let room = match kind {
        RequestKind::Callback => state(target.query).or_else(|| state(form(request))).or_else(by_name),
        RequestKind::Signalling | RequestKind::Page | RequestKind::Logout => by_name(),
        RequestKind::Login => by_name().or_else(|| room_text(form(request), "roomId")),
        _ => None,
    };
    let tenant = if tenants && room.is_some() { tenant(request, target) } else { None };
    Classified::new(kind, tenant, room)
}

fn kind(path: &[u8]) -> RequestKind {
    if path == b"/socket.io" || path.starts_with(b"/socket.io/") {
        return RequestKind::Signalling;
    }
    if path.starts_with(b"/auth/callback") {
        return RequestKind::Callback;
    }
    match path {
        b"/auth/login" => RequestKind::Login,
        b"/auth/logout" => RequestKind::Logout,
        b"/auth/check_login_status" => RequestKind::Session,
        b"/auth/metadata" => RequestKind::Saml,
        b"/auth/lti" => RequestKind::Lti,
        b"/static/stats" => RequestKind::Stats,
        _ if path.starts_with(b"/static/stats;") => RequestKind::Stats,
        _ if path.starts_with(b"/.well-known/acme-challenge/") => RequestKind::Acme,
        _ if FOLDERS.iter().any(|folder| path.starts_with(folder)) || FILES.contains(&path) => RequestKind::Static,
        _ => RequestKind::Page,
    }
}

fn state(query: &[u8]) -> Option<String> {
    room_from_state(param(query, "state")?)
}

fn form<'a>(request: &Request<'a>) -> &'a [u8] {
    let readable = request.method.eq_ignore_ascii_case("POST") && request.body.len() <= MAX_BODY_LEN;
    if readable { request.body.trim_ascii() } else { b"" }
}

/// The host name that names the tenant, lower case, without port; what cannot stand in a host name is dropped.
fn tenant(request: &Request<'_>, target: Target<'_>) -> Option<String> {
    let named = param(target.query, "tenantFqdn").map(text);
    let first = |list: &str| list.split(',').next().map(str::to_owned);
    let origin = || request.header("origin").map(|url| url.split_once("://").map_or(url, |(_, host)| host).to_owned());
    let candidates = [
        named,
        request.header("x-forwarded-host").and_then(first),
        request.header("host").map(str::to_owned),
        origin(),
    ];
    candidates.into_iter().flatten().map(|host| host_name(&host)).find(|host| !host.is_empty())
}

fn host_name(host: &str) -> String {
    let host = host.trim();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let kept = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(*c));
    kept.collect::<String>().trim_end_matches('.').to_ascii_lowercase()
}
