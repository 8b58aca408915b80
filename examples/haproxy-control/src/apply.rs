//! `apply`: the running HAProxys from what they are to what a file describes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adapter_haproxy::reconcile::{ApplyOptions, Commands, Plan, ReloadGate, Running, Wanted, plan};
use adapter_haproxy::runtime::{
    AdminState, Client, ClientOptions, MasterClient, RuntimeAddress, ServerName, ServerState,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::cli::{ApplyArgs, Kind, Output};
use crate::files::{self, Folder};
use crate::haproxy::Installed;
use crate::render;
use crate::run;
use crate::settings::{self, Settings, WantedKind};
use crate::steer::{self, Api};
use console::{Exit, Failure, Outcome, counted, printable};

mod text;

/// The largest configuration in place that is read, in bytes.
const MAX_LEN: usize = adapter_haproxy::MAX_CONFIG_LEN;
/// How many rooms are listed by name.
const LISTED: usize = 20;

/// What is to be done to one process.
struct Job<'s> {
    process: &'s settings::Process,
    client: Client,
    text: String,
    wanted: Wanted,
    plan: Plan,
    /// Why the file has to be loaded anew, beyond what the plan says.
    reload: Option<String>,
    /// Whether the file in place is another one.
    other_file: bool,
    /// Servers with rooms that are not wanted.
    leaving: BTreeSet<String>,
}

/// Applies, or shows what applying would do.
///
/// # Errors
///
/// A file that describes what cannot be or that HAProxy refuses, a process that does not answer, a step that is refused.
pub(crate) async fn apply(args: &ApplyArgs) -> Result<Outcome, Failure> {
    let settings = Settings::read(&args.config)?;
    let api = Api::of_settings(&settings).ok();
    let status = match &api {
        Some(api) => api.get("/v1/status", &[]).await.ok(),
        None => None,
    };
    let orders = orders(status.as_ref());
    let mut jobs = Vec::new();
    for process in &settings.haproxy {
        jobs.push(job(args, &settings, process, &orders).await?);
    }
    let leaving: BTreeSet<String> = jobs.iter().flat_map(|job| job.leaving.iter().cloned()).collect();
    let moves = match (&api, &status) {
        _ if leaving.is_empty() => Some(Vec::new()),
        (Some(api), Some(_)) => {
            let query: Vec<(&str, &str)> = leaving.iter().map(|name| ("server", name.as_str())).collect();
            Some(api.get("/v1/moves", &query).await?["moves"].as_array().cloned().unwrap_or_default())
        }
        _ => None,
    };
    if args.dry_run {
        return Ok(Outcome::done(show(args.output, &jobs, moves.as_deref(), None)));
    }
    if jobs.iter().all(|job| job.plan.is_empty() && job.reload.is_none() && !job.other_file) {
        return Ok(Outcome::done(show(args.output, &jobs, moves.as_deref(), Some(&[]))));
    }
    // Nothing is touched before every process is known to take it.
    for job in &jobs {
        job.check()?;
    }
    let api = api.as_ref().filter(|_| status.is_some());
    // Servers that this call has ordered out.
    let mut given = Vec::new();
    if !leaving.is_empty()
        && let Err(failure) = empty(args, api, &settings, &jobs, &leaving, &mut given).await
    {
        return Err(take_back(api, &orders, &given, failure).await);
    }
    let mut done: Vec<String> = Vec::new();
    for job in &jobs {
        match job.carry_out(args, &settings, &orders, &leaving).await {
            Ok(text) => done.push(format!("{}: {text}", printable(job.process.name.as_str()))),
            Err(failure) if done.is_empty() => return Err(take_back(api, &orders, &given, failure).await),
            Err(failure) => {
                let so_far = format!("done before it: {}", done.join("; "));
                return Err(Failure { exit: Exit::Partly, hint: Some(so_far), ..failure });
            }
        }
    }
    if let Some(api) = api {
        for server in &leaving {
            // It is gone, and its order with it; a controller that has forgotten it already needs no word.
            let _ = api.post("/v1/servers", &[("server", server), ("order", "ready")]).await;
        }
    }
    Ok(Outcome::done(show(args.output, &jobs, moves.as_deref(), Some(&done))))
}

/// Orders the servers back to what they were ordered to before this call.
async fn take_back(
    api: Option<&Api>,
    orders: &BTreeMap<String, AdminState>,
    given: &[String],
    mut failure: Failure,
) -> Failure {
    let Some(api) = api else { return failure };
    for server in given {
        let before = match orders.get(server) {
            None => "ready",
            Some(AdminState::Maint) => "maint",
            Some(_) => "drain",
        };
        if api.post("/v1/servers", &[("server", server), ("order", before)]).await.is_err() {
            let stays = format!("{server} stays in maintenance; `haproxy-control uncordon {server}` ends it");
            failure.hint = Some(failure.hint.map_or(stays.clone(), |hint| format!("{hint}\n{stays}")));
        }
    }
    failure
}

/// Orders the controller has given: servers, and whether they are to be out.
fn orders(status: Option<&Value>) -> BTreeMap<String, AdminState> {
    let servers = status.and_then(|status| status["servers"].as_array()).into_iter().flatten();
    let ordered = servers.filter_map(|server| {
        let state = match server["order"].as_str()? {
            "maint" => AdminState::Maint,
            _ => AdminState::Drain,
        };
        Some((server["name"].as_str()?.to_owned(), state))
    });
    ordered.collect()
}

async fn job<'s>(
    args: &ApplyArgs,
    settings: &'s Settings,
    process: &'s settings::Process,
    orders: &BTreeMap<String, AdminState>,
) -> Result<Job<'s>, Failure> {
    let client = run::client(process)?;
    let name = process.name.as_str();
    let lost = |e: adapter_haproxy::runtime::RuntimeError| Failure::failed(format!("haproxy {name}")).cause(e);
    let version = client.process().await.map_err(lost)?.version;
    let (kind, path) = wanted_file(args, settings, process)?;
    let config = render::described(kind, &path, version)?;
    let text = config.render().map_err(|why| Failure::failed(format!("{}: {why}", path.display())))?;
    let wanted = with_orders(Wanted::from_config(&config), orders);
    let running = held(client.running(&wanted).await.map_err(lost)?, &wanted, orders);
    let planned = plan(&wanted, &running).map_err(|e| Failure::failed(format!("haproxy {name}")).cause(e))?;
    let backend = rooms_of(settings)?.backend.as_str();
    let listed = wanted.backends.iter().find(|wanted| wanted.name == backend);
    let leaving = running.servers().iter().filter(|server| server.backend == backend).filter(|server| {
        listed.is_some_and(|listed| listed.servers.iter().all(|wanted| wanted.line.name != server.name))
    });
    let leaving = leaving.map(|server| server.name.clone()).collect();
    let (mut reload, mut other_file) = (None, false);
    if let Some(file) = &process.config {
        let path = Path::new(file.as_str());
        let before = if path.exists() { Some(files::read(path, MAX_LEN)?) } else { None };
        let before = before.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        other_file = before.as_deref() != Some(&*text);
        reload = match &before {
            Some(before) => text::beyond_commands(before, &text, &steps(&planned)),
            None => Some(format!("there is no {}", path.display())),
        };
    }
    Ok(Job { process, client, text, wanted, plan: planned, reload, other_file, leaving })
}

/// The backend whose rooms are looked after.
fn rooms_of(settings: &Settings) -> Result<&settings::Rooms, Failure> {
    match &settings.rooms[..] {
        [rooms] => Ok(rooms),
        _ => Err(Failure::usage(
            "the settings have several [[rooms]] blocks: `apply` looks after the rooms of one, so \
                                 give it settings of its own with that one",
        )),
    }
}

fn wanted_file(args: &ApplyArgs, settings: &Settings, process: &settings::Process) -> Result<(Kind, PathBuf), Failure> {
    let set = settings.apply.as_ref();
    let own = process.wanted.as_ref().map(|path| PathBuf::from(path.as_str()));
    let path = args.wanted.clone().or(own).or_else(|| set.map(|set| PathBuf::from(set.wanted.as_str())));
    let path = path.ok_or_else(|| Failure::usage("FILE is missing, and the settings have no apply.wanted"))?;
    let kind = args.kind.or_else(|| {
        Some(match set?.kind {
            WantedKind::Edumeet => Kind::Edumeet,
            WantedKind::Shards => Kind::Shards,
        })
    });
    let kind = kind.ok_or_else(|| Failure::usage("--kind is missing, and the settings have no apply.kind"))?;
    Ok((kind, path))
}

fn with_orders(mut wanted: Wanted, orders: &BTreeMap<String, AdminState>) -> Wanted {
    for (server, state) in orders {
        wanted = wanted.with_state(server, *state);
    }
    wanted
}

/// What the controller has ordered is our own doing; maintenance of what it only drains is not.
fn held(running: Running, wanted: &Wanted, orders: &BTreeMap<String, AdminState>) -> Running {
    let out = |name: &ServerName| {
        let there = running.servers().iter().find(|it| it.backend == name.backend() && it.name == name.server());
        there.is_some_and(ServerState::is_maintenance)
    };
    let names = wanted.backends.iter().flat_map(|backend| {
        let names =
            orders.iter().filter_map(|(server, order)| Some((ServerName::new(&backend.name, server).ok()?, order)));
        names.filter(|(name, order)| **order == AdminState::Maint || !out(name)).map(|(name, _)| name)
    });
    let names: Vec<ServerName> = names.collect();
    running.with_held(names)
}

fn steps(plan: &Plan) -> Vec<String> {
    match plan {
        Plan::Commands(commands) => commands.steps().iter().map(|step| step.action.to_string()).collect(),
        _ => Vec::new(),
    }
}

/// Takes the rooms away from servers that leave.
async fn empty(
    args: &ApplyArgs,
    api: Option<&Api>,
    settings: &Settings,
    jobs: &[Job<'_>],
    leaving: &BTreeSet<String>,
    given: &mut Vec<String>,
) -> Result<(), Failure> {
    let names = leaving.iter().cloned().collect::<Vec<_>>().join(", ");
    let Some(api) = api else {
        let mut pinned = 0;
        for job in jobs {
            // A map that is not there has no pins.
            let map = rooms_of(settings)?.map.as_str();
            if map.is_empty() {
                let what = format!(
                    "rooms of {names} are bound elsewhere than in a map, and no controller answers that could move them"
                );
                return Err(Failure::new(Exit::Refused, what).hint("`haproxy-control run` must run"));
            }
            let entries = job.client.map_entries(map).await.unwrap_or_default();
            pinned += entries.iter().filter(|entry| leaving.contains(&entry.value)).count();
        }
        if pinned == 0 {
            return Ok(());
        }
        let what =
            format!("{} pinned to {names}, and no controller answers that could move them", counted(pinned, "room"));
        return Err(Failure::new(Exit::Refused, what).hint("`haproxy-control run` must run"));
    };
    let left = async |server: &String| api.get("/v1/servers", &[("server", server)]).await;
    if !args.move_rooms {
        for server in leaving {
            let left = left(server).await?;
            let used: Vec<&str> =
                left["rooms"].as_array().into_iter().flatten().filter_map(|one| one[0].as_str()).collect();
            if !used.is_empty() {
                let some = used.iter().take(LISTED).map(|room| printable(room)).collect::<Vec<_>>().join(", ");
                let what = format!("{} in use on {server}", counted(used.len(), "room"));
                let hint =
                    format!("--move-rooms moves them once; `haproxy-control drain {server} --wait` waits for them");
                return Err(Failure::new(Exit::Refused, what).cause(some).hint(hint));
            }
        }
    }
    for server in leaving {
        // Its answer may be lost after it was carried out.
        given.push(server.clone());
        api.post("/v1/servers", &[("server", server), ("order", "maint")]).await?;
    }
    let end = Instant::now() + args.deadline.get();
    for server in leaving {
        loop {
            let left = left(server).await?;
            let rooms = left["rooms"].as_array().map_or(0, Vec::len);
            if rooms == 0 && left["idle"] == 0 && left["order"].is_string() && left["in_force"] == true {
                break;
            }
            let next = Instant::now() + Duration::from_millis(100);
            if next > end {
                let what = format!("{} did not leave {server} in time", counted(rooms, "room"));
                let hint = "other servers must take rooms: put new servers in first, then take old ones out";
                return Err(Failure::timed_out(what).hint(hint));
            }
            sleep_until(next).await;
        }
    }
    Ok(())
}

impl Job<'_> {
    fn name(&self) -> &str {
        self.process.name.as_str()
    }

    /// Whether HAProxy would load the file, and whether all there is to do can be done.
    fn check(&self) -> Result<(), Failure> {
        let needs_reload = matches!(self.plan, Plan::Reload { .. }) || self.reload.is_some();
        if needs_reload && (self.process.master.is_none() || self.process.config.is_none()) {
            let why = match &self.plan {
                Plan::Reload { why, .. } => why.join("; "),
                _ => self.reload.clone().unwrap_or_default(),
            };
            let what = format!("haproxy {} has to be reloaded", printable(self.name()));
            return Err(Failure::failed(what).cause(why).hint("name its `master` and its `config` in the settings"));
        }
        if self.process.config.is_none() {
            return Ok(());
        }
        let program = self.process.program.as_ref().map(|path| Path::new(path.as_str()));
        let Some(installed) = Installed::find(program)? else {
            let what = format!("haproxy {}: no HAProxy is installed here to check the file", printable(self.name()));
            return Err(Failure::failed(what).hint("`program` names one"));
        };
        let folder = Folder::new()?;
        let proof = folder.path("haproxy.cfg");
        files::write_whole(&proof, self.text.as_bytes(), None)?;
        let verdict = installed.check(std::slice::from_ref(&proof), None)?;
        if verdict.accepted {
            return Ok(());
        }
        let said: Vec<String> = verdict.remarks.iter().map(|remark| remark.text.clone()).collect();
        let what = format!("HAProxy {} refuses the file for {}; nothing was changed", installed.full, self.name());
        Err(Failure::failed(what).cause(said.join("\n")))
    }

    async fn carry_out(
        &self,
        args: &ApplyArgs,
        settings: &Settings,
        orders: &BTreeMap<String, AdminState>,
        leaving: &BTreeSet<String>,
    ) -> Result<String, Failure> {
        let mut orders = orders.clone();
        orders.extend(leaving.iter().map(|server| (server.clone(), AdminState::Maint)));
        let planned = self.plan_anew(&orders).await?;
        let commands = match planned {
            Plan::Commands(commands) if self.reload.is_none() => commands,
            _ => {
                let reloaded = self.gate(settings)?;
                let lost = |e| Failure::failed(format!("haproxy {}: not reloaded", self.name())).cause(e);
                let report = reloaded.reload(&self.text).await.map_err(lost)?;
                // Pins of rooms that were asked for just then hold until the tables are together.
                reloaded.ready().await.map_err(lost)?;
                self.client.renew().await;
                let Plan::Commands(left) = self.plan_anew(&orders).await? else {
                    return Err(Failure::failed(format!("haproxy {}: a reload did not do", self.name())));
                };
                let count = self.run(args, &left).await?;
                let old = report.report.old;
                return Ok(format!("reloaded, then {count} commands; {} on the way out", counted(old, "old worker")));
            }
        };
        let file = self.process.config.as_ref().map(|path| PathBuf::from(path.as_str()));
        let before = match &file {
            Some(path) if path.exists() => Some(files::read(path, MAX_LEN)?),
            _ => None,
        };
        if let Some(path) = &file {
            files::write_whole(path, self.text.as_bytes(), Some(path))?;
        }
        match self.run(args, &commands).await {
            Ok(count) => Ok(format!("{count} commands")),
            Err(failure) => {
                if let (Some(path), Some(before)) = (&file, before) {
                    files::write_whole(path, &before, Some(path))?;
                }
                Err(failure)
            }
        }
    }

    async fn plan_anew(&self, orders: &BTreeMap<String, AdminState>) -> Result<Plan, Failure> {
        let lost = |e| Failure::failed(format!("haproxy {}", self.name())).cause(e);
        let running = held(self.client.running(&self.wanted).await.map_err(lost)?, &self.wanted, orders);
        plan(&self.wanted, &running).map_err(|e| Failure::failed(format!("haproxy {}", self.name())).cause(e))
    }

    async fn run(&self, args: &ApplyArgs, commands: &Commands) -> Result<usize, Failure> {
        let options = ApplyOptions::default().with_idle_deadline(args.deadline.get());
        let applied = self.client.apply(commands, options).await;
        applied.map(|applied| applied.steps).map_err(|e| Failure::failed(format!("haproxy {}", self.name())).cause(e))
    }

    fn gate(&self, settings: &Settings) -> Result<ReloadGate, Failure> {
        let (Some(master), Some(config)) = (&self.process.master, &self.process.config) else {
            return Err(Failure::failed(format!("haproxy {} has no master in the settings", self.name())));
        };
        let wrong = |e| Failure::failed(format!("haproxy {}: master", self.name())).cause(e);
        let address: RuntimeAddress = master.as_str().parse().map_err(wrong)?;
        let master = MasterClient::new(address, ClientOptions::default());
        let rooms = rooms_of(settings)?;
        let mut gate = ReloadGate::new(master, config.as_str());
        if !rooms.map.as_str().is_empty() {
            gate = gate.with_pins(rooms.map.as_str(), rooms.table().map(str::to_owned));
        }
        if let Some(program) = &self.process.program {
            gate = gate.with_program(program.as_str());
        }
        if let Some(path) = &self.process.state_file {
            gate = gate.with_state_file(path.as_str());
        }
        Ok(match &settings.apply {
            Some(apply) => gate.with_max_old_workers(apply.max_old_workers),
            None => gate,
        })
    }
}

fn show(output: Output, jobs: &[Job<'_>], moves: Option<&[Value]>, done: Option<&[String]>) -> String {
    if output == Output::Json {
        let processes = jobs.iter().map(|job| {
            json!({
                "name": job.process.name.as_str(),
                "plan": job.plan,
                "reload": job.reload,
                "file_changes": job.other_file,
                "leaving": job.leaving,
            })
        });
        let processes: Vec<Value> = processes.collect();
        return format!("{:#}\n", json!({ "processes": processes, "moves": moves, "done": done }));
    }
    let mut out = String::new();
    if let Some(done) = done {
        for line in done {
            out.push_str(&format!("OK {line}\n"));
        }
        if done.is_empty() {
            out.push_str("OK nothing is to be done\n");
        }
        return out;
    }
    for job in jobs {
        out.push_str(&format!("{}:\n", printable(job.process.name.as_str())));
        if let Some(why) = &job.reload {
            out.push_str(&format!("  one reload: {}\n", printable(why)));
        }
        let plan = job.plan.to_string();
        if job.plan.is_empty() && job.reload.is_none() {
            out.push_str(if job.other_file { "  only the file is written\n" } else { "  nothing is to be done\n" });
        }
        // What is left as it is, is told in any case.
        out.push_str(plan.strip_prefix("nothing to do\n").unwrap_or(&plan));
    }
    let Some(moves) = moves else {
        out.push_str("no controller answers: the rooms that would move are not known\n");
        return out;
    };
    out.push_str(&steer::moved(moves));
    out
}
