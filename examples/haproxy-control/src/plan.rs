//! `plan`: which rooms would move if a server came, went or changed.

use std::collections::HashMap;
use std::sync::Arc;

use adapter_haproxy::balance::{ChangeError, Predictor, ServerState};
use clap::Subcommand;

use crate::cli::PlanArgs;
use crate::keys::{self, Home, Room};
use crate::model::{Model, Server, refused};
use console::did_you_mean;
use console::{Failure, Outcome};

mod report;

use report::{Move, Report, Tally};

/// What would be changed.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Change {
    /// Servers that come, behind those that are there
    #[command(after_help = "Example:\n  haproxy-control plan --config haproxy.cfg --backend rooms add edumeet4 --id 4")]
    Add {
        /// Their names
        #[arg(required = true, value_name = "SERVER")]
        servers: Vec<String>,
        /// Their weight, 0 to 256 [default: that of the last server]
        #[arg(long, value_parser = clap::value_parser!(u16).range(0..=256))]
        weight: Option<u16>,
        /// The id of the first; the others follow
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2_000_000_000))]
        id: Option<u32>,
    },
    /// Servers that go
    #[command(after_help = "Example:\n  haproxy-control plan --config haproxy.cfg --backend rooms remove edumeet2")]
    Remove {
        /// Their names
        #[arg(required = true, value_name = "SERVER")]
        servers: Vec<String>,
    },
    /// A server of another weight
    #[command(after_help = "Example:\n  haproxy-control plan --config haproxy.cfg --backend rooms weight edumeet2 50")]
    Weight {
        /// Its name
        server: String,
        /// Its weight: 0 to 256, or a percentage of the configured one
        weight: String,
    },
    /// Servers that keep what sticks to them and take nothing new
    #[command(after_help = "Example:\n  haproxy-control plan --config haproxy.cfg --backend rooms drain edumeet2")]
    Drain {
        /// Their names
        #[arg(required = true, value_name = "SERVER")]
        servers: Vec<String>,
    },
    /// Servers that take nothing any more
    #[command(after_help = "Example:\n  haproxy-control plan --config haproxy.cfg --backend rooms maint edumeet2")]
    Maint {
        /// Their names
        #[arg(required = true, value_name = "SERVER")]
        servers: Vec<String>,
    },
    /// The same servers in another order of lines
    #[command(
        after_help = "Example:\n  haproxy-control plan --config haproxy.cfg --backend rooms reorder edumeet3 edumeet1"
    )]
    Reorder {
        /// The names of those that come first; the others follow as they are
        #[arg(required = true, value_name = "SERVER")]
        servers: Vec<String>,
    },
}

/// Plans.
///
/// # Errors
///
/// A backend that cannot be modelled, servers that are not there, rooms that cannot be read.
pub(crate) fn run(args: &PlanArgs) -> Result<Outcome, Failure> {
    let mut model = Model::of(&args.backend, false)?;
    let from_table = args.table.is_some();
    if !model.by_key {
        if !from_table {
            let what = "this backend looks at no key: nothing tells where a room is but its stick table";
            return Err(Failure::usage(what).hint("give what `show table` prints with --table"));
        }
        model.notes.retain(|note| !note.contains("looks at no key"));
    }
    let (after, mut haproxy_after) = changed(&model, &args.change)?;
    let mut haproxy = predictor(&model)?;
    let rooms = match (&args.table, &args.keys) {
        (Some(table), _) => keys::table(table)?,
        (None, Some(list)) => keys::list(list)?,
        (None, None) => keys::list(std::path::Path::new("-"))?,
    };

    let homes = homes(&model)?;
    let names: HashMap<&str, Arc<str>> =
        model.servers.iter().chain(&after.servers).map(|server| (&*server.name, Arc::from(&*server.name))).collect();
    let named = |name: &str| names.get(name).cloned();
    let serving: HashMap<&str, bool> =
        after.servers.iter().map(|server| (&*server.name, server.state != ServerState::Maint)).collect();
    let mut tally = Tally::of(&model.servers, &after.servers);
    let mut moves = Vec::new();
    let mut pinned = 0;
    for room in &rooms {
        if let Some(pin) = model.pin(&room.key).and_then(named)
            && serving.get(&*pin).copied().unwrap_or(false)
        {
            pinned += 1;
            let place = Some(pin);
            tally.count(place.as_ref(), place.as_ref(), place.as_ref());
            continue;
        }
        let route = |haproxy: &mut Predictor, model: &Model| -> Result<Option<Arc<str>>, Failure> {
            if !model.by_key {
                return Ok(None);
            }
            let request = model.request(&room.key).map_err(Failure::failed)?;
            Ok(haproxy.route(&request).server().and_then(named))
        };
        let by_hash = route(&mut haproxy, &model)?;
        let hashed = route(&mut haproxy_after, &after)?;
        let now = home(room, &homes).and_then(named).or(by_hash);
        let stays = now.as_ref().is_some_and(|now| serving.get(&**now).copied().unwrap_or(false));
        let stuck = if stays { now.clone() } else { hashed.clone() };
        // Without a key, a room that keeps its server stays, and one that loses it may go anywhere.
        let hashed = if model.by_key { hashed } else { stuck.clone() };
        tally.count(now.as_ref(), hashed.as_ref(), stuck.as_ref());
        if now != hashed || now != stuck {
            moves.push(Move { key: room.key.clone(), from: now, by_hash: hashed, with_table: stuck });
        }
    }
    let report = Report {
        title: title(&args.change),
        sticky: from_table || model.sticky,
        by_key: model.by_key,
        rooms: rooms.len(),
        pinned,
        moves,
        tally,
    };
    let mut notes = model.notes.clone();
    notes.extend(report.advice(touched(&args.change)));
    let out = match args.output {
        crate::cli::Output::Table => report.print(args.summary),
        crate::cli::Output::Json => report.as_json(args.summary),
    };
    Ok(Outcome::done(out).with_notes(notes))
}

fn predictor(model: &Model) -> Result<Predictor, Failure> {
    Predictor::new(model.spec()?).map_err(|why| refused("", &why))
}

/// The backend after the change. A new list counts as a reload; states and weights are ordered at run time, and after a
/// reload where that is refused.
fn changed(model: &Model, change: &Change) -> Result<(Model, Predictor), Failure> {
    let mut after = model.clone();
    let find = |name: &String| {
        let at = model.servers.iter().position(|server| server.name == *name);
        at.ok_or_else(|| {
            let meant = did_you_mean(name, model.servers.iter().map(|server| &*server.name));
            Failure::usage(format!("no server is called {name:?}{meant}"))
        })
    };
    let state = |servers: &[String], state: ServerState| -> Result<(Model, Predictor), Failure> {
        let mut after = model.clone();
        let mut haproxy = predictor(model)?;
        for name in servers {
            after.servers[find(name)?].state = state;
            haproxy.set_state(name, state).map_err(|e| Failure::failed(e.to_string()))?;
        }
        Ok((after, haproxy))
    };
    match change {
        Change::Drain { servers } => return state(servers, ServerState::Drain),
        Change::Maint { servers } => return state(servers, ServerState::Maint),
        Change::Weight { server, weight } => {
            let at = find(server)?;
            let mut haproxy = predictor(model)?;
            match haproxy.set_weight(server, weight) {
                Ok(()) => return Ok((after, haproxy)),
                Err(ChangeError::Static { .. }) if weight.parse::<u16>().is_ok_and(|weight| weight <= 256) => {
                    after.servers[at].weight = weight.parse().unwrap_or(after.servers[at].weight);
                }
                Err(why) => return Err(Failure::usage(why.to_string())),
            }
        }
        Change::Add { servers, weight, id } => {
            for (name, more) in servers.iter().zip(0_u32..) {
                let mut server = Server::new(name);
                server.weight = weight.or_else(|| Some(model.servers.last()?.weight)).unwrap_or(1);
                server.id = id.map(|id| id.saturating_add(more));
                after.servers.push(server);
            }
        }
        Change::Remove { servers } => {
            for name in servers {
                find(name)?;
                after.servers.retain(|server| server.name != *name);
            }
            if after.servers.is_empty() {
                return Err(Failure::usage("no server would be left"));
            }
        }
        Change::Reorder { servers } => {
            let mut first = Vec::new();
            for name in servers {
                let server = model.servers[find(name)?].clone();
                if after.servers.iter().all(|left| left.name != *name) {
                    return Err(Failure::usage(format!("{name} is named twice")));
                }
                after.servers.retain(|left| left.name != *name);
                first.push(server);
            }
            first.append(&mut after.servers);
            after.servers = first;
        }
    }
    let haproxy = predictor(&after)?;
    Ok((after, haproxy))
}

/// Server names by name and by id.
struct Homes {
    names: HashMap<String, String>,
    ids: HashMap<u32, String>,
}

fn homes(model: &Model) -> Result<Homes, Failure> {
    let names = model.servers.iter().map(|server| (server.name.clone(), server.name.clone())).collect();
    let ids = model.ids()?.into_iter().zip(model.servers.iter().map(|server| server.name.clone())).collect();
    Ok(Homes { names, ids })
}

/// The server an entry means: by name, else by id.
fn home<'a>(room: &Room, homes: &'a Homes) -> Option<&'a str> {
    let Home { name, id } = &room.home;
    let by_name = name.as_ref().and_then(|name| homes.names.get(name));
    by_name.or_else(|| homes.ids.get(id.as_ref()?)).map(String::as_str)
}

/// The servers a change is about; none where it only sorts them.
fn touched(change: &Change) -> &[String] {
    match change {
        Change::Add { servers, .. }
        | Change::Remove { servers }
        | Change::Drain { servers }
        | Change::Maint { servers } => servers,
        Change::Weight { server, .. } => std::slice::from_ref(server),
        Change::Reorder { .. } => &[],
    }
}

fn title(change: &Change) -> String {
    match change {
        Change::Add { servers, .. } => format!("adding {}", servers.join(", ")),
        Change::Remove { servers } => format!("removing {}", servers.join(", ")),
        Change::Weight { server, weight } => format!("giving {server} weight {weight}"),
        Change::Drain { servers } => format!("draining {}", servers.join(", ")),
        Change::Maint { servers } => format!("stopping {}", servers.join(", ")),
        Change::Reorder { servers } => format!("putting {} first", servers.join(", ")),
    }
}
