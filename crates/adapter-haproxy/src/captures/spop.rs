//! Recorded agent connections: each frame reads as what it was and is written the same again, and our session in the
//! agent's place sends the agent's bytes.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::{Tally, bytes};
use crate::spoe::{Action, AgentOptions, AgentSession, Argument, Event, Frame, FrameCutter, MAX_FRAME, Ticket};
use crate::trace::{spoe_text as text, spoe_value as value};

pub(super) fn play(file: &Json, tally: &mut Tally) {
    let Some(scenarios) = file["scenarios"].as_array() else {
        return tally.check(false, || "it has no scenarios".to_owned());
    };
    let mut frames = 0;
    for scenario in scenarios {
        let name = scenario["name"].as_str().unwrap_or("?");
        let mut agents = BTreeMap::new();
        for (i, entry) in scenario["frames"].as_array().into_iter().flatten().enumerate() {
            if !entry["cut"].is_null() || entry["close"] == true {
                continue;
            }
            frames += 1;
            let at = || format!("{name}, entry {i}");
            let Some(sent) = entry["hex"].as_str().and_then(bytes) else {
                tally.check(false, || format!("{}: no bytes", at()));
                continue;
            };
            let read = codec(entry, &sent);
            tally.check(read.is_ok(), || format!("{}: {}", at(), read.as_ref().err().unwrap_or(&String::new())));
            let Ok(frame) = read else { continue };
            let conn = entry["conn"].as_u64().unwrap_or_default();
            let result = match entry["dir"].as_str() {
                Some("haproxy>agent") => from_haproxy(&mut agents, conn, &sent, frame),
                Some("agent>haproxy") => from_agent(&mut agents, conn, &sent, frame),
                other => Err(format!("direction {other:?}")),
            };
            tally.check(result.is_ok(), || format!("{}: {}", at(), result.err().unwrap_or_default()));
        }
    }
    println!("{frames} frames of agents read");
}

/// The frame, read and written again; `None` for bytes that were never one.
fn codec(entry: &Json, sent: &[u8]) -> Result<Option<Frame>, String> {
    let mut cutter = FrameCutter::new(MAX_FRAME);
    cutter.push(sent);
    let cut = cutter.cut().map_err(|e| e.to_string())?.ok_or("no whole frame")?;
    let frame = Frame::decode(cut);
    if entry["decoded"].is_null() {
        return match frame {
            Ok(frame) => Err(format!("read as {frame:?}")),
            Err(_) => Ok(None),
        };
    }
    let frame = frame.map_err(|e| e.to_string())?;
    if cutter.pending() != 0 {
        return Err("more than one frame".to_owned());
    }
    if frame.encode() != sent {
        return Err(format!("written otherwise: {frame:?}"));
    }
    let (told, expected) = (tell(&frame), &entry["decoded"]);
    for (name, value) in told.as_object().into_iter().flatten() {
        if value != &expected[name] {
            return Err(format!("{name} is {value}, not {}", expected[name]));
        }
    }
    Ok(Some(frame))
}

/// The frame in the words of the recording.
fn tell(frame: &Frame) -> Json {
    use serde_json::json;

    fn list(items: impl IntoIterator<Item = (&'static str, Option<Json>)>) -> Json {
        items.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
    match frame {
        Frame::HaproxyHello(hello) => json!({"type": "HAPROXY-HELLO", "stream": 0, "frame": 0, "kv": list([
            ("supported-versions", hello.versions.clone().map(Json::from)),
            ("max-frame-size", hello.max_frame_size.map(Json::from)),
            ("capabilities", hello.capabilities.clone().map(Json::from)),
            ("engine-id", hello.engine_id.clone().map(Json::from)),
            ("healthcheck", hello.health_check.map(Json::from)),
        ])}),
        Frame::AgentHello(hello) => json!({"type": "AGENT-HELLO", "stream": 0, "frame": 0, "kv": list([
            ("version", Some(hello.version.clone().into())),
            ("max-frame-size", Some(hello.max_frame_size.into())),
            ("capabilities", hello.capabilities.clone().map(Json::from)),
        ])}),
        Frame::HaproxyDisconnect(why) => json!({"type": "HAPROXY-DISCONNECT", "stream": 0, "frame": 0,
            "kv": {"status-code": why.status.code(), "message": why.message}}),
        Frame::AgentDisconnect(why) => json!({"type": "AGENT-DISCONNECT", "stream": 0, "frame": 0,
            "kv": {"status-code": why.status.code(), "message": why.message}}),
        Frame::Notify { stream, frame, messages } => {
            let arg = |arg: &Argument| json!([text(&arg.name), value(&arg.value)]);
            let messages: Vec<_> = messages
                .iter()
                .map(|m| json!({"message": text(&m.name), "args": m.args.iter().map(arg).collect::<Vec<_>>()}))
                .collect();
            json!({"type": "NOTIFY", "stream": stream, "frame": frame, "messages": messages})
        }
        Frame::Ack { stream, frame, actions } => {
            let actions: Vec<_> = actions.iter().map(action).collect();
            json!({"type": "ACK", "stream": stream, "frame": frame, "actions": actions})
        }
    }
}

fn action(action: &Action) -> Json {
    match action {
        Action::SetVar { scope, name, value: set } => serde_json::json!({"action": "set-var", "nargs": 3,
            "scope": scope.name(), "name": text(name), "value": value(set)}),
        Action::UnsetVar { scope, name } => serde_json::json!({"action": "unset-var", "nargs": 2,
            "scope": scope.name(), "name": text(name)}),
    }
}

/// Our session in the agent's place, on one connection.
#[derive(Debug, Default)]
struct Agent {
    /// HAProxy's greeting, until the agent's own tells how ours is to be set up.
    greeting: Vec<u8>,
    /// The largest frame HAProxy takes.
    offered: u32,
    session: Option<AgentSession>,
    asked: HashMap<(u64, u64), Ticket>,
    /// The recorded agent did what ours never does.
    astray: bool,
}

impl Agent {
    fn listen(&mut self) {
        let events = std::iter::from_fn(|| self.session.as_mut()?.poll_event());
        for event in events {
            if let Event::Query { ticket, .. } = event {
                self.asked.insert((ticket.stream(), ticket.frame()), ticket);
            }
        }
    }
}

fn from_haproxy(agents: &mut BTreeMap<u64, Agent>, conn: u64, sent: &[u8], frame: Option<Frame>) -> Result<(), String> {
    if let Some(Frame::HaproxyHello(hello)) = frame {
        let offered = hello.max_frame_size.unwrap_or_default();
        agents.insert(conn, Agent { greeting: sent.to_owned(), offered, ..Agent::default() });
        return Ok(());
    }
    // The beginning of some connections was left out.
    let Some(agent) = agents.get_mut(&conn).filter(|a| !a.astray) else { return Ok(()) };
    let Some(session) = &mut agent.session else { return Err("before the agent's greeting".to_owned()) };
    for part in sent.chunks(11) {
        session.receive(part);
    }
    agent.listen();
    let over = agent.session.as_ref().is_some_and(AgentSession::is_over);
    match frame {
        Some(Frame::HaproxyDisconnect(_)) if over => Ok(()),
        Some(Frame::Notify { stream, frame, .. }) if agent.asked.contains_key(&(stream, frame)) => Ok(()),
        other => Err(format!("our session made nothing of {other:?}")),
    }
}

fn from_agent(agents: &mut BTreeMap<u64, Agent>, conn: u64, sent: &[u8], frame: Option<Frame>) -> Result<(), String> {
    let Some(agent) = agents.get_mut(&conn).filter(|a| !a.astray) else { return Ok(()) };
    match (frame, &mut agent.session) {
        (Some(Frame::AgentHello(hello)), None) => {
            let mut options = AgentOptions::default().with_max_frame_size(hello.max_frame_size);
            options = match hello.capabilities.as_deref() {
                None => options.without_capabilities(),
                Some(words) => options.with_pipelining(words == "pipelining"),
            };
            let mut session = AgentSession::new(options);
            session.receive(&agent.greeting);
            let ours = session.take_output();
            agent.session = Some(session);
            agent.listen();
            // Another version, a larger frame than offered, other capabilities: ours never says that.
            let words = [None, Some(""), Some("pipelining")];
            agent.astray = hello.version != "2.0"
                || !(256..=agent.offered).contains(&hello.max_frame_size)
                || !words.contains(&hello.capabilities.as_deref());
            same(&ours, sent, agent.astray)
        }
        (Some(Frame::Ack { stream, frame, actions }), Some(session)) => match agent.asked.remove(&(stream, frame)) {
            Some(ticket) => {
                session.answer(ticket, actions).map_err(|e| e.to_string())?;
                same(&session.take_output(), sent, false)
            }
            // An answer to nobody's question: ours has no ticket for it.
            None => Ok(()),
        },
        (Some(Frame::AgentDisconnect(why)), Some(session)) => {
            session.disconnect(why);
            same(&session.take_output(), sent, false)
        }
        (None, Some(_)) => Ok(()),
        (other, session) => Err(format!("{other:?} of an agent, {session:?}")),
    }
}

fn same(ours: &[u8], theirs: &[u8], differ: bool) -> Result<(), String> {
    match (ours == theirs) != differ {
        true => Ok(()),
        false => Err(format!("our session sends {ours:02x?}, the agent sent {theirs:02x?}")),
    }
}
