//! What a peer told, against the store's word.

use std::sync::Arc;
use std::time::Duration;

use balancer_core::{Binding, Claim, StickError, StickKey, Token, Want};

use super::mirror::{Lesson, Pin};
use super::names::NOBODY;
use super::node::Inner;
use super::shelf::Shelf;
use super::status::{NodeEvent, count};

/// A peer, and the number of the connection on which it told something; nobody if it is our own.
pub(super) type Teller = Option<(usize, u64)>;

/// Something that differs from what is known, or that the store should hear of.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) shelf: Arc<Shelf>,
    pub(super) key: Box<[u8]>,
    pub(super) server: u32,
    /// Who told it.
    pub(super) peer: Teller,
    /// What is left of its life, in milliseconds.
    pub(super) ttl: u64,
    /// Whether the store is known to have it.
    pub(super) renewal: bool,
}

/// What the store said.
enum Word {
    /// It is so; for the first time, or as before.
    Agreed(Binding, bool),
    /// It is otherwise.
    Other(Binding),
    /// It was otherwise, but that server cannot be used.
    Moved(Binding, Binding),
    /// The server takes no new keys.
    Closed,
}

impl Inner {
    /// Asks the store, keeps its word, and tells it to who has to hear it.
    pub(super) async fn judge(&self, told: Told) {
        let shelf = told.shelf.clone();
        if told.peer.is_some() && shelf.is_echo(&told.key, told.server, self.now()) {
            return;
        }
        let Some(key) = shelf.stick_key(&told.key) else { return count(&shelf.counts.untaught) };
        let backend = shelf.known().names.backend(told.server);
        let Some(backend) = backend else { return self.unpinned(&told, &key).await };
        let want = Want { backend, token: Token(self.token()) };
        match ask(&told, &key, &want).await {
            Ok(Word::Agreed(binding, first)) => {
                if first {
                    count(&shelf.counts.learned);
                }
                self.keep(&told, &binding, self.heard_by(&told));
            }
            Ok(Word::Other(binding)) => {
                count(&shelf.counts.conflicts);
                self.tell(NodeEvent::Conflict {
                    table: shelf.options.name.clone(),
                    key: key.as_str().to_owned(),
                    peer: told
                        .peer
                        .and_then(|(at, _)| self.lines.get(at))
                        .map(|line| line.name.clone())
                        .unwrap_or_default(),
                    told: want.backend.as_str().to_owned(),
                    kept: binding.backend.as_str().to_owned(),
                });
                self.keep(&told, &binding, 0);
                self.insist(&shelf, &told.key);
                self.insist_later(&shelf, &told.key);
            }
            Ok(Word::Moved(from, binding)) => {
                count(&shelf.counts.moved);
                self.tell(NodeEvent::Moved {
                    table: shelf.options.name.clone(),
                    key: key.as_str().to_owned(),
                    from: from.backend.as_str().to_owned(),
                    to: binding.backend.as_str().to_owned(),
                });
                self.keep(&told, &binding, self.heard_by(&told));
            }
            Ok(Word::Closed) => count(&shelf.counts.closed),
            Err(error) => self.unanswered(&told, &error),
        }
    }

    /// Which peers know it when this is told.
    fn heard_by(&self, told: &Told) -> u64 {
        self.heard_from(told.peer)
    }

    /// Which peers know it when this one tells something. One that is connected anew may have forgotten it.
    pub(super) fn heard_from(&self, teller: Teller) -> u64 {
        let line = teller.and_then(|(at, generation)| self.lines.get(at).filter(|line| line.is_current(generation)));
        let bit = line.map_or(0, |line| line.bit);
        if self.options.relay {
            return bit;
        }
        self.lines.iter().filter(|line| line.is_open()).fold(bit, |bits, line| bits | line.bit)
    }

    /// Another node released the key.
    async fn unpinned(&self, told: &Told, key: &StickKey) {
        match told.shelf.store.get(key, None).await {
            Ok(Some(binding)) => {
                self.keep(told, &binding, 0);
                self.insist(&told.shelf, &told.key);
            }
            Ok(None) => {
                let before = told.shelf.known().mirror.get(&told.key, self.now());
                if let Some((server, _)) = before {
                    told.shelf.released(&told.key, server, self.now());
                }
                let pin = Pin {
                    server: NOBODY,
                    stamp: 0,
                    until: self.now().saturating_add(told.ttl),
                    knows: self.heard_by(told),
                    stored: true,
                };
                self.pin(&told.shelf, &told.key, pin);
            }
            Err(error) => self.unanswered(told, &error),
        }
    }

    /// The store has this for what was told.
    fn keep(&self, told: &Told, binding: &Binding, knows: u64) {
        let server = told.shelf.known().names.of_backend(&binding.backend);
        let Some(server) = server else { return count(&told.shelf.counts.untaught) };
        let until = self.now().saturating_add(told.ttl);
        self.pin(&told.shelf, &told.key, Pin { server, stamp: binding.stamp, until, knows, stored: true });
    }

    /// The store does not answer: what is known stays, what is not is taken as told until it does.
    pub(super) fn unanswered(&self, told: &Told, error: &StickError) {
        count(&told.shelf.counts.unanswered);
        self.tell(NodeEvent::StoreLost { table: told.shelf.options.name.clone(), why: error.to_string() });
        if told.shelf.known().mirror.get(&told.key, self.now()).is_none() {
            let until = self.now().saturating_add(told.ttl);
            let knows = self.heard_by(told);
            self.pin(&told.shelf, &told.key, Pin { server: told.server, stamp: 0, until, knows, stored: false });
        }
    }

    /// What the store has not heard of, once more.
    pub(super) async fn tell_store(&self, shelf: &Arc<Shelf>, waiting: Vec<Lesson>) {
        for lesson in waiting {
            let ttl = lesson.until.saturating_sub(self.now());
            let (key, server) = (lesson.key, lesson.server);
            let lost = shelf.counts.unanswered.load(std::sync::atomic::Ordering::Relaxed);
            self.judge(Told { shelf: shelf.clone(), key, server, peer: None, ttl, renewal: false }).await;
            if shelf.counts.unanswered.load(std::sync::atomic::Ordering::Relaxed) > lost {
                return;
            }
        }
    }
}

/// The rule: what the store holds stays, unless its server cannot be used and the one told can.
async fn ask(told: &Told, key: &StickKey, want: &Want) -> Result<Word, StickError> {
    let store = &told.shelf.store;
    let ttl = Duration::from_millis(told.ttl.max(1));
    let held = if told.renewal { store.get(key, Some(ttl)).await? } else { None };
    let held = match held {
        Some(held) => held,
        None => match store.claim(key, want, ttl).await? {
            Claim::Won(binding) => return Ok(Word::Agreed(binding, true)),
            Claim::Closed => return Ok(Word::Closed),
            Claim::Held(held) if held.backend == want.backend => {
                // It lives as long as it does at the peers.
                let _ = store.get(key, Some(ttl)).await?;
                held
            }
            Claim::Held(held) => held,
        },
    };
    if held.backend == want.backend {
        return Ok(Word::Agreed(held, false));
    }
    let Some(serving) = &told.shelf.options.serving else { return Ok(Word::Other(held)) };
    if serving(&held.backend) || !serving(&want.backend) {
        return Ok(Word::Other(held));
    }
    Ok(match store.rebind(key, &held, want, ttl).await? {
        Claim::Won(binding) => Word::Moved(held, binding),
        Claim::Held(binding) if binding.backend == want.backend => Word::Agreed(binding, false),
        Claim::Held(binding) => Word::Other(binding),
        Claim::Closed => Word::Other(held),
    })
}
