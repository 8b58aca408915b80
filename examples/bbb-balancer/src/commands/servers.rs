//! `servers`: list, add and change.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{NO_SERVERS, View, good, id_of, ok, text};
use crate::action::{Change, Wish};
use crate::cli::Output;
use crate::client::{Api, Client};
use crate::settings::masked;
use crate::table::decimal;
use console::printable;
use console::{Exit, Failure, Outcome};

/// A server to add.
pub(crate) struct New {
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) multiplier: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) enable: bool,
    pub(crate) lenient: bool,
}

/// Every server as a block.
pub(super) async fn list(client: &Client, show_secrets: bool, view: View) -> Result<Outcome, Failure> {
    let servers = super::servers(client).await?;
    if view.output == Output::Json {
        let all = Value::Array(servers);
        return Ok(if show_secrets { Outcome::done(format!("{all:#}\n")) } else { super::json(&all) });
    }
    if servers.is_empty() {
        return Ok(Outcome::note(NO_SERVERS));
    }
    Ok(Outcome::done(servers.iter().map(|server| block(server, show_secrets)).collect::<String>()))
}

/// One server, in the lines and the order of `rake servers`.
pub(super) fn block(server: &Value, show_secrets: bool) -> String {
    let secret = text(server, "secret");
    let secret = if show_secrets { secret.to_owned() } else { masked(secret) };
    let load = number_or_word(server.get("load"), "unavailable");
    let multiplier = number_or_word(server.get("load_multiplier"), "1.0");
    let lines = [
        format!("id: {}", text(server, "id")),
        format!("\turl: {}", text(server, "url")),
        format!("\tsecret: {secret}"),
        format!("\t{}", text(server, "state")),
        format!("\tload: {load}"),
        format!("\tload multiplier: {multiplier}"),
        format!("\tbbb version: {}", text(server, "bbb_version")),
        format!("\ttag: {}", text(server, "tag")),
        format!("\t{}", text(server, "online")),
    ];
    let line = |line: String| {
        let (indent, rest) = line.strip_prefix('\t').map_or(("", line.as_str()), |rest| ("\t", rest));
        format!("{indent}{}\n", printable(rest).trim_end())
    };
    lines.map(line).concat()
}

fn number_or_word(value: Option<&Value>, missing: &str) -> String {
    match value {
        Some(Value::Number(n)) => n.as_f64().map_or_else(|| n.to_string(), decimal),
        Some(Value::String(s)) if !s.is_empty() => s.clone(),
        _ => missing.to_owned(),
    }
}

/// Every server as a map by id, in the form that `servers:sync` reads.
pub(super) async fn yaml(client: &Client, verbose: bool, masking: bool, view: View) -> Result<Outcome, Failure> {
    let mut all = Map::new();
    for server in super::servers(client).await? {
        let secret = text(&server, "secret");
        let secret = if masking { masked(secret) } else { secret.to_owned() };
        let multiplier = number_or_word(server.get("load_multiplier"), "1.0").parse().unwrap_or(1.0_f64);
        let mut fields = json!({
            "secret": secret, "url": text(&server, "url"), "enabled": text(&server, "state") == "enabled",
            "load_multiplier": multiplier,
        });
        if !text(&server, "tag").is_empty() {
            fields["tag"] = text(&server, "tag").into();
        }
        if verbose {
            fields["state"] = text(&server, "state").into();
            fields["load"] = number_or_word(server.get("load"), "").parse().unwrap_or(-1.0_f64).into();
            fields["bbb_version"] = text(&server, "bbb_version").into();
            fields["online"] = (text(&server, "online") == "online").into();
        }
        all.insert(text(&server, "id").to_owned(), fields);
    }
    let all = Value::Object(all);
    Ok(Outcome::done(if view.output == Output::Json { format!("{all:#}\n") } else { crate::yaml::document(&all) }))
}

/// Adds a server. It stays disabled unless `enable` is set.
pub(super) async fn add(client: &Client, new: New, view: View) -> Result<Outcome, Failure> {
    let url = checked_url(&new.url)?;
    if new.secret.trim().is_empty() {
        return Err(Failure::usage("the server's secret is empty").hint("`bbb-conf --secret` on the server prints it"));
    }
    let mut note = None;
    let multiplier = match new.multiplier.as_deref().map(multiplier).transpose() {
        Ok(multiplier) => multiplier,
        Err(_) if new.lenient => {
            note = Some("WARNING! Load-multiplier was not readable or 0, so it is now 1".to_owned());
            None
        }
        Err(failure) => return Err(failure),
    };
    let same = |s: &&Value| text(s, "url").trim_end_matches('/').eq_ignore_ascii_case(url.trim_end_matches('/'));
    if let Some(old) = super::servers(client).await?.iter().find(same) {
        let id = printable(text(old, "id"));
        return Err(Failure::failed(format!("a server with this URL is there already, id: {id}"))
            .hint(format!("change it with `bbb-balancer servers update {id}`")));
    }
    let mut server = json!({"url": url, "secret": new.secret.trim()});
    if let Some(multiplier) = multiplier {
        server["load_multiplier"] = multiplier.into();
    }
    if let Some(tag) = new.tag {
        server["tag"] = tag.into();
    }
    let mut answer =
        good(client.post(Api::Scalelite, "addServer", &json!({"server": server})).await?, "the server was not added")?;
    let id = text(&answer.json, "id").to_owned();
    if id.is_empty() {
        return Err(Failure::failed("the balancer's answer has no id").hint("look with `bbb-balancer servers`"));
    }
    if new.enable {
        let body = json!({"id": id, "server": {"state": Wish::Enable.word()}});
        let enabled = client.post(Api::Scalelite, "updateServer", &body).await;
        answer = enabled.and_then(|answer| good(answer, "refused")).map_err(|e| {
            let cause = e.cause.unwrap_or(e.what);
            Failure::new(Exit::Partly, format!("the server was added with id {id}, but not enabled"))
                .cause(cause)
                .hint(format!("run `bbb-balancer servers enable {id}`"))
        })?;
    }
    let mut outcome = ok(&answer, view);
    if view.output != Output::Json {
        outcome.out.push_str(&format!("id: {}\n", printable(&id)));
        if view.terminal && !new.enable {
            note.get_or_insert_with(|| format!("it is disabled; next: bbb-balancer servers enable {}", printable(&id)));
        }
    }
    outcome.notes.extend(note);
    Ok(outcome)
}

/// The URL, if it can be the API of a server.
pub(super) fn checked_url(url: &str) -> Result<String, Failure> {
    let url = url.trim();
    if url.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some_and(|a| a.as_str().contains('@'))) {
        // Not repeated: a password may be part of it.
        let what = "the URL holds a user name, which every browser that joins would be sent";
        return Err(Failure::usage(what).hint("leave away what stands before the `@`"));
    }
    let shown = printable(url);
    let usual = "`bbb-conf --secret` on the server prints the URL; add `api` to it";
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::usage(format!(
            "{shown:?} is not a URL of a server: it must begin with http:// or https://"
        ))
        .hint(usual));
    }
    let uri = url.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some_and(|h| !h.is_empty()));
    let Some(uri) = uri else {
        return Err(Failure::usage(format!("{shown:?} is not a URL")).hint(usual));
    };
    if uri.query().is_some() {
        return Err(Failure::usage(format!("{shown:?} has a query")).hint("leave away what follows the `?`"));
    }
    let path = uri.path().trim_end_matches('/');
    if !path.ends_with("/api") {
        let origin = url.trim_end_matches('/').strip_suffix(path).unwrap_or(url).trim_end_matches('/');
        let path = if path.is_empty() { "/bigbluebutton" } else { path };
        return Err(Failure::usage(format!("{shown:?} lacks `/api` at the end: a server's calls live below it"))
            .hint(format!("use {}{path}/api", printable(origin))));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// A load multiplier: a number above zero.
pub(super) fn multiplier(text: &str) -> Result<f64, Failure> {
    let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| {
        Failure::usage(format!("the load multiplier is {:?}", printable(text)))
            .hint("give a number above 0, such as 1.5")
    })
}

/// Brings a server into a state.
pub(super) async fn wish(client: &Client, id: &str, wish: Wish, view: View) -> Result<Outcome, Failure> {
    let id = id_of(client, id).await?;
    let mut outcome = change_known(client, &id, json!({"state": wish.word()}), view).await?;
    if let Wish::Disable = wish {
        outcome.notes.extend(left_behind(client, &id).await);
    }
    Ok(outcome)
}

/// What to do about the meetings of a server that was disabled; nothing when it has none, or when nobody can tell.
async fn left_behind(client: &Client, id: &str) -> Option<String> {
    let answer = client.get(Api::Own, "meetings", &[("server", id)]).await.ok().filter(|a| a.status.is_success())?;
    let left = super::items(&answer, "meetings").ok()?.len();
    let (are, them) = match left {
        0 => return None,
        1 => ("1 meeting is".to_owned(), "it"),
        n => (format!("{n} meetings are"), "them"),
    };
    let id = printable(id);
    Some(format!(
        "{are} left on it, and nobody can join {them}: `bbb-balancer servers panic {id}` ends {them}, `bbb-balancer \
         servers cordon {id}` lets {them} go on"
    ))
}

/// Changes other settings of a server.
pub(super) async fn update(client: &Client, id: &str, wanted: Change, view: View) -> Result<Outcome, Failure> {
    let mut fields = Map::new();
    if let Some(secret) = wanted.secret {
        fields.insert("secret".into(), secret.into());
    }
    if let Some(text) = wanted.multiplier {
        fields.insert("load_multiplier".into(), multiplier(&text)?.into());
    }
    if let Some(tag) = wanted.tag {
        fields.insert("tag".into(), tag.into());
    }
    change(client, id, fields.into(), view).await
}

async fn change(client: &Client, name: &str, fields: Value, view: View) -> Result<Outcome, Failure> {
    let id = id_of(client, name).await?;
    change_known(client, &id, fields, view).await
}

async fn change_known(client: &Client, id: &str, fields: Value, view: View) -> Result<Outcome, Failure> {
    let answer = client.post(Api::Scalelite, "updateServer", &json!({"id": id, "server": fields})).await?;
    Ok(ok(&good(answer, &format!("server {} was not changed", printable(id)))?, view))
}

/// Forgets and ends a server's meetings.
pub(super) async fn panic(
    client: &Client,
    name: &str,
    keep_state: bool,
    skip_ends: bool,
    view: View,
) -> Result<Outcome, Failure> {
    let id = id_of(client, name).await?;
    // They are named for people alone, and that they cannot be listed is no reason not to panic.
    let cleared = super::drain::left(client, &id).await.unwrap_or_default();
    let mut body = json!({"id": id, "keep_state": keep_state});
    if skip_ends {
        body["skip_end_calls"] = true.into();
    }
    let answer = client.post(Api::Scalelite, "panicServer", &body).await?;
    let done = ok(&good(answer, &format!("the meetings of server {} were not cleared", printable(&id)))?, view);
    if view.output == Output::Json {
        return Ok(done);
    }
    let lines = cleared.iter().map(|meeting| format!("Clearing Meeting id={}\n", printable(meeting)));
    Ok(Outcome { out: lines.collect::<String>() + &done.out, ..done })
}

/// Removes a server, unless it has meetings.
pub(super) async fn remove(client: &Client, name: &str, force: bool, view: View) -> Result<Outcome, Failure> {
    let id = id_of(client, name).await?;
    let answer = client.post(Api::Own, "removeServer", &json!({"id": id, "force": force})).await?;
    let shown = printable(&id);
    if answer.status == StatusCode::CONFLICT {
        let meetings: Vec<String> = answer
            .json
            .get("meetings")
            .and_then(Value::as_array)
            .map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_str).map(printable).collect());
        let noun = if meetings.len() == 1 { "meeting" } else { "meetings" };
        return Err(Failure::new(Exit::Refused, format!("server {shown} has {} running {noun}", meetings.len()))
            .cause(format!("removing it would lose: {}", meetings.join(", ")))
            .hint(format!(
                "`bbb-balancer servers cordon {shown}` lets them end; `servers remove {shown} --force` forgets them"
            )));
    }
    Ok(ok(&good(answer, &format!("server {shown} was not removed"))?, view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers() {
        let good = "https://bbb1.example.com/bigbluebutton/api";
        assert_eq!(checked_url(good), Ok(good.to_owned()));
        assert_eq!(checked_url(&format!(" {good}/ ")), Ok(good.to_owned()));
        let hint = |url: &str| checked_url(url).map_err(|e| (e.exit, e.hint.unwrap_or_default())).unwrap_err();
        for url in ["https://bbb1.example.com/bigbluebutton/", "https://bbb1.example.com/bigbluebutton"] {
            assert_eq!(hint(url), (Exit::Usage, format!("use {good}")));
        }
        assert_eq!(hint("https://bbb1.example.com").1, format!("use {good}"));
        assert_eq!(hint("https://bbb1.example.com:8443/").1, "use https://bbb1.example.com:8443/bigbluebutton/api");
        let named = checked_url("https://ann:hunter2@bbb1.example.com/bigbluebutton/api").unwrap_err();
        assert_eq!(named.exit, Exit::Usage);
        assert!(!named.to_string().contains("hunter2"), "{named}");
        for url in ["bbb1.example.com/bigbluebutton/api", "ftp://x/api", "http://", "https://x y/api", "http://x/api?y"]
        {
            assert_eq!(hint(url).0, Exit::Usage, "{url}");
        }
    }

    #[test]
    fn multipliers() {
        assert_eq!(multiplier(" 2.5"), Ok(2.5));
        for text in ["0", "-1", "x", "", "inf", "NaN"] {
            assert!(multiplier(text).is_err(), "{text}");
        }
    }
}
