//! From a request to the key that is hashed: the forms of `balance`, sample expressions, converters.

mod args;
mod coding;
mod converter;
mod expression;
mod fetch;
mod header;
mod plain;
mod request;
mod sample;
mod target;
#[cfg(test)]
mod tests;

pub use converter::Converters;
pub use expression::Expression;
pub use plain::KeyRule;
pub use request::Request;
pub use sample::Sample;

pub(crate) use plain::Key;
