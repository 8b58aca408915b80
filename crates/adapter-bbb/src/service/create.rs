//! `create`: one server for everybody, found again, moved off a dead one, tried elsewhere when one fails.

use std::sync::Arc;
use std::time::Duration;

use balancer_core::{
    Ask, Backend, BackendId, Binding, Clause, Decision, Filter, Health, Lease, Placed, RouteError, StickError,
    StickKey, random,
};
use bytes::Bytes;
use http::Response;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::meeting::only_id;
use super::{ALL, BbbService, Counts, Done, Payload, callbacks, documents, learning, relay, store_fault};
use crate::api::{Fault, Params, Reply, TagWish, effective_tag};
use crate::cluster::{Cluster, lock};
use crate::request_id::carried;
use crate::server::BbbServer;
use crate::store::{Look, MeetingRecord, ServerState};

mod breakout;
mod claim;
mod send;
mod settled;
mod slides;

use breakout::parent_of;
use claim::CreateClaim;
use send::Sent;
use slides::{Document, Slides};

/// How often one request looks, places or sends before it gives up.
const ATTEMPTS: usize = 24;
/// How often it asks whether an end under way is over.
const WAIT: Duration = Duration::from_millis(50);

/// Which servers may take a meeting with this tag wish.
pub(super) fn filter_of(wish: Option<&TagWish>) -> Option<Filter> {
    let untagged = vec![Clause::untagged()];
    let rungs = match wish {
        None => vec![untagged],
        Some(w) => {
            let tags = w.tags.iter().map(String::as_str).filter(|t| *t != TagWish::UNTAGGED);
            let mut clause = Clause::any_of(tags);
            if w.fits(None) {
                clause = clause.or_untagged();
            }
            if w.required { vec![vec![clause]] } else { vec![vec![clause], untagged] }
        }
    };
    Filter::ladder(rungs).ok()
}

/// What to do with a meeting that is bound.
enum Next {
    /// Its server has it, or may have it.
    Stay(Arc<BbbServer>),
    /// It needs a new server.
    Move,
}

struct Creation<'a> {
    cluster: &'a Arc<Cluster>,
    /// Whose meeting it is.
    who: &'a BbbService,
    /// Where its learning records go.
    records: Option<String>,
    id: &'a str,
    key: StickKey,
    params: &'a Params<'a>,
    document: Document,
    /// What this request bound last, at a server that then failed it.
    own: Option<Binding>,
    /// Servers that this request found unable to take the meeting.
    tried: Vec<BackendId>,
    /// Servers where the meeting may have been created although nobody answered.
    doubtful: Vec<(Arc<BbbServer>, String)>,
    last: Option<Fault>,
    /// Where this request bound a breakout room.
    beside: Option<Binding>,
}

impl BbbService {
    pub(super) async fn create(&self, params: &Params<'_>, document: Payload) -> Done {
        let given = params.present("meetingID").ok_or(Fault::MissingMeetingId)?;
        let id = self.id_for_servers(given).await?;
        let Ok(key) = StickKey::new(id.as_str()) else {
            return Err(Fault::Passed {
                key: "sizeError".into(),
                message: "The meeting ID must be at most 1024 bytes long.".into(),
            });
        };
        let mut params = params.borrowed().into_owned();
        if self.tenant().is_some() {
            if id != given {
                params.set("meetingID", id.clone());
            }
            // Nobody makes a room of another tenant's meeting.
            if let Some(parent) = params.present("parentMeetingID") {
                let home = self.home(parent).await?.ok_or(Fault::MeetingNotFound)?;
                params.set("parentMeetingID", home.meeting.id);
            }
        }
        if callbacks::named(&params) {
            callbacks::take(&self.cluster, self.tenant().map(AsRef::as_ref), &id, &mut params).await?;
        }
        let live = self.cluster.live();
        let allow = &live.callbacks.allow;
        callbacks::check_rules(allow, &self.rules(&live.create), &params).await?;
        let document = match document {
            Payload::Whole(list) if list.is_empty() => Document::None,
            Payload::Whole(list) => {
                documents::check(allow, &list).await?;
                Document::Whole(list)
            }
            Payload::Slides { body, room } => Document::Slides(Slides::new(body, room, allow)),
            // Nobody said what may be kept of it.
            Payload::Stream(body) => Document::Slides(Slides::new(body, Arc::new(Semaphore::new(0)), allow)),
        };
        let cluster = self.cluster.clone();
        let who = self.clone();
        let records = match self.tenant() {
            Some(t) => learning::records_of(&cluster, t).await,
            None => None,
        };
        // Carried to its end even when the client hangs up: a claim is either confirmed or given back.
        let work = tokio::spawn(carried(async move {
            let mut c = Creation {
                cluster: &cluster,
                who: &who,
                records,
                id: &id,
                key,
                params: &params,
                document,
                own: None,
                tried: Vec::new(),
                doubtful: Vec::new(),
                last: None,
                beside: None,
            };
            let done = c.run().await;
            c.document.finish().await;
            let (doubtful, id) = (std::mem::take(&mut c.doubtful), id.clone());
            if !doubtful.is_empty() {
                clean_up(&cluster, id, doubtful);
            }
            done
        }));
        work.await.unwrap_or(Err(Fault::CreateFailed))
    }
}

/// Whatever a silent server made of our request is ended there, unless the meeting lives there by now. Also after a
/// create that failed in the end: the meeting may live on a server that others found.
fn clean_up(cluster: &Arc<Cluster>, id: String, doubtful: Vec<(Arc<BbbServer>, String)>) {
    let cluster = cluster.clone();
    tokio::spawn(async move {
        for (server, password) in doubtful {
            let Ok(look) = cluster.store.look(&id).await else { continue };
            if look.meeting.is_none_or(|m| m.binding.backend != *server.id()) {
                cluster.end_on(&server, &id, &password, false).await;
            }
        }
    });
}

impl Creation<'_> {
    async fn run(&mut self) -> Done {
        let live = self.cluster.live();
        let rules = self.who.rules(&live.create);
        let wish = effective_tag(self.params, &rules).and_then(TagWish::parse);
        let filter = filter_of(wish.as_ref());
        let deadline = Instant::now() + self.cluster.options.call_time() * 3;
        let mut attempts = 0;
        while attempts < ATTEMPTS && !self.document.is_spent() {
            let look = match self.cluster.look(self.id).await.map_err(|e| store_fault(&e))? {
                (look, false) => look,
                (look, true) => return self.repeat_unseen(look).await,
            };
            if self.who.tenant().is_some() && look.meeting.as_ref().is_some_and(|m| m.tenant != self.who.tenant_id()) {
                // A Scalelite bound it for another tenant meanwhile.
                return Err(Fault::CreateFailed);
            }
            // A store that cannot list its servers now was just asked successfully; what we know still serves.
            let _ = self.cluster.sync_if(look.epoch).await;
            let over = match look.meeting {
                Some(m) if m.ending => {
                    if Instant::now() >= deadline {
                        return Err(Fault::CreateFailed);
                    }
                    // Waiting is no attempt: the mark of an end outlives its call by seconds only.
                    tokio::time::sleep(WAIT).await;
                    continue;
                }
                Some(m) => match self.next(&m, look.server).await? {
                    Next::Stay(server) => match self.repeat(&m, &server).await {
                        Ok(Some(done)) => return Ok(done),
                        Ok(None) => {
                            attempts += 1;
                            continue;
                        }
                        Err(f) => {
                            self.forget_breakout(&m).await;
                            return Err(f);
                        }
                    },
                    Next::Move => Some(m.binding),
                },
                None => None,
            };
            if let Some(parent) = parent_of(self.params) {
                self.bind_beside(parent, over.as_ref()).await?;
                attempts += 1;
                continue;
            }
            if let Some(done) = self.place(over.as_ref(), filter.as_ref(), wish.as_ref()).await? {
                return Ok(done);
            }
            attempts += 1;
        }
        Err(self.last.take().unwrap_or(Fault::CreateFailed))
    }

    /// Whether a bound meeting stays where it is.
    async fn next(&mut self, m: &MeetingRecord, server: Option<(ServerState, bool)>) -> Result<Next, Fault> {
        let id = &m.binding.backend;
        let (Some((state, online)), Some(server)) = (server, self.cluster.server(id)) else {
            return Ok(Next::Move);
        };
        // Hard proof counts for our own binding at once, for one of others when it has settled.
        if self.own.as_ref() == Some(&m.binding) {
            return Ok(Next::Move);
        }
        if self.tried.contains(id) {
            self.settled(&m.binding).await;
            return Ok(Next::Move);
        }
        match (state, online) {
            (_, false) => Ok(Next::Move),
            // Just bound beside its parent, by this request: whether the server takes new meetings does not matter.
            _ if self.beside.as_ref() == Some(&m.binding) => Ok(Next::Stay(server)),
            (ServerState::Enabled, true) => Ok(Next::Stay(server)),
            (ServerState::Cordoned, true) => {
                // A server that is being drained keeps what it has and must not get a meeting back that ended there.
                // What is missing may be on its way there, by a create that confirms a young binding by a mere look.
                let young = self.is_young(&m.binding);
                let mut gone = self.is_gone(&server).await;
                if gone && young {
                    self.settled(&m.binding).await;
                    gone = self.is_gone(&server).await;
                }
                Ok(if gone { Next::Move } else { Next::Stay(server) })
            }
            (ServerState::Disabled, true) => {
                // Nobody can join there any more: it ends there, even if it is still on its way, before it begins
                // elsewhere.
                self.settled(&m.binding).await;
                if self.cluster.end_on(&server, self.id, &m.moderator_pw, false).await {
                    Ok(Next::Move)
                } else {
                    Err(Fault::CreateFailed)
                }
            }
        }
    }

    /// `create` of a meeting that is bound: its server answers. `None`: look again.
    async fn repeat(&mut self, m: &MeetingRecord, server: &Arc<BbbServer>) -> Result<Option<Response<Bytes>>, Fault> {
        let bytes = match self.send(server, m, None).await {
            Sent::Answer(bytes) => bytes,
            Sent::NotThere => {
                self.give_up_on(&m.binding.backend);
                return Ok(None);
            }
            Sent::Broken(done) => return done.map(Some),
            Sent::Unknown(f) => {
                // Whoever placed it may have moved it meanwhile: then nothing of ours may stay behind here.
                let look = self.cluster.store.look(self.id).await.map_err(|e| store_fault(&e))?;
                let Some(now) = look.meeting.filter(|now| now.binding != m.binding) else { return Err(f) };
                if now.binding.backend != m.binding.backend {
                    self.cluster.end_on(server, self.id, &m.moderator_pw, false).await;
                }
                self.last = Some(f);
                return Ok(None);
            }
        };
        if let Ok(reply) = Reply::parse(&bytes)
            && reply.is_success()
        {
            let stands = if reply.message_key() == Some("duplicateWarning") {
                // Somebody may have moved it since we looked, and left this one behind where nobody is led to.
                self.lives_on(&m.binding.backend).await?
            } else {
                // It had ended there and begins anew, perhaps while somebody ended it or a sweep forgot it.
                let stands = self.bind_anew(server, m).await?;
                // Breakout rooms count nothing by the formula.
                if stands && parent_of(self.params).is_none() {
                    // A new meeting for the server, although not for us: it counts until a poll measures it.
                    self.cluster.arrived(&m.binding.backend, server, self.cluster.options.new_meeting);
                }
                stands
            };
            if !stands {
                return Ok(None);
            }
        }
        Counts::one(&self.cluster.counts.kept);
        relay(&bytes, Fault::CreateFailed).map(Some)
    }

    /// The store is out of reach: a meeting that runs where it was seen last is repeated there, which changes nothing.
    async fn repeat_unseen(&self, look: Look) -> Done {
        let server = look.meeting.as_ref().and_then(|m| self.cluster.server(&m.binding.backend));
        if let (Some(m), Some(server), Some((state, true))) = (look.meeting, server, look.server)
            && state != ServerState::Disabled
        {
            let asked = self.cluster.ask(&server, "getMeetingInfo", &only_id(self.id), None, true).await;
            if asked.is_ok_and(|b| Reply::parse(&b).is_ok_and(|r| r.is_success()))
                && let Sent::Answer(bytes) = self.send(&server, &m, None).await
            {
                Counts::one(&self.cluster.counts.kept);
                return relay(&bytes, Fault::CreateFailed);
            }
        }
        Err(super::store_away())
    }

    /// Picks a server, claims it and creates the meeting there. `None`: look again.
    async fn place(
        &mut self,
        over: Option<&Binding>,
        filter: Option<&Filter>,
        wish: Option<&TagWish>,
    ) -> Result<Option<Response<Bytes>>, Fault> {
        let claimer = CreateClaim::new(self.cluster, self.id, self.params, self.who.tenant().cloned())?;
        let tried = self.tried.clone();
        let mut ask = Ask::new(&self.key).exclude(&tried);
        ask.filter = filter;
        let generation = self.cluster.store.generation();
        let began = Instant::now();
        let placed = self.cluster.balancer.place_by(&ask, over, &claimer, None).await;
        self.cluster.counts.decisions.note(ALL, began.elapsed());
        let placement = match placed {
            Ok(Placed::Here(p)) => p,
            Ok(Placed::Elsewhere(_)) => {
                Counts::one(&self.cluster.counts.conflicts);
                return Ok(None);
            }
            Err(RouteError::NoCandidate) => {
                Counts::one(&self.cluster.counts.refused);
                return Err(match (self.last.take(), wish) {
                    (Some(f), _) => f,
                    (None, Some(w)) if w.required => Fault::ServerTagUnavailable { tag: w.text() },
                    _ => Fault::NoServers,
                });
            }
            Err(RouteError::Store(StickError::Full { capacity }))
                if self.who.meetings_limit().is_some_and(|n| usize::try_from(n).is_ok_and(|n| n == capacity)) =>
            {
                return Err(self.who.too_many_meetings());
            }
            Err(RouteError::Store(e)) => return Err(store_fault(&e)),
            Err(e) => {
                tracing::warn!(error = %e, "a meeting cannot be placed");
                return Err(Fault::CreateFailed);
            }
        };
        let stored = lock(&claimer.stored).take();
        let Some(m) = stored else { return Ok(None) };
        let server = placement.backend().clone();
        let lease = placement.into_lease();
        self.send_new(&server, &m, lease, over.is_none(), generation).await
    }

    async fn send_new(
        &mut self,
        server: &Arc<BbbServer>,
        m: &MeetingRecord,
        lease: Lease<BbbServer>,
        is_new: bool,
        generation: u64,
    ) -> Result<Option<Response<Bytes>>, Fault> {
        let mut sent = self.send(server, m, Some(&m.moderator_pw)).await;
        if let Sent::Unknown(_) = sent {
            // Look for it before it is created elsewhere. A server that answers gets the same create once more: it is
            // idempotent there.
            let asked = self.cluster.ask(server, "getMeetingInfo", &only_id(self.id), None, true).await;
            // Without slides that are spent it is asked for only where it is.
            let fits = |reply: &Reply<'_>| reply.is_success() || !self.document.is_spent();
            if asked.is_ok_and(|b| Reply::parse(&b).is_ok_and(|reply| fits(&reply))) {
                sent = self.send(server, m, Some(&m.moderator_pw)).await;
            }
        }
        // A repeat overtook us and the server made up a password of its own: ask for the meeting as it is.
        let ours = self.params.present("moderatorPW").is_none();
        if ours && matches!(&sent, Sent::Answer(bytes) if is_not_unique(bytes)) {
            sent = self.send(server, m, None).await;
        }
        match sent {
            Sent::Answer(bytes) => {
                let done = relay(&bytes, Fault::CreateFailed);
                match &done {
                    Ok(_) if !self.confirm(server, m, generation).await? => {
                        lease.cancel();
                        return Ok(None);
                    }
                    Ok(_) => {
                        let counts = &self.cluster.counts;
                        Counts::one(if is_new { &counts.placed } else { &counts.moved });
                        self.cluster.remember_one(m);
                        lease.land();
                    }
                    // Refused by the server: the meeting does not exist, so nothing stays bound to it.
                    Err(_) if is_new => {
                        lease.cancel();
                        self.cluster.store.release(&self.key, &m.binding).await.map_err(|e| store_fault(&e))?;
                    }
                    Err(_) => lease.cancel(),
                }
                done.map(Some)
            }
            Sent::NotThere => {
                self.own = Some(m.binding.clone());
                self.give_up_on(&m.binding.backend);
                Ok(None)
            }
            Sent::Broken(done) => {
                lease.cancel();
                self.doubtful.push((server.clone(), m.moderator_pw.clone()));
                if is_new {
                    self.cluster.store.release(&self.key, &m.binding).await.map_err(|e| store_fault(&e))?;
                }
                done.map(Some)
            }
            Sent::Unknown(f) => {
                self.own = Some(m.binding.clone());
                self.doubtful.push((server.clone(), m.moderator_pw.clone()));
                self.give_up_on(&m.binding.backend);
                self.last = Some(f);
                // There will be no other server: nothing stays bound to this one.
                if is_new && self.document.is_spent() {
                    self.cluster.store.release(&self.key, &m.binding).await.map_err(|e| store_fault(&e))?;
                }
                Ok(None)
            }
        }
    }

    /// No new meetings there until a poll says otherwise; this request tries others.
    fn give_up_on(&mut self, id: &BackendId) {
        self.tried.push(id.clone());
        self.last = Some(Fault::CreateFailed);
        if self.cluster.pool.verdict(id).is_some_and(|v| v.health == Health::Up) {
            let _ = self.cluster.pool.declare(id, Health::Suspect, "a create found it failing");
        }
    }
}

fn is_not_unique(bytes: &[u8]) -> bool {
    Reply::parse(bytes).is_ok_and(|r| !r.is_success() && r.message_key() == Some("idNotUnique"))
}

/// Where a meeting would be placed now, and why, without placing it.
pub(super) fn decide(cluster: &Cluster, key: &StickKey, wish: Option<&TagWish>) -> Decision {
    let filter = filter_of(wish);
    let mut ask = Ask::new(key);
    ask.filter = filter.as_ref();
    cluster.pool.freeze(Instant::now()).decide(&ask, random())
}
