//! A claim on Redis beside the same command on a bare connection.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balancer_core::{RedisLink, RedisOptions, RedisReply, RedisStore, StickKey, StickStore, Token, Want};
use tokio::io::AsyncBufReadExt;

use crate::clock::{Pair, ROUNDS, median};
use crate::report::{line, title};

const TTL: Duration = Duration::from_secs(3600);
const CLAIMS: usize = 3_000;

/// A server of our own, killed when dropped.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start() -> Result<(Server, u16), String> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).map_err(|e| e.to_string())?;
    let port = port.port();
    let mut command = std::process::Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let child = command.stdout(Stdio::null()).spawn().map_err(|e| format!("redis-server cannot be started: {e}"))?;
    let server = Server(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            return Err("redis-server does not listen".into());
        }
        std::thread::yield_now();
    }
    Ok((server, port))
}

/// The words that the store sends for one claim, as the server itself saw them.
async fn spied(store: &RedisStore, port: u16) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut spy = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    tokio::io::AsyncWriteExt::write_all(&mut spy, b"MONITOR\r\n").await?;
    let mut lines = tokio::io::BufReader::new(spy).lines();
    lines.next_line().await?;
    store.claim(&StickKey::new("spied")?, &want(0), TTL).await?;
    while let Some(text) = lines.next_line().await? {
        if text.contains("\"EVALSHA\"") && !text.contains(" lua]") {
            return Ok(text.split('"').skip(1).step_by(2).map(str::to_owned).collect());
        }
    }
    Err("the server saw no claim".into())
}

fn want(n: usize) -> Want {
    Want { backend: "server-1".into(), token: Token(n as u64) }
}

pub(crate) fn run(runtime: &tokio::runtime::Runtime) {
    title("A claim on Redis, one after the other");
    if let Err(why) = runtime.block_on(measure()) {
        println!("not measured: {why}");
    }
}

async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let (_server, port) = start()?;
    let link = RedisLink::new(RedisOptions::new("127.0.0.1").port(port)?)?;
    let store = Arc::new(RedisStore::new(link));
    // The script is known to the server from here on.
    store.claim(&StickKey::new("first")?, &want(0), TTL).await?;
    let words = spied(&store, port).await?;
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut bare = client.get_multiplexed_async_connection().await?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let keys: Vec<StickKey> =
            (0..CLAIMS).map(|n| StickKey::new(format!("room-{round}-{n}"))).collect::<Result<_, _>>()?;
        let began = Instant::now();
        for (n, key) in keys.iter().enumerate() {
            store.claim(key, &want(n), TTL).await?;
        }
        let ours = began.elapsed().as_nanos() as f64 / CLAIMS as f64;
        // The same words for other rooms of the same shard.
        let began = Instant::now();
        for n in 0..CLAIMS {
            let mut command = redis::Cmd::new();
            for word in &words {
                if word == "spied" {
                    command.arg(format!("bare-{round}-{n}"));
                } else {
                    command.arg(word);
                }
            }
            let _: redis::Value = command.query_async(&mut bare).await?;
        }
        rounds.push((ours, began.elapsed().as_nanos() as f64 / CLAIMS as f64));
    }
    let side = |of: fn(&(f64, f64)) -> f64| median(rounds.iter().map(of).collect());
    let pair = Pair { ours: side(|r| r.0), peer: side(|r| r.1) };
    line("claim / the same EVALSHA on a bare connection (aim: at most 1.1 x)", pair, 1.0 / 1.1);
    let alive = matches!(store.link().call(&["PING"]).await?, RedisReply::Text(_));
    if !alive {
        println!("the server answered PING with something else");
    }
    Ok(())
}
