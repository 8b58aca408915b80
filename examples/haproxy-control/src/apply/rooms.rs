//! The backends with rooms: what their controller has ordered, and servers that leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use adapter_haproxy::reconcile::{Running, Wanted};
use adapter_haproxy::runtime::{AdminState, ServerName, ServerState};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::Job;
use crate::cli::ApplyArgs;
use crate::settings::{Rooms, Settings};
use crate::steer::Api;
use console::{Exit, Failure, counted, printable};

/// How many rooms are listed by name.
const LISTED: usize = 20;

/// A server that a backend with rooms is to lose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leaver {
    backend: String,
    server: String,
}

impl Leaver {
    /// Its name; with its backend where there are several.
    pub(super) fn named(&self, several: bool) -> String {
        if several { format!("{}/{}", self.backend, self.server) } else { self.server.clone() }
    }

    /// How a command names it.
    fn command(&self, several: bool) -> String {
        if several { format!("{} --backend {}", self.server, self.backend) } else { self.server.clone() }
    }
}

/// The orders of one backend: servers, and whether they are to be out.
#[derive(Clone)]
struct Block<'s> {
    rooms: &'s Rooms,
    orders: BTreeMap<String, AdminState>,
}

impl Block<'_> {
    fn name(&self) -> &str {
        self.rooms.backend.as_str()
    }

    /// Whether this backend is the one with the rooms, or has the same servers.
    fn covers(&self, backend: &str) -> bool {
        self.name() == backend || self.rooms.with.iter().any(|with| with.as_str() == backend)
    }
}

/// What the controller has ordered, by backend.
#[derive(Clone)]
pub(super) struct Orders<'s>(Vec<Block<'s>>);

impl<'s> Orders<'s> {
    /// Asks the controller, if one answers.
    ///
    /// # Errors
    ///
    /// A controller that has not these backends.
    pub(super) async fn read(settings: &'s Settings) -> Result<(Option<Api>, Self), Failure> {
        let mut api = Api::of_settings(settings).ok();
        let mut blocks = Vec::new();
        for rooms in &settings.rooms {
            let status = match &api {
                Some(asked) => match asked.get("/v1/status", &[("backend", rooms.backend.as_str())]).await {
                    Ok(status) => Some(status),
                    Err(failure) if failure.exit == Exit::Usage => {
                        return Err(
                            failure.hint("the controller runs with other settings: SIGHUP has it read them again")
                        );
                    }
                    Err(_) => {
                        api = None;
                        None
                    }
                },
                None => None,
            };
            blocks.push(Block { rooms, orders: status.as_ref().map(ordered).unwrap_or_default() });
        }
        Ok((api, Self(blocks)))
    }

    /// Whether servers are told apart by their backends.
    pub(super) fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// A server as it is told.
    pub(super) fn named(&self, one: &Leaver) -> String {
        printable(&one.named(self.are_several()))
    }

    /// The order for a server of a backend.
    fn of(&self, backend: &str, server: &str) -> Option<AdminState> {
        let blocks = self.0.iter().filter(|block| block.covers(backend));
        blocks.filter_map(|block| block.orders.get(server).copied()).next()
    }

    /// What is wanted, with the orders in it.
    pub(super) fn on(&self, mut wanted: Wanted) -> Wanted {
        for backend in &mut wanted.backends {
            for server in &mut backend.servers {
                if let Some(state) = self.of(&backend.name, &server.line.name) {
                    server.state = state;
                }
            }
        }
        wanted
    }

    /// What the controller has ordered is our own doing; maintenance of what it only drains is not.
    pub(super) fn held(&self, running: Running, wanted: &Wanted) -> Running {
        let out = |name: &ServerName| {
            let there = running.servers().iter().find(|it| it.backend == name.backend() && it.name == name.server());
            there.is_some_and(ServerState::is_maintenance)
        };
        let mut names = Vec::new();
        for backend in &wanted.backends {
            for block in self.0.iter().filter(|block| block.covers(&backend.name)) {
                let named = block
                    .orders
                    .iter()
                    .filter_map(|(server, order)| Some((ServerName::new(&backend.name, server).ok()?, order)));
                let ours = named.filter(|(name, order)| **order == AdminState::Maint || !out(name));
                names.extend(ours.map(|(name, _)| name));
            }
        }
        running.with_held(names)
    }

    /// The servers that backends with rooms have and are not to have.
    pub(super) fn leaving(&self, wanted: &Wanted, running: &Running) -> BTreeSet<Leaver> {
        let mut all = BTreeSet::new();
        for block in &self.0 {
            let Some(listed) = wanted.backends.iter().find(|wanted| wanted.name == block.name()) else { continue };
            let there = running.servers().iter().filter(|server| server.backend == block.name());
            let gone = there.filter(|server| listed.servers.iter().all(|wanted| wanted.line.name != server.name));
            all.extend(gone.map(|server| Leaver { backend: server.backend.clone(), server: server.name.clone() }));
        }
        all
    }

    /// The same, with those that leave out of service.
    pub(super) fn with_leaving(mut self, leaving: &BTreeSet<Leaver>) -> Self {
        for block in &mut self.0 {
            let theirs = leaving.iter().filter(|one| one.backend == block.rooms.backend.as_str());
            block.orders.extend(theirs.map(|one| (one.server.clone(), AdminState::Maint)));
        }
        self
    }
}

/// Orders of a status.
fn ordered(status: &Value) -> BTreeMap<String, AdminState> {
    let servers = status["servers"].as_array().into_iter().flatten();
    let ordered = servers.filter_map(|server| {
        let state = match server["order"].as_str()? {
            "maint" => AdminState::Maint,
            _ => AdminState::Drain,
        };
        Some((server["name"].as_str()?.to_owned(), state))
    });
    ordered.collect()
}

/// Gives an order.
pub(super) async fn order(api: &Api, of: &Leaver, order: &str) -> Result<Value, Failure> {
    api.post("/v1/servers", &[("backend", &of.backend), ("server", &of.server), ("order", order)]).await
}

/// The rooms that would move, where somebody can be asked.
pub(super) async fn moves(
    api: Option<&Api>,
    orders: &Orders<'_>,
    leaving: &BTreeSet<Leaver>,
) -> Result<Option<Vec<Value>>, Failure> {
    if leaving.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let Some(api) = api else { return Ok(None) };
    let mut all = Vec::new();
    for block in &orders.0 {
        let theirs = leaving.iter().filter(|one| one.backend == block.name());
        let mut query: Vec<(&str, &str)> = theirs.map(|one| ("server", one.server.as_str())).collect();
        if query.is_empty() {
            continue;
        }
        query.push(("backend", block.name()));
        let mut moves = api.get("/v1/moves", &query).await?["moves"].as_array().cloned().unwrap_or_default();
        if orders.are_several() {
            for one in moves.iter_mut().filter_map(Value::as_object_mut) {
                one.insert("backend".to_owned(), json!(block.name()));
            }
        }
        all.append(&mut moves);
    }
    Ok(Some(all))
}

/// Orders servers back to what they were ordered to before this call.
pub(super) async fn take_back(
    api: Option<&Api>,
    orders: &Orders<'_>,
    given: &[Leaver],
    mut failure: Failure,
) -> Failure {
    let Some(api) = api else { return failure };
    for one in given {
        let before = match orders.of(&one.backend, &one.server) {
            None => "ready",
            Some(AdminState::Maint) => "maint",
            Some(_) => "drain",
        };
        if order(api, one, before).await.is_err() {
            let command = printable(&one.command(orders.are_several()));
            let stays =
                format!("{} stays in maintenance; `haproxy-control uncordon {command}` ends it", orders.named(one));
            failure.hint = Some(failure.hint.map_or(stays.clone(), |hint| format!("{hint}\n{stays}")));
        }
    }
    failure
}

/// Takes the rooms away from servers that leave.
pub(super) async fn empty(
    args: &ApplyArgs,
    api: Option<&Api>,
    orders: &Orders<'_>,
    jobs: &[Job<'_>],
    leaving: &BTreeSet<Leaver>,
    given: &mut Vec<Leaver>,
) -> Result<(), Failure> {
    let Some(api) = api else { return unpinned(orders, jobs, leaving).await };
    let left =
        async |one: &Leaver| api.get("/v1/servers", &[("backend", &*one.backend), ("server", &*one.server)]).await;
    if !args.move_rooms {
        for one in leaving {
            let left = left(one).await?;
            let used: Vec<&str> =
                left["rooms"].as_array().into_iter().flatten().filter_map(|one| one[0].as_str()).collect();
            if !used.is_empty() {
                let some = used.iter().take(LISTED).map(|room| printable(room)).collect::<Vec<_>>().join(", ");
                let what = format!("{} in use on {}", counted(used.len(), "room"), orders.named(one));
                let command = printable(&one.command(orders.are_several()));
                let hint =
                    format!("--move-rooms moves them once; `haproxy-control drain {command} --wait` waits for them");
                return Err(Failure::new(Exit::Refused, what).cause(some).hint(hint));
            }
        }
    }
    for one in leaving {
        // Its answer may be lost after it was carried out.
        given.push(one.clone());
        order(api, one, "maint").await?;
    }
    let end = Instant::now() + args.deadline.get();
    for one in leaving {
        loop {
            let left = left(one).await?;
            let rooms = left["rooms"].as_array().map_or(0, Vec::len);
            if rooms == 0 && left["idle"] == 0 && left["order"].is_string() && left["in_force"] == true {
                break;
            }
            let next = Instant::now() + Duration::from_millis(100);
            if next > end {
                let what = format!("{} did not leave {} in time", counted(rooms, "room"), orders.named(one));
                let hint = "other servers must take rooms: put new servers in first, then take old ones out";
                return Err(Failure::timed_out(what).hint(hint));
            }
            sleep_until(next).await;
        }
    }
    Ok(())
}

/// Refuses where rooms are bound to servers that leave, and nobody is there to move them.
async fn unpinned(orders: &Orders<'_>, jobs: &[Job<'_>], leaving: &BTreeSet<Leaver>) -> Result<(), Failure> {
    let refused = |what| Err(Failure::new(Exit::Refused, what).hint("`haproxy-control run` must run"));
    for block in &orders.0 {
        let theirs: Vec<&Leaver> = leaving.iter().filter(|one| one.backend == block.name()).collect();
        if theirs.is_empty() {
            continue;
        }
        let names = theirs.iter().map(|one| orders.named(one)).collect::<Vec<_>>().join(", ");
        let map = block.rooms.map.as_str();
        if map.is_empty() {
            return refused(format!(
                "rooms of {names} are bound elsewhere than in a map, and no controller answers that could move them"
            ));
        }
        let mut pinned = 0;
        for job in jobs {
            // A map that is not there has no pins.
            let entries = job.client.map_entries(map).await.unwrap_or_default();
            pinned += entries.iter().filter(|entry| theirs.iter().any(|one| one.server == entry.value)).count();
        }
        if pinned > 0 {
            return refused(format!(
                "{} pinned to {names}, and no controller answers that could move them",
                counted(pinned, "room")
            ));
        }
    }
    Ok(())
}
