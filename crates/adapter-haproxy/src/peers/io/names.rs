//! Servers of one table: what HAProxy writes, the number it gives, and the store's name.

use std::collections::HashMap;
use std::sync::Arc;

use balancer_core::BackendId;

use super::options::PeerServer;

/// The most servers of one table.
const MAX_NAMES: usize = 65_535;

/// The longest name of a server taken.
const MAX_NAME_LEN: usize = 1024;

/// No server: the entry was un-pinned.
pub(super) const NOBODY: u32 = 0;

#[derive(Debug)]
struct Name {
    key: Arc<str>,
    backend: BackendId,
    id: u32,
}

/// Servers by small numbers.
#[derive(Debug)]
pub(super) struct Names {
    all: Vec<Name>,
    by_key: HashMap<Arc<str>, u32>,
    by_backend: HashMap<BackendId, u32>,
    by_id: HashMap<u32, u32>,
}

impl Names {
    pub(super) fn new(servers: &[PeerServer]) -> Self {
        let nobody = Name { key: Arc::from(""), backend: BackendId::from(""), id: 0 };
        let mut names =
            Self { all: vec![nobody], by_key: HashMap::new(), by_backend: HashMap::new(), by_id: HashMap::new() };
        servers.iter().for_each(|server| names.know(server));
        names
    }

    fn add(&mut self, key: Arc<str>, backend: BackendId) -> Option<u32> {
        if key.is_empty() || key.len() > MAX_NAME_LEN || self.all.len() >= MAX_NAMES {
            return None;
        }
        let at = u32::try_from(self.all.len()).ok()?;
        self.by_key.insert(key.clone(), at);
        self.by_backend.insert(backend.clone(), at);
        self.all.push(Name { key, backend, id: 0 });
        Some(at)
    }

    /// The server that HAProxy writes so.
    pub(super) fn of_key(&mut self, key: &str) -> Option<u32> {
        self.by_key.get(key).copied().or_else(|| self.add(key.into(), key.into()))
    }

    /// The server that the store names so.
    pub(super) fn of_backend(&mut self, backend: &BackendId) -> Option<u32> {
        self.by_backend.get(backend).copied().or_else(|| self.add(backend.as_str().into(), backend.clone()))
    }

    /// A server, as HAProxy names and numbers it.
    pub(super) fn know(&mut self, server: &PeerServer) {
        let known = self.by_key.get(server.key.as_str()).copied();
        if let Some(at) = known.or_else(|| self.add(server.key.as_str().into(), server.backend.clone())) {
            self.saw(at, server.id);
        }
    }

    /// The server of this number.
    pub(super) fn of_id(&self, id: u32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// A server was told with this number. Who had it before has none any more: numbers are given anew, and a name
    /// nobody knows falls back to its number.
    pub(super) fn saw(&mut self, at: u32, id: u32) {
        if id == 0 || at == NOBODY || self.id(at) == id {
            return;
        }
        if let Some(former) = self.by_id.insert(id, at).and_then(|former| self.all.get_mut(former as usize)) {
            former.id = 0;
        }
        if let Some(name) = self.all.get_mut(at as usize) {
            if self.by_id.get(&name.id) == Some(&at) {
                self.by_id.remove(&name.id);
            }
            name.id = id;
        }
    }

    pub(super) fn key(&self, at: u32) -> &str {
        self.all.get(at as usize).map_or("", |name| &name.key)
    }

    pub(super) fn id(&self, at: u32) -> u32 {
        self.all.get(at as usize).map_or(0, |name| name.id)
    }

    /// The store's name; none for nobody.
    pub(super) fn backend(&self, at: u32) -> Option<BackendId> {
        self.all.get(at as usize).filter(|_| at != NOBODY).map(|name| name.backend.clone())
    }

    pub(super) fn backends(&self) -> Vec<BackendId> {
        self.all.iter().skip(1).map(|name| name.backend.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_given_anew_is_taken_from_its_former_server() {
        let server = PeerServer::new("mm1").with_id(1).with_key("10.0.0.1:80");
        let mut names = Names::new(&[server]);
        assert_eq!(names.of_key("10.0.0.1:80"), Some(1));
        assert_eq!((names.of_backend(&"mm1".into()), names.of_id(1), names.id(1)), (Some(1), Some(1), 1));
        let second = names.of_key("mm2").unwrap();
        names.saw(second, 1);
        assert_eq!((names.id(1), names.id(second), names.of_id(1)), (0, 1, Some(second)));
        names.saw(second, 7);
        assert_eq!((names.of_id(1), names.of_id(7)), (None, Some(second)));
        assert_eq!((names.backend(NOBODY), names.of_key("")), (None, None));
        names.know(&PeerServer::new("mm3").with_id(3));
        assert_eq!(names.of_id(3), names.of_key("mm3"), "of which nobody has told a name yet");
    }
}
