//! What the programs among the examples say in one voice: exit codes, failures with their cause and a hint, tables.
//!
//! Names come from files, sockets and other people's servers; nothing of them reaches a terminal unescaped.
//!
//! ```
//! use console::{Cell, Exit, Failure, table};
//!
//! let failure = Failure::failed("rooms.txt cannot be read").cause("no such file").hint("name a file of room keys");
//! assert_eq!(failure.exit, Exit::Failed);
//! assert!(failure.to_string().ends_with("hint: name a file of room keys"));
//! assert_eq!(table(&["NAME", "ROOMS"], &[vec![Cell::text("eu-1"), Cell::number(Some(7))]]), "NAME   ROOMS\neu-1       7\n");
//! ```
//!
//! | Part | Names |
//! | --- | --- |
//! | How a command ends | [`Exit`], [`Failure`], [`Outcome`] |
//! | Tables | [`Cell`], [`table`] |
//! | Mistyped words | [`did_you_mean`], [`meant_by_serde`] |
//! | A small HTTP/1 service, with the feature `serve` | `serve`, `signalled`, `Answer`, `Problem` and how they are made |
//! | Words to the service manager | [`Notify`] |
//! | Text from outside | [`printable`], [`lines`], [`counted`] |

mod end;
mod nearest;
mod notify;
#[cfg(feature = "serve")]
mod serve;
mod table;
mod text;

pub use end::{Exit, Failure, Outcome};
pub use nearest::{did_you_mean, meant_by_serde};
pub use notify::Notify;
#[cfg(feature = "serve")]
pub use serve::{
    Answer, Problem, ServeLimits, json, optional, plain, problem, refused, required, serve, signalled, told, typed,
};
pub use table::{Cell, table};
pub use text::{counted, lines, printable};
