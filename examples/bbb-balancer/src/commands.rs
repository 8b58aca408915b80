//! Commands that ask a running balancer.

mod drain;
mod meetings;
mod plan;
mod poll;
mod recordings;
mod servers;
mod status;
mod sync;
mod tenants;

use serde_json::Value;

use crate::action::Action;
use crate::cli::Output;
use crate::client::{Answer, Api, Client};
use crate::settings::masked;
use console::{Failure, Outcome};

pub(crate) use drain::Wait;
pub(crate) use plan::Wanted;
pub(crate) use tenants::{Limits, TenantOrder};

/// Said where a list would be.
const NO_SERVERS: &str = "No servers are configured";

/// How and where to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// The format.
    pub(crate) output: Output,
    /// Whether a person reads it.
    pub(crate) terminal: bool,
}

/// Carries out one order.
///
/// # Errors
///
/// What the balancer refuses, and every trouble with reaching it.
///
/// # Cancel safety
///
/// Dropping the future leaves open whether the order was carried out.
pub(crate) async fn run(client: &Client, action: Action, view: View) -> Result<Outcome, Failure> {
    match action {
        Action::List { show_secrets } => servers::list(client, show_secrets, view).await,
        Action::Yaml { verbose, show_secrets } => servers::yaml(client, verbose, !show_secrets, view).await,
        Action::Add { url, secret, multiplier, tag, enable, lenient } => {
            let new = servers::New { url, secret, multiplier, tag, enable, lenient };
            servers::add(client, new, view).await
        }
        Action::Wish { id, wish } => servers::wish(client, &id, wish, view).await,
        Action::Drain { id, wait } => drain::drain(client, &id, wait, view).await,
        Action::Preview { id, change } => drain::preview(client, &id, change, view).await,
        Action::Update { id, change } => servers::update(client, &id, change, view).await,
        Action::Panic { id, keep_state, skip_ends } => servers::panic(client, &id, keep_state, skip_ends, view).await,
        Action::AddAll { file, dry } => sync::add_all(client, &file, dry, view).await,
        Action::Sync { file, absent, dry } => sync::sync(client, &file, absent, dry, view).await,
        Action::Remove { id, force } => servers::remove(client, &id, force, view).await,
        Action::Poll { lenient } => poll::poll(client, lenient, view).await,
        Action::Status => status::status(client, view).await,
        // Who watches asks again by himself.
        Action::Watch { what, .. } => Box::pin(run(client, *what, view)).await,
        Action::Explain { meeting, tag } => meetings::explain(client, &meeting, tag.as_deref(), view).await,
        Action::Plan(wanted) => plan::plan(client, &wanted, view).await,
        Action::Meetings { servers, tenant } => meetings::list(client, &servers, tenant.as_deref(), view).await,
        Action::Tenants(order) => tenants::run(client, order, view).await,
        Action::MeetingsByServer { servers } => meetings::by_server(client, &servers, view).await,
        Action::MeetingInfo { meetings } => meetings::info(client, &meetings, view).await,
        Action::EndMeetings { meetings, agreed, dry } => meetings::end(client, &meetings, agreed, dry, view).await,
        Action::Recordings(which) => recordings::list(client, &which, view).await,
        Action::ImportRecordings => recordings::import(client, view).await,
        Action::CheckRecordings => recordings::check(client, false, view).await,
        Action::SettleRecordings => recordings::check(client, true, view).await,
        Action::RecordingsToTenant { tenant } => recordings::to_tenant(client, &tenant, view).await,
        Action::Liveness => Ok(Outcome::done("success\n")),
    }
}

/// The server's JSON for programs, secrets masked.
fn json(value: &Value) -> Outcome {
    let mut value = value.clone();
    mask(&mut value);
    Outcome::done(format!("{value:#}\n"))
}

fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name.contains("secret") || name.contains("password") => {
                        *text = text.split(':').map(masked).collect::<Vec<_>>().join(":");
                    }
                    _ => mask(value),
                }
            }
        }
        _ => {}
    }
}

/// `OK`, or the JSON of the answer.
fn ok(answer: &Answer, view: View) -> Outcome {
    if view.output == Output::Json { json(&answer.json) } else { Outcome::done("OK\n") }
}

/// The answer, unless it is an error.
fn good(answer: Answer, what: &str) -> Result<Answer, Failure> {
    if answer.status.is_success() { Ok(answer) } else { Err(Failure::failed(what.to_owned()).cause(answer.error())) }
}

/// A list inside an answer.
pub(crate) fn items<'a>(answer: &'a Answer, name: &str) -> Result<&'a [Value], Failure> {
    answer.json.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| {
        Failure::failed(format!("the balancer's answer has no list of {name}"))
            .hint("is it of the same version as this command?")
    })
}

/// A text field; empty when it is not there.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number; 0 when it is not there.
pub(crate) fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// A whole number and what it counts, by the field's name, which is a plural: `1 meeting`.
fn counted_of(value: &Value, name: &str) -> String {
    console::counted(usize::try_from(count(value, name)).unwrap_or(usize::MAX), name.trim_end_matches('s'))
}

/// A number, if it is there.
fn number(value: &Value, name: &str) -> Option<f64> {
    value.get(name).and_then(Value::as_f64)
}

/// Every server, as Scalelite's API lists them; none when there are none.
pub(crate) async fn servers(client: &Client) -> Result<Vec<Value>, Failure> {
    let answer = client.get(Api::Scalelite, "getServers", &[]).await?;
    if answer.status == http::StatusCode::NOT_FOUND && answer.json.get("error").is_some() {
        return Ok(Vec::new());
    }
    match good(answer, "the servers cannot be listed")?.json {
        Value::Array(servers) => Ok(servers),
        _ => Err(Failure::failed("the balancer's answer is not a list of servers")),
    }
}

/// The id of the server with this id, host name (with its port or without) or URL.
async fn id_of(client: &Client, name: &str) -> Result<String, Failure> {
    let servers = servers(client).await?;
    let is = |server: &&Value| text(server, "id") == name;
    if let Some(server) = servers.iter().find(is) {
        return Ok(text(server, "id").to_owned());
    }
    let wanted = name.trim_end_matches('/').to_ascii_lowercase();
    let fits = |server: &&Value| {
        let url = text(server, "url").trim_end_matches('/').to_ascii_lowercase();
        url == wanted || host(&url) == wanted || authority(&url) == wanted
    };
    let found: Vec<&Value> = servers.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(text(one, "id").to_owned()),
        [] => {
            let failure = Failure::failed(format!("No server found with id: {}", console::printable(name)));
            let names = servers.iter().flat_map(|s| [text(s, "id"), host(text(s, "url"))]);
            Err(match crate::nearest::nearest(name, names) {
                Some(near) => failure.hint(format!("did you mean {}?", console::printable(near))),
                None => failure.hint("`bbb-balancer servers` lists them"),
            })
        }
        many => {
            let ids: Vec<_> = many.iter().map(|s| console::printable(text(s, "id"))).collect();
            Err(Failure::usage(format!("{} servers are called {name}", many.len()))
                .hint(format!("give the id: {}", ids.join(", "))))
        }
    }
}

/// The host name in a URL, with its port if it has one.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The host name in a URL.
pub(crate) fn host(url: &str) -> &str {
    let authority = authority(url);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests;
