//! What a shard is.

use balancer_core::{Backend, BackendId, Tag, Weight};

use super::ShardError;

/// The most shards there may be.
pub const MAX_SHARDS: usize = 1024;
/// The longest id or region, in bytes.
const MAX_NAME: usize = 64;
/// The longest address, in bytes.
const MAX_ADDRESS: usize = 261;

/// Where the parts of a shard are asked how they are, as `host:port` or `[v6]:port` on a private network. A part
/// without an address is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardAddresses {
    /// The web server, asked `GET /` in plain HTTP.
    pub web: Option<String>,
    /// The XMPP server's BOSH port, asked `GET /http-bind` in plain HTTP.
    pub bosh: Option<String>,
    /// The XMPP server's port for clients: a stream is opened there.
    pub xmpp: Option<String>,
    /// The focus's private port, 8888, asked `GET /about/health` and `GET /stats`.
    pub focus: Option<String>,
}

impl ShardAddresses {
    fn all(&self) -> [(&'static str, &Option<String>); 4] {
        [("web", &self.web), ("bosh", &self.bosh), ("xmpp", &self.xmpp), ("focus", &self.focus)]
    }

    /// Whether no part is asked at all.
    pub fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, address)| address.is_none())
    }
}

/// One Jitsi: web server, XMPP server, focus and bridges, under one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    id: BackendId,
    region: Vec<Tag>,
    weight: Weight,
    addresses: ShardAddresses,
    bridges: u64,
}

impl Shard {
    /// A shard of no region, of weight 100, whose parts are not asked. The id is also the name of its server in HAProxy.
    ///
    /// # Errors
    ///
    /// [`ShardError::Id`] unless the id is 1 to 64 letters, digits, `-`, `_` or `.`, beginning with a letter or digit.
    pub fn try_new(id: &str) -> Result<Self, ShardError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins = id.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || id.len() > MAX_NAME || !id.chars().all(fits) {
            return Err(ShardError::Id { id: id.chars().take(MAX_NAME).collect() });
        }
        let (region, addresses) = (Vec::new(), ShardAddresses::default());
        Ok(Self { id: id.into(), region, weight: Weight::new(100), addresses, bridges: 1 })
    }

    /// In this region. An empty one is none.
    ///
    /// # Errors
    ///
    /// [`ShardError::Region`] when it is longer than 64 bytes or has control characters.
    pub fn with_region(mut self, region: &str) -> Result<Self, ShardError> {
        if region.len() > MAX_NAME || region.contains(char::is_control) {
            return Err(ShardError::Region { region: region.chars().take(MAX_NAME).collect() });
        }
        self.region = if region.is_empty() { Vec::new() } else { vec![region.into()] };
        Ok(self)
    }

    /// With this weight: twice the weight, twice the rooms. 0 takes no new ones. Default 100.
    #[must_use]
    pub fn with_weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// With these addresses of its parts.
    ///
    /// # Errors
    ///
    /// [`ShardError::Address`] for one that is not `host:port`.
    pub fn with_addresses(mut self, addresses: ShardAddresses) -> Result<Self, ShardError> {
        for (part, address) in addresses.all() {
            if let Some(address) = address.as_ref().filter(|text| !is_address(text)) {
                let address = address.chars().take(MAX_ADDRESS).collect();
                return Err(ShardError::Address { shard: self.id, part, address });
            }
        }
        self.addresses = addresses;
        Ok(self)
    }

    /// So many operational bridges at least, or it counts as failing. Default 1.
    #[must_use]
    pub fn with_bridges(mut self, least: u64) -> Self {
        self.bridges = least;
        self
    }

    /// Its region, if any.
    pub fn region(&self) -> Option<&str> {
        self.region.first().map(Tag::as_str)
    }

    /// Where its parts are asked.
    pub fn addresses(&self) -> &ShardAddresses {
        &self.addresses
    }

    /// How many operational bridges it must have.
    pub fn bridges(&self) -> u64 {
        self.bridges
    }
}

impl Backend for Shard {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn weight(&self) -> Weight {
        self.weight
    }

    fn tags(&self) -> &[Tag] {
        &self.region
    }
}

fn is_address(text: &str) -> bool {
    let host = |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && !"/@?#".contains(c));
    let parts = text.rsplit_once(':');
    text.len() <= MAX_ADDRESS
        && parts.is_some_and(|(name, port)| host(name) && port.parse::<u16>().is_ok_and(|port| port > 0))
}
