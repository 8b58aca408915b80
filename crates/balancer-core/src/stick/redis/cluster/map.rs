//! The map of slots: where it comes from and when it is fetched anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Pipeline;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::link::pack;
use super::super::node::{Node, Role};
use super::super::options::Address;
use super::super::slots::{Range, SLOTS, ranges};
use super::super::trouble::{self, Kind, Trouble};
use super::Cluster;

/// How many nodes are asked at once for the map.
const ASKED: usize = 8;

/// Which node serves which slot.
pub(super) struct Map {
    /// Numbers of nodes; one that does not exist where nobody serves the slot.
    slots: Vec<u16>,
    pub(super) nodes: Vec<Arc<Node>>,
}

impl Map {
    pub(super) fn node(&self, slot: u16) -> Option<&Arc<Node>> {
        self.nodes.get(usize::from(*self.slots.get(usize::from(slot))?))
    }
}

impl Cluster {
    /// The node at an address, with the connections it has.
    pub(super) fn known(&self, address: &Address) -> Arc<Node> {
        let map = self.map.load();
        let nodes = map.as_ref().map(|map| map.nodes.as_slice()).unwrap_or_default();
        match nodes.iter().chain(&self.seeds).find(|node| node.address() == address) {
            Some(node) => Arc::clone(node),
            None => Arc::new(Node::new(Arc::clone(&self.settings), address.clone(), Role::Data)),
        }
    }

    /// The map of slots; a fresh one where the last is known to be wrong.
    pub(super) async fn map(
        &self,
        refresh: bool,
        hint: Option<&Arc<Node>>,
        deadline: Instant,
    ) -> Result<Arc<Map>, Trouble> {
        let old = self.map.load_full();
        if let Some(map) = &old
            && !refresh
        {
            return Ok(Arc::clone(map));
        }
        let waits = self.settings.options.response_timeout;
        match timeout_at(deadline, self.fetch(old.as_ref(), hint, deadline)).await {
            Ok(map) => map,
            Err(_) => Err(Trouble::new(Kind::Lost, format!("no node told the map of slots within {waits:?}"))),
        }
    }

    async fn fetch(
        &self,
        old: Option<&Arc<Map>>,
        hint: Option<&Arc<Node>>,
        deadline: Instant,
    ) -> Result<Arc<Map>, Trouble> {
        let began = Instant::now();
        let mut last = self.fetching.lock().await;
        // Others may have fetched it while we waited for our turn, or failed as we would.
        match (&*self.map.load(), old) {
            (Some(now), Some(old)) if !Arc::ptr_eq(now, old) => return Ok(Arc::clone(now)),
            (Some(now), None) => return Ok(Arc::clone(now)),
            _ => {}
        }
        if let Some((when, trouble)) = &*last
            && *when >= began
        {
            return Err(trouble.clone());
        }
        let half = began + self.settings.options.response_timeout / 2;
        let mut tries = 1;
        loop {
            match self.ask(old, hint, deadline).await {
                Ok(map) => {
                    let map = Arc::new(map);
                    self.map.store(Some(Arc::clone(&map)));
                    *last = None;
                    return Ok(map);
                }
                Err(trouble) => {
                    let until = Instant::now() + Duration::from_millis(100) * tries;
                    let most = self.settings.options.connect_tries;
                    if trouble.kind != Kind::Unwelcome || tries >= most || until >= half {
                        *last = Some((Instant::now(), trouble.clone()));
                        return Err(trouble);
                    }
                    sleep_until(until).await;
                    tries += 1;
                }
            }
        }
    }

    /// Asks the node that should know best, else some at once, and takes the first map.
    async fn ask(&self, old: Option<&Arc<Map>>, hint: Option<&Arc<Node>>, deadline: Instant) -> Result<Map, Trouble> {
        let deadline = deadline.min(self.settings.aside());
        if let Some(node) = hint
            && let Ok(ranges) = ask_one(node, deadline).await
        {
            return Ok(self.draw(ranges));
        }
        let mut asked: Vec<Arc<Node>> = Vec::new();
        let known = old.map(|map| map.nodes.as_slice()).unwrap_or_default();
        let from = self.next.fetch_add(1, Ordering::Relaxed) % known.len().max(1);
        for node in known.iter().cycle().skip(from).take(known.len().min(ASKED)).chain(&self.seeds) {
            if !asked.iter().any(|before| before.address() == node.address()) {
                asked.push(Arc::clone(node));
            }
        }
        let mut words = JoinSet::new();
        for node in asked {
            words.spawn(async move {
                let said = ask_one(&node, deadline).await;
                said.map_err(|trouble| trouble.at(node.address()))
            });
        }
        let mut heard: Vec<Trouble> = Vec::new();
        while let Some(joined) = words.join_next().await {
            match joined {
                Ok(Ok(ranges)) => return Ok(self.draw(ranges)),
                Ok(Err(trouble)) => heard.push(trouble),
                Err(_) => {}
            }
        }
        let firm = heard.iter().find(|trouble| matches!(trouble.kind, Kind::Refused | Kind::Corrupt));
        let kind = firm.map_or(Kind::Unwelcome, |trouble| trouble.kind);
        let said: Vec<String> = heard.into_iter().map(|trouble| trouble.why).collect();
        Err(Trouble::new(kind, format!("no node tells the map of slots: {}", said.join("; "))))
    }

    fn draw(&self, ranges: Vec<Range>) -> Map {
        let mut map = Map { slots: vec![u16::MAX; usize::from(SLOTS)], nodes: Vec::new() };
        for (first, last, address) in ranges {
            let at = map.nodes.iter().position(|node| *node.address() == address).unwrap_or_else(|| {
                map.nodes.push(self.known(&address));
                map.nodes.len() - 1
            });
            let at = u16::try_from(at).unwrap_or(u16::MAX);
            map.slots[usize::from(first)..=usize::from(last)].fill(at);
        }
        map
    }
}

async fn ask_one(node: &Node, deadline: Instant) -> Result<Vec<Range>, Trouble> {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.add_command(pack(&["CLUSTER", "SLOTS"]));
    match node.attempt(&pipeline, deadline).await?.pop() {
        Some(Ok(reply)) => {
            ranges(&reply, node.address()).ok_or_else(|| Trouble::new(Kind::Corrupt, "its map of slots cannot be read"))
        }
        Some(Err(words)) if words.contains("cluster support disabled") => {
            Err(Trouble::new(Kind::Refused, "is a Redis server but no node of a cluster; use redis:// or rediss://"))
        }
        Some(Err(words)) => Err(trouble::said(&words)),
        None => Err(Trouble::new(Kind::Corrupt, "no answer where one was announced")),
    }
}
