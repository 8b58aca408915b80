//! Two processes, their clients, and what clients must be able to rely on.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::{BbbClient, BbbOptions, BbbService, Cluster, MeetingStore, Payload, RequestHead};
use bytes::Bytes;

use super::held_store::HeldStore;
use super::scripts::Script;
use super::world::{Line, MEETING, World};
use crate::stage::{options, signed};

/// An answer, as clients look at it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: String,
    pub(crate) location: Option<String>,
}

impl Answer {
    pub(crate) fn ok(&self) -> bool {
        self.body.contains("<returncode>SUCCESS</returncode>")
    }

    fn text(&self, name: &str) -> &str {
        let rest = self.body.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
        rest.split('<').next().unwrap()
    }

    /// The number of the server that a join leads to.
    pub(crate) fn leads_to(&self) -> Option<usize> {
        self.location.as_deref()?.strip_prefix("http://s")?.split('/').next()?.parse().ok()
    }
}

pub(crate) struct Cast {
    pub(crate) world: Arc<World>,
    services: Vec<BbbService>,
    /// Nothing fails and nothing is ordered in this script: every create must succeed.
    pub(crate) calm: bool,
}

/// Options of a process; a patient one never gives up waiting, as if its own clock stood still while it is paused.
fn options_of(world: &World, patient: bool) -> BbbOptions {
    let mut o = options();
    if patient {
        o.calls.connect = Duration::from_secs(60);
        o.calls.response = Duration::from_secs(60);
    }
    o.clock = world.clock.clone();
    o
}

impl Cast {
    pub(crate) async fn new(world: Arc<World>, script: &Script) -> Arc<Self> {
        let Script { patient, calm, shared, .. } = *script;
        let mut services: Vec<BbbService> = Vec::new();
        for process in 0..2 {
            let o = options_of(&world, patient && process == 0);
            let client = BbbClient::with_transport(o.calls, Arc::new(Line { world: world.clone(), process }));
            let store = Arc::new(HeldStore { world: world.clone(), process, shared });
            let cluster = Cluster::start_with(o, store, client).await.unwrap();
            // The second process reads from the store what the first one found.
            if process == 0 {
                cluster.poll_now().await.unwrap();
            }
            services.push(BbbService::new(cluster));
        }
        Arc::new(Self { world, services, calm })
    }

    pub(crate) async fn poll(&self, process: usize) {
        if let Err(e) = self.services[process].cluster().poll_now().await {
            self.world.fault(format!("P{process} cannot poll: {e}"));
        }
    }

    pub(crate) async fn ask(&self, process: usize, name: &str, query: &str, body: Option<&str>) -> Answer {
        let (path, query) = signed(name, query);
        let method = if body.is_some() { "POST" } else { "GET" };
        let content_type = body.map(|_| "application/json");
        let head =
            RequestHead { method, path: &path, query: &query, host: None, content_type, ..RequestHead::default() };
        let payload = Payload::Whole(body.map_or(Bytes::new(), |b| Bytes::from(b.to_owned())));
        let r = self.services[process].handle(head, payload).await;
        let location = r.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
        Answer { body: String::from_utf8(r.into_body().to_vec()).unwrap(), location }
    }

    /// `create`; `true` when it was acknowledged.
    pub(crate) async fn create(&self, who: &str, process: usize) -> bool {
        self.world.step(who, format!("asks P{process} to create")).await;
        let began = self.world.now();
        let query = format!("meetingID={MEETING}&name=n&moderatorPW=mp&attendeePW=ap");
        let answer = self.ask(process, "create", &query, None).await;
        self.world.note(format!("{who}: create answered {} {}", answer.ok(), answer.text("messageKey")));
        if !answer.ok() {
            if self.calm {
                self.world.fault(format!("{who} is refused although nothing fails: {}", answer.body));
            }
            return false;
        }
        self.world.observe().await;
        let made: Option<u64> = answer.text("createTime").parse().ok();
        // The meeting acknowledged must have been the one that everybody was led to, at some moment of the call.
        let real = self.world.moments(began).iter().any(|m| {
            let home = m.binding.as_ref().and_then(|b| number(b.backend.as_str()));
            home.is_some_and(|home| m.created[home].is_some() && m.created[home] == made)
        });
        if !real {
            self.world.fault(format!("{who} is told of a meeting that nobody is led to"));
        }
        true
    }

    pub(crate) async fn join(&self, who: &str, process: usize) -> Option<usize> {
        self.world.step(who, format!("asks P{process} to join")).await;
        let began = self.world.now();
        let answer = self.ask(process, "join", &format!("meetingID={MEETING}&fullName=Ann&password=ap"), None).await;
        self.world.observe().await;
        let to = answer.leads_to();
        self.world.note(format!("{who}: join leads to {to:?}"));
        let homes: Vec<Option<usize>> = self.world.moments(began).iter().map(home_at).collect();
        if to.is_some() && !homes.contains(&to) {
            self.world.fault(format!("{who} is led to {to:?}, but the meeting lives on {homes:?}"));
        }
        if to.is_none() && self.calm && homes.iter().all(Option::is_some) {
            self.world.fault(format!("{who} cannot join a meeting that lives on {homes:?}: {}", answer.body));
        }
        to
    }

    /// `true` when the end was acknowledged.
    pub(crate) async fn end(&self, who: &str, process: usize) -> bool {
        self.world.step(who, format!("asks P{process} to end")).await;
        let answer = self.ask(process, "end", &format!("meetingID={MEETING}&password=mp"), None).await;
        self.world.note(format!("{who}: end answered {} {}", answer.ok(), answer.text("messageKey")));
        answer.ok()
    }

    /// An order of an operator.
    pub(crate) async fn order(&self, process: usize, name: &str, body: &str) {
        self.world.step("operator", format!("asks P{process} for {name} {body}")).await;
        self.ask(process, name, "", Some(body)).await;
    }

    /// What everybody finds when all is well again.
    pub(crate) async fn last_word(&self) {
        let w = &self.world;
        if !self.ask_create(0).await {
            w.fault("in the end, nobody can create the meeting".to_owned());
        }
        let home = w.store.look(MEETING).await.unwrap().meeting.and_then(|m| number(m.binding.backend.as_str()));
        for process in [1, 0] {
            let query = format!("meetingID={MEETING}&fullName=Ann&password=ap");
            let to = self.ask(process, "join", &query, None).await.leads_to();
            if to.is_none() || to != home {
                w.fault(format!("in the end, P{process} leads to {to:?}, but the meeting lives on {home:?}"));
            }
        }
        if !self.ask_create(1).await {
            w.fault("in the end, P1 cannot create the meeting again".to_owned());
        }
        for n in 0..w.fakes.len() {
            let Some(created) = w.created_at(n) else {
                if home == Some(n) {
                    w.fault(format!("in the end, everybody is led to s{n}, which has no meeting"));
                }
                continue;
            };
            if home == Some(n) {
                continue;
            }
            if !w.is_excused(n, created) {
                w.fault(format!("in the end, a second meeting is left on s{n}; home is {home:?}"));
            }
            let known = self.services[0].cluster().strays().iter().any(|s| number(s.server.as_str()) == Some(n));
            if !known && !w.is_removed(n) {
                w.fault(format!("in the end, nobody knows of the second meeting on s{n}; home is {home:?}"));
            }
        }
        let made: u64 = w.fakes.iter().map(|f| f.created_total()).sum();
        if self.calm && made != 1 {
            w.fault(format!("nothing failed, and yet {made} meetings were made"));
        }
        self.in_step().await;
    }

    /// The index by server says what the meetings say, and no process counts work that is over.
    async fn in_step(&self) {
        let w = &self.world;
        let mut indexed = 0;
        for n in 0..w.fakes.len() {
            indexed += w.store.meetings(Some(&format!("s{n}").into())).await.unwrap().len();
        }
        let all = w.store.meetings(None).await.unwrap().len();
        if all != indexed {
            w.fault(format!("{all} meetings are stored, {indexed} by server"));
        }
        for (n, service) in self.services.iter().enumerate() {
            let flying: u32 = service.cluster().in_flight();
            if flying > 0 {
                w.fault(format!("P{n} counts {flying} creates under way when all are over"));
            }
        }
    }

    async fn ask_create(&self, process: usize) -> bool {
        let query = format!("meetingID={MEETING}&name=n&moderatorPW=mp&attendeePW=ap");
        self.ask(process, "create", &query, None).await.ok()
    }
}

fn number(id: &str) -> Option<usize> {
    id.strip_prefix('s')?.parse().ok()
}

fn home_at(m: &super::world::Moment) -> Option<usize> {
    m.binding.as_ref().and_then(|b| number(b.backend.as_str()))
}
