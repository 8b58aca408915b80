//! Polling: one `getMeetings` per server and round, and its version now and then.

use std::collections::{HashMap, HashSet};
use std::sync::Weak;

use async_trait::async_trait;
use balancer_core::{
    Backend, BackendId, Health, HealthProbe, ProbeEffect, ProbeError, ProbeOutcome, ProbeWatch, Report, StickError,
};
use tokio::time::Instant;

use super::{Cluster, lock};
use crate::api::{Params, Reply, meetings, signed_url};
use crate::client::{CallError, host_of};
use crate::secret::Secret;
use crate::server::{BbbServer, MILLI, milli};
use crate::store::{Doubt, Fence, Figures, PollRecord, ServerState};

/// What a binding needs to know of a meeting that runs already.
#[derive(Clone, Debug)]
pub(crate) struct Adoptable {
    pub(super) moderator_pw: Secret,
    pub(super) voice_bridge: String,
    /// The id of its tenant; empty without one.
    pub(super) tenant: String,
    /// When the server made it by its own clock, in milliseconds since the epoch; as late as can be when it does not say.
    pub(super) created_ms: u64,
}

/// The last whole list of meetings a server gave.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// The clock that stamps bindings, before the list was asked for.
    pub(crate) began_ms: u64,
    /// People in each meeting, by id.
    pub(crate) people: HashMap<String, u32>,
    /// Those that may be bound when they are bound nowhere: no breakout rooms, which belong to another meeting, and
    /// nothing that was ended and is only listed still.
    pub(super) adoptable: HashMap<String, Adoptable>,
    /// Breakout rooms.
    pub(super) breakouts: HashSet<String>,
    /// People by tenant.
    pub(super) tenants: HashMap<String, u32>,
    /// Load by the formula.
    pub(crate) load: f64,
    /// The figures of the status table.
    pub(crate) figures: Figures,
    /// The version, when it was asked for.
    pub(super) version: Option<String>,
    /// The server was cordoned before the list was asked for.
    pub(super) draining: bool,
    /// The lease that the list was asked for under.
    pub(super) fence: Option<Fence>,
}

/// A server whose last polls failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failing {
    /// How many in a row.
    polls: u32,
    /// Often enough.
    doubted: bool,
    /// It was published as offline since, by us or by others.
    published: bool,
}

pub(super) struct Probe(pub(super) Weak<Cluster>);

pub(super) struct Watch(pub(super) Weak<Cluster>);

fn probe_error(e: &CallError) -> ProbeError {
    let text = e.to_string();
    match e {
        CallError::Refused { .. } | CallError::Broken { .. } => ProbeError::Refused(text),
        CallError::TooLarge { .. } => ProbeError::Answer(text),
        CallError::Unreachable { .. } => ProbeError::Resolve(text),
        _ => ProbeError::Silent(text),
    }
}

#[async_trait]
impl HealthProbe<BbbServer> for Probe {
    async fn probe(&self, target: &BbbServer) -> Result<Report, ProbeError> {
        let Some(cluster) = self.0.upgrade() else {
            return Err(ProbeError::Silent("shutting down".into()));
        };
        // The servers' clocks date meetings, and are ours at best; the store's dates bindings.
        let (now_ms, began_ms) = (cluster.wall_ms(), cluster.store_ms());
        let draining = cluster.record(target.id()).is_some_and(|r| r.state == ServerState::Cordoned);
        let fence = cluster.begin_poll(target.id());
        cluster.forget_guess(target.id());
        let o = &cluster.options;
        let secret = cluster.secret_for(target).await;
        let url = |call| signed_url(target.url(), call, &Params::new(), secret.expose(), o.outgoing);
        let bytes = cluster.client.call(&url("getMeetings"), None, false).await.map_err(|e| probe_error(&e))?;
        let reply = Reply::parse(&bytes).map_err(|e| ProbeError::Answer(format!("getMeetings: {e}")))?;
        if !reply.is_success() {
            let key = reply.message_key().unwrap_or("no reason").to_owned();
            let hint = if key == "checksumError" { " (is the server's secret right?)" } else { "" };
            return Err(ProbeError::Answer(format!("getMeetings failed: {key}{hint}")));
        }
        let list = meetings(&bytes).map_err(|e| ProbeError::Answer(format!("getMeetings: {e}")))?;
        let figures = o.formula.figures(&list, now_ms, target.multiplier());
        let people = list.iter().map(|m| (m.id.to_string(), m.participants)).collect();
        let tenants_on = cluster.live().multitenancy;
        let adoptable = list.iter().filter(|m| !m.breakout && !m.forcibly_ended).map(|m| {
            let moderator_pw = Secret::new(&*m.moderator_pw);
            (
                m.id.to_string(),
                Adoptable {
                    moderator_pw,
                    voice_bridge: m.voice_bridge.trim().to_owned(),
                    tenant: m.tenant.as_deref().filter(|_| tenants_on).unwrap_or_default().to_owned(),
                    created_ms: m.created_ms.unwrap_or(u64::MAX),
                },
            )
        });
        let adoptable = adoptable.collect();
        let mut tenants: HashMap<String, u32> = HashMap::new();
        for m in &list {
            // An empty one is nobody's, and its name the store uses itself.
            let Some(tenant) = m.tenant.as_deref().filter(|tenant| !tenant.is_empty()) else { continue };
            let people = tenants.entry(tenant.to_owned()).or_default();
            *people = people.saturating_add(m.participants);
        }
        let breakouts = list.iter().filter(|m| m.breakout).map(|m| m.id.to_string()).collect();
        let known = cluster.record(target.id()).and_then(|r| r.bbb_version);
        let up = cluster.pool.verdict(target.id()).is_some_and(|v| v.health == Health::Up);
        let version = if known.is_some() && up {
            None
        } else {
            // A missing version is not a failed poll.
            let index = cluster.client.call(&url(""), None, false).await.ok();
            index.as_deref().and_then(|b| Some(Reply::parse(b).ok()?.text("bbbVersion")?.into_owned()))
        };
        let numbers = Figures {
            meetings: figures.meetings,
            users: figures.users,
            largest_meeting: figures.largest_meeting,
            videos: figures.videos,
        };
        let load = figures.load;
        let listing = Listing {
            began_ms,
            people,
            adoptable,
            breakouts,
            tenants,
            load,
            figures: numbers,
            version,
            draining,
            fence,
        };
        lock(&cluster.lists).insert(target.id().clone(), listing.clone());
        // Before the pool hears that it answers, and gives it new meetings.
        cluster.bind_first(target.id(), &listing).await;
        Ok(Report::new(Instant::now())
            .with_rooms(figures.meetings)
            .with_users(figures.users)
            .with_cost(milli(figures.load)))
    }
}

#[async_trait]
impl ProbeWatch<BbbServer> for Watch {
    async fn seen(&self, outcome: &ProbeOutcome<BbbServer>) {
        let Some(cluster) = self.0.upgrade() else { return };
        cluster.counts.poll(outcome);
        if outcome.effect != ProbeEffect::Applied {
            return;
        }
        if let Err(e) = cluster.publish(outcome).await {
            tracing::warn!(backend = %outcome.id(), error = %e, "the poll's result cannot be stored");
        }
    }
}

impl Cluster {
    /// Stores what a poll found, and the verdict when it changed.
    async fn publish(&self, outcome: &ProbeOutcome<BbbServer>) -> Result<(), StickError> {
        let id: &BackendId = outcome.id();
        let mut record = PollRecord::default();
        let online = self.record(id).is_some_and(|r| r.online);
        if outcome.ok() {
            let listing = lock(&self.lists).get(id).cloned();
            let Some(listing) = listing else { return Ok(()) };
            if outcome.health == Health::Up && !online {
                record.online = Some(true);
            }
            record.bbb_version.clone_from(&listing.version);
            // What landed there after the list was asked for is not in it, and others read this load.
            let landed = self.expected(id).filter(|expected| *expected > listing.load + 1.0 / MILLI);
            record.measured = Some((landed.unwrap_or(listing.load), listing.figures));
            record.draining = listing.draining;
            (record.fence, record.began_ms) = (listing.fence, listing.began_ms);
            record.breakouts = listing.breakouts.iter().cloned().collect();
            let failed = lock(&self.failing).remove(id);
            if failed.is_some_and(|f| f.doubted) {
                self.store.trust(id, self.process).await?;
            }
            if record.fence.is_none() && self.store.is_shared() {
                // Another process polls it, and tells.
                return Ok(());
            }
            if record.online.is_some() {
                if !self.publish_verdict(id, &record, true).await? {
                    return self.is_stale(id);
                }
                tracing::info!(backend = %id, host = host_of(outcome.backend.url()), "server is online");
                self.came_online.notify_one();
            } else if !self.store.record_poll(id, &record).await? {
                return self.is_stale(id);
            }
            let seen: Vec<String> = listing.people.keys().cloned().collect();
            self.store.renew_seen(id, &seen, self.options.meeting_ttl).await?;
            return self.note_tenants(id, &listing).await;
        }
        lock(&self.lists).remove(id);
        let fell = outcome.health == Health::Down && outcome.before != Health::Down;
        let failing = self.fails(id, fell);
        if failing.polls == 1 {
            let (host, reason) = (host_of(outcome.backend.url()), outcome.text());
            if online {
                tracing::info!(backend = %id, host, %reason, "a poll of a server failed");
            } else {
                // One that never answered goes offline without another word.
                tracing::warn!(backend = %id, host, %reason, "a server that is not online fails its polls");
            }
        }
        if !failing.doubted {
            record.fence = self.begun(id);
            if record.fence.is_some() && self.processes() > 1 {
                // The next one on the ring forms an opinion of its own.
                self.store.record_poll(id, &record).await?;
            }
            return Ok(());
        }
        if online {
            // One process with a bad network must not move meetings that everybody else reaches.
            let ttl = self.options.poll_interval * 2 + self.options.call_time();
            let Doubt::Agreed(fence) = self.store.doubt(id, self.process, ttl).await? else { return Ok(()) };
            if failing.published && self.processes() > 1 {
                self.give_verdicts_lease_back(id).await;
                return Ok(());
            }
            (record.online, record.fence) = (Some(false), fence);
            let published = self.publish_verdict(id, &record, false).await;
            self.give_verdicts_lease_back(id).await;
            if !published? {
                return self.is_stale(id);
            }
            let host = host_of(outcome.backend.url());
            tracing::info!(backend = %id, host, reason = %outcome.text(), "server is offline");
            // Published once for everybody: from here on its meetings move.
            let _ = self.pool.declare(id, Health::Dead, &outcome.text());
            self.note_nobody(id).await;
        }
        if let Some(failing) = lock(&self.failing).get_mut(id) {
            failing.published = true;
        }
        Ok(())
    }

    /// A server's load as new meetings are placed by it.
    fn expected(&self, id: &BackendId) -> Option<f64> {
        let view = self.pool.view(Instant::now());
        view.iter().find(|v| v.backend.id() == id).map(|v| v.expected as f64 / MILLI)
    }

    /// Counts a failed poll. Doubted is a server that has failed often enough. It is then to be published as offline,
    /// if it counts as online, until that was stored once: after that another process may vouch for it, unless there is
    /// none.
    fn fails(&self, id: &BackendId, fell: bool) -> Failing {
        let mut all = lock(&self.failing);
        let failing = all.entry(id.clone()).or_default();
        failing.polls = failing.polls.saturating_add(1);
        failing.doubted |= fell || failing.polls >= self.options.unhealthy_threshold;
        *failing
    }

    /// Stores a verdict and notes it, with no read of the servers in between: one that began before would undo it here.
    /// `false` when the lease of the poll is lost.
    async fn publish_verdict(&self, id: &BackendId, record: &PollRecord, online: bool) -> Result<bool, StickError> {
        let _alone = self.syncing.lock().await;
        let stored = self.store.record_poll(id, record).await?;
        if stored {
            self.note_online(id, online);
        }
        Ok(stored)
    }

    /// Another process took the server over while this one polled it, or slept.
    fn is_stale(&self, id: &BackendId) -> Result<(), StickError> {
        lock(&self.lists).remove(id);
        tracing::info!(backend = %id, "a poll's result is dropped: another process polls this server by now");
        Ok(())
    }

    /// The server whose last list shows this breakout room.
    fn lists_breakout(&self, id: &str) -> Option<std::sync::Arc<BbbServer>> {
        let lists = lock(&self.lists);
        let shows = |list: &Listing| list.breakouts.contains(id);
        let server = lists.iter().find(|(_, list)| shows(list)).map(|(server, _)| server.clone());
        drop(lists);
        self.server(&server?)
    }

    /// The server where a breakout room runs that it made by itself, by its last list here or at another process.
    pub(crate) async fn breakout_server(&self, id: &str) -> Option<std::sync::Arc<BbbServer>> {
        if let Some(server) = self.lists_breakout(id) {
            return Some(server);
        }
        let server = self.store.breakout(id).await.ok()??;
        self.server(&server)
    }

    /// Whether a server's last list of meetings is current.
    pub(crate) fn listing(&self, id: &BackendId) -> Option<Listing> {
        lock(&self.lists).get(id).cloned()
    }
}
