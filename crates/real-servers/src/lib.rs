//! Real servers on free loopback ports, started by a test and killed when it ends.
//!
//! ```no_run
//! use real_servers::RedisServer;
//!
//! // FOLDER is a new one of its own.
//! let Some(mut redis) = RedisServer::start(&["--aclfile", "FOLDER/users.acl"]) else { return };
//! let url = format!("redis://127.0.0.1:{}/0", redis.port());
//! redis.stop();
//! redis.resume();
//! ```

mod authority;
mod host;
mod postgres;
mod redis;
mod s3;

pub use authority::Authority;
pub use host::{Folder, free_port, haproxy};
pub use postgres::PostgresServer;
pub use redis::RedisServer;
pub use s3::S3Server;
