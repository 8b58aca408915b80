//! The stores of all backends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use balancer_core::{FileOptions, FileStore, MemoryStore, RedisLink, RedisStore, StickStore};
use console::Failure;

use crate::settings::{Rooms, Settings, StoreKind};

/// By namespace.
#[derive(Clone, Default)]
pub(super) struct Stores(BTreeMap<String, Arc<dyn StickStore>>);

fn namespace(rooms: &Rooms) -> &str {
    rooms.namespace.as_ref().map_or("", |name| name.as_str())
}

impl Stores {
    /// Opens those that are not open yet, and lets go of those that nobody wants.
    ///
    /// # Errors
    ///
    /// A store that cannot be opened.
    pub(super) fn open(settings: &Settings, mut before: Self) -> Result<Self, Failure> {
        let mut all = BTreeMap::new();
        for rooms in &settings.rooms {
            let name = namespace(rooms);
            let store = match before.0.remove(name) {
                Some(store) => store,
                None => open(settings, name)?,
            };
            all.insert(name.to_owned(), store);
        }
        Ok(Self(all))
    }

    /// That of a backend.
    pub(super) fn of(&self, rooms: &Rooms) -> Option<Arc<dyn StickStore>> {
        self.0.get(namespace(rooms)).cloned()
    }
}

fn open(settings: &Settings, namespace: &str) -> Result<Arc<dyn StickStore>, Failure> {
    let cannot = |e| Failure::failed("the store cannot be opened").cause(e).hint("is store.url right?");
    Ok(match settings.store.kind().map_err(Failure::failed)? {
        StoreKind::Memory => Arc::new(MemoryStore::default()),
        StoreKind::File(path) => {
            let path = named(path, namespace);
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                let made = std::fs::create_dir_all(folder);
                made.map_err(|e| Failure::failed(format!("{} cannot be made", folder.display())).cause(e))?;
            }
            Arc::new(FileStore::open(&path, &FileOptions::new()).map_err(cannot)?)
        }
        StoreKind::Redis(options) => {
            let options = match namespace {
                "" => *options,
                name => options.namespace(format!("{}-{name}", settings.store.namespace.as_str())),
            };
            Arc::new(RedisStore::new(RedisLink::new(options).map_err(cannot)?))
        }
    })
}

/// The file of a namespace: `rooms.redb` and `rooms.redb.b`.
fn named(path: PathBuf, namespace: &str) -> PathBuf {
    if namespace.is_empty() {
        return path;
    }
    let mut name = path.into_os_string();
    name.push(".");
    name.push(namespace);
    name.into()
}
