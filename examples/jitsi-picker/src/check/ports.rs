//! Ports, tried from this machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adapter_jitsi::{PortSeen, PortWanted, Transport};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many ports are tried.
const MAX_PORTS: usize = 256;
/// How many at a time.
const AT_ONCE: usize = 32;

/// Tries those that can be tried from here: all over TCP, but the loopback of this machine's files only. `here` is this
/// machine's name, if it has files.
pub(super) async fn try_all(
    wanted: &[PortWanted],
    here: Option<&str>,
    limit_ms: u64,
    passed_over: &mut Vec<String>,
) -> Vec<PortSeen> {
    let tcp = wanted.iter().filter(|one| one.transport == Transport::Tcp);
    let reachable = tcp.filter(|one| !one.is_local() || here == Some(&*one.from));
    let mut all: BTreeSet<(String, u16, bool)> =
        reachable.map(|one| (one.target.clone(), one.port, one.is_local())).collect();
    while all.len() > MAX_PORTS {
        if let Some((target, port, _)) = all.pop_last() {
            passed_over.push(format!("{target} port {port} is not tried: more than {MAX_PORTS} ports"));
        }
    }
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut trying = JoinSet::new();
    for (target, port, local) in all {
        let slots = Arc::clone(&slots);
        trying.spawn(async move {
            let _slot = slots.acquire().await;
            let why = reach(&target, port, Duration::from_millis(limit_ms)).await.err();
            let seen = PortSeen::tcp(target, port, why.is_none());
            (why.into_iter().fold(seen, PortSeen::because), local)
        });
    }
    let mut seen: Vec<PortSeen> = Vec::new();
    while let Some(tried) = trying.join_next().await {
        if let Ok((one, local)) = tried {
            // What localhost is differs from machine to machine.
            seen.push(if local { here.into_iter().fold(one, PortSeen::tried_from) } else { one });
        }
    }
    seen.sort_by(|a, b| (&a.target, a.port).cmp(&(&b.target, b.port)));
    seen
}

async fn reach(target: &str, port: u16, limit: Duration) -> Result<(), String> {
    let host = target.trim_start_matches('[').trim_end_matches(']');
    match timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err(format!("no answer within {} ms, as behind a firewall", limit.as_millis())),
    }
}
