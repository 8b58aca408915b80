//! Places conference rooms on servers and keeps them there.
mod backend;
mod stick;

pub use backend::{Backend, BackendId, Tag, Weight};
pub use stick::{
    Binding, Claim, MAX_KEY_LEN, StickError, StickErrorKind, StickKey, StickPage, StickStore, Token, Want,
};
