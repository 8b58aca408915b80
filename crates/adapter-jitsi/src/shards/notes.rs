//! What pickers tell one another: orders, who was seen up, who is alive. Kept as bindings of the stick table under keys
//! that no room can have, so that every table serves, and each change is one step there as a room's is.
//!
//! | Key | Bound to | Kept |
//! | --- | --- | --- |
//! | `:admin/SHARD` | `:ready`, `:drain` or `:maint` | a year; then pickers that know the order write it anew |
//! | `:up/SHARD` | `:up` | as long as a shard may be down without being dead and half of it more, from the last sign that somebody sees it up |
//! | `:picker/TOKEN` | `:picker` | 15 s from its last sign |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balancer_core::{Admin, BackendId, Claim, StickError, StickKey, StickStore, Token, Want, random};
use tokio::time::Instant;

/// How long an order stays known where no picker runs.
const ORDER: Duration = Duration::from_secs(365 * 86_400);
/// How long a picker counts as alive after its last sign.
pub(super) const ALIVE: Duration = Duration::from_secs(15);
/// How often an order is written when somebody else writes one at the same moment.
const TRIES: usize = 16;
const ADMINS: [(Admin, &str); 3] = [(Admin::Ready, ":ready"), (Admin::Drain, ":drain"), (Admin::Maint, ":maint")];

/// The notes of one picker.
pub(super) struct Notes {
    store: Arc<dyn StickStore>,
    token: Token,
    /// When each sign was given last.
    given: Mutex<HashMap<StickKey, Instant>>,
}

/// Keys of rooms are made of letters, digits and `-_.!~*'()%/`: none begins like this.
fn key(of: &str, name: &str) -> Result<StickKey, StickError> {
    StickKey::new(format!(":{of}/{name}"))
}

/// Whether a key is a room's and not a note's.
pub(super) fn is_room(key: &StickKey) -> bool {
    !key.as_str().starts_with(':')
}

fn word(admin: Admin) -> &'static str {
    ADMINS.iter().find(|(known, _)| *known == admin).map_or(":ready", |(_, word)| word)
}

impl Notes {
    pub(super) fn new(store: Arc<dyn StickStore>) -> Self {
        Self { store, token: Token(random()), given: Mutex::default() }
    }

    fn want(&self, text: &str, token: Token) -> Want {
        Want { backend: text.into(), token }
    }

    /// What was ordered for a shard; `None` when nobody ever did, or the table lost it.
    pub(super) async fn admin(&self, shard: &BackendId) -> Result<Option<Admin>, StickError> {
        let found = self.store.get(&key("admin", shard.as_str())?, None).await?;
        Ok(found.and_then(|b| ADMINS.iter().find(|(_, word)| *word == b.backend.as_str()).map(|(admin, _)| *admin)))
    }

    /// Writes an order over whatever was ordered before.
    pub(super) async fn order(&self, shard: &BackendId, admin: Admin) -> Result<(), StickError> {
        let key = key("admin", shard.as_str())?;
        let want = self.want(word(admin), Token(random()));
        let mut held = match self.store.claim(&key, &want, ORDER).await? {
            Claim::Held(b) => b,
            Claim::Won(_) | Claim::Closed => return Ok(()),
        };
        for _ in 0..TRIES {
            if held.backend == want.backend {
                return Ok(());
            }
            held = match self.store.rebind(&key, &held, &want, ORDER).await? {
                Claim::Held(b) => b,
                Claim::Won(_) | Claim::Closed => return Ok(()),
            };
        }
        Err(StickError::Lost {
            target: format!("the order for {shard}"),
            why: "others change it all the time: try again".to_owned(),
            source: None,
        })
    }

    /// Writes an order that nobody else has written meanwhile.
    pub(super) async fn restore(&self, shard: &BackendId, admin: Admin) -> Result<(), StickError> {
        let want = self.want(word(admin), Token(random()));
        self.store.claim(&key("admin", shard.as_str())?, &want, ORDER).await.map(drop)
    }

    /// Gives a sign that is kept for so long, four times in that time and not with every call.
    async fn sign(&self, key: StickKey, word: &str, kept: Duration) -> Result<(), StickError> {
        let given = || self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given().get(&key).is_some_and(|last| last.elapsed() < kept / 4) {
            return Ok(());
        }
        if self.store.get(&key, Some(kept)).await?.is_none() {
            self.store.claim(&key, &self.want(word, self.token), kept).await?;
        }
        given().insert(key, Instant::now());
        Ok(())
    }

    /// We see it up: kept for so long from now.
    pub(super) async fn saw_up(&self, shard: &BackendId, kept: Duration) -> Result<(), StickError> {
        self.sign(key("up", shard.as_str())?, ":up", kept).await
    }

    /// Whether anybody saw it up lately.
    pub(super) async fn anybody_saw_up(&self, shard: &BackendId) -> Result<bool, StickError> {
        Ok(self.store.get(&key("up", shard.as_str())?, None).await?.is_some())
    }

    /// Gives our sign of life; how many pickers are alive.
    pub(super) async fn alive(&self) -> Result<u32, StickError> {
        self.sign(key("picker", &self.token.to_string())?, ":picker", ALIVE).await?;
        let count = self.store.count(&":picker".into()).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX).max(1))
    }

    /// We end: nobody needs to count us any longer.
    pub(super) async fn farewell(&self) -> Result<(), StickError> {
        let key = key("picker", &self.token.to_string())?;
        if let Some(binding) = self.store.get(&key, None).await? {
            self.store.release(&key, &binding).await?;
        }
        Ok(())
    }
}
