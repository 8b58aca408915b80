//! Room servers that are none, and the people in their rooms: for demonstrations, and for tests of what stands between.
//!
//! A [`RoomServer`] keeps rooms as a real one does: in its memory alone, each for whoever asks for it, without a word to
//! the others. It dies, hangs and drains on command. A [`Visitor`] comes to a room, through HAProxy or without, and knows
//! which server it met there. And [`decoders`] reads anything with everything that reads.
//!
//! ```
//! use adapter_haproxy::RoomRule;
//! use adapter_haproxy::testing::{RoomServer, Visitor};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let server = RoomServer::start("mm1", RoomRule::Edumeet3).await?;
//! let visitor = Visitor::join(server.address(), "/socket.io/?peerId=ann&roomId=algebra&transport=websocket").await?;
//! assert_eq!((visitor.server(), visitor.room()), ("mm1", "algebra"));
//! assert_eq!(server.people(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base64;
pub mod decoders;
#[cfg(test)]
mod host;
#[cfg(feature = "testing")]
mod message;
#[cfg(test)]
mod properties;
#[cfg(feature = "testing")]
mod room_server;
#[cfg(all(test, feature = "testing"))]
mod tests;
#[cfg(feature = "testing")]
mod visitor;

pub(crate) use base64::encode_base64;
#[cfg(test)]
pub(crate) use host::{Folder, haproxy, version_of};

#[cfg(feature = "testing")]
pub use room_server::{RoomFigures, RoomServer};
#[cfg(feature = "testing")]
pub use visitor::{Answer, VisitError, Visitor, ask};
