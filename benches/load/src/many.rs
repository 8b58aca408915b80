//! Two thousand meetings over fifty servers: the list of all, memory, one server that hangs, a crowd that joins.
use std::time::{Duration, Instant};

use crate::balancer::{Balancer, Store};
use crate::client::Connection;
use crate::fakes::Fakes;
use crate::load::{Batch, Expect, Until, drive};
use crate::process::Usage;
use crate::report::{memory, verdict};
use crate::{Measure, TOGETHER, all, join};

const SERVERS: u16 = 50;
const MEETINGS: usize = 2_000;
const JOINS: usize = 4_000;
/// `RESPONSE_TIMEOUT`, and what an answer takes beyond it.
const DEADLINE: Duration = Duration::from_millis(10_500);

/// Measures them on one store.
pub(crate) async fn measure(options: &Measure, core: Option<usize>, store: Store) -> Result<(), String> {
    let mut fakes = Fakes::start(SERVERS)?;
    let mut balancer = Balancer::start(&options.balancer, &options.balancer_arg, core, store).await?;
    balancer.register(&fakes.servers).await?;
    let meetings: Vec<String> = (0..MEETINGS).map(|index| format!("many-{index}")).collect();
    all(balancer.target(), "create", &meetings, TOGETHER).await?;
    println!("\n{store:?} store, {MEETINGS} meetings on {SERVERS} servers");

    let list = balancer.target().get("getMeetings", "");
    let batch = || Batch { requests: vec![list.clone()], once: false, expect: Expect::Meetings(MEETINGS) };
    let (warm_up, measured) = if options.quick { (200, 1_000) } else { (500, 4_000) };
    let (warm_up, measured) = (Duration::from_millis(warm_up), Duration::from_millis(measured));
    let out = drive(balancer.target(), batch(), 1, Until::Time { warm_up, measured }, Some(balancer.watched())).await;
    if let Some(error) = out.first_error {
        return Err(format!("getMeetings: {} errors; first: {error}", out.errors));
    }
    let requests = u32::try_from(out.requests).unwrap_or(u32::MAX).max(1);
    if let Some(cpu) = out.all_cpu() {
        let part = out.redis.map_or_else(String::new, |redis| format!(" (Redis: {:?})", redis / requests));
        verdict(&format!("CPU time of one getMeetings{part}"), cpu / requests, Duration::from_millis(8));
    }
    println!("  it takes {:?}, 1 % of them more than {:?}", out.p50, out.p99);
    memory("memory", out.resident, 40);

    let requests = (0..JOINS).map(|_| balancer.target().get("join", &join(&meetings[0]))).collect();
    let batch = Batch { requests, once: true, expect: Expect::Redirect };
    let out = drive(balancer.target(), batch, 64, Until::Done, Some(balancer.watched())).await;
    if let Some(error) = out.first_error {
        return Err(format!("join: {} errors; first: {error}", out.errors));
    }
    verdict(&format!("{JOINS} joins of one meeting"), out.elapsed, Duration::from_secs(10));
    memory("memory after that", Usage::of(balancer.watched().balancer).map(|usage| usage.resident), 40);

    fakes.hang(0)?;
    let began = Instant::now();
    let mut connection = Connection::new(balancer.target().addr);
    let reply = connection.exchange(&list).await.map_err(|error| format!("getMeetings: {error}"))?;
    if reply.status != 200 || reply.body.len() < MEETINGS * 100 {
        return Err(format!("getMeetings with a server that hangs: HTTP {}, {} bytes", reply.status, reply.body.len()));
    }
    verdict("getMeetings while one server hangs", began.elapsed(), DEADLINE);
    Ok(())
}
