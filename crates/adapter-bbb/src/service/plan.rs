//! What a change of the servers would do to the meetings, found out without changing anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use balancer_core::{
    Ask, BackendId, Filter, Health, Plan, PlanError, PlanOptions, Report, Room, Step, StickError, StickKey,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::admin::{error, numeral, text, unknown};
use super::create::filter_of;
use super::{BbbService, json as answer};
use crate::api::{Params, TagWish, effective_tag};
use crate::client::host_of;
use crate::cluster::Cluster;
use crate::secret::Secret;
use crate::server::{BbbServer, milli};
use crate::store::ServerRecord;

/// The most steps of one plan.
const MAX_STEPS: usize = 256;
/// The most meetings of one plan.
const MAX_MEETINGS: usize = 20_000;

/// Why a change cannot be planned.
enum Refusal {
    /// The request is wrong.
    Wrong(String),
    /// There is no such server.
    Unknown(BackendId),
}

/// A meeting of the plan: where it lives, and its wish for a tag if it is known.
struct Wanted {
    key: StickKey,
    home: Option<BackendId>,
    wish: Option<String>,
}

impl BbbService {
    pub(super) async fn plan(&self, body: &Value) -> Result<Response<Bytes>, StickError> {
        let bound = self.cluster.store.meetings(None).await?;
        if bound.iter().any(|m| self.cluster.server(&m.binding.backend).is_none()) {
            // Its server may have been added by others a moment ago.
            self.cluster.sync().await?;
        }
        let mut stage = Stage::new(&self.cluster);
        let steps = match stage.steps(body.get("steps")) {
            Ok(steps) => steps,
            Err(Refusal::Wrong(message)) => return Ok(error(StatusCode::BAD_REQUEST, message)),
            Err(Refusal::Unknown(id)) => return Ok(unknown(id.as_str())),
        };
        let mut bound: Vec<_> = bound.into_iter().filter(|m| !m.ending).collect();
        // As they were placed, oldest first.
        bound.sort_by(|a, b| (a.binding.stamp, &a.id).cmp(&(b.binding.stamp, &b.id)));
        let none = Params::new();
        let live = self.cluster.live();
        let wish = text(body, "tag").or_else(|| effective_tag(&none, &live.create)).map(str::to_owned);
        let listed = match body.get("meetings") {
            None | Some(Value::Null) => None,
            Some(list) => match ids(list) {
                Some(ids) => Some(ids),
                None => return Ok(error(StatusCode::BAD_REQUEST, "meetings must be a list of meeting ids")),
            },
        };
        if listed.as_ref().map_or(bound.len(), Vec::len) > MAX_MEETINGS {
            let message = format!("a plan takes at most {MAX_MEETINGS} meetings: give a list of some of them");
            return Ok(error(StatusCode::BAD_REQUEST, message));
        }
        let homes: HashMap<&str, &BackendId> = bound.iter().map(|m| (m.id.as_str(), &m.binding.backend)).collect();
        let order: Vec<&str> = match &listed {
            Some(ids) => ids.clone(),
            None => bound.iter().map(|m| m.id.as_str()).collect(),
        };
        let mut wanted = Vec::with_capacity(order.len());
        for id in order {
            let Ok(key) = StickKey::new(id) else {
                return Ok(error(StatusCode::BAD_REQUEST, "a meeting's id is empty or longer than 1024 bytes"));
            };
            let home = homes.get(id).map(|id| (*id).clone());
            // What a meeting asked for is not kept: one that lives on a tagged server is taken to want its tag.
            let tag = home.as_ref().and_then(|id| self.cluster.server(id)?.tag().map(str::to_owned));
            wanted.push(Wanted { key, home, wish: tag.or_else(|| wish.clone()) });
        }
        let seed = body.get("seed").and_then(Value::as_u64).unwrap_or(0);
        // Meetings are created one by one, long after this moment: a cap of the moment says nothing about them.
        let options = PlanOptions::new(stage.now).seed(seed).without_cap();
        let cluster = self.cluster.clone();
        let made = tokio::task::spawn_blocking(move || made(&cluster, &steps, &wanted, options)).await;
        Ok(match made {
            Ok(Ok(plan)) => {
                let mut value = json!({ "plan": plan, "hosts": stage.hosts });
                // In words, for people.
                if let Some(rooms) = value.pointer_mut("/plan/rooms").and_then(Value::as_array_mut) {
                    for (room, planned) in rooms.iter_mut().zip(&plan.rooms) {
                        room["reason"] = planned.reason().into();
                    }
                }
                answer(StatusCode::OK, &value)
            }
            Ok(Err(e)) => error(StatusCode::BAD_REQUEST, format!("{e}: {}", e.source)),
            Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the plan was not made"),
        })
    }
}

fn ids(list: &Value) -> Option<Vec<&str>> {
    list.as_array()?.iter().map(Value::as_str).collect()
}

fn made(
    cluster: &Cluster,
    steps: &[Step<BbbServer>],
    wanted: &[Wanted],
    options: PlanOptions,
) -> Result<Plan, PlanError> {
    let mut filters: HashMap<Option<&str>, Option<Filter>> = HashMap::new();
    for w in wanted {
        let wish = w.wish.as_deref();
        filters.entry(wish).or_insert_with(|| filter_of(wish.and_then(TagWish::parse).as_ref()));
    }
    let rooms: Vec<Room<'_>> = wanted
        .iter()
        .map(|w| {
            let mut ask = Ask::new(&w.key);
            ask.filter = filters.get(&w.wish.as_deref()).and_then(Option::as_ref);
            let room = Room::new(ask);
            match &w.home {
                Some(home) => room.on(home.clone()),
                None => room,
            }
        })
        .collect();
    cluster.pool.plan(steps, &rooms, &options)
}

/// The servers as the steps so far leave them.
struct Stage {
    records: HashMap<BackendId, ServerRecord>,
    /// Measured and expected load of servers whose figures are current, in thousandths of points.
    costs: HashMap<BackendId, u64>,
    /// Host names by id, for people; of servers that are removed as well.
    hosts: BTreeMap<String, String>,
    now: Instant,
}

impl Stage {
    fn new(cluster: &Cluster) -> Self {
        let now = Instant::now();
        let records = cluster.records().into_iter().map(|r| (r.id.clone(), r));
        let views = cluster.pool.view(now).into_iter().filter(|v| !v.stale && !v.missing);
        let costs = views.map(|v| (balancer_core::Backend::id(&*v.backend).clone(), v.reported + v.uncovered));
        let mut stage = Self { records: records.collect(), costs: costs.collect(), hosts: BTreeMap::new(), now };
        stage.hosts = stage.records.values().map(|r| (r.id.to_string(), host_of(&r.url))).collect();
        stage
    }

    /// What the request calls steps, as the pool's; or the refusal.
    fn steps(&mut self, list: Option<&Value>) -> Result<Vec<Step<BbbServer>>, Refusal> {
        let bad = Refusal::Wrong;
        let list = list.and_then(Value::as_array).ok_or_else(|| bad("steps must be a list".into()))?;
        if list.len() > MAX_STEPS {
            return Err(bad(format!("a plan takes at most {MAX_STEPS} steps")));
        }
        let mut steps = Vec::with_capacity(list.len());
        for step in list {
            let one = step.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next());
            let (word, of) = one.ok_or_else(|| bad("a step has one word, such as {\"drain\": ID}".into()))?;
            match word.as_str() {
                "add" => self.add(of, &mut steps)?,
                "weight" => self.weight(of, &mut steps)?,
                "remove" => {
                    let id = self.known(of.as_str())?;
                    self.records.remove(&id);
                    steps.push(Step::Remove(id));
                }
                "drain" => steps.push(Step::Drain(self.known(of.as_str())?)),
                "disable" => steps.push(Step::Maint(self.known(of.as_str())?)),
                "enable" => steps.push(Step::Ready(self.known(of.as_str())?)),
                _ => return Err(bad("a step is add, remove, drain, disable, enable or weight".into())),
            }
        }
        Ok(steps)
    }

    fn known(&self, id: Option<&str>) -> Result<BackendId, Refusal> {
        let id = BackendId::from(id.unwrap_or(""));
        if self.records.contains_key(&id) { Ok(id) } else { Err(Refusal::Unknown(id)) }
    }

    /// A new server: online, and empty at its first poll.
    fn add(&mut self, of: &Value, steps: &mut Vec<Step<BbbServer>>) -> Result<(), Refusal> {
        let bad = Refusal::Wrong;
        let url = text(of, "url").unwrap_or("");
        let usable = (url.starts_with("http://") || url.starts_with("https://")) && url.parse::<http::Uri>().is_ok();
        if !usable {
            return Err(bad(format!("{url} is not a URL of a server: write https://HOST/bigbluebutton/api")));
        }
        if url.parse::<http::Uri>().is_ok_and(|u| u.authority().is_some_and(|a| a.as_str().contains('@'))) {
            return Err(bad("the URL holds a user name: leave it away".into()));
        }
        let same = |r: &&ServerRecord| r.url.trim_end_matches('/') == url.trim_end_matches('/');
        if let Some(r) = self.records.values().find(same) {
            return Err(bad(format!("{url} is in the pool already, with id={}", r.id)));
        }
        // It has no id yet; its host name stands for it.
        let mut id = BackendId::from(host_of(url).to_lowercase());
        while self.records.contains_key(&id) || self.hosts.contains_key(id.as_str()) {
            id = BackendId::from(format!("{id}+"));
        }
        let mut record = ServerRecord::new(id.clone(), url, Secret::new(""));
        record.tag = text(of, "tag").filter(|t| !t.is_empty()).map(str::to_owned);
        record.load_multiplier = of.get("load_multiplier").map(multiplier).transpose()?;
        self.hosts.insert(id.to_string(), host_of(url));
        steps.push(Step::Add(Arc::new(BbbServer::new(&record))));
        steps.push(Step::Health(id.clone(), Health::Up));
        steps.push(Step::Report(id.clone(), Report::new(self.now).with_cost(0)));
        self.costs.insert(id.clone(), 0);
        self.records.insert(id, record);
        Ok(())
    }

    /// Another load multiplier: the load that is known is multiplied by it, as the next poll will.
    fn weight(&mut self, of: &Value, steps: &mut Vec<Step<BbbServer>>) -> Result<(), Refusal> {
        let id = self.known(text(of, "id"))?;
        let wanted = multiplier(of.get("load_multiplier").unwrap_or(&Value::Null))?;
        let Some(record) = self.records.get_mut(&id) else { return Err(Refusal::Unknown(id)) };
        let old = record.multiplier();
        record.load_multiplier = Some(wanted);
        steps.push(Step::Define(Arc::new(BbbServer::new(record))));
        if let Some(cost) = self.costs.get_mut(&id) {
            // Loads are held far below 2^53.
            *cost = milli(*cost as f64 / crate::server::MILLI * record.multiplier() / old);
            steps.push(Step::Report(id, Report::new(self.now).with_cost(*cost)));
        }
        Ok(())
    }
}

fn multiplier(value: &Value) -> Result<String, Refusal> {
    numeral(value)
        .filter(|m| m.parse::<f64>().is_ok_and(|m| m.is_finite() && m > 0.0))
        .ok_or_else(|| Refusal::Wrong("Load-multiplier must be a non-zero number".into()))
}
