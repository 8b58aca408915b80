//! Calls about meetings that exist: asked at their server, ended there, joined there.

use std::sync::Arc;

use balancer_core::{BackendId, StickKey};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::documents::{self, Refusal};
use super::{BbbService, Counts, Done, Payload, relay, status, store_fault, xml};
use crate::api::{
    Fault, Params, Reply, join_params, meetings, signed_url, write_meetings, write_no_meetings, write_running,
};
use crate::client::{CallError, Upload};
use crate::cluster::{Cluster, is_away};
use crate::request_id::carried;
use crate::server::BbbServer;
use crate::store::{MeetingRecord, ServerState};

/// A known meeting, its server, and the server's state at this moment.
pub(super) struct Home {
    pub(super) meeting: MeetingRecord,
    pub(super) server: Arc<BbbServer>,
    pub(super) state: ServerState,
    pub(super) online: bool,
    /// The store is out of reach: this is what was seen there last.
    remembered: bool,
}

impl Cluster {
    /// Where a meeting lives; `None` for an unknown one, one that is ending, or one whose server was removed. While the
    /// store is out of reach, known meetings are where they were seen last.
    pub(super) async fn home(&self, id: &str) -> Result<Option<Home>, Fault> {
        let (look, remembered) = self.look(id).await.map_err(|e| store_fault(&e))?;
        let Some(meeting) = look.meeting.filter(|m| !m.ending) else { return Ok(None) };
        let Some((state, online)) = look.server else { return Ok(None) };
        if self.server(&meeting.binding.backend).is_none() {
            self.sync().await.map_err(|e| store_fault(&e))?;
        }
        let server = self.server(&meeting.binding.backend);
        Ok(server.map(|server| Home { meeting, server, state, online, remembered }))
    }

    /// One call to one server with these parameters.
    pub(super) async fn ask(
        &self,
        server: &BbbServer,
        call: &str,
        params: &Params<'_>,
        upload: Option<Upload>,
        brief: bool,
    ) -> Result<Bytes, CallError> {
        let secret = self.secret_for(server).await;
        let url = signed_url(server.url(), call, params, secret.expose(), self.options.outgoing);
        let answer = self.client.call(&url, upload, brief).await;
        if let Err(e) = &answer {
            tracing::info!(call, error = %e, "call to a server failed");
        }
        answer
    }
}

/// Just the meeting's id as parameters.
pub(super) fn only_id(id: &str) -> Params<'_> {
    let mut p = Params::new();
    p.push("meetingID", id);
    p
}

pub(super) fn meeting_id<'p>(params: &'p Params<'_>) -> Result<&'p str, Fault> {
    params.present("meetingID").ok_or(Fault::MissingMeetingId)
}

impl BbbService {
    pub(super) async fn is_meeting_running(&self, params: &Params<'_>) -> Done {
        let id = meeting_id(params)?;
        let Some(home) = self.home(id).await? else {
            return Ok(xml(128, |out| write_running(out, false)));
        };
        self.ask_about(&home, "isMeetingRunning").await
    }

    pub(super) async fn get_meeting_info(&self, params: &Params<'_>) -> Done {
        let id = meeting_id(params)?;
        let Some(home) = self.home(id).await? else { return self.breakout_info(id).await };
        self.ask_about(&home, "getMeetingInfo").await
    }

    /// Breakout rooms that a server made by itself are bound nowhere, yet `getMeetings` lists them.
    async fn breakout_info(&self, id: &str) -> Done {
        for id in self.ids_at_servers(id) {
            let Some(server) = self.cluster.breakout_server(&id).await else { continue };
            let answer = self.cluster.ask(&server, "getMeetingInfo", &only_id(&id), None, false).await;
            let answer = answer.map_err(|_| Fault::AccessMeetingFailed)?;
            // A room has its meeting's metadata, and so its tenant.
            let own = |reply: &Reply<'_>| {
                let of = reply.pairs("metadata").into_iter().find(|(name, _)| name == "tenant-id");
                of.is_some_and(|(_, tenant)| tenant == self.tenant_id())
            };
            if self.tenant().is_none() || Reply::parse(&answer).is_ok_and(|reply| own(&reply)) {
                return relay(&answer, Fault::AccessMeetingFailed);
            }
        }
        Err(Fault::MeetingNotFound)
    }

    async fn ask_about(&self, home: &Home, call: &str) -> Done {
        let params = only_id(&home.meeting.id);
        let answer = self.cluster.ask(&home.server, call, &params, None, !home.online).await;
        relay(&answer.map_err(|_| Fault::AccessMeetingFailed)?, Fault::AccessMeetingFailed)
    }

    pub(super) async fn end(&self, params: &Params<'_>) -> Done {
        let id = meeting_id(params)?;
        let home = self.home(id).await?.ok_or(Fault::MeetingNotFound)?;
        let mut forward = Params::new();
        forward.push("meetingID", home.meeting.id.clone());
        match params.get("password") {
            Some(password) => forward.push("password", password.to_owned()),
            None => forward.set_bare("password"),
        }
        // Carried to its end even when the client hangs up: an ending meeting must not stay marked.
        let cluster = self.cluster.clone();
        let work = tokio::spawn(carried(async move { end_at(&cluster, &home, &forward).await }));
        work.await.unwrap_or(Err(Fault::AccessMeetingFailed))
    }

    pub(super) async fn join(&self, params: &Params<'_>) -> Done {
        let id = meeting_id(params)?;
        let home = self.home(id).await?.ok_or(Fault::MeetingNotFound)?;
        if !home.online || home.state == ServerState::Disabled {
            return Err(Fault::ServerUnavailable);
        }
        self.admit(&home).await?;
        let o = self.cluster.live();
        let server = &home.server;
        // The formula counts a moderator twice, as participant and as moderator.
        let moderator = params.get("role").is_some_and(|r| r.eq_ignore_ascii_case("moderator"))
            || (!home.meeting.moderator_pw.is_empty() && params.get("password") == Some(&home.meeting.moderator_pw));
        Counts::one(&self.cluster.counts.joins);
        self.cluster.arrived(&home.meeting.binding.backend, server, if moderator { 2.0 } else { 1.0 });
        let rules = self.rules(&o.join);
        let mut forward = join_params(params, &rules);
        if home.meeting.id != id {
            forward.set("meetingID", home.meeting.id.as_str());
        }
        let secret = self.cluster.secret_for(server).await;
        let url = signed_url(server.url(), "join", &forward, secret.expose(), o.outgoing);
        let Ok(location) = HeaderValue::try_from(url) else { return Err(Fault::ServerUnavailable) };
        let mut r = status(StatusCode::FOUND);
        r.headers_mut().insert(header::LOCATION, location);
        r.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(r)
    }

    pub(super) async fn insert_document(&self, params: &Params<'_>, body: Payload) -> Done {
        let id = meeting_id(params)?;
        let home = self.home(id).await?.ok_or(Fault::MeetingNotFound)?;
        let o = self.cluster.live();
        let allow = &o.callbacks.allow;
        let (upload, refusal) = match body {
            Payload::Whole(b) if b.is_empty() => (None, Refusal::default()),
            Payload::Whole(b) => {
                documents::check(allow, &b).await?;
                (Some(Upload::xml(b)), Refusal::default())
            }
            Payload::Stream(body) | Payload::Slides { body, .. } => {
                let (body, refusal) = documents::watched(body, allow);
                (Some(Upload { content_type: "application/xml", body }), refusal)
            }
        };
        let answer =
            self.cluster.ask(&home.server, "insertDocument", &only_id(&home.meeting.id), upload, !home.online).await;
        if let Some(fault) = refusal.fault() {
            return Err(fault);
        }
        relay(&answer.map_err(|_| Fault::InsertDocumentFailed)?, Fault::InsertDocumentFailed)
    }

    /// Asks every server that is online and not disabled at once, and answers with what came within the deadline.
    pub(super) async fn get_meetings(&self) -> Done {
        let o = self.cluster.live();
        if o.get_meetings_disabled {
            return Ok(xml(256, write_no_meetings));
        }
        let mut asked: Vec<BackendId> = Vec::new();
        let mut calls = tokio::task::JoinSet::new();
        for r in self.cluster.records() {
            if !r.online || r.state == ServerState::Disabled {
                continue;
            }
            let Some(server) = self.cluster.server(&r.id) else { continue };
            let cluster = self.cluster.clone();
            let at = asked.len();
            asked.push(r.id);
            calls.spawn(carried(async move {
                (at, cluster.ask(&server, "getMeetings", &Params::new(), None, false).await)
            }));
        }
        let deadline = tokio::time::Instant::now() + o.calls.response;
        let mut bodies: Vec<Option<Bytes>> = vec![None; asked.len()];
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, calls.join_next()).await {
            if let Ok((at, Ok(body))) = done {
                bodies[at] = Some(body);
            }
        }
        let mut lists = Vec::with_capacity(bodies.len());
        let mut missing: Vec<&str> = Vec::new();
        for (id, body) in asked.iter().zip(&bodies) {
            match body.as_deref().map(meetings) {
                Some(Ok(list)) => lists.push(list),
                _ => missing.push(id.as_str()),
            }
        }
        if lists.is_empty() && !missing.is_empty() {
            return Err(Fault::AccessServerFailed);
        }
        let size = bodies.iter().flatten().map(Bytes::len).sum::<usize>() + 256;
        let whose = self.tenant().map(|t| t.id.as_str());
        let own = lists.iter().flatten().filter(|m| m.tenant.as_deref() == whose).map(|m| m.raw);
        let mut r = xml(size, |out| write_meetings(out, own));
        if !missing.is_empty() {
            tracing::warn!(missing = missing.join(","), "getMeetings answers without some servers");
            if let Ok(value) = HeaderValue::try_from(missing.join(",")) {
                r.headers_mut().insert("x-balancer-missing", value);
            }
        }
        Ok(r)
    }
}

/// Whether a server refuses to end a meeting that it has: the password is wrong.
fn goes_on(bytes: &[u8]) -> bool {
    Reply::parse(bytes).is_ok_and(|r| !r.is_success() && r.message_key() != Some("notFound"))
}

async fn end_at(cluster: &Cluster, home: &Home, forward: &Params<'_>) -> Done {
    let m = &home.meeting;
    let at_most = cluster.options.call_time() + std::time::Duration::from_secs(5);
    // Creates of this meeting wait from here on; another end finds nothing.
    let mut unseen = home.remembered;
    if !unseen {
        match cluster.store.begin_end(&m.id, &m.binding, at_most).await {
            Ok(true) => {}
            Ok(false) => return Err(Fault::MeetingNotFound),
            Err(e) if is_away(&e) => unseen = true,
            Err(e) => return Err(store_fault(&e)),
        }
    }
    let answer = cluster.ask(&home.server, "end", forward, None, !home.online).await;
    let key = StickKey::new(m.id.as_str()).ok();
    if unseen {
        // The store hears of it when it is back; what goes on is bound there as before.
        if let (Ok(bytes), Some(key)) = (&answer, key)
            && !goes_on(bytes)
        {
            cluster.ended_unseen(key, m.binding.clone());
        }
    } else if answer.as_deref().is_ok_and(goes_on) {
        // Bound anew, and so no longer marked: creates and joins find it again.
        let server = &m.binding.backend;
        cluster.bind_found(&m.id, server, None, Some(&m.binding)).await.map_err(|e| store_fault(&e))?;
    } else if let Some(key) = key {
        match cluster.store.release(&key, &m.binding).await {
            Ok(_) => {}
            Err(e) if is_away(&e) => drop(cluster.ended_unseen(key, m.binding.clone())),
            Err(e) => return Err(store_fault(&e)),
        }
    }
    relay(&answer.map_err(|_| Fault::AccessMeetingFailed)?, Fault::AccessMeetingFailed)
}

impl Cluster {
    /// Counts work that arrived at a server: here at once, and as a guess for others.
    pub(super) fn arrived(&self, id: &BackendId, server: &BbbServer, points: f64) {
        let points = points * server.multiplier();
        if let Ok(lease) = self.pool.lease(id, crate::server::milli(points)) {
            lease.land();
        }
        self.guess(id, points);
    }

    /// Ends meetings on a server in the background, many at once; nobody waits for a server that hangs.
    pub(super) fn end_later(self: &Arc<Self>, id: &BackendId, meetings: Vec<MeetingRecord>) {
        let Some(server) = self.server(id) else { return };
        let cluster = self.clone();
        tokio::spawn(async move {
            let slots = Arc::new(tokio::sync::Semaphore::new(16));
            let mut ends = tokio::task::JoinSet::new();
            for m in meetings {
                let (cluster, server, slots) = (cluster.clone(), server.clone(), slots.clone());
                ends.spawn(async move {
                    let _slot = slots.acquire().await;
                    cluster.end_on(&server, &m.id, &m.moderator_pw, true).await
                });
            }
            while ends.join_next().await.is_some() {}
        });
    }

    /// Ends a meeting on a server, whatever comes of it. `true` when it certainly runs there no more.
    pub(crate) async fn end_on(&self, server: &BbbServer, id: &str, password: &str, brief: bool) -> bool {
        let mut params = only_id(id);
        params.push("password", password);
        match self.ask(server, "end", &params, None, brief).await {
            Ok(bytes) => {
                Reply::parse(&bytes).is_ok_and(|r| r.is_success() || r.message_key().is_some_and(|k| k == "notFound"))
            }
            Err(e) => matches!(e, CallError::Refused { .. }),
        }
    }
}
