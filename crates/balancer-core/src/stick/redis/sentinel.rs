//! The master of a name, found by asking sentinels and changed when they say so.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::Pipeline;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::link::pack;
use super::node::{Node, Role, Said, Settings};
use super::options::Address;
use super::reply::RedisReply;
use super::trouble::{self, Kind, Trouble};

pub(super) struct Sentinels {
    settings: Arc<Settings>,
    sentinels: Vec<Address>,
    master: String,
    current: ArcSwapOption<Node>,
    /// Held while looking; keeps when and why the last search failed.
    looking: Mutex<Option<(Instant, Trouble)>>,
}

/// How long slow sentinels are waited for when most have answered.
const GRACE: Duration = Duration::from_millis(250);

/// What one sentinel said.
enum Word {
    /// Since the failover of this number.
    Is(Address, u64),
    /// It does not watch a master of that name.
    Unknown,
    Trouble(Trouble),
}

impl Sentinels {
    pub(super) fn new(settings: Arc<Settings>, sentinels: Vec<Address>, master: String) -> Self {
        Self { settings, sentinels, master, current: ArcSwapOption::empty(), looking: Mutex::default() }
    }

    /// Sends to the master; once more to the one of then, when the connection breaks or it is none any longer.
    pub(super) async fn send(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Said>, Trouble> {
        let mut again = true;
        let mut tries = 0;
        let mut before: Option<Trouble> = None;
        loop {
            let node = match self.node(deadline).await {
                Ok(node) => node,
                // When the time is over, what went wrong first says more.
                Err(trouble) if Instant::now() >= deadline => return Err(before.unwrap_or(trouble)),
                Err(trouble) => return Err(trouble),
            };
            let trouble = match node.attempt(pipeline, deadline).await {
                Ok(said) => match said.iter().find_map(elsewhere) {
                    None => return Ok(said),
                    Some(trouble) => trouble,
                },
                Err(trouble) => trouble,
            };
            if matches!(trouble.kind, Kind::Refused | Kind::NoScript | Kind::Corrupt) {
                return Err(trouble.at(node.address()));
            }
            self.forget(&node);
            tries += 1;
            let retry = match trouble.kind {
                Kind::Dropped | Kind::Elsewhere => std::mem::take(&mut again),
                // Nothing was sent, unless the time is over.
                _ => tries < self.settings.options.connect_tries,
            };
            let trouble = trouble.at(node.address());
            if Instant::now() >= deadline {
                return Err(before.unwrap_or(trouble));
            }
            if !retry {
                return Err(trouble);
            }
            before.get_or_insert(trouble);
        }
    }

    /// Asks the sentinels anew, and changes the master if it is another now.
    pub(super) async fn recheck(&self, deadline: Instant) -> Result<(), Trouble> {
        let Some(node) = self.current() else { return self.node(deadline).await.map(drop) };
        let heard = self.ask().await;
        let named = newest(&heard);
        if named.is_empty() {
            return Err(self.nobody(&heard, &[]));
        }
        if !named.iter().any(|(_, address)| *address == node.address()) {
            self.forget(&node);
            return self.node(deadline).await.map(drop);
        }
        Ok(())
    }

    /// The master in use, unless it was lost.
    fn current(&self) -> Option<Arc<Node>> {
        let node = self.current.load_full()?;
        if node.lost() {
            self.forget(&node);
            return None;
        }
        Some(node)
    }

    fn forget(&self, node: &Arc<Node>) {
        self.current.compare_and_swap(node, None);
    }

    async fn node(&self, deadline: Instant) -> Result<Arc<Node>, Trouble> {
        if let Some(node) = self.current() {
            return Ok(node);
        }
        let waits = self.settings.options.response_timeout;
        let found = timeout_at(deadline, self.look(Instant::now()));
        found.await.unwrap_or_else(|_| Err(Trouble::new(Kind::Lost, format!("no master was found within {waits:?}"))))
    }

    async fn look(&self, began: Instant) -> Result<Arc<Node>, Trouble> {
        let mut last = self.looking.lock().await;
        if let Some(node) = self.current() {
            return Ok(node);
        }
        // A search that failed while we waited for our turn would fail for us too.
        if let Some((when, trouble)) = &*last
            && *when >= began
        {
            return Err(trouble.clone());
        }
        let until = Instant::now() + self.settings.options.response_timeout / 2;
        let mut tries = 1;
        loop {
            match self.search().await {
                Ok(node) => {
                    let node = Arc::new(node);
                    self.current.store(Some(Arc::clone(&node)));
                    *last = None;
                    tracing::debug!(master = %node.address(), "found the master by its sentinels");
                    return Ok(node);
                }
                Err(trouble)
                    if trouble.kind == Kind::Unwelcome
                        && tries < self.settings.options.connect_tries
                        && Instant::now() < until =>
                {
                    sleep(Duration::from_millis(100) * tries).await;
                    tries += 1;
                }
                Err(trouble) => {
                    *last = Some((Instant::now(), trouble.clone()));
                    return Err(trouble);
                }
            }
        }
    }

    /// Takes the master named by the sentinel that knows of the latest failover, if it proves to be one.
    ///
    /// A sentinel that has not heard of the failover yet names the old master, which may be back and not know better
    /// either; so the number of the failover decides, and not who answers first.
    async fn search(&self) -> Result<Node, Trouble> {
        let heard = self.ask().await;
        let mut tried: Vec<(Address, Address, Trouble)> = Vec::new();
        for (sentinel, address) in newest(&heard) {
            if tried.iter().any(|(_, before, _)| before == address) {
                continue;
            }
            let node = Node::new(Arc::clone(&self.settings), address.clone(), Role::Master);
            match node.reach_out().await {
                Ok(()) => return Ok(node),
                Err(trouble) => tried.push((sentinel.clone(), address.clone(), trouble)),
            }
        }
        Err(self.nobody(&heard, &tried))
    }

    /// Asks all sentinels at once.
    async fn ask(&self) -> Vec<(Address, Word)> {
        let mut words = JoinSet::new();
        for sentinel in &self.sentinels {
            let (settings, address, master) = (Arc::clone(&self.settings), sentinel.clone(), self.master.clone());
            words.spawn(async move {
                let word = ask_one(settings, address.clone(), &master).await;
                (address, word.unwrap_or_else(Word::Trouble))
            });
        }
        let mut heard = Vec::with_capacity(self.sentinels.len());
        let mut until = None;
        loop {
            let next = match until {
                None => words.join_next().await,
                Some(until) => timeout_at(until, words.join_next()).await.unwrap_or(None),
            };
            match next {
                Some(Ok(word)) => heard.push(word),
                Some(Err(_)) => {}
                None => return heard,
            }
            let named = heard.iter().filter(|(_, word)| matches!(word, Word::Is(..))).count();
            if until.is_none() && named > self.sentinels.len() / 2 {
                until = Some(Instant::now() + GRACE);
            }
        }
    }

    /// Why there is no master: who was asked and what they said.
    fn nobody(&self, heard: &[(Address, Word)], tried: &[(Address, Address, Trouble)]) -> Trouble {
        let mut parts: Vec<String> = tried
            .iter()
            .map(|(sentinel, address, trouble)| format!("{sentinel} names {address}, but {}", trouble.why))
            .collect();
        let mut kind = tried.first().map(|(_, _, trouble)| trouble.kind);
        let mut unknown = false;
        for (sentinel, word) in heard {
            match word {
                Word::Is(..) => {}
                Word::Unknown => {
                    unknown = true;
                    parts.push(format!("{sentinel} knows no master of this name"));
                }
                Word::Trouble(trouble) => {
                    let firm = matches!(trouble.kind, Kind::Refused | Kind::Corrupt);
                    if firm && tried.is_empty() {
                        kind.get_or_insert(trouble.kind);
                    }
                    parts.push(format!("{sentinel}: {}", trouble.why));
                }
            }
        }
        let said = parts.join("; ");
        if tried.is_empty() && unknown {
            let remedy = "use the name after `sentinel monitor` in their configuration";
            return Trouble::new(Kind::Refused, format!("no master {:?}: {said}; {remedy}", self.master));
        }
        // A master that is lost or none yet may soon be another.
        let kind = match kind {
            Some(kind @ (Kind::Refused | Kind::Corrupt)) => kind,
            _ => Kind::Unwelcome,
        };
        let what = if tried.is_empty() { "no sentinel answers" } else { "no master to be had" };
        Trouble::new(kind, format!("{what}: {said}"))
    }
}

/// Who names which master, of those who know of the latest failover.
fn newest(heard: &[(Address, Word)]) -> Vec<(&Address, &Address)> {
    let named = heard.iter().filter_map(|(sentinel, word)| match word {
        Word::Is(address, epoch) => Some((sentinel, address, *epoch)),
        _ => None,
    });
    let latest = named.clone().map(|(_, _, epoch)| epoch).max();
    named.filter(|(_, _, epoch)| Some(*epoch) == latest).map(|(sentinel, address, _)| (sentinel, address)).collect()
}

fn elsewhere(said: &Said) -> Option<Trouble> {
    said.as_ref().err().and_then(|words| trouble::server(words)).filter(|trouble| trouble.kind == Kind::Elsewhere)
}

async fn ask_one(settings: Arc<Settings>, sentinel: Address, master: &str) -> Result<Word, Trouble> {
    let deadline = settings.aside();
    let node = Node::new(settings, sentinel, Role::Sentinel);
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.add_command(pack(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]));
    pipeline.add_command(pack(&["SENTINEL", "MASTER", master]));
    let mut said = node.attempt(&pipeline, deadline).await?.into_iter();
    let reply = match said.next() {
        Some(Ok(reply)) => reply,
        Some(Err(words)) if words.contains("unknown command") => {
            return Err(Trouble::new(Kind::Refused, "is a Redis server but no sentinel; wrong port?"));
        }
        Some(Err(words)) => return Err(trouble::said(&words)),
        None => RedisReply::Nil,
    };
    match &reply {
        RedisReply::Nil => Ok(Word::Unknown),
        reply => {
            let named = match reply.as_list() {
                [host, port] => host.as_str().zip(port.as_int()),
                _ => None,
            };
            let address = named.and_then(|(host, port)| {
                let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
                (!host.is_empty()).then(|| Address::Tcp { host: host.to_owned(), port })
            });
            let epoch = match said.next() {
                Some(Ok(fields)) => epoch(&fields),
                _ => 0,
            };
            address
                .map(|address| Word::Is(address, epoch))
                .ok_or_else(|| Trouble::new(Kind::Corrupt, "its answer cannot be read"))
        }
    }
}

/// The number of the last failover among the fields of a master.
fn epoch(fields: &RedisReply) -> u64 {
    let mut pairs = fields.as_list().chunks(2);
    let found = pairs.find_map(|pair| match pair {
        [name, value] if name.as_str() == Some("config-epoch") => value.as_int(),
        _ => None,
    });
    found.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0)
}
