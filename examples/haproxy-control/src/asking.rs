//! Asks the servers themselves which rooms they have.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Uri};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::call::{call, check};
use crate::settings::AskServers;

/// How long one server may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long all of them may take together: less than whoever waits for it does.
const TOGETHER: Duration = Duration::from_secs(20);
/// How many are asked at once.
const AT_ONCE: usize = 32;

/// Server, room, people.
type Seen = (String, String, Option<u64>);
/// What was found, and who did not answer, with the reason.
type Found = (Vec<Seen>, BTreeMap<String, String>);

/// How servers are asked.
#[derive(Debug)]
pub(crate) struct Asking {
    url: String,
    label: String,
}

impl Asking {
    /// As the settings say.
    pub(crate) fn new(ask: &AskServers) -> Self {
        Self { url: ask.url.as_str().to_owned(), label: ask.label.as_str().to_owned() }
    }

    /// Whether servers can be asked so.
    ///
    /// # Errors
    ///
    /// In words: no URL, or one of another kind than `http`.
    pub(crate) fn check(ask: &AskServers) -> Result<(), String> {
        let url = Self::new(ask).url(SocketAddr::from(([127, 0, 0, 1], 80)));
        // It may have a password in it.
        let odd = |why: String| format!("ask.url: {why}; write http://{{address}}:{{port}}/rooms");
        let uri: Uri = url.parse().map_err(|e: http::uri::InvalidUri| odd(e.to_string()))?;
        check(&uri).map_err(odd)?;
        if ask.label.as_str().is_empty() {
            return Err("ask.label is empty: it names the label with the room, as room_id".to_owned());
        }
        Ok(())
    }

    fn url(&self, address: SocketAddr) -> String {
        self.url.replace("{address}", &host(address)).replace("{port}", &address.port().to_string())
    }

    /// Asks these servers: room, server and people, and who did not answer in time.
    pub(crate) async fn ask(self: &Arc<Self>, servers: Vec<(String, SocketAddr)>) -> Found {
        let end = Instant::now() + TOGETHER;
        let mut found = Found::default();
        let mut asked = JoinSet::new();
        let late = |(server, _): &(String, SocketAddr)| (server.clone(), "not asked in time: others hang".to_owned());
        found.1.extend(servers.iter().map(late));
        let mut rest = servers.into_iter();
        loop {
            while asked.len() < AT_ONCE
                && let Some((server, address)) = rest.next()
            {
                let this = self.clone();
                asked.spawn(async move { (server, this.one(address).await) });
            }
            match timeout_at(end, asked.join_next()).await {
                Ok(None) | Err(_) => return found,
                Ok(Some(Ok((server, Ok(rooms))))) => {
                    found.1.remove(&server);
                    found.0.extend(rooms.into_iter().map(|(room, people)| (server.clone(), room, people)));
                }
                Ok(Some(Ok((server, Err(why))))) => drop(found.1.insert(server, why)),
                Ok(Some(Err(_))) => {}
            }
        }
    }

    async fn one(&self, address: SocketAddr) -> Result<Vec<(String, Option<u64>)>, String> {
        let uri: Uri = self.url(address).parse().map_err(|e| format!("ask.url: {e}"))?;
        let body = get(&uri).await?;
        Ok(rooms(&body, &self.label))
    }
}

fn host(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
}

async fn get(uri: &Uri) -> Result<String, String> {
    match call(Method::GET, uri, None, LIMIT).await? {
        (status, body) if status.is_success() => Ok(body),
        (status, _) => Err(format!("it answers {status}")),
    }
}

/// Rooms of an answer: a JSON list of names or of objects, perhaps within `rooms`; else Prometheus text.
fn rooms(body: &str, label: &str) -> Vec<(String, Option<u64>)> {
    if let Ok(value) = serde_json::from_str::<Value>(body) {
        let list = value.get("rooms").unwrap_or(&value);
        let all = list.as_array().into_iter().flatten();
        return all
            .filter_map(|one| match one {
                Value::String(name) => Some((name.clone(), None)),
                other => {
                    let name = ["name", "room", "id"].iter().find_map(|key| other.get(key)?.as_str())?;
                    let people = ["people", "peers", "users"].iter().find_map(|key| other.get(key)?.as_u64());
                    Some((name.to_owned(), people))
                }
            })
            .filter(|(_, people)| *people != Some(0))
            .collect();
    }
    let head = format!("{label}=\"");
    let mut found: BTreeMap<String, Option<u64>> = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, rest)) = line.split_once(&head) else { continue };
        let mut name = String::new();
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => name.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
                c => name.push(c),
            }
        }
        // Counts of people are whole, though they may be written as `3.0`.
        let value = line.rsplit(' ').next().map(|value| value.split('.').next().unwrap_or(value));
        let value: Option<u64> = value.and_then(|value| value.parse().ok());
        if value == Some(0) {
            continue;
        }
        let people = value.filter(|_| line.contains("peers"));
        let entry = found.entry(name).or_default();
        *entry = people.or(*entry);
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn servers_that_hang_do_not_hold_up_the_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Taken by the system, answered by nobody.
        let servers: Vec<_> = (0..1000).map(|n| (format!("mm{n}"), address)).collect();
        let asking = Asking { url: "http://{address}:{port}/".to_owned(), label: "room_id".to_owned() };
        let began = Instant::now();
        let (seen, silent) = Arc::new(asking).ask(servers).await;
        assert!(began.elapsed() <= TOGETHER + Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!((seen.len(), silent.len()), (0, 1000));
        assert!(silent["mm0"].contains("no answer within 5 s") && silent["mm999"].contains("not asked in time"));
    }

    #[test]
    fn reads_what_servers_answer() {
        let names = |body: &str| rooms(body, "room_id");
        assert_eq!(names(r#"["a b"]"#), [("a b".to_owned(), None)]);
        let objects = r#"{"rooms":[{"name":"x","people":3},{"name":"empty","people":0},{"odd":1}]}"#;
        assert_eq!(names(objects), [("x".to_owned(), Some(3))]);
        let text = "# HELP edumeet_peers x\nedumeet_peers{room_id=\"a\\\"b\"} 4\nedumeet_peers{room_id=\"gone\"} 0\nmediasoup_rooms 1\n";
        assert_eq!(names(text), [("a\"b".to_owned(), Some(4))]);
        for odd in ["", "{", "null", "room_id=\"", "{\"rooms\":7}"] {
            assert!(names(odd).len() <= 1, "{odd}");
        }
    }
}
