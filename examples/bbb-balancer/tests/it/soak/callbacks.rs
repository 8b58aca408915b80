//! Statistics of meetings: what servers tell the balancers, and what arrives at the front-end, which is called back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha512;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Soak;
use super::fakes::FAKE_SECRET;
use super::http::{Answer, Lost, PATIENCE, post};
use super::model::{Chance, name};
use super::world::lock;

/// One event in so many is refused by the front-end when it comes for the first time.
const REFUSED: u64 = 5;
/// A balancer that is killed while it delivers leaves its callback leased: half a minute, and the time of an attempt.
const LEASE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Heard {
    posted: u64,
    acknowledged: BTreeSet<u64>,
    delivered: BTreeMap<u64, u64>,
    refused: BTreeSet<u64>,
}

/// The front-end that is called back: it answers, and refuses some callbacks at first.
#[derive(Debug)]
pub(super) struct FrontEnd {
    port: u16,
    heard: Arc<Mutex<Heard>>,
    token: String,
}

/// A token as a server makes it.
fn token() -> String {
    let header = json!({ "alg": "HS512", "typ": "JWT" }).to_string();
    let claims = json!({ "exp": 4_000_000_000_u64 }).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<Sha512>::new_from_slice(FAKE_SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

impl FrontEnd {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { port, heard, token: token() }
    }

    /// Where it wants to be called.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/statistics", self.port)
    }
}

/// Reads callbacks from one connection until it ends.
async fn serve(mut stream: TcpStream, heard: Arc<Mutex<Heard>>) -> Option<()> {
    let mut got = Vec::new();
    loop {
        let begin = loop {
            if let Some(at) = got.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            (stream.read_buf(&mut got).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&got[..begin]).to_lowercase();
        let length: usize = head.split_once("content-length: ")?.1.split("\r\n").next()?.parse().ok()?;
        while got.len() < begin + length {
            (stream.read_buf(&mut got).await.ok()? > 0).then_some(())?;
        }
        let said: Value = serde_json::from_slice(&got[begin..begin + length]).ok()?;
        got.drain(..begin + length);
        let event = said["event"].as_u64()?;
        let refused = {
            let mut heard = lock(&heard);
            let refused = event.is_multiple_of(REFUSED) && heard.refused.insert(event);
            if !refused {
                *heard.delivered.entry(event).or_default() += 1;
            }
            refused
        };
        let status = if refused { "503 Service Unavailable" } else { "200 OK" };
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.ok()?;
    }
}

/// A server tells statistics of a meeting whose front-end is known by then, through one balancer or, when that one does
/// not take them, the other.
pub(super) async fn tell(soak: &Soak, chance: &mut Chance, n: usize) {
    let front = &soak.world.front_end;
    let event = {
        let mut heard = lock(&front.heard);
        heard.posted += 1;
        heard.posted
    };
    let body = json!({ "version": "1.0", "meeting_id": name(n), "event": event }).to_string();
    let bearer = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", front.token);
    let first = chance.below(2);
    for through in [first, 1 - first] {
        let port = soak.world.balancers[through].port;
        let answer = post(port, "/bigbluebutton/api/analytics_callback", &bearer, &body, PATIENCE).await;
        let outcome = match &answer {
            Ok(Answer { status: 204, .. }) => "acknowledged".to_owned(),
            Ok(a) => a.status.to_string(),
            Err(lost) => format!("{lost:?}"),
        };
        soak.model.count("callback", &outcome);
        soak.model.note(n, &format!("callback {event} through {}: {outcome}", ["a", "b"][through]));
        if answer.as_ref().is_err_and(|l| *l == Lost::Silent) {
            soak.model.violate(Some(n), "a callback was not answered at all");
        }
        if outcome == "acknowledged" {
            lock(&front.heard).acknowledged.insert(event);
            return;
        }
    }
}

/// Waits until everything that was acknowledged has arrived. What has not, in time, is a violation.
pub(super) async fn all_arrive(soak: &Soak) {
    let front = &soak.world.front_end;
    let missing = || -> Vec<u64> {
        let heard = lock(&front.heard);
        heard.acknowledged.iter().filter(|event| !heard.delivered.contains_key(event)).copied().collect()
    };
    let end = Instant::now() + LEASE * 2;
    while !missing().is_empty() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for event in missing() {
        soak.model.violate(None, &format!("callback {event} was acknowledged and never arrived"));
    }
    let heard = lock(&front.heard);
    let arrived = |n: usize| u64::try_from(n).unwrap();
    let (acknowledged, delivered) = (arrived(heard.acknowledged.len()), arrived(heard.delivered.len()));
    let repeated: u64 = heard.delivered.values().sum::<u64>() - delivered;
    println!(
        "soak: {} callbacks told, {acknowledged} acknowledged, {delivered} delivered, {repeated} more than once; \
         {} refused at first",
        heard.posted,
        heard.refused.len()
    );
}
