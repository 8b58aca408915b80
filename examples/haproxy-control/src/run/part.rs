//! One backend: its controller, and what its mode needs beside.

use std::sync::{Arc, OnceLock};

use adapter_haproxy::control::{
    Control, ControlOptions, ControlledProcess, ControlledServer, Decide, Fed, Mode, Placing, RoomKeys,
};
use adapter_haproxy::peers::{PeerNode, PeerServer, PeerStickStore, PeerTableOptions};
use adapter_haproxy::spoe::{Placer, PlacerOptions};
use adapter_haproxy::trace::Recorder;
use adapter_haproxy::{PoolAgent, PoolAgentOptions};
use balancer_core::{
    Balancer, BalancerOptions, ByRooms, ByUsers, HealthProbe, HealthRules, HttpProbe, MonitorOptions, Pool,
    PoolOptions, StickStore, TcpProbe, by_name,
};
use console::Failure;
use tokio::time::{MissedTickBehavior, interval};

use super::probes::Probes;
use super::recorded_client;
use crate::settings::{self, AgentPort, Load, ProbeKind, Rooms, Settings};

/// Says whether a server can be used, once there is somebody who knows.
type Serving = OnceLock<Box<dyn Fn(&str) -> bool + Send + Sync>>;

/// One backend.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) control: Control,
    pub(super) probes: Arc<Probes>,
    /// Places its rooms, where HAProxy asks an agent.
    pub(super) placer: Option<Arc<Placer<ControlledServer>>>,
    /// Speaks for its servers, where HAProxy checks them by an agent.
    pub(super) agent: Option<Arc<PoolAgent<ControlledServer>>>,
    /// Its table, as peers name it.
    pub(super) table: Option<String>,
    /// The same as a store.
    shared: Option<PeerStickStore>,
}

impl Part {
    /// What the settings say of a backend, over this store. A node of peers keeps its table.
    ///
    /// # Errors
    ///
    /// Addresses that cannot be, a table that is there twice.
    pub(super) fn new(
        settings: &Settings,
        rooms: &Rooms,
        store: Arc<dyn StickStore>,
        node: Option<&PeerNode>,
        recorder: Option<&Recorder>,
    ) -> Result<Self, Failure> {
        let (options, mode) = (options(settings, rooms), rooms.mode());
        let probes = Arc::new(Probes::default());
        let processes = settings.haproxy.iter().map(|process| {
            let mut one = ControlledProcess::new(process.name.as_str(), recorded_client(process, recorder)?);
            one.pins_file = process.pins_path(rooms);
            Ok(one)
        });
        let processes = processes.collect::<Result<_, Failure>>()?;
        let serving: Arc<Serving> = Arc::default();
        let table = rooms.table().filter(|_| mode == Mode::Peers).map(peers_name);
        let mut kept = None;
        let taught: Arc<dyn StickStore> = match (node, &table) {
            (Some(node), Some(table)) => {
                let serves = serving.clone();
                let options = PeerTableOptions::new(table)
                    .with_ttl(rooms.ttl.get())
                    .with_serving(move |id| serves.get().is_none_or(|serves| serves(id.as_str())));
                let plain = Arc::new(RoomKeys::plain_over(store.clone()));
                let shared = PeerStickStore::new(node, options, plain)
                    .map_err(|e| Failure::failed(format!("the table of {}", rooms.backend.as_str())).cause(e))?;
                kept = Some(shared.clone());
                Arc::new(RoomKeys::encoded_over(Arc::new(shared)))
            }
            _ => store.clone(),
        };
        let mut control = Control::with_stores(options, processes, taught, store.clone());
        // Set once, here.
        let _ = serving.set(Box::new(control.serving()));
        if let Some(probe) = &settings.probe {
            control = with_probe(control, probe, &probes);
        }
        let placer = (mode == Mode::Spoe).then(|| {
            let pool = pool(rooms);
            let balancer = balancer(rooms, &pool, store);
            (pool, Arc::new(placer(settings, rooms, balancer)))
        });
        let agent = settings.agent.as_ref().map(|port| {
            let pool = pool(rooms);
            (pool.clone(), Arc::new(PoolAgent::new(pool, agent_options(port))))
        });
        for (pool, fed) in [
            (placer.as_ref().map(|(pool, _)| pool), Fed::Placing),
            (agent.as_ref().map(|(pool, _)| pool), Fed::Ordered),
        ] {
            if let Some(pool) = pool {
                control = control.with_pool(pool.clone(), fed);
            }
        }
        let (placer, agent) = (placer.map(|(_, placer)| placer), agent.map(|(_, agent)| agent));
        Ok(Self { name: rooms.backend.as_str().to_owned(), mode, control, probes, placer, agent, table, shared: kept })
    }

    /// Tells the shared table, whenever it may be news, which number is whose.
    pub(super) async fn tell_numbers(self) {
        let Some(shared) = &self.shared else { return std::future::pending().await };
        let mut ticks = interval(self.control.options().every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (name, number) in self.control.numbers() {
                shared.know_server(&PeerServer::new(name).with_id(number));
            }
        }
    }
}

fn options(settings: &Settings, rooms: &Rooms) -> ControlOptions {
    let mut options = match rooms.mode() {
        Mode::Map => ControlOptions::new(rooms.backend.as_str(), rooms.map.as_str()),
        mode => ControlOptions::without_map(rooms.backend.as_str(), mode),
    };
    options.with = rooms.with.iter().map(|name| name.as_str().to_owned()).collect();
    options.table = rooms.table.as_ref().map(|name| name.as_str().to_owned());
    (options.ttl, options.idle) = (rooms.ttl.get(), rooms.idle.get());
    options.placing = match rooms.place {
        settings::Place::Hash => Placing::Hash,
        settings::Place::Least => Placing::Least,
    };
    options.decide = match settings.health.decide {
        settings::Decide::Haproxy => Decide::Haproxy,
        settings::Decide::Probes => Decide::Probes,
        settings::Decide::Either => Decide::Either,
        settings::Decide::Both => Decide::Both,
    };
    options.grace = settings.health.grace.get();
    (options.every, options.learn) = (settings.pace.every.get(), settings.pace.learn.get());
    options.resync = settings.pace.resync.get();
    options
}

/// A table as peers name it: that of its proxy, or `/` and the name where it is one of a `peers` section.
fn peers_name(table: &str) -> String {
    table.split_once('/').map_or_else(|| table.to_owned(), |(_, name)| format!("/{name}"))
}

fn pool(rooms: &Rooms) -> Arc<Pool<ControlledServer>> {
    let options = match rooms.load {
        Load::Rooms => PoolOptions::default().load(ByRooms),
        Load::Sessions => PoolOptions::default().load(ByUsers { room: 1 }),
    };
    // The name was looked at when the settings were read.
    let strategy = by_name(rooms.strategy.as_str()).unwrap_or_else(|| Box::new(balancer_core::LeastLoaded));
    Arc::new(Pool::new(strategy, options))
}

fn balancer(
    rooms: &Rooms,
    pool: &Arc<Pool<ControlledServer>>,
    store: Arc<dyn StickStore>,
) -> Arc<Balancer<ControlledServer>> {
    // As long as the controller keeps them: somewhat longer than HAProxy's table.
    let ttl = rooms.ttl.get() + rooms.ttl.get() / 8;
    let plain = Arc::new(RoomKeys::plain_over(store));
    Arc::new(Balancer::new(pool.clone(), plain, BalancerOptions::default().ttl(ttl)))
}

fn placer(settings: &Settings, rooms: &Rooms, balancer: Arc<Balancer<ControlledServer>>) -> Placer<ControlledServer> {
    let patience = settings.spoe.clone().unwrap_or_default().patience.get();
    let options =
        PlacerOptions::default().with_message(rooms.message.as_str()).with_patience(patience).with_decisions(true);
    Placer::new(balancer, options).with_server_numbers(|server: &ControlledServer| Some(server.number()))
}

fn agent_options(port: &AgentPort) -> PoolAgentOptions<ControlledServer> {
    PoolAgentOptions::default().with_slack(port.slack).with_least_percent(port.least_percent)
}

fn with_probe(control: Control, probe: &settings::Probe, probes: &Arc<Probes>) -> Control {
    let rules = HealthRules::new(probe.rise, probe.fall, probe.inter.get());
    let options = MonitorOptions::new(rules).watch(probes.clone());
    let options = match probe.timeout {
        Some(limit) => options.timeout(limit.get()),
        None => options,
    };
    control.with_probe(prober(probe), options)
}

fn prober(probe: &settings::Probe) -> Arc<dyn HealthProbe<ControlledServer>> {
    let address = |server: &ControlledServer| server.address().to_string();
    match probe.kind {
        ProbeKind::Tcp => Arc::new(TcpProbe::new(address)),
        ProbeKind::Http => {
            let [first, last] = probe.statuses;
            let http = HttpProbe::new(address, probe.path.as_str()).expect([first..=last]);
            Arc::new(match &probe.host {
                Some(host) => http.host(host.as_str()),
                None => http,
            })
        }
    }
}
