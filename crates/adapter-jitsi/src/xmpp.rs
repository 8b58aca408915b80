//! XMPP as far as a brewery needs it: one stream, a login, one room.

mod backoff;
#[cfg(feature = "xmpp")]
mod client;
mod error;
mod jid;
mod leave;
mod login;
mod ns;
mod sasl;
mod session;
mod stanza;
mod stream;
#[cfg(feature = "xmpp")]
mod tls;
mod watch;

pub use backoff::Backoff;
#[cfg(feature = "testing")]
pub(crate) use client::Command;
#[cfg(feature = "xmpp")]
pub use client::{BreweryClient, BreweryFeed, ClientOptions};
pub use error::XmppError;
pub use jid::{BareJid, JidError, OccupantJid};
pub use leave::LeaveReason;
pub use login::{LoginOptions, Password};
pub use sasl::{Mechanism, Sasl, SaslError};
pub use session::{Action, Channel, Session, Signal};
pub use stanza::{Element, MAX_STANZA_ATTRIBUTES, MAX_STANZA_DEPTH, MAX_STANZA_ELEMENTS, Scope, StanzaError, escape};
pub use stream::{StreamError, StreamItem, StreamLimits, StreamReader};
#[cfg(feature = "xmpp")]
pub use tls::{RootsError, TlsRoots};
pub use watch::{BreweryEvent, MAX_WATCHED, Patience, Watch};
