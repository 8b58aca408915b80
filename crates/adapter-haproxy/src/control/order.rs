//! Orders about servers, as the store keeps them: under keys no room can have, bound to what no server is called.

use std::time::Duration;

use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickStore, Token, Want, random};

use super::status::Order;

/// What the keys of orders begin with. Rooms are percent-encoded and have none of it.
pub(super) const KEYS: &str = "!order/";
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
