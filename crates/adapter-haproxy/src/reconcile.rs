//! From the servers and pins there are to those that are wanted: the fewest runtime commands, in an order in which no
//! request fails, or one reload where the runtime API cannot do it.
//!
//! [`plan`] is pure: it compares what is wanted ([`Wanted`], best taken from the very [`HaproxyConfig`] that is rendered
//! into the file, so that file and process agree) with what is running ([`Running`]). Its [`Plan`] is shown with `{}` for
//! a dry run and serialises to JSON. Each [`Step`] says why it is there and how it is undone. The feature `runtime` adds
//! what needs sockets and files: `Client::apply`, `ReloadGate`.
//!
//! ```
//! use adapter_haproxy::HaproxyVersion;
//! use adapter_haproxy::reconcile::{Plan, Running, Wanted, plan};
//! use adapter_haproxy::render::{Bind, EdumeetCluster, ServerLine};
//! use adapter_haproxy::runtime::ServerState;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let version = HaproxyVersion::new(2, 6);
//! let servers = (1..=2).map(|n| ServerLine::new(n, format!("mm{n}"), format!("192.0.2.{n}"), 80)).collect();
//! let wanted = Wanted::from_config(&EdumeetCluster::new(version, vec![Bind::port(80)], servers).config());
//! // What `show servers state` says; a server mm2 is missing in both backends.
//! let told = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
//!     srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
//!     bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr \
//!     srv_agent_addr srv_agent_port\n\
//!     3 rooms 1 mm1 192.0.2.1 2 0 1 1 0 1 0 2 6 0 0 1 - 80 - 0 0 - - 0\n\
//!     4 pages 1 mm1 192.0.2.1 2 0 1 1 0 1 0 2 6 0 0 1 - 80 - 0 0 - - 0\n";
//! let running = Running::new(version, ServerState::parse_all(told)?);
//! let Plan::Commands(commands) = plan(&wanted, &running)? else { panic!("no reload is needed") };
//! assert_eq!(commands.steps().len(), 6); // added, checked and let to work, in each of the two
//! # Ok(())
//! # }
//! ```
//!
//! # What is kept
//!
//! A server that somebody else has put in maintenance or drains is not touched: it is listed as [`Kept`]. Which ones are
//! our own doing is what [`Running::with_held`] tells; keep [`Commands::held_meanwhile`] before and [`Commands::held`]
//! after a plan is applied where a restart finds them.
//!
//! # Order
//!
//! Servers are added and let to work first; then what changes no server's availability; then pins; then drains,
//! maintenance and moves to another address; deletions last. A server that a wanted pin leads to is moved to its new
//! address in one step, without maintenance, and so is one without another at its side: in maintenance its rooms would
//! go elsewhere.
//!
//! [`HaproxyConfig`]: crate::render::HaproxyConfig

#[cfg(feature = "runtime")]
mod apply;
mod diff;
#[cfg(feature = "runtime")]
mod file;
#[cfg(feature = "runtime")]
mod gate;
mod known;
mod pins;
mod plan;
mod running;
#[cfg(test)]
mod tests;
mod wanted;

#[cfg(feature = "runtime")]
pub use apply::{Applied, ApplyCause, ApplyError, ApplyOptions, RollBack};
pub use diff::plan;
#[cfg(feature = "runtime")]
pub use file::FileError;
#[cfg(feature = "control")]
pub(crate) use file::replace_behind_links as replace_file;
#[cfg(feature = "runtime")]
pub use gate::{ReloadError, ReloadGate, Reloaded};
pub use plan::{Action, Commands, Kept, MovedPin, Plan, PlanError, Step};
pub use running::Running;
pub use wanted::{PinMap, Wanted, WantedBackend, WantedServer};
