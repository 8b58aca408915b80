//! A control loop: which room is on which server, kept outside HAProxy, and brought into force there.
//!
//! [`Control`] watches the servers of one backend in any number of HAProxys, keeps room → server in a [`StickStore`],
//! and pins every room by an entry of the map that `use-server` looks rooms up in. The store is written before HAProxy
//! hears of it. So whatever happens to HAProxy (a reload, a restart, a table that was lost) a room is where it was.
//!
//! - **New rooms** are placed by HAProxy itself; the stick table tells, and the room is claimed and pinned. Two
//!   controllers on one store get one answer.
//! - **A server that is down** loses its rooms once, each to one new server, all people of a room together: once the pins
//!   are changed, sessions still at it are ended (`shutdown sessions server`) in every process, so that nobody stays behind;
//!   and no room returns while it is in use. Who says that it is down is [`Decide`]; one process that cannot see it decides nothing.
//! - **Maintenance ordered by somebody else** moves the rooms, and is never ended by us.
//! - **Draining** ([`Control::order`]) keeps what is there; [`Control::remaining`] says what is left, by room.
//! - **The store is away**: pins stay, nothing moves, a HAProxy that lost its pins gets those that are known.
//!
//! # Where places are written
//!
//! With [`Mode::Map`] in the map, as said. With [`Mode::Spoe`] nowhere in HAProxy: a `Placer` (feature `agents`) answers from the same store,
//! and [`Control::with_pool`] keeps the pool that it places by as HAProxy has its servers. With [`Mode::Peers`] in the
//! stick tables: the store is a `PeerStickStore` (feature `peers`), which teaches what is claimed or moved, and the orders
//! are kept in the one behind it ([`Control::with_stores`]). [`RoomKeys`] lets all of them share one store, whatever the
//! mode. One thing alone moves rooms: the controller; to the others a server that is down keeps its rooms.
//!
//! # The end of a drain
//!
//! A drained server is empty when its last stick entry and its last connection are gone. So that this comes before the
//! entries expire, its rooms are forgotten once none of them was used for [`ControlOptions::idle`] and nobody is connected
//! to it in any process: in the store, in maps, and in the stick tables, where each entry is looked at once more before.
//!
//! # What the configuration needs
//!
//! A backend with a stick table of decoded room names, and `use-server %[var(txn.room),url_enc,map(FILE)]`, as
//! [`EdumeetCluster`](crate::render::EdumeetCluster) and [`JitsiShards`](crate::render::JitsiShards) render them with
//! pins. HAProxy leaves a pinned server by itself when its own check fails, before we hear of it: a room that is asked
//! for then is placed by the hash, where we would have moved it as well ([`Placing::Hash`]); its entry in the table is
//! followed. Where it must not, hold the pins ([`UseServer::hold`](crate::render::UseServer::hold), and no redispatch):
//! people get an error in that moment, and nobody but the map moves a room. A request that HAProxy retries just then may
//! still be answered by a server that comes back; `retries 0` excludes that too. Held pins let people in as soon as the
//! server listens again, even while its rooms are being moved: they are sent after the others once the pins are changed.
//!
//! ```
//! use std::sync::Arc;
//!
//! use adapter_haproxy::control::{Control, ControlOptions, ControlledProcess};
//! use adapter_haproxy::runtime::{Client, ClientOptions};
//! use balancer_core::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("/run/haproxy/admin.sock".parse()?, ClientOptions::default());
//! let lb1 = ControlledProcess::new("lb1", client).with_pins_file("/etc/haproxy/pins.map");
//! let options = ControlOptions::new("rooms", "/etc/haproxy/pins.map");
//! let control = Control::new(options, vec![lb1], Arc::new(MemoryStore::default()));
//! # let told_to_stop = std::future::ready(());
//! control.run(told_to_stop).await; // until then
//! assert!(control.unready().is_some()); // nobody has answered yet
//! # Ok(())
//! # }
//! ```
//!
//! [`StickStore`]: balancer_core::StickStore

mod ask;
mod book;
mod cycle;
mod durations;
mod event;
mod feed;
mod judge;
mod keys;
mod learn;
mod leave;
mod mode;
mod obey;
mod options;
mod order;
mod place;
mod push;
mod splits;
mod state;
mod status;
mod store;
mod view;

pub use ask::{ControlError, RoomReport};
pub use book::Why;
pub use cycle::{Control, ControlledServer};
pub use durations::Durations;
pub use event::ControlEvent;
pub use feed::Fed;
pub use judge::Verdict;
pub use keys::RoomKeys;
pub use mode::Mode;
pub use options::{ControlOptions, ControlledProcess, Decide, Placing};
pub use splits::{Sighting, SplitRoom, Splits};
pub use status::{Moved, Order, ProcessStatus, Remaining, ServerStatus, Status};
