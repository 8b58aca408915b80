//! Where HAProxy asks us: held from settings to settings, so that it never finds nobody there.

use std::net::SocketAddr;

use adapter_haproxy::control::Mode;
use adapter_haproxy::{ListenAddress, ListenSocket};
use console::Failure;

use crate::settings::Settings;

/// One of them, with what it was bound by.
#[derive(Clone)]
struct Held {
    wanted: Wanted,
    socket: ListenSocket,
}

impl Held {
    /// Whether HAProxy can still find it: somebody may have removed its file.
    fn is_there(&self) -> bool {
        match &self.wanted.address {
            ListenAddress::Unix(path) => path.exists(),
            _ => true,
        }
    }
}

#[derive(Clone, PartialEq)]
struct Wanted {
    address: ListenAddress,
    anywhere: bool,
}

impl Wanted {
    fn spoe(settings: &Settings) -> Result<Option<Self>, Failure> {
        if !settings.uses(Mode::Spoe) {
            return Ok(None);
        }
        let spoe = settings.spoe.clone().unwrap_or_default();
        Ok(Some(Self { address: spoe.address().map_err(Failure::failed)?, anywhere: spoe.anywhere }))
    }

    fn agent(settings: &Settings) -> Result<Option<Self>, Failure> {
        let Some(agent) = &settings.agent else { return Ok(None) };
        Ok(Some(Self { address: agent.address().map_err(Failure::failed)?, anywhere: agent.anywhere }))
    }

    /// That of before if it is the same, else a new one.
    async fn bind(self, before: Option<Held>, what: &str) -> Result<Held, Failure> {
        if let Some(held) = before.filter(|held| held.wanted == self) {
            return Ok(held);
        }
        let bound = ListenSocket::bind(&self.address, self.anywhere).await;
        let taken = |e| Failure::failed(what).cause(e).hint(format!("{what} names another address"));
        Ok(Held { socket: bound.map_err(taken)?, wanted: self })
    }
}

/// All of them that are held.
#[derive(Clone, Default)]
pub(super) struct Sockets {
    spoe: Option<Held>,
    agent: Option<Held>,
}

impl Sockets {
    /// Those among them that these settings want as well.
    ///
    /// # Errors
    ///
    /// What is no address.
    pub(super) fn wanted(&self, settings: &Settings) -> Result<Self, Failure> {
        let same = |held: &Option<Held>, wanted: Option<Wanted>| {
            held.clone().filter(|held| held.is_there() && wanted.is_some_and(|wanted| wanted == held.wanted))
        };
        Ok(Self { spoe: same(&self.spoe, Wanted::spoe(settings)?), agent: same(&self.agent, Wanted::agent(settings)?) })
    }

    /// Listens wherever these settings want it and nobody does yet, and lets go of the rest.
    ///
    /// # Errors
    ///
    /// An address that is taken; then none is held that was not before.
    pub(super) async fn bind(&mut self, settings: &Settings) -> Result<(), Failure> {
        let spoe = match Wanted::spoe(settings)? {
            Some(wanted) => Some(wanted.bind(self.spoe.clone(), "spoe.listen").await?),
            None => None,
        };
        let agent = match Wanted::agent(settings)? {
            Some(wanted) => Some(wanted.bind(self.agent.clone(), "agent.listen").await?),
            None => None,
        };
        *self = Self { spoe, agent };
        Ok(())
    }

    /// Where HAProxy asks for rooms.
    pub(super) fn spoe(&self) -> Option<ListenSocket> {
        self.spoe.as_ref().map(|held| held.socket.clone())
    }

    /// Where HAProxy checks its servers.
    pub(super) fn agent(&self) -> Option<ListenSocket> {
        self.agent.as_ref().map(|held| held.socket.clone())
    }
}

/// The ports where HAProxy asks, each with the name of its setting.
///
/// # Errors
///
/// What is no address.
pub(super) fn asked_at(settings: &Settings) -> Result<Vec<(&'static str, SocketAddr)>, Failure> {
    let mut all = Vec::new();
    for (what, wanted) in [("spoe.listen", Wanted::spoe(settings)?), ("agent.listen", Wanted::agent(settings)?)] {
        if let Some(Wanted { address: ListenAddress::Tcp(at), .. }) = wanted {
            all.push((what, at));
        }
    }
    if settings.uses(Mode::Peers) {
        let peers = settings.peers.clone().unwrap_or_default();
        all.extend(peers.address().map_err(Failure::failed)?.map(|at| ("peers.listen", at)));
    }
    Ok(all)
}
