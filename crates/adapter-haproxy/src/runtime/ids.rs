//! Ids of servers, never used twice.

use std::collections::BTreeMap;

use super::reply::ServerState;

/// Gives out ids for servers added at run time.
///
/// HAProxy gives the id of a deleted server to the next one, and what a stick table or a peer remembers of the id then
/// leads to another machine. So an id is only given out when it is larger than every one ever seen in its backend. Keep
/// [`highest`](Self::highest) where a restart of the control plane finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerIds {
    highest: BTreeMap<String, u32>,
}

impl ServerIds {
    /// Goes on from what was kept.
    pub fn resume(highest: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut this = Self::default();
        for (backend, id) in highest {
            this.note(&backend, id);
        }
        this
    }

    /// These servers are there.
    pub fn observe<'a>(&mut self, servers: impl IntoIterator<Item = &'a ServerState>) {
        for server in servers {
            self.note(&server.backend, server.id);
        }
    }

    /// This id was used, or an entry of a stick table still holds it.
    pub fn note(&mut self, backend: &str, id: u32) {
        match self.highest.get_mut(backend) {
            Some(highest) => *highest = id.max(*highest),
            None => {
                self.highest.insert(backend.to_owned(), id);
            }
        }
    }

    /// A new id; `None` when there are none left.
    pub fn issue(&mut self, backend: &str) -> Option<u32> {
        let next = self.highest.get(backend).copied().unwrap_or(0).checked_add(1)?;
        // HAProxy reads ids as signed.
        if next > u32::MAX >> 1 {
            return None;
        }
        self.note(backend, next);
        Some(next)
    }

    /// The highest id ever used in each backend.
    pub fn highest(&self) -> &BTreeMap<String, u32> {
        &self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_never_given_twice() {
        let mut ids = ServerIds::resume([("b".to_owned(), 4)]);
        assert_eq!((ids.issue("b"), ids.issue("b"), ids.issue("other")), (Some(5), Some(6), Some(1)));
        ids.note("b", 2);
        assert_eq!(ids.issue("b"), Some(7));
        ids.note("b", u32::MAX >> 1);
        assert_eq!(ids.issue("b"), None);
    }
}
