//! Orders about servers, as the store keeps them: under keys no room can have, bound to what no server is called.

use std::fmt::Display;
use std::time::Duration;

use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickStore, Token, Want, random};

use super::status::Order;

/// What the keys of orders begin with. Rooms are percent-encoded and have none of it.
pub(super) const KEYS: &str = "!order/";
/// What the keys of maintenance begin with that a controller has ordered in a process, so that another one, or the same one
/// after a restart, knows whose it is.
const DONE: &str = "!done/";
/// Orders hold until they are ended; a store may keep nothing for ever.
const LONG: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How often somebody else may be quicker.
const TRIES: usize = 8;

/// Whether a key of the store is a room.
pub(super) fn is_room(key: &str) -> bool {
    !key.starts_with('!')
}

/// What servers under this order are bound to.
pub(super) fn place_of(order: Order) -> BackendId {
    BackendId::from(match order {
        Order::Drain => "!drain",
        Order::Maint => "!maint",
    })
}

/// What maintenance that a controller has ordered is bound to.
pub(super) fn place_of_done() -> BackendId {
    BackendId::from("!done")
}

/// A server in a process, as the key of a store has it.
pub(super) fn done_key(process: &str, server: impl Display) -> String {
    format!("{DONE}{process}/{server}")
}

/// Writes that maintenance is a controller's doing, anew where it was so before: whoever ends that ends not this.
pub(super) async fn write_done(store: &dyn StickStore, key: &str) -> Result<Binding, StickError> {
    let key = StickKey::new(key)?;
    let want = Want { backend: place_of_done(), token: Token(random()) };
    let mut claim = store.claim(&key, &want, LONG).await?;
    for _ in 0..TRIES {
        claim = match claim {
            Claim::Held(held) if held.token != want.token => store.rebind(&key, &held, &want, LONG).await?,
            Claim::Won(binding) | Claim::Held(binding) => return Ok(binding),
            Claim::Closed => store.claim(&key, &want, LONG).await?,
        };
    }
    Ok(Binding { backend: want.backend, token: want.token, stamp: 0 })
}

/// Writes that maintenance is a controller's doing no longer.
pub(super) async fn write_undone(store: &dyn StickStore, key: &str, seen: &Binding) -> Result<(), StickError> {
    store.release(&StickKey::new(key)?, seen).await.map(drop)
}

/// Writes an order, or ends it. The fence is set before an order and taken away after it.
pub(super) async fn write(store: &dyn StickStore, server: &str, order: Option<Order>) -> Result<(), StickError> {
    let key = StickKey::new(format!("{KEYS}{server}"))?;
    let id = BackendId::from(server);
    if order.is_some() {
        store.close(&id, true).await?;
    }
    for _ in 0..TRIES {
        let seen: Option<Binding> = store.get(&key, None).await?;
        let done = match (&seen, order) {
            (None, None) => true,
            (Some(seen), None) => store.release(&key, seen).await? || store.get(&key, None).await?.is_none(),
            (seen, Some(order)) => {
                let want = Want { backend: place_of(order), token: Token(random()) };
                let claim = match seen {
                    Some(seen) if seen.backend == want.backend => break,
                    Some(seen) => store.rebind(&key, seen, &want, LONG).await?,
                    None => store.claim(&key, &want, LONG).await?,
                };
                matches!(claim, Claim::Won(_)) || matches!(claim, Claim::Held(held) if held.backend == want.backend)
            }
        };
        if done {
            break;
        }
    }
    if order.is_none() {
        store.close(&id, false).await?;
    }
    Ok(())
}
