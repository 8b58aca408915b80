//! The state of servers, in the form of a state file.

use std::net::IpAddr;
use std::time::Duration;

use super::super::error::ReplyError;
use super::{number, numbered};

/// One line of `show servers state`. The whole answer, as it came, is a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerState {
    /// The backend's id.
    pub backend_id: u32,
    /// The backend.
    pub backend: String,
    /// The server's id.
    pub id: u32,
    /// The server's name.
    pub name: String,
    /// Its address, if it has one.
    pub address: Option<IpAddr>,
    /// Stopped 0, starting 1, running 2, stopping 3.
    pub operation: u8,
    /// Why it is not ready: a bit each, see [`is_maintenance`](Self::is_maintenance).
    pub admin: u32,
    /// The weight a user has set, or the configuration's.
    pub weight: u32,
    /// The weight of the configuration.
    pub initial_weight: u32,
    /// Since its state changed, in whole seconds.
    pub since_change: Duration,
    /// In progress 1, configured 2, enabled 4, paused 8.
    pub check: u32,
    /// As `check`; 16 marks an agent.
    pub agent: u32,
    /// Whether the configuration gave it its id.
    pub has_forced_id: bool,
    /// The name its address is resolved from.
    pub fqdn: Option<String>,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken to it.
    pub uses_ssl: bool,
    /// The port of its checks, if it is another one.
    pub check_port: u16,
    /// The address of its checks, if it is another one.
    pub check_address: Option<String>,
    /// The address of its agent, if it is another one.
    pub agent_address: Option<String>,
    /// The port of its agent, or 0.
    pub agent_port: u16,
}

const COLUMNS: &str = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
    srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
    bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr \
    srv_agent_addr srv_agent_port";

impl ServerState {
    /// Reads the answer to `show servers state`.
    ///
    /// # Errors
    ///
    /// [`ReplyError`] for another version of the form than 1, missing columns, or a value of another kind.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ReplyError> {
        let mut lines = numbered(text);
        let (_, version) = lines.next().unwrap_or((1, ""));
        if version.trim() != "1" {
            return Err(ReplyError::new(1, version, "version 1 of the form of a state file"));
        }
        let (_, head) = lines.next().unwrap_or((2, ""));
        let names: Vec<&str> = head.strip_prefix("# ").unwrap_or_default().split(' ').collect();
        let missing = || ReplyError::new(2, head, "the names of the 25 columns of a state file");
        let mut places = Vec::with_capacity(25);
        for name in COLUMNS.split_whitespace() {
            places.push(names.iter().position(|n| *n == name).ok_or_else(missing)?);
        }
        lines.map(|(n, line)| Self::read(n, line, &places)).collect()
    }

    fn read(n: usize, line: &str, places: &[usize]) -> Result<Self, ReplyError> {
        let words: Vec<&str> = line.split(' ').collect();
        let at = |column: usize| -> Result<&str, ReplyError> {
            let word = places.get(column).and_then(|place| words.get(*place));
            word.copied().ok_or_else(|| ReplyError::new(n, line, "25 words, - for none"))
        };
        let u32_at = |column| number::<u32>(at(column)?, n, line, "a number");
        let u16_at = |column| number::<u16>(at(column)?, n, line, "a port");
        let text_at = |column| at(column).map(|t| Some(t).filter(|t| *t != "-").map(str::to_owned));
        let address = match at(4)? {
            "-" => None,
            text => text.parse().ok(),
        };
        Ok(Self {
            backend_id: u32_at(0)?,
            backend: at(1)?.to_owned(),
            id: u32_at(2)?,
            name: at(3)?.to_owned(),
            address,
            operation: number(at(5)?, n, line, "a number")?,
            admin: u32_at(6)?,
            weight: u32_at(7)?,
            initial_weight: u32_at(8)?,
            since_change: Duration::from_secs(number(at(9)?, n, line, "seconds")?),
            check: u32_at(13)?,
            agent: u32_at(14)?,
            has_forced_id: u32_at(16)? != 0,
            fqdn: text_at(17)?,
            port: u16_at(18)?,
            uses_ssl: u32_at(20)? != 0,
            check_port: u16_at(21)?,
            check_address: text_at(22)?,
            agent_address: text_at(23)?,
            agent_port: u16_at(24)?,
        })
    }

    /// In maintenance: by order, inherited, by configuration, or without an address. What the file disables and an order
    /// made ready is not, though its bit stays.
    pub fn is_maintenance(&self) -> bool {
        self.admin & (1 | 2 | 32) != 0
    }

    /// Drained: by order or inherited.
    pub fn is_draining(&self) -> bool {
        self.admin & (8 | 16) != 0 && !self.is_maintenance()
    }

    /// Running as far as its checks tell.
    pub fn is_running(&self) -> bool {
        self.operation == 2
    }

    /// With health checks.
    pub fn is_checked(&self) -> bool {
        self.check & 2 != 0
    }

    /// With an agent-check.
    pub fn has_agent(&self) -> bool {
        self.agent & 2 != 0
    }
}
