//! What `run` is to HAProxy beside a writer of maps: an agent that it asks, a peer of its stick tables.

use std::net::SocketAddr;
use std::time::Duration;

use adapter_haproxy::ListenAddress;
use adapter_haproxy::peers::{PeerAddress, PeerNodeError, PeerNodeOptions};
use serde::{Deserialize, Serialize};

use super::pem::{Pem, PemFiles};
use super::{Process, Span, Text};

/// `[spoe]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Spoe {
    pub(crate) listen: Text,
    pub(crate) patience: Span,
    pub(crate) anywhere: bool,
}

impl Default for Spoe {
    fn default() -> Self {
        let patience = "50ms".parse().unwrap_or(Span::seconds(1));
        Self { listen: Text::from("127.0.0.1:9600"), patience, anywhere: false }
    }
}

/// `[peers]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Peers {
    pub(crate) name: Text,
    pub(crate) listen: Text,
    pub(crate) authority: Text,
    pub(crate) certificate: Text,
    pub(crate) key: Text,
    pub(crate) anywhere: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) node: Vec<Node>,
    /// What was in the files.
    #[serde(skip)]
    pem: Option<Pem>,
}

impl Default for Peers {
    fn default() -> Self {
        let (name, listen) = (Text::from("control1"), Text::from("127.0.0.1:10001"));
        let [authority, certificate, key] = [""; 3].map(Text::from);
        Self { name, listen, authority, certificate, key, anywhere: false, node: Vec::new(), pem: None }
    }
}

/// `[[peers.node]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) name: Text,
    pub(crate) address: Text,
}

/// `[agent]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AgentPort {
    pub(crate) listen: Text,
    pub(crate) slack: u64,
    pub(crate) least_percent: u16,
    pub(crate) anywhere: bool,
}

impl Default for AgentPort {
    fn default() -> Self {
        Self { listen: Text::from("127.0.0.1:9707"), slack: 10, least_percent: 1, anywhere: false }
    }
}

fn listen(what: &str, text: &Text, anywhere: bool) -> Result<ListenAddress, String> {
    let address: ListenAddress = text.as_str().parse().map_err(|e| format!("{what}.listen: {e}"))?;
    let hint = |e| format!("{what}.listen: {e}; {what}.anywhere = true where a network looks public and is not");
    address.check(anywhere).map_err(hint)?;
    Ok(address)
}

impl Spoe {
    /// Where HAProxy asks.
    pub(crate) fn address(&self) -> Result<ListenAddress, String> {
        if self.patience.get() < Duration::from_millis(10) {
            return Err(format!(
                "spoe.patience is {}: it is HAProxy's `timeout processing`, 10ms at least",
                self.patience
            ));
        }
        listen("spoe", &self.listen, self.anywhere)
    }
}

impl AgentPort {
    /// Where HAProxy asks.
    pub(crate) fn address(&self) -> Result<ListenAddress, String> {
        if self.slack == 0 || !(1..=100).contains(&self.least_percent) {
            return Err("agent.slack is 1 at least, agent.least_percent from 1 to 100".to_owned());
        }
        listen("agent", &self.listen, self.anywhere)
    }
}

impl Peers {
    /// Where HAProxys call; nowhere if it is empty.
    pub(crate) fn address(&self) -> Result<Option<SocketAddr>, String> {
        let text = self.listen.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| format!("peers.listen is {text:?}: write ADDRESS:PORT, as 127.0.0.1:10001"))
    }

    fn files(&self) -> PemFiles<'_> {
        PemFiles { authority: &self.authority, certificate: &self.certificate, key: &self.key }
    }

    /// Reads the files that it names; [`options`](Self::options) takes what was in them.
    pub(super) fn read_files(&mut self) -> Result<(), String> {
        self.pem = self.files().read()?;
        Ok(())
    }

    /// Whether peers speak within TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.pem.is_some()
    }

    /// The node, with these HAProxys as its peers.
    pub(crate) fn options(&self, processes: &[Process]) -> Result<PeerNodeOptions, String> {
        let mut options = PeerNodeOptions::new(self.name.as_str()).with_plain_anywhere(self.anywhere);
        if let Some(pem) = &self.pem {
            options = options.with_tls(self.files().tls(pem)?);
        }
        let mut reached = false;
        if let Some(at) = self.address()? {
            options = options.with_listen(at);
            reached = true;
        }
        let address = |what: &str, text: &Text| -> Result<PeerAddress, String> {
            text.as_str().parse().map_err(|e| format!("{what}: {e}"))
        };
        for process in processes {
            let name = process.peer_name.as_ref().unwrap_or(&process.name).as_str();
            options = match &process.peer {
                Some(at) => options.with_peer(name, address(&format!("peer of haproxy {name:?}"), at)?),
                None if reached => options.with_caller(name),
                None => return Err(format!("peers.listen is empty, and haproxy {name:?} has no peer: nobody calls")),
            };
        }
        for node in &self.node {
            options = options.with_peer(node.name.as_str(), address("peers.node", &node.address)?);
        }
        // Names and addresses are looked at there.
        adapter_haproxy::peers::PeerNode::new(options.clone()).map_err(|e| match e {
            PeerNodeError::Public { .. } => format!(
                "peers: {e} (peers.authority and peers.certificate); peers.anywhere = true where a network looks public and \
                 is not"
            ),
            e => format!("peers: {e}"),
        })?;
        Ok(options)
    }
}
