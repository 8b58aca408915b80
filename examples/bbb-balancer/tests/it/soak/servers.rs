//! Hundreds of servers behind one `serve`, one in ten of which hangs: nobody waits for those; and when all of them
//! fall silent at once, it is our own network that is suspected, and nobody is called dead.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::check::join_all;
use super::fakes::{FAKE_SECRET, Fakes};
use super::http::PATIENCE;
use super::world::Balancer;

/// Figures of a run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    servers: usize,
    interval: Duration,
    /// Of one probe, connecting included.
    time_out: Duration,
    rounds: u32,
    /// No figure of a healthy server may be older.
    oldest: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_hang_keep_nobody_waiting() {
    let interval = Duration::from_secs(2);
    // What a busy machine does to two cores and hundreds of servers is not to decide it: the long form is the strict one.
    // One after the other the hanging ones would take a minute.
    many(Plan { servers: 250, interval, time_out: interval * 5 / 4, rounds: 5, oldest: interval * 8 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "three minutes: cargo xtask soak servers"]
async fn long_servers() {
    let interval = Duration::from_secs(10);
    many(Plan { servers: 500, interval, time_out: interval / 2, rounds: 10, oldest: interval * 2 }).await;
}

/// One row of the status table.
struct Row {
    hangs: bool,
    online: bool,
    health: String,
    age: Option<Duration>,
}

struct Stage {
    plan: Plan,
    balancer: Balancer,
    fakes: Fakes,
    /// Ports of the servers that hang: one in ten.
    hanging: Vec<u16>,
}

impl Stage {
    async fn rows(&self) -> Vec<Row> {
        let status = self.balancer.status().await.expect("the balancer tells its status");
        let row = |s: &Value| Row {
            hangs: self.hanging.iter().any(|port| s["url"].as_str().unwrap().contains(&format!(":{port}/"))),
            online: s["online"] == true,
            health: s["health"].as_str().unwrap_or("").to_owned(),
            age: s["age_seconds"].as_f64().map(Duration::from_secs_f64),
        };
        status.iter().map(row).collect()
    }

    /// Waits until the status is so; what it was last is shown otherwise.
    async fn until(&self, what: &str, so: impl Fn(&[Row]) -> bool) {
        let within = PATIENCE.max(self.plan.interval * 12);
        let end = Instant::now() + within;
        loop {
            let rows = self.rows().await;
            if so(&rows) {
                return;
            }
            let online = rows.iter().filter(|r| r.online).count();
            assert!(Instant::now() < end, "{what}: not within {within:?}; {online} of {} online", rows.len());
            tokio::time::sleep(self.plan.interval / 20).await;
        }
    }

    /// Looks at the figures of the healthy ones for so long: the oldest one ever.
    async fn oldest(&self, during: Duration) -> (Duration, u32) {
        let end = Instant::now() + during;
        let (mut oldest, mut looks) = (Duration::ZERO, 0);
        while Instant::now() < end {
            for row in self.rows().await.iter().filter(|r| !r.hangs) {
                assert!(row.online, "a healthy server is offline: {}", row.health);
                oldest = oldest.max(row.age.expect("a healthy server has figures"));
            }
            looks += 1;
            tokio::time::sleep(self.plan.interval / 20).await;
        }
        (oldest, looks)
    }

    fn logged(&self, text: &str) -> bool {
        self.balancer.log_text().contains(text)
    }
}

async fn many(plan: Plan) {
    println!("\nservers: {plan:?}");
    let folder = std::env::temp_dir().join(format!("bbb-balancer-servers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (connect, response) = (plan.time_out / 5, plan.time_out * 4 / 5);
    let seconds = |d: Duration| d.as_secs_f64().to_string();
    let balancer = Balancer::new(
        folder.join("balancer.log"),
        &[
            ("BALANCER_MEMORY", "true"),
            ("POLL_INTERVAL", &seconds(plan.interval)),
            ("CONNECT_TIMEOUT", &seconds(connect)),
            ("RESPONSE_TIMEOUT", &seconds(response)),
        ],
    );
    balancer.start().await;
    let fakes = Fakes::start(&vec![0; plan.servers]);
    let hanging = fakes.ports.iter().copied().step_by(10).collect();
    let mut stage = Stage { plan, balancer, fakes, hanging };
    let began = Instant::now();
    for part in stage.fakes.ports.chunks(20) {
        join_all(part.iter().map(|port| add(&stage.balancer, *port))).await;
    }
    println!("servers: added and enabled after {:?}; open files: {}", began.elapsed(), limit(&stage));
    let all = |rows: &[Row]| rows.iter().all(|r| r.online && r.age.is_some());
    stage.until("all are online", |rows| rows.len() == plan.servers && all(rows)).await;

    tokio::task::block_in_place(|| stage.fakes.order("tenth hang"));
    let fell = |rows: &[Row]| rows.iter().all(|r| r.online != r.hangs);
    let (oldest, looks) = {
        let watched = stage.oldest(plan.interval * plan.rounds);
        let falling = stage.until("the hanging ones are offline, and nobody else", fell);
        tokio::join!(watched, falling).0
    };
    println!("servers: {} rounds, {looks} looks, no figure was older than {oldest:?}", plan.rounds);
    assert!(oldest <= plan.oldest, "a healthy server's figure was {oldest:?} old");

    // Everybody falls silent at once.
    tokio::task::block_in_place(|| stage.fakes.order("all hang"));
    let silent = Instant::now();
    // Sixty-four probes run at once.
    let round = plan.time_out * u32::try_from(plan.servers / 64 + 1).unwrap();
    let end = silent + PATIENCE.max((round + plan.interval) * 3);
    while !stage.logged("suspecting our own network") {
        assert!(Instant::now() < end, "the monitor does not suspect its own network");
        nobody_dead(&stage.rows().await);
        tokio::time::sleep(plan.interval / 10).await;
    }
    let suspected = silent.elapsed();
    let end = Instant::now() + plan.interval * 2;
    while Instant::now() < end {
        nobody_dead(&stage.rows().await);
        tokio::time::sleep(plan.interval / 10).await;
    }
    println!("servers: all silent; our own network suspected after {suspected:?}, nobody called dead");

    tokio::task::block_in_place(|| stage.fakes.order("all ok"));
    let back = Instant::now();
    let fresh = |rows: &[Row]| rows.iter().all(|r| r.online && r.age.is_some_and(|a| a < back.elapsed()));
    stage.until("all are online with new figures", fresh).await;
    let end = Instant::now() + PATIENCE;
    while !stage.logged("servers answer again") {
        assert!(Instant::now() < end, "nobody says that the network is there again");
        tokio::time::sleep(plan.interval / 10).await;
    }
    println!("servers: all answer again after {:?}", back.elapsed());
    let _ = std::fs::remove_dir_all(folder);
}

fn nobody_dead(rows: &[Row]) {
    for row in rows.iter().filter(|r| !r.hangs) {
        assert!(row.online && matches!(row.health.as_str(), "up" | "suspect"), "a server is called {}", row.health);
    }
}

async fn add(balancer: &Balancer, port: u16) {
    let url = format!("http://127.0.0.1:{port}/bigbluebutton/api");
    let body = json!({ "server": { "url": url, "secret": FAKE_SECRET } });
    let added = balancer.operate("/scalelite/api", "addServer", Some(&body)).await.expect("a server is added");
    let body = json!({ "id": added["id"], "server": { "state": "enable" } });
    balancer.operate("/scalelite/api", "updateServer", Some(&body)).await.expect("a server is enabled");
}

/// How many files the process of the fakes has open, and may have: both processes got the same limit.
fn limit(stage: &Stage) -> String {
    let pid = stage.fakes.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let most = limits.lines().find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    // Listening, and two connections of the balancer to each.
    let needed = stage.plan.servers * 3 + 100;
    assert!(most.is_none_or(|m: usize| m >= needed), "{needed} open files are needed: raise the limit (ulimit -Hn)");
    most.map_or("unlimited".to_owned(), |m| format!("{open} of {m}"))
}
