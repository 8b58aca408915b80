//! `doctor`: facts first, problems last, each with what mends it. It changes nothing.

mod date;
mod report;
mod server;

use std::time::Duration;

use adapter_bbb::Connector;
use balancer_core::{RedisLink, RedisOptions, RedisReply};
use serde_json::Value;

use crate::client::{Api, Client, connections};
use crate::commands::{count, servers as list, text};
use crate::settings::{Listen, Settings, Store};
use console::Failure;

pub(crate) use report::Report;
use report::Section;

/// With fewer servers that take meetings, the fall of one is felt by everybody.
const ENOUGH: usize = 3;
/// Servers that are called, at most.
const MOST: usize = 1000;

/// Looks at the settings, the store, the running balancer and its servers.
pub(crate) async fn run(settings: &Result<Settings, Vec<String>>, client: Result<Client, Failure>) -> Report {
    let mut report = Report::default();
    configuration(&mut report, settings);
    let settings = settings.as_ref().ok();
    if let Some(Store::Redis { url, namespace, timeout, .. }) = settings.map(|s| &s.store) {
        redis(&mut report, url.expose(), namespace, *timeout).await;
    }
    let Some(servers) = balancer(&mut report, client, settings).await else { return report };
    let limit = settings.map_or(Duration::from_secs(10), |s| s.connect_timeout + s.response_timeout);
    let connect = settings.map_or(Duration::from_secs(5), |s| s.connect_timeout);
    let pool = connections(connect);
    if servers.iter().any(|server| text(server, "url").starts_with("https:"))
        && let Err(e) = Connector::prepare_tls().await
    {
        report.error("BBB-D29", "certificates", e.to_string(), "install the package ca-certificates");
    }
    let mut good = 0;
    // All at once: one that hangs does not hold up the others.
    let tasks: Vec<_> = servers
        .into_iter()
        .take(MOST)
        .map(|server| {
            let pool = pool.clone();
            tokio::spawn(async move { server::examine(&pool, &server, limit).await })
        })
        .collect();
    for task in tasks {
        if let Ok((found, usable)) = task.await {
            report.append(found);
            good += usize::from(usable);
        }
    }
    if good < ENOUGH {
        let fix = "bbb-balancer servers add https://HOST/bigbluebutton/api SECRET --enable";
        let what = match good {
            0 => "no server takes new meetings: every create is refused".to_owned(),
            1 => "1 server takes new meetings: when it falls, nothing is left".to_owned(),
            n => format!("only {n} servers take new meetings: when one falls, the other carries everything"),
        };
        if good == 0 {
            report.error("BBB-D30", "servers", what, fix);
        } else {
            report.warning("BBB-D30", "servers", what, fix);
        }
    }
    report
}

fn configuration(report: &mut Report, settings: &Result<Settings, Vec<String>>) {
    let mut section = Section::new("Configuration");
    section.fact("version", env!("CARGO_PKG_VERSION"));
    match settings {
        Ok(s) => {
            section.fact(
                "listens at",
                match &s.listen {
                    Listen::Tcp(at) => at.to_string(),
                    Listen::Unix(path) => format!("unix://{}", path.display()),
                },
            );
            section.fact("host name", s.url_host.clone().unwrap_or_else(|| "any".to_owned()));
            section.fact(
                "store",
                match &s.store {
                    Store::Memory => "memory: nothing survives a restart".to_owned(),
                    Store::File(dir) => format!("a file in {}", dir.display()),
                    Store::Redis { namespace, .. } => format!("Redis, keys begin with {namespace}:"),
                },
            );
            for warning in s.warnings() {
                let (what, fix) = warning.split_once(": ").unwrap_or((warning, "see `bbb-balancer check`"));
                report.warning("BBB-D02", "LOADBALANCER_SECRET", what, format!("{fix}, and give it to the front-ends"));
            }
        }
        Err(errors) => {
            section.fact("settings", "cannot be used");
            for error in errors {
                report.error("BBB-D01", "settings", error, "`bbb-balancer check` shows every setting and its source");
            }
        }
    }
    report.sections.push(section);
}

/// Asks the Redis for its version and its clock; writes nothing.
async fn redis(report: &mut Report, url: &str, namespace: &str, timeout: Duration) {
    let link = RedisOptions::from_url(url)
        .map(|o| o.connections(1).connect_tries(1).response_timeout(timeout))
        .and_then(RedisLink::new);
    let link = match link {
        Ok(link) => link,
        Err(e) => return report.error("BBB-D10", "REDIS_URL", e.to_string(), "write redis://:PASSWORD@HOST:6379"),
    };
    let mut section = Section::new(format!("Redis {}", link.target()));
    let key = format!("{namespace}:servers");
    let asked = async {
        let info = link.call(&["INFO", "server"]).await?;
        let servers = link.call(&["SCARD", key.as_str()]).await?;
        let role = link.call(&["INFO", "replication"]).await?;
        let clock = link.call(&["TIME"]).await?;
        Ok::<_, balancer_core::StickError>((info, role, servers, clock))
    };
    match asked.await {
        Ok((info, role, servers, clock)) => {
            let line = |reply: &RedisReply, name: &str| {
                let text = reply.as_str().unwrap_or_default();
                text.lines().find_map(|l| l.strip_prefix(name).map(|v| v.trim().to_owned())).unwrap_or_default()
            };
            section.fact("version", line(&info, "redis_version:"));
            section.fact("role", line(&role, "role:"));
            let theirs = clock.as_list().first().and_then(RedisReply::as_int);
            server::clock(report, &mut section, &link.target(), theirs);
            section.fact("servers kept", servers.as_int().unwrap_or_default().to_string());
            if line(&role, "role:") == "slave" {
                let fix = "set REDIS_URL to the master, or redis+sentinel://HOST,HOST/MASTER to find it";
                report.error("BBB-D11", &link.target(), "it is a replica: nothing can be written to it", fix);
            }
        }
        Err(e) => {
            section.fact("answers", "no");
            let fix =
                "is it running there (`redis-cli -u \"$REDIS_URL\" ping`)? is REDIS_URL right, and the port open?";
            report.error("BBB-D10", &link.target(), e.to_string(), fix);
        }
    }
    if let Some(warning) = link.warning() {
        let what = warning.strip_prefix(&link.target()).unwrap_or(warning).trim_start();
        report.warning(
            "BBB-D12",
            &link.target(),
            what,
            "set `requirepass` in redis.conf, and the password in REDIS_URL",
        );
    }
    report.sections.push(section);
}

/// Meetings that run on two servers, or did so lately, and what was done about them.
fn on_two_servers(report: &mut Report, status: &Value) {
    let rows = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    for twice in rows("found_twice").iter().take(MOST) {
        let moved = text(twice, "verdict") == "moved";
        let why = if moved { "where people were, or which is the older one" } else { "as before" };
        let what = format!(
            "meeting {} was found on two servers: everybody is led to {}, {why}; the other copy is on {}",
            text(twice, "meeting"),
            text(twice, "stays"),
            text(twice, "other")
        );
        let fix = "none is needed: an empty copy is ended by itself; people in the other one have to join again";
        report.warning("BBB-D31", "meetings", what, fix);
    }
    for stray in rows("strays").iter().take(MOST).filter(|s| count(s, "people") > 0) {
        let what = format!(
            "meeting {} runs on {} with {} people in it, although everybody is led elsewhere",
            text(stray, "meeting"),
            text(stray, "server"),
            count(stray, "people")
        );
        report.warning("BBB-D32", "meetings", what, "ask them to join again: it is ended when nobody is left in it");
    }
}

/// The running balancer's servers; nothing when it cannot be asked.
async fn balancer(
    report: &mut Report,
    client: Result<Client, Failure>,
    settings: Option<&Settings>,
) -> Option<Vec<Value>> {
    let trouble = |report: &mut Report, about: &str, e: Failure| {
        let what = e.cause.map_or(e.what.clone(), |cause| format!("{}: {cause}", e.what));
        // A name that is not served has an answer of its own.
        let id = if what.contains("host name") { "BBB-D04" } else { "BBB-D03" };
        let wanted = settings.and_then(|s| s.url_host.as_deref()).filter(|_| id == "BBB-D04");
        let fix = match wanted {
            Some(name) => format!(
                "let front-ends and --url call https://{name}, and let the proxy pass the name on (nginx: \
                 `proxy_set_header Host $host;`); or set URL_HOST to the name they use"
            ),
            None => e.hint.unwrap_or_else(|| "`bbb-balancer check` shows its settings".to_owned()),
        };
        report.error(id, about, what, fix);
    };
    let client = match client {
        Ok(client) => client,
        Err(e) => {
            trouble(report, "balancer", e);
            return None;
        }
    };
    let mut section = Section::new(format!("Balancer {}", client.base()));
    let status = match client.get(Api::Own, "status", &[]).await {
        Ok(answer) => answer,
        Err(e) => {
            section.fact("answers", "no");
            report.sections.push(section);
            trouble(report, client.base(), e);
            return None;
        }
    };
    section.fact("version", text(&status.json, "version"));
    section.fact("store", text(&status.json, "store"));
    section.fact("processes", count(&status.json, "processes").to_string());
    on_two_servers(report, &status.json);
    let servers = match list(&client).await {
        Ok(servers) => servers,
        Err(e) => {
            trouble(report, client.base(), e);
            Vec::new()
        }
    };
    section.fact("servers", servers.len().to_string());
    report.sections.push(section);
    recordings(report, &client).await;
    Some(servers)
}

/// Whether the index of recordings can be asked; nothing is said where none are kept.
async fn recordings(report: &mut Report, client: &Client) {
    let Ok(answer) = client.get(Api::Own, "recordings", &[("limit", "1")]).await else { return };
    if answer.status.is_server_error() {
        let fix =
            "mend the database or the file that it names; meetings go on meanwhile, and archives wait in the spool";
        report.error("BBB-D34", "recordings", answer.error(), fix);
    }
}
