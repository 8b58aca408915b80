//! Our own calls for operators, signed like Scalelite's admin API: poll, status, explain, plan, meetings,
//! removeServer.

use balancer_core::{BackendId, Health, StickKey};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::admin::{error, parse, trouble, unknown};
use super::create::decide;
use super::meeting::only_id;
use super::{BbbService, Payload, RequestHead, fault, json as answer, parameters, plain};
use crate::api::{BodyKind, Fault, Params, Reply, TagWish, effective_tag};
use crate::store::MeetingRecord;

/// The text with its host before each id that stands alone, unless the id says as much.
fn with_hosts(text: &str, hosts: &[(String, String)]) -> String {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::with_capacity(text.len() * 2);
    let (mut rest, mut before) = (text, None::<char>);
    while let Some(first) = rest.chars().next() {
        let found = hosts.iter().find(|(id, _)| {
            let after = || rest[id.len()..].chars().next().is_some_and(inner);
            !id.is_empty() && !before.is_some_and(inner) && rest.starts_with(id.as_str()) && !after()
        });
        let step = match found {
            Some((id, host)) if host.starts_with(id.as_str()) => id.len(),
            Some((id, host)) => {
                out.push_str(&format!("{host} ["));
                out.push_str(id);
                out.push(']');
                (before, rest) = (Some(']'), &rest[id.len()..]);
                continue;
            }
            None => first.len_utf8(),
        };
        out.push_str(&rest[..step]);
        (before, rest) = (rest[..step].chars().next_back(), &rest[step..]);
    }
    out
}

/// The name of a call of ours, if it is one.
pub(super) fn known(name: &str) -> &'static str {
    const NAMES: [&str; 11] = [
        "poll",
        "plan",
        "removeServer",
        "endMeeting",
        "status",
        "explain",
        "meetings",
        "meeting",
        "tenants",
        "addTenantSetting",
        "removeTenantSetting",
    ];
    #[cfg(feature = "recordings")]
    if let Some((name, _)) = super::recordings_desk::known(name) {
        return name;
    }
    NAMES.into_iter().find(|known| *known == name).unwrap_or("other")
}

fn no_meeting(id: &str) -> Response<Bytes> {
    error(StatusCode::NOT_FOUND, format!("Couldn't find meeting with id={id}"))
}

impl BbbService {
    pub(super) async fn operate(&self, name: &str, head: &RequestHead<'_>, body: Payload) -> Response<Bytes> {
        let of_tenants = matches!(name, "tenants" | "addTenantSetting" | "removeTenantSetting");
        #[cfg(feature = "recordings")]
        let recordings = super::recordings_desk::known(name);
        #[cfg(not(feature = "recordings"))]
        let recordings: Option<(&str, bool)> = None;
        let is_post = recordings.is_some_and(|(_, changes)| changes)
            || matches!(
                name,
                "poll" | "plan" | "removeServer" | "endMeeting" | "addTenantSetting" | "removeTenantSetting"
            );
        let known = is_post
            || recordings.is_some()
            || matches!(name, "status" | "explain" | "meetings" | "meeting" | "tenants");
        if !known || (head.method == "POST") != is_post {
            return fault(&Fault::UnsupportedRequest);
        }
        let Payload::Whole(body) = body else { return fault(&Fault::UnsupportedContentType) };
        let is_json = head.content_type.is_some_and(|t| t.trim_start().starts_with("application/json"));
        if is_post && !is_json {
            return fault(&Fault::UnsupportedContentType);
        }
        let params = match parameters(head, BodyKind::None, &[]) {
            Ok(p) => p,
            Err(e) => return plain(StatusCode::BAD_REQUEST, &e.to_string()),
        };
        let given = params.get("checksum").unwrap_or("");
        if let Err(why) = self.cluster.live().checksums.verify(name, head.query, given) {
            tracing::info!(call = name, reason = %why, "checksum refused");
            // Operators with a secret get through however often others call from their address.
            let refused = head.caller.and_then(|ip| self.refuse_often(ip.into()));
            return refused.unwrap_or_else(|| fault(&Fault::Checksum));
        }
        if of_tenants && !self.cluster.live().multitenancy {
            return answer(StatusCode::PRECONDITION_FAILED, &json!({ "message": "Multitenancy is disabled" }));
        }
        #[cfg(feature = "recordings")]
        if recordings.is_some() {
            return self.operate_recordings(name, &params, &parse(&body)).await;
        }
        let done = match name {
            "tenants" => self.list_tenants().await,
            "addTenantSetting" => self.add_tenant_setting(&parse(&body)).await,
            "removeTenantSetting" => self.remove_tenant_setting(&parse(&body)).await,
            "poll" => self.poll().await,
            "plan" => self.plan(&parse(&body)).await,
            "status" => Ok(self.status()),
            "explain" => self.explain(&params).await,
            "meetings" => self.list_meetings(&params).await,
            "meeting" => self.show_meeting(&params).await,
            "endMeeting" => self.end_meeting(&parse(&body)).await,
            _ => self.remove_checked(&parse(&body)).await,
        };
        done.unwrap_or_else(|e| trouble(&e))
    }

    async fn poll(&self) -> Result<Response<Bytes>, balancer_core::StickError> {
        let outcomes = self.cluster.poll_now().await?;
        let results: Vec<Value> = outcomes
            .iter()
            .map(|o| {
                let listing = if o.ok() { self.cluster.listing(o.id()) } else { None };
                json!({
                    "id": o.id(),
                    "url": o.backend.url(),
                    "ok": o.ok(),
                    "error": if o.ok() { Value::Null } else { json!(o.text()) },
                    "seconds": o.took.as_secs_f64(),
                    "meetings": listing.as_ref().map_or(0, |l| l.figures.meetings),
                    "users": listing.as_ref().map_or(0, |l| l.figures.users),
                    "load": listing.as_ref().map(|l| l.load),
                })
            })
            .collect();
        Ok(answer(StatusCode::OK, &json!({ "results": results })))
    }

    async fn explain(&self, params: &Params<'_>) -> Result<Response<Bytes>, balancer_core::StickError> {
        let Some(id) = params.present("meetingID") else { return Ok(fault(&Fault::MissingMeetingId)) };
        let Ok(key) = StickKey::new(id) else { return Ok(fault(&Fault::MeetingNotFound)) };
        let look = self.cluster.store.look(id).await?;
        let live = self.cluster.live();
        let wish = params.present("tag").or_else(|| effective_tag(params, &live.create)).and_then(TagWish::parse);
        let mut decision = decide(&self.cluster, &key, wish.as_ref());
        let meeting = look.meeting.as_ref();
        if self.cluster.records().is_empty() {
            decision.note("no servers are configured: servers add URL");
        }
        if let Some(m) = meeting {
            let alone = decision.backend.as_ref().map_or("nobody".to_owned(), |b| self.name_of(b));
            decision.note("`>` marks the server it lives on; the loads are those a new meeting is placed by");
            decision.note(format!("were it new, it would go to {alone} now"));
            decision.backend = Some(m.binding.backend.clone());
            decision.outcome = balancer_core::Outcome::Sticky;
            decision.note(match look.server {
                None => "its server was removed: the next create places it anew".to_owned(),
                Some((state, online)) => {
                    let online = if online { "online" } else { "offline: the next create moves it" };
                    format!("its server {} is {state}, {online}", self.name_of(&m.binding.backend))
                }
            });
            if m.ending {
                decision.note("it is being ended");
            }
        }
        // Ids are what machines want; people know host names.
        let hosts = self.cluster.records().into_iter().map(|r| (r.id.to_string(), crate::client::host_of(&r.url)));
        let text = with_hosts(&decision.to_string(), &hosts.collect::<Vec<_>>());
        let value = json!({
            "meeting": meeting.map(|m| self.meeting_object(m)),
            "text": text,
            "decision": decision,
        });
        Ok(answer(StatusCode::OK, &value))
    }

    fn name_of(&self, id: &BackendId) -> String {
        id.to_string()
    }

    fn meeting_object(&self, m: &MeetingRecord) -> Value {
        let mut shown = json!({
            "id": m.id,
            "server": m.binding.backend,
            "url": self.cluster.server(&m.binding.backend).map(|s| s.url().to_owned()),
            "voice_bridge": m.voice_bridge,
            "stamp_ms": m.binding.stamp,
        });
        if !m.tenant.is_empty() {
            shown["tenant"] = m.tenant.as_str().into();
        }
        shown
    }

    async fn list_meetings(&self, params: &Params<'_>) -> Result<Response<Bytes>, balancer_core::StickError> {
        let server = params.present("server").map(BackendId::from);
        let mut list = self.cluster.store.meetings(server.as_ref()).await?;
        if let Some(given) = params.present("tenant") {
            let id = self.tenant_meant(given).await?;
            list.retain(|m| m.tenant == id.as_deref().unwrap_or(given));
            // Meetings of one that was removed go on, and are found by its id.
            if id.is_none() && list.is_empty() {
                return Ok(super::tenants::not_meant(given));
            }
        }
        list.sort_by(|a, b| a.id.cmp(&b.id));
        let list: Vec<Value> = list.iter().map(|m| self.meeting_object(m)).collect();
        Ok(answer(StatusCode::OK, &json!({ "meetings": list })))
    }

    /// One meeting, with what its server says of it.
    async fn show_meeting(&self, params: &Params<'_>) -> Result<Response<Bytes>, balancer_core::StickError> {
        let Some(id) = params.present("meetingID") else { return Ok(fault(&Fault::MissingMeetingId)) };
        let Some(meeting) = self.cluster.store.look(id).await?.meeting else { return Ok(no_meeting(id)) };
        let mut shown = self.meeting_object(&meeting);
        let Some(server) = self.cluster.server(&meeting.binding.backend) else {
            shown["error"] = "its server was removed".into();
            return Ok(answer(StatusCode::OK, &shown));
        };
        let told = self.cluster.ask(&server, "getMeetingInfo", &only_id(id), None, true).await;
        let reply =
            told.as_deref().map_err(ToString::to_string).and_then(|b| Reply::parse(b).map_err(|e| e.to_string()));
        match reply {
            Ok(reply) if reply.is_success() => {
                for (name, of) in
                    [("name", "meetingName"), ("internal_id", "internalMeetingID"), ("create_date", "createDate")]
                {
                    shown[name] = reply.text(of).map_or(Value::Null, |text| text.into_owned().into());
                }
                shown["recording"] = reply.text("recording").is_some_and(|text| text == "true").into();
                shown["participants"] =
                    reply.text("participantCount").and_then(|n| n.trim().parse::<u64>().ok()).into();
                shown["metadata"] = reply
                    .pairs("metadata")
                    .into_iter()
                    .map(|(k, v)| (k, Value::from(v)))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
            }
            Ok(reply) => shown["error"] = reply.message().unwrap_or("its server does not know it").into(),
            Err(why) => shown["error"] = why.into(),
        }
        Ok(answer(StatusCode::OK, &shown))
    }

    /// Ends a meeting with the moderators' password that is kept of it.
    async fn end_meeting(&self, body: &Value) -> Result<Response<Bytes>, balancer_core::StickError> {
        let id = body.get("id").and_then(Value::as_str).unwrap_or("");
        let Some(meeting) = self.cluster.store.look(id).await?.meeting else { return Ok(no_meeting(id)) };
        let mut params = Params::new();
        params.push("meetingID", id);
        params.push("password", meeting.moderator_pw.as_str());
        Ok(match self.end(&params).await {
            Ok(_) => answer(StatusCode::OK, &json!({ "success": format!("Meeting id={id} was ended") })),
            Err(Fault::MeetingNotFound) => no_meeting(id),
            Err(fault) => error(StatusCode::BAD_GATEWAY, fault.message()),
        })
    }

    /// Refuses to remove a server that still has meetings, unless told to.
    async fn remove_checked(&self, body: &Value) -> Result<Response<Bytes>, balancer_core::StickError> {
        let id = body.get("id").and_then(Value::as_str).unwrap_or("");
        let force = body.get("force").and_then(Value::as_bool).unwrap_or(false);
        let Some(record) = self.cluster.fresh_record(id).await? else { return Ok(unknown(id)) };
        let backend = BackendId::from(id);
        if !force {
            // What is bound, unless the server itself said lately that it has ended.
            let alive = record.online || self.cluster.pool.verdict(&backend).is_some_and(|v| v.health == Health::Up);
            let mut running: Vec<String> =
                self.cluster.store.meetings(Some(&backend)).await?.into_iter().map(|m| m.id).collect();
            if let Some(l) = self.cluster.listing(&backend).filter(|_| alive) {
                running.extend(l.people.into_keys());
            }
            running.sort();
            running.dedup();
            if !running.is_empty() && alive {
                let n = running.len();
                let error = format!("server id={id} has {n} meetings: cordon it and wait, or use force to end them");
                return Ok(answer(StatusCode::CONFLICT, &json!({ "error": error, "meetings": running })));
            }
        }
        if self.remove(id).await? {
            return Ok(answer(StatusCode::OK, &json!({ "success": format!("Server id={id} was removed") })));
        }
        Ok(unknown(id))
    }
}

#[cfg(test)]
mod tests {
    use super::with_hosts;

    #[test]
    fn hosts_stand_before_whole_ids_only() {
        let pair = |id: &str, host: &str| (id.to_owned(), host.to_owned());
        let hosts =
            [pair("s1", "a.example"), pair("s10", "b.example:8443"), pair("c.example", "c.example:80"), pair("", "x")];
        let told = |text| with_hosts(text, &hosts);
        assert_eq!(told("room ms1: s1 (new)"), "room ms1: a.example [s1] (new)");
        assert_eq!(told("s10: load 1, s1"), "b.example:8443 [s10]: load 1, a.example [s1]");
        assert_eq!(told("c.example: load 1"), "c.example: load 1");
        assert_eq!(told("s1.s1 s1-x ö s1"), "s1.s1 s1-x ö a.example [s1]");
    }
}
