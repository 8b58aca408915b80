//! The routes of shards.

use adapter_jitsi::{Shard, ShardChoice, ShardError, ShardStep, Shards, room_of};
use balancer_core::{Admin, Backend, BackendId, Outcome, StickKey, Weight};
use form_urlencoded::parse;
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::{Answer, Problem, json_of, optional, plain, refused, required, told, typed};
use super::shards::ShardDesk;
use super::{Shared, metrics, shard_metrics};
use crate::shards::table;

/// What there is.
pub(super) const ROUTES: &str =
    "there are /shard, /shards, /rooms, /explain, /plan, /pins, /order, /forget, /metrics, /livez, /readyz";
/// The longest URL to take a room out of, in bytes.
const URL: usize = 8 * 1024;
/// The most rooms that are listed by name.
const NAMES: usize = 10_000;
/// The most steps of a plan.
const STEPS: usize = 64;

/// The answer, unless the request is about bridges alone.
pub(super) async fn respond(desk: &ShardDesk, bridges: Option<&Shared>, method: &Method, uri: &Uri) -> Option<Answer> {
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let writing = *method == Method::POST;
    let query = uri.query().unwrap_or_default();
    Some(match uri.path() {
        "/shard" if reading || writing => told(shard(desk, query, writing).await),
        "/shards" if reading => told(list(desk).await),
        "/rooms" if reading => told(rooms(desk, query).await),
        "/explain" if reading => told(explain(desk, query).await),
        "/plan" if reading => told(plan(desk, query).await),
        "/pins" if reading => told(pins(desk, query).await),
        "/order" if writing => told(order(desk, query).await),
        "/forget" if writing => told(forget(desk, query).await),
        "/shard" => refused("GET, HEAD, POST"),
        "/shards" | "/rooms" | "/explain" | "/plan" | "/pins" => refused("GET, HEAD"),
        "/order" | "/forget" => refused("POST"),
        "/metrics" if reading => {
            let mut text = match bridges {
                Some(shared) => metrics::render(&mut shared.lock()),
                None => metrics::build(),
            };
            text.push_str(&shard_metrics::render(desk).await);
            typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/readyz" if reading => match desk.unready().or_else(|| bridges.and_then(|shared| shared.lock().unready())) {
            None => plain(StatusCode::OK, "ok\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/livez" if reading => plain(StatusCode::OK, "ok\n"),
        "/" if reading && bridges.is_none() => match list_of(desk).await {
            Ok(list) => plain(StatusCode::OK, table(&list, true)),
            Err(e) => told(Err(wrong(&e))),
        },
        _ => return None,
    })
}

/// Why it cannot be done, as an answer.
fn wrong(e: &ShardError) -> Problem {
    let status = match e {
        ShardError::Unknown { .. } => StatusCode::NOT_FOUND,
        ShardError::Route(_) => StatusCode::SERVICE_UNAVAILABLE,
        ShardError::Store(e) if e.kind() != balancer_core::StickErrorKind::Input => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    (status, e.code(), text)
}

/// The room, by its name or out of a URL.
fn asked(query: &str) -> Result<StickKey, Problem> {
    let url = parse(query.as_bytes()).find(|(key, _)| key == "url").map(|(_, url)| url.into_owned());
    let key = match url {
        Some(url) if url.len() > URL => {
            return Err((StatusCode::BAD_REQUEST, "too-long", format!("url is longer than {URL} bytes")));
        }
        Some(url) => match room_of(&url).key() {
            Some(key) => StickKey::new(key).map_err(ShardError::from),
            None => Err(ShardError::NoRoom),
        },
        None => Shards::room(&required(query, "room")?),
    };
    key.map_err(|e| wrong(&e))
}

/// `GET` asks, `POST` binds as well.
async fn shard(desk: &ShardDesk, query: &str, bind: bool) -> Result<Answer, Problem> {
    let (room, region) = (asked(query)?, optional(query, "region")?);
    let region = region.as_deref();
    let choice = if bind { desk.shards.place(&room, region).await } else { desk.shards.look(&room, region).await };
    if bind {
        let outcome = choice.as_ref().map_or_else(ShardError::code, |choice| word(choice.outcome));
        *desk.counts().decisions.entry(outcome).or_default() += 1;
    }
    let ShardChoice { room, shard, outcome, binding, .. } = choice.map_err(|e| wrong(&e))?;
    Ok(json_of(
        StatusCode::OK,
        &json!({
            "room": room,
            "shard": shard.id(),
            "region": shard.region(),
            "outcome": word(outcome),
            "bound": bind || outcome == Outcome::Sticky,
            "stamp": binding.map(|binding| binding.stamp),
        }),
    ))
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Sticky => "sticky",
        Outcome::New => "new",
        Outcome::Moved => "moved",
        Outcome::Adopted => "adopted",
        Outcome::NoCandidate => "no-shard",
        _ => "refused",
    }
}

async fn list(desk: &ShardDesk) -> Result<Answer, Problem> {
    Ok(json_of(StatusCode::OK, &list_of(desk).await.map_err(|e| wrong(&e))?))
}

/// Everything there is to know of each shard. Without its table the rooms are not known.
async fn list_of(desk: &ShardDesk) -> Result<Value, ShardError> {
    let mut shards = Vec::new();
    for view in desk.shards.pool().view(Instant::now()) {
        let id = view.backend.id();
        let seen = desk.probe.seen(id);
        let rooms = desk.count(id).await;
        let report = view.report.as_ref();
        let fact = |name: &str| report?.facts.iter().find(|(known, _)| &**known == name).map(|(_, value)| *value);
        let parts: Vec<Value> = seen
            .iter()
            .flat_map(|seen| &seen.parts)
            .map(|part| {
                let wrong = part.result.as_ref().err().map(ToString::to_string);
                json!({ "part": part.part.name(), "ok": wrong.is_none(), "error": wrong })
            })
            .collect();
        let bridges = seen.as_ref().and_then(|seen| seen.bridges);
        shards.push(json!({
            "shard": id,
            "region": view.backend.region(),
            "weight": f64::from(view.weight.sixteenths()) / 16.0,
            "state": view.admin,
            "health": view.health,
            "open": view.open,
            "rooms": rooms,
            "load": view.expected as f64 / 1000.0,
            "conferences": report.and_then(|report| report.rooms),
            "participants": report.and_then(|report| report.users),
            "bridges": bridges.map(|(operational, all)| json!({ "operational": operational, "all": all })),
            "overloaded_ratio": fact("overloaded_ratio"),
            "stress": fact("stress"),
            "age_seconds": seen.as_ref().map(|seen| seen.at.elapsed().as_secs_f64()),
            "parts": parts,
        }));
    }
    let counts = desk.counts();
    let split: Vec<Value> = counts
        .split
        .iter()
        .flat_map(|(id, rooms)| rooms.iter().map(move |room| json!({ "room": room, "also_on": id })))
        .collect();
    let lost = counts.lost.as_ref().map(|(_, why)| why);
    Ok(json!({ "shards": shards, "store": desk.place, "store_error": lost, "split_rooms": split }))
}

fn named(query: &str) -> Result<BackendId, Problem> {
    Ok(required(query, "shard")?.into())
}

async fn rooms(desk: &ShardDesk, query: &str) -> Result<Answer, Problem> {
    let id = named(query)?;
    if desk.shards.pool().member(id.as_str()).is_none() {
        return Err(wrong(&ShardError::Unknown { id }));
    }
    let rooms = desk.shards.rooms_on(&id, NAMES).await.map_err(|e| wrong(&e))?;
    Ok(json_of(StatusCode::OK, &json!({ "shard": id, "count": rooms.count, "rooms": rooms.names })))
}

async fn explain(desk: &ShardDesk, query: &str) -> Result<Answer, Problem> {
    let (room, region) = (asked(query)?, optional(query, "region")?);
    let decision = desk.shards.explain(&room, region.as_deref()).await.map_err(|e| wrong(&e))?;
    let text = decision.to_string();
    Ok(json_of(StatusCode::OK, &json!({ "decision": decision, "text": text })))
}

async fn order(desk: &ShardDesk, query: &str) -> Result<Answer, Problem> {
    let (id, to) = (named(query)?, required(query, "to")?);
    let to = match to.as_str() {
        "ready" => Admin::Ready,
        "drain" => Admin::Drain,
        "maint" => Admin::Maint,
        _ => return Err((StatusCode::BAD_REQUEST, "state", "to is ready, drain or maint".to_owned())),
    };
    desk.shards.order(&id, to).await.map_err(|e| wrong(&e))?;
    let rooms = desk.shards.rooms_on(&id, 0).await.map_err(|e| wrong(&e))?;
    Ok(json_of(StatusCode::OK, &json!({ "shard": id, "state": to, "rooms": rooms.count })))
}

async fn forget(desk: &ShardDesk, query: &str) -> Result<Answer, Problem> {
    let id = named(query)?;
    if desk.shards.pool().member(id.as_str()).is_some() {
        let text = format!("{id} is among the shards: take it out of the file of every picker first");
        return Err((StatusCode::CONFLICT, "known", text));
    }
    let released = desk.shards.forget(&id).await.map_err(|e| wrong(&e))?;
    Ok(json_of(StatusCode::OK, &json!({ "shard": id, "released": released })))
}

async fn pins(desk: &ShardDesk, query: &str) -> Result<Answer, Problem> {
    let pins = desk.shards.pins().await.map_err(|e| wrong(&e))?;
    Ok(match optional(query, "format")?.as_deref() {
        Some("json") => json_of(StatusCode::OK, &json!(pins)),
        _ => plain(StatusCode::OK, pins.to_string()),
    })
}

async fn plan(desk: &ShardDesk, query: &str) -> Result<Answer, Problem> {
    let wanted: Vec<String> =
        parse(query.as_bytes()).filter(|(key, _)| key == "step").map(|(_, step)| step.into_owned()).collect();
    if wanted.is_empty() || wanted.len() > STEPS {
        return Err((StatusCode::BAD_REQUEST, "missing", format!("a plan has 1 to {STEPS} steps")));
    }
    let steps = wanted.iter().map(|text| step(text)).collect::<Result<Vec<_>, _>>()?;
    let plan = desk.shards.plan(&steps, &[], 0).await.map_err(|e| wrong(&e))?;
    let text = plan.to_string();
    Ok(json_of(StatusCode::OK, &json!({ "plan": plan, "text": text })))
}

/// `drain:eu-1`, `weight:eu-1:50`, `add:eu-3:eu:100`.
fn step(text: &str) -> Result<ShardStep, Problem> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, "step", why);
    let parts: Vec<&str> = text.split(':').collect();
    let weight = |text: &str| {
        let number = text.parse::<u16>().ok().filter(|number| *number <= 256);
        number.map(Weight::new).ok_or_else(|| bad(format!("{text:?} is no weight: 0 to 256")))
    };
    Ok(match parts[..] {
        ["drain" | "cordon", id] => ShardStep::Drain(id.into()),
        ["maint", id] => ShardStep::Maint(id.into()),
        ["ready" | "uncordon", id] => ShardStep::Ready(id.into()),
        ["remove", id] => ShardStep::Remove(id.into()),
        ["weight", id, n] => ShardStep::Weight(id.into(), weight(n)?),
        ["add", id, region, n] => {
            let shard = Shard::try_new(id).and_then(|shard| shard.with_region(region)).map_err(|e| wrong(&e))?;
            ShardStep::Add(shard.with_weight(weight(n)?))
        }
        _ => {
            let forms = "drain:S, maint:S, ready:S, remove:S, weight:S:N and add:S:REGION:N";
            return Err(bad(format!("{text:?} is no step: there are {forms}")));
        }
    })
}
