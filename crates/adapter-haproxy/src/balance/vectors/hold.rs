//! Kind `hold`: requests that stay open.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::case::{change, request, text};
use super::{Tally, backend};
use crate::balance::{Predictor, Ticket, Version};

pub(super) fn play(file: &Value, version: Version) -> Tally {
    let mut tally = Tally::default();
    let mut haproxy = Predictor::new(backend(file, version)).unwrap_or_else(|e| panic!("{}: {e}", file["name"]));
    let mut tickets = HashMap::new();
    for step in file["steps"].as_array().unwrap() {
        let id = step["id"].as_u64();
        match step["op"].as_str().unwrap() {
            "open" => {
                let r = request(&step["req"]);
                let want = step["server"].as_str().unwrap();
                let first = haproxy.explain(&r);
                let (ticket, got) = if first.by_chance && first.server().is_some() {
                    match haproxy.open_on(&r, want) {
                        Ok(done) => done,
                        Err(e) => {
                            tally.check(step, &e.to_string().as_str(), &want);
                            continue;
                        }
                    }
                } else {
                    haproxy.open(&r)
                };
                tickets.extend(ticket.map(|t| (id.unwrap(), t)));
                tally.check(step, &text(&got.outcome).as_str(), &want);
            }
            "close" => {
                // One that still waits stays where it is.
                let ticket = tickets.get(&id.unwrap()).filter(|t| haproxy.server_of(**t).is_some());
                let served = ticket.map(|t| haproxy.close(*t).unwrap()).unwrap_or_default();
                dequeued(&mut tally, step, &tickets, served);
            }
            _ => match change(&mut haproxy, &mut tally, step) {
                Some(served) => dequeued(&mut tally, step, &tickets, served),
                None => panic!("unknown step {step}"),
            },
        }
    }
    tally
}

/// Checks who left the queues by a step.
fn dequeued(tally: &mut Tally, step: &Value, tickets: &HashMap<u64, Ticket>, served: Vec<(Ticket, Arc<str>)>) {
    let name = |t| tickets.iter().find(|(_, known)| **known == t).map(|(id, _)| *id).unwrap();
    let mut got: Vec<(u64, String)> = served.into_iter().map(|(t, s)| (name(t), s.to_string())).collect();
    got.sort();
    let pair = |v: &Value| (v[0].as_u64().unwrap(), v[1].as_str().unwrap().to_owned());
    let mut want: Vec<(u64, String)> = step["dequeued"].as_array().into_iter().flatten().map(pair).collect();
    want.sort();
    tally.check(step, &got, &want);
}
