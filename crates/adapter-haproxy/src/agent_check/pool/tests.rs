use std::net::SocketAddr;

use balancer_core::{ByUsers, LeastLoaded, PoolOptions, Report, Weight};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::{AgentCheckOptions, AgentCheckServer, ListenAddress};

struct Server {
    id: BackendId,
    weight: u16,
}

impl Backend for Server {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn weight(&self) -> Weight {
        Weight::new(self.weight)
    }
}

fn pool(servers: &[(&str, u16)]) -> Arc<Pool<Server>> {
    let pool = Pool::new(Box::new(LeastLoaded), PoolOptions::default().load(ByUsers { room: 1 }));
    pool.replace(servers.iter().map(|(id, weight)| Arc::new(Server { id: (*id).into(), weight: *weight }))).unwrap();
    Arc::new(pool)
}

fn options() -> PoolAgentOptions<Server> {
    PoolAgentOptions::default().with_fresh(Duration::ZERO)
}

fn load(pool: &Pool<Server>, id: &str, users: u64) {
    assert!(pool.report(&id.into(), Report::new(Instant::now()).with_users(users)).unwrap());
}

/// The line, taken for told.
fn line<Q: Send + Sync + 'static>(agent: &PoolAgent<Server, Q>, server: &str, asker: &str) -> String {
    let reply = agent.reply(server, asker).unwrap();
    agent.told(server, asker, &reply);
    reply.to_string()
}

#[tokio::test]
async fn weights_follow_loads() {
    let pool = pool(&[("a", 1), ("b", 1), ("c", 2), ("off", 0)]);
    let agent = PoolAgent::new(Arc::clone(&pool), options());
    for (id, users) in [("a", 0), ("b", 10), ("c", 60), ("off", 5)] {
        load(&pool, id, users);
    }
    let lines = ["a", "b", "c", "off"].map(|id| line(&agent, id, "lb"));
    assert_eq!(lines, ["up 100%\n", "up 50%\n", "up 25%\n", "up 0%\n"]);
    // All alike: nobody gives way.
    for (id, users) in [("a", 30), ("b", 30), ("c", 60)] {
        load(&pool, id, users);
    }
    assert_eq!(["a", "b", "c"].map(|id| line(&agent, id, "lb")), ["up 100%\n"; 3]);
    load(&pool, "a", 1_000_000);
    assert_eq!(line(&agent, "a", "lb"), "up 1%\n");
    assert_eq!(agent.reply("nobody", "lb"), None);
}

#[tokio::test]
async fn no_weight_rounds_to_nothing_where_the_configured_one_is_known() {
    let pool = pool(&[("a", 1), ("b", 1), ("off", 0)]);
    load(&pool, "b", 1_000_000);
    for (configured, percent) in
        [(None, 1), (Some(0), 1), (Some(1), 100), (Some(3), 34), (Some(100), 1), (Some(256), 1)]
    {
        let agent = PoolAgent::new(Arc::clone(&pool), options().with_configured(move |_| configured));
        let reply = agent.reply("b", "lb").unwrap();
        assert_eq!(reply.percent(), Some(percent), "{configured:?}");
        if let Some(configured) = configured.filter(|weight| *weight > 0) {
            assert!(reply.weight(configured) >= Some(1));
        }
        assert_eq!(line(&agent, "off", "lb"), "up 0%\n", "that one is meant");
    }
}

#[tokio::test]
async fn orders_are_told_to_each_haproxy_and_the_operators_stay() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    let agent = PoolAgent::new(Arc::clone(&pool), options().with_limit(|_| Some(30)).with_health(true));
    assert_eq!(line(&agent, "a", "lb1"), "up 100% maxconn:30\n");
    pool.set_admin(&"a".into(), Admin::Drain).unwrap();
    assert_eq!(line(&agent, "a", "lb1"), "up drain 100% maxconn:30\n");
    assert_eq!(line(&agent, "a", "lb1"), "up drain 100% maxconn:30\n");
    pool.set_admin(&"a".into(), Admin::Ready).unwrap();
    assert_eq!(line(&agent, "a", "lb1"), "up ready 100% maxconn:30\n");
    assert_eq!(line(&agent, "a", "lb1"), "up 100% maxconn:30\n");
    // The other never heard of a drain.
    assert_eq!(line(&agent, "a", "lb2"), "up 100% maxconn:30\n");
    // Not heard: said again.
    pool.set_admin(&"a".into(), Admin::Maint).unwrap();
    line(&agent, "a", "lb1");
    pool.set_admin(&"a".into(), Admin::Ready).unwrap();
    for _ in 0..2 {
        assert_eq!(agent.reply("a", "lb1").unwrap().to_string(), "up ready 100% maxconn:30\n");
    }
    agent.set_operator("a", "lb1", Some(Order::Maint));
    assert_eq!(line(&agent, "a", "lb1"), "up 100% maxconn:30\n");
    pool.declare(&"b".into(), Health::Down, "a test").unwrap();
    assert!(line(&agent, "b", "lb1").starts_with("down 100% maxconn:30 # "));
}

#[tokio::test]
async fn who_is_under_no_order_takes_no_place() {
    let pool = pool(&[("a", 1)]);
    let agent = PoolAgent::new(Arc::clone(&pool), options());
    let places = || agent.orders.lock().unwrap().len();
    for n in 0..1000 {
        line(&agent, "a", &format!("nobody{n}"));
        agent.set_operator("a", &format!("nobody{n}"), None);
    }
    assert_eq!(places(), 0);
    pool.set_admin(&"a".into(), Admin::Drain).unwrap();
    for n in 0..MAX_ORDERS + 10 {
        let reply = agent.reply("a", &n.to_string()).unwrap();
        assert_eq!(reply.to_string(), "up drain 100%\n");
        agent.told("a", &n.to_string(), &reply);
    }
    assert_eq!(places(), MAX_ORDERS, "a limit");
    pool.set_admin(&"a".into(), Admin::Ready).unwrap();
    assert_eq!(line(&agent, "a", "7"), "up ready 100%\n");
    assert_eq!(places(), MAX_ORDERS - 1);
    assert_eq!(line(&agent, "a", "7"), "up 100%\n");
}

async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn listeners_answer_by_name_and_by_port() {
    let pool = pool(&[("a", 1), ("b", 1)]);
    load(&pool, "a", 0);
    load(&pool, "b", 10);
    let agent = Arc::new(PoolAgent::new(Arc::clone(&pool), options()));
    let mut server = AgentCheckServer::new(AgentCheckOptions::default().within(Duration::from_secs(60)), agent);
    let local: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let address = |address| match address {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(_) => panic!(),
    };
    let named = address(server.listen(&local).await.unwrap());
    let of_b = address(server.listen_for(&local, "b", Some("lb1")).await.unwrap());
    let counters = server.counters();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    assert_eq!(ask(named, "a\n").await, "up 100%\n");
    assert_eq!(ask(named, "b lb1\r\n").await, "up 50%\n");
    assert_eq!(ask(of_b, "").await, "up 50%\n");
    assert_eq!(ask(of_b, "whatever\n").await, "up 50%\n");
    for nobody in ["nobody\n", "\n", &format!("{}\n", "x".repeat(600))] {
        assert_eq!(ask(named, nobody).await, "");
    }
    // Drained by name, said to be ready over the port: one HAProxy, one account.
    pool.set_admin(&"b".into(), Admin::Drain).unwrap();
    assert_eq!(ask(named, "b lb1\n").await, "up drain 50%\n");
    pool.set_admin(&"b".into(), Admin::Ready).unwrap();
    assert_eq!(ask(of_b, "").await, "up ready 50%\n");
    stop.send(()).unwrap();
    task.await.unwrap();
    let counts = counters.read();
    assert_eq!((counts.answered, counts.unknown), (6, 3));
}
