//! Connections on sockets that are given a recorder.

use std::future::Future;

use async_trait::async_trait;
use balancer_core::{MemoryStore, StickKey, StickStore, Token, Want};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::recording::{Memory, recorder};
use super::*;
use crate::peers::{PeerNode, PeerNodeOptions, PeerStickStore, PeerTableOptions};
use crate::spoe::{Action, AgentServer, AgentServerOptions, Answer, HaproxyHello, Query, Scope};
use crate::{AgentCheckOptions, AgentCheckServer, AgentHealth, AgentSource, ListenAddress};

const MINUTE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(MINUTE, what).await.expect("within a minute")
}

/// What a trace says, in words, without a fault.
fn words(recorder: &Recorder, memory: &Memory) -> Vec<String> {
    assert_eq!(recorder.finish().fault, None);
    let (lines, counts) = play(&memory.read());
    assert_eq!((counts.faults, counts.lost, counts.unread), (0, 0, 0), "{lines:?}");
    lines.iter().map(|line| line.to_string().split_once(' ').unwrap().1.to_owned()).collect()
}

/// Talks as told and hears everything out.
async fn talk_to(address: &ListenAddress, said: &[u8], hears: usize) {
    let ListenAddress::Tcp(address) = address else { panic!("{address}") };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < hears && soon(stream.read_buf(&mut heard)).await.unwrap() > 0 {}
    assert!(heard.len() >= hears);
    stream.shutdown().await.unwrap();
    soon(stream.read_to_end(&mut heard)).await.unwrap();
}

struct Fixed;

#[async_trait]
impl Answer for Fixed {
    async fn answer(self: Arc<Self>, _: Query) -> Vec<Action> {
        vec![Action::set(Scope::Transaction, "server", Value::string("mm1"))]
    }
}

impl AgentSource for Fixed {
    fn reply(&self, server: &str, _: &str) -> Option<crate::AgentReply> {
        (server == "mm1").then(|| crate::AgentReply::new().with_health(AgentHealth::Up).with_percent(60))
    }

    fn told(&self, _: &str, _: &str, _: &crate::AgentReply) {}
}

#[tokio::test]
async fn an_agent_is_recorded() {
    let (recorder, memory) = recorder();
    let options = AgentServerOptions::default().with_hello(MINUTE).with_recorder(recorder.clone());
    let agent = AgentServer::bind(&"127.0.0.1:0".parse().unwrap(), options, Arc::new(Fixed)).await.unwrap();
    let address = agent.address().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(agent.run(async { drop(stopped.await) }));
    let args = vec![Argument::new("room", Value::string("algebra")), Argument::new("cookie", Value::string("secret"))];
    let ask = Frame::Notify { stream: 1, frame: 1, messages: vec![Message::new("place", args)] };
    let said = [Frame::HaproxyHello(HaproxyHello::new(16_380)).encode(), ask.encode()].concat();
    talk_to(&address, &said, 80).await;
    drop(stop);
    soon(running).await.unwrap();
    let words = words(&recorder, &memory);
    assert!(words[0].starts_with("#1 spoe haproxy: opened with=\"127.0.0.1:"), "{words:?}");
    for line in [
        "#1 spoe us: agent-hello version=\"2.0\" max_frame_size=16380 capabilities=\"pipelining\"",
        "#1 spoe haproxy: notify stream=1 frame_id=1 place(room=\"algebra\", cookie=\"******\")",
        "#1 spoe us: ack stream=1 frame_id=1 set-var txn.server=\"mm1\"",
        "#1 spoe: closed",
    ] {
        assert!(words.iter().any(|word| word == line), "no {line:?} in {words:?}");
    }
}

#[tokio::test]
async fn agent_checks_are_recorded() {
    let (recorder, memory) = recorder();
    let options = AgentCheckOptions::default().within(MINUTE);
    let mut server = AgentCheckServer::new(options, Arc::new(Fixed)).with_recorder(recorder.clone());
    let address = server.listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async { drop(stopped.await) }));
    talk_to(&address, b"mm1 lb1\n", 7).await;
    drop(stop);
    soon(running).await.unwrap();
    assert_eq!(
        words(&recorder, &memory),
        [
            "#1 agent-check haproxy: opened with=\"127.0.0.1\"",
            "#1 agent-check haproxy: ask server=\"mm1\" asker=\"lb1\"",
            "#1 agent-check us: reply health=\"up\" percent=60",
            "#1 agent-check: closed",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_recorded() {
    let (recorder, memory) = recorder();
    let port = real_servers::free_port();
    let one = PeerNodeOptions::new("rust1").with_listen(([127, 0, 0, 1], port).into()).with_caller("rust2");
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let two = PeerNodeOptions::new("rust2").with_peer("rust1", address).with_recorder(recorder.clone());
    let [one, two] = [one, two].map(|options| PeerNode::new(options).unwrap());
    let rooms = |node| PeerStickStore::new(node, PeerTableOptions::new("rooms"), Arc::new(MemoryStore::default()));
    let (rooms, _there) = (rooms(&one).unwrap(), rooms(&two).unwrap());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let run = |node: &PeerNode| {
        let (node, mut stopped) = (node.clone(), stopped.clone());
        tokio::spawn(async move { node.run(async { drop(stopped.wait_for(|stop| *stop).await) }).await })
    };
    let running = [run(&one), run(&two)];
    let want = Want { backend: "mm1".into(), token: Token(7) };
    rooms.claim(&StickKey::new("algebra").unwrap(), &want, Duration::from_secs(600)).await.unwrap();
    soon(async {
        while two.entries("rooms").is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stop.send(true).unwrap();
    for running in running {
        soon(running).await.unwrap().unwrap();
    }
    let words = words(&recorder, &memory);
    for line in [
        "peers us: hello version=\"2.1\" called=\"rust1\" calling=\"rust2\"",
        "peers haproxy: status code=200",
        "peers haproxy: define table=\"rooms\"",
        "peers haproxy: update table=\"rooms\" id=1 key=\"algebra\"",
    ] {
        assert!(words.iter().any(|word| word.contains(line)), "no {line:?} in {words:?}");
    }
}
