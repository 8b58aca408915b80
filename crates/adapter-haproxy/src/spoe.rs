//! The agent side of HAProxy's stream processing offload (SPOE): HAProxy asks, an agent sets variables.
//!
//! HAProxy sends an agent what it was told to (`args room=url_param(roomId)`), waits some milliseconds and goes on with
//! the variables that the agent has set: `use-server %[var(txn.lb.server)]` then takes the server an agent chose, before
//! any cookie, stick table or algorithm. No answer, late answers and dead agents cost waiting only: requests are served
//! all the same. Answer without actions where there is nothing to say, and affinity stays HAProxy's.
//!
//! [`Frame`] is what goes over the connection, [`FrameCutter`] finds frames in bytes, and [`AgentSession`] is one
//! connection seen from the agent; these are pure. With the feature `agents` there are sockets as well: `AgentServer`
//! listens, and `Placer` answers with the server that the core's balancer has for a room. What HAProxy needs is written
//! by [`render::Offload`](crate::render::Offload).
//!
//! ```
//! use adapter_haproxy::spoe::{Action, AgentOptions, AgentSession, Event, Frame, HaproxyHello, Scope, Value};
//!
//! let mut session = AgentSession::new(AgentOptions::default());
//! session.receive(&Frame::HaproxyHello(HaproxyHello::new(16_380)).encode());
//! assert!(matches!(session.poll_event(), Some(Event::Hello(_))));
//! assert!(!session.take_output().is_empty()); // the agent's own greeting
//!
//! // Then, for each `Event::Query`:
//! let choice = Action::set(Scope::Transaction, "server", Value::string("mm2"));
//! # let _ = choice;
//! ```
//!
//! # What is refused
//!
//! - Fragments, since no HAProxy sends any to an agent that does not ask for them; frames beyond the size agreed on;
//!   frame types nobody defined. The session says so with the status the protocol has for it, and closes.
//! - More open queries than [`AgentOptions::with_open_queries`] allows.

mod asked;
mod codec;
mod frame;
mod hello;
#[cfg(feature = "agents")]
mod io;
#[cfg(feature = "agents")]
mod placer;
mod reply;
mod session;
mod status;
#[cfg(test)]
mod tests;

pub use asked::{AskedMessage, Messages};
pub use codec::{Argument, Value};
pub use frame::{
    Action, Frame, FrameCutter, FrameError, MAX_ACTIONS, MAX_FRAME, MAX_MESSAGES, MIN_FRAME, Message, Scope,
};
pub use hello::{AgentHello, Disconnect, HaproxyHello};
#[cfg(feature = "agents")]
pub use io::{
    AgentCounters, AgentCounts, AgentServer, AgentServerOptions, Answer, Answering, Asked, EngineCounts, Query,
};
#[cfg(feature = "agents")]
pub use placer::{ArgumentNames, Explanation, PlaceCounts, Placer, PlacerOptions, Wish};
pub use reply::Reply;
pub use session::{AgentOptions, AgentSession, AnswerError, Event, Ticket};
pub use status::Status;
