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

mod redis;

pub use redis::RedisServer;

/// A loopback port on which nobody listens.
///
/// # Panics
///
/// When the machine has no loopback port left.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    listener.local_addr().expect("the address that was bound").port()
}
