//! What is asked of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balancer_core::{BackendId, Binding, Claim, StickError, StickErrorKind, StickKey, StickStore, Token, Want, random};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::book::{Told, Why, Wish};
use super::cycle::{Inner, wall_ms};
use super::event::ControlEvent;
use super::options::ControlOptions;
use super::order::{self, KEYS};
use super::status::Order;

/// How many questions are under way at once.
const AT_ONCE: usize = 64;

/// Asks for each room, and brings back those that the store has lost. `false`: the store is lost, and what was not
/// answered is not so.
pub(super) async fn ask(inner: &Arc<Inner>, wishes: &[Wish]) -> bool {
    let answered = ask_once(inner, wishes).await;
    let restoring = std::mem::take(&mut inner.state().restoring);
    answered && (restoring.is_empty() || ask_once(inner, &restoring).await)
}

async fn ask_once(inner: &Arc<Inner>, wishes: &[Wish]) -> bool {
    let mut asked = JoinSet::new();
    let mut rest = wishes.iter();
    let mut lost = None;
    loop {
        while lost.is_none()
            && asked.len() < AT_ONCE
            && let Some(wish) = rest.next()
        {
            let (inner, wish) = (inner.clone(), wish.clone());
            asked.spawn(async move {
                let began = Instant::now();
                (began, one(&inner.options, &*inner.store, wish).await)
            });
        }
        let Some(done) = asked.join_next().await else { break };
        // A store that panics has answered nothing.
        let Ok((began, answer)) = done else { continue };
        match answer {
            Ok(Some(told)) => inner.state().told(told, began, wall_ms()),
            Ok(None) => {}
            Err(error) if error.kind() == StickErrorKind::Input => {}
            Err(error) if error.kind() == StickErrorKind::Full => {
                let text = error.to_string();
                let mut state = inner.state();
                if !state.events.iter().any(|event| matches!(event, ControlEvent::Trouble { .. })) {
                    state.events.push(ControlEvent::Trouble { text });
                }
            }
            Err(error) => lost = Some(error.to_string()),
        }
    }
    let mut state = inner.state();
    for watched in &mut state.processes {
        watched.map.iter_mut().for_each(|map| map.compared = None);
    }
    match lost {
        Some(why) => {
            state.store_lost(why, Instant::now());
            false
        }
        None => true,
    }
}

async fn one(options: &ControlOptions, store: &dyn StickStore, wish: Wish) -> Result<Option<Told>, StickError> {
    let key = StickKey::new(wish.room().clone())?;
    let ttl = options.store_ttl();
    let want = |server: &Arc<str>| Want { backend: BackendId::new(server.clone()), token: Token(random()) };
    let bound = |room: Arc<str>, claim: Claim, want: &Want, why: Why| match claim {
        Claim::Won(binding) => Some(Told::Bound { room, binding, ours: Some(why) }),
        // The same token: our first try had won.
        Claim::Held(binding) => {
            let ours = (binding.token == want.token).then_some(why);
            Some(Told::Bound { room, binding, ours })
        }
        Claim::Closed => None,
    };
    Ok(match wish {
        Wish::Claim { room, server, why } => {
            let want = want(&server);
            let claim = store.claim(&key, &want, ttl).await?;
            bound(room, claim, &want, why)
        }
        Wish::Move { room, seen, server, why } => {
            let want = want(&server);
            let claim = store.rebind(&key, &seen, &want, ttl).await?;
            bound(room, claim, &want, why)
        }
        Wish::Renew { room, seen } => match store.renew(&key, &seen, ttl).await? {
            true => Some(Told::Renewed { room }),
            false => Some(found(room, store.get(&key, None).await?)),
        },
        Wish::Release { room, seen } => match store.release(&key, &seen).await? {
            true => Some(Told::Released { room }),
            false => Some(found(room, store.get(&key, None).await?)),
        },
        Wish::Check { room } => Some(found(room, store.get(&key, None).await?)),
    })
}

fn found(room: Arc<str>, binding: Option<Binding>) -> Told {
    match binding {
        Some(binding) => Told::Bound { room, binding, ours: None },
        None => Told::Nowhere { room },
    }
}

/// Reads all rooms of all servers known. `false`: the store is lost.
pub(super) async fn read_all(inner: &Arc<Inner>) -> bool {
    let began = Instant::now();
    let servers: Vec<Arc<str>> = {
        let state = inner.state();
        // Servers that only a map names may have rooms too.
        let mut names: BTreeSet<Arc<str>> = state.servers.keys().cloned().collect();
        let maps = state.processes.iter().filter_map(|watched| watched.map.as_ref());
        names.extend(maps.flat_map(|map| map.entries.values().cloned()));
        names.into_iter().collect()
    };
    if servers.is_empty() {
        return false;
    }
    for server in &servers {
        if let Err(error) = read_one(inner, server).await {
            inner.state().store_lost(error.to_string(), Instant::now());
            return false;
        }
    }
    let missed = inner.state().book.unconfirmed(&servers, began);
    if !ask(inner, &missed).await {
        return false;
    }
    let mut state = inner.state();
    state.store_answered();
    state.store.synced = true;
    true
}

async fn read_one(inner: &Arc<Inner>, server: &Arc<str>) -> Result<(), StickError> {
    let id = BackendId::new(server.clone());
    let mut from: Option<String> = None;
    loop {
        let asked = Instant::now();
        let page = inner.store.list(&id, from.as_deref()).await?;
        let mut state = inner.state();
        for (key, binding) in page.entries {
            if order::is_room(key.as_str()) {
                state.told(Told::Bound { room: key.as_str().into(), binding, ours: None }, asked, wall_ms());
            }
        }
        drop(state);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
}

/// Reads the orders, and which maintenance is a controller's doing.
pub(super) async fn orders(inner: &Arc<Inner>) {
    let mut all = BTreeMap::new();
    let read = async {
        // First, for orders come before what they bring.
        let done = keys_at(inner, &order::place_of_done()).await?;
        for order in [Order::Drain, Order::Maint] {
            let keys = keys_at(inner, &order::place_of(order)).await?;
            let names = keys.keys().filter_map(|key| key.strip_prefix(KEYS));
            all.extend(names.map(|name| (Arc::from(name), order)));
        }
        Ok::<_, StickError>(done)
    };
    match read.await {
        Ok(done) => inner.state().ordered(all, done),
        Err(error) => inner.state().store_lost(error.to_string(), Instant::now()),
    }
}

async fn keys_at(inner: &Arc<Inner>, place: &BackendId) -> Result<BTreeMap<String, Binding>, StickError> {
    let mut keys = BTreeMap::new();
    let mut from: Option<String> = None;
    loop {
        let page = inner.orders.list(place, from.as_deref()).await?;
        keys.extend(page.entries.into_iter().map(|(key, binding)| (key.as_str().to_owned(), binding)));
        from = page.next;
        if from.is_none() {
            return Ok(keys);
        }
    }
}
