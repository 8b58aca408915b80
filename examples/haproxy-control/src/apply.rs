//! `apply`: the running HAProxys from what they are to what a file describes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use adapter_haproxy::reconcile::{ApplyOptions, Commands, Plan, ReloadGate, Wanted, plan};
use adapter_haproxy::runtime::{Client, ClientOptions, MasterClient, RuntimeAddress};

use crate::cli::{ApplyArgs, Kind};
use crate::files::{self, Folder};
use crate::haproxy::Installed;
use crate::render;
use crate::run;
use crate::settings::{self, Settings, WantedKind};
use console::{Exit, Failure, Outcome, counted, printable};

mod rooms;
mod show;
mod text;

use rooms::{Leaver, Orders};

/// The largest configuration in place that is read, in bytes.
const MAX_LEN: usize = adapter_haproxy::MAX_CONFIG_LEN;
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
    leaving: BTreeSet<Leaver>,
}

/// Applies, or shows what applying would do.
///
/// # Errors
///
/// A file that describes what cannot be or that HAProxy refuses, a process that does not answer, a step that is refused.
pub(crate) async fn apply(args: &ApplyArgs) -> Result<Outcome, Failure> {
    let settings = Settings::read(&args.config)?;
    let (api, orders) = Orders::read(&settings).await?;
    let api = api.as_ref();
    let mut jobs = Vec::new();
    for process in &settings.haproxy {
        jobs.push(job(args, &settings, process, &orders).await?);
    }
    let leaving: BTreeSet<Leaver> = jobs.iter().flat_map(|job| job.leaving.iter().cloned()).collect();
    let moves = rooms::moves(api, &orders, &leaving).await?;
    let show = |done: Option<&[String]>| show::show(args.output, &jobs, orders.are_several(), moves.as_deref(), done);
    if args.dry_run {
        return Ok(Outcome::done(show(None)));
    }
    if jobs.iter().all(|job| job.plan.is_empty() && job.reload.is_none() && !job.other_file) {
        return Ok(Outcome::done(show(Some(&[]))));
    }
    // Nothing is touched before every process is known to take it.
    for job in &jobs {
        job.check()?;
    }
    // Servers that this call has ordered out.
    let mut given = Vec::new();
    if !leaving.is_empty()
        && let Err(failure) = rooms::empty(args, api, &orders, &jobs, &leaving, &mut given).await
    {
        return Err(rooms::take_back(api, &orders, &given, failure).await);
    }
    let mut done: Vec<String> = Vec::new();
    for (at, job) in jobs.iter().enumerate() {
        match job.carry_out(args, &settings, &orders, &leaving).await {
            Ok(text) => done.push(format!("{}: {text}", printable(job.name()))),
            Err(failure) if done.is_empty() => return Err(rooms::take_back(api, &orders, &given, failure).await),
            Err(failure) => {
                let left = jobs[at..].iter().map(|job| printable(job.name())).collect::<Vec<_>>().join(", ");
                let mut so_far =
                    format!("done before it: {}\nleft to do: {left}; `apply` once more does it", done.join("; "));
                if !given.is_empty() {
                    let out = given.iter().map(|one| orders.named(one)).collect::<Vec<_>>().join(", ");
                    so_far.push_str(&format!("\n{out} stay in maintenance until then"));
                }
                let hint = failure.hint.map_or(so_far.clone(), |hint| format!("{hint}\n{so_far}"));
                return Err(Failure { exit: Exit::Partly, hint: Some(hint), ..failure });
            }
        }
    }
    if let Some(api) = api {
        for one in &leaving {
            // It is gone, and its order with it; a controller that has forgotten it already needs no word.
            let _ = rooms::order(api, one, "ready").await;
        }
    }
    Ok(Outcome::done(show(Some(&done))))
}

async fn job<'s>(
    args: &ApplyArgs,
    settings: &'s Settings,
    process: &'s settings::Process,
    orders: &Orders<'_>,
) -> Result<Job<'s>, Failure> {
    let client = run::client(process)?;
    let name = process.name.as_str();
    let lost = |e: adapter_haproxy::runtime::RuntimeError| Failure::failed(format!("haproxy {name}")).cause(e);
    let version = client.process().await.map_err(lost)?.version;
    let (kind, path) = wanted_file(args, settings, process)?;
    let config = render::described(kind, &path, version)?;
    let text = config.render().map_err(|why| Failure::failed(format!("{}: {why}", path.display())))?;
    let wanted = orders.on(Wanted::from_config(&config));
    let running = orders.held(client.running(&wanted).await.map_err(lost)?, &wanted);
    let planned = plan(&wanted, &running).map_err(|e| Failure::failed(format!("haproxy {name}")).cause(e))?;
    let leaving = orders.leaving(&wanted, &running);
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

fn steps(plan: &Plan) -> Vec<String> {
    match plan {
        Plan::Commands(commands) => commands.steps().iter().map(|step| step.action.to_string()).collect(),
        _ => Vec::new(),
    }
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
        orders: &Orders<'_>,
        leaving: &BTreeSet<Leaver>,
    ) -> Result<String, Failure> {
        let orders = orders.clone().with_leaving(leaving);
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

    async fn plan_anew(&self, orders: &Orders<'_>) -> Result<Plan, Failure> {
        let lost = |e| Failure::failed(format!("haproxy {}", self.name())).cause(e);
        let running = orders.held(self.client.running(&self.wanted).await.map_err(lost)?, &self.wanted);
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
        let mut gate = ReloadGate::new(master, config.as_str());
        for rooms in settings.rooms.iter().filter(|rooms| !rooms.map.as_str().is_empty()) {
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
