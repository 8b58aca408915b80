//! What HAProxy and an agent say.

use serde_json::{Map, Value as Json, json};

use super::{Fault, Field, Side, Talk, Told};
use crate::spoe::{Action, Argument, Disconnect, Frame, FrameCutter, MAX_FRAME, Value};

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct SpoeTalk {
    streams: [(FrameCutter, u64); 2],
}

impl SpoeTalk {
    pub(super) fn new() -> Self {
        Self { streams: [(FrameCutter::new(MAX_FRAME), 0), (FrameCutter::new(MAX_FRAME), 0)] }
    }
}

impl Talk for SpoeTalk {
    fn take(&mut self, side: Side, bytes: &[u8], sink: &mut dyn FnMut(Told)) -> Result<(), Fault> {
        let Some((cutter, read)) = self.streams.get_mut(side.index()) else { return Ok(()) };
        cutter.push(bytes);
        loop {
            let offset = *read;
            let frame = match cutter.cut() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => frame,
                Err(error) => return Err(Fault { offset, why: error.to_string() }),
            };
            *read += 4 + u64::try_from(frame.len()).unwrap_or(u64::MAX);
            let frame = Frame::decode(frame).map_err(|error| Fault { offset, why: error.to_string() })?;
            let (frame, fields) = tell(frame);
            sink(Told { offset, frame, fields });
        }
    }

    fn waiting(&self, side: Side) -> usize {
        self.streams.get(side.index()).map_or(0, |(cutter, _)| cutter.pending())
    }
}

fn tell(frame: Frame) -> (&'static str, Vec<Field>) {
    let some = |name, value: Option<Json>| value.map(|value| Field::new(name, value));
    match frame {
        Frame::HaproxyHello(hello) => (
            "haproxy-hello",
            [
                some("versions", hello.versions.map(Json::from)),
                some("max_frame_size", hello.max_frame_size.map(Json::from)),
                some("capabilities", hello.capabilities.map(Json::from)),
                some("engine", hello.engine_id.map(Json::from)),
                some("healthcheck", hello.health_check.map(Json::from)),
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
        Frame::AgentHello(hello) => {
            let capabilities = some("capabilities", hello.capabilities.map(Json::from));
            let said = [Field::new("version", hello.version), Field::new("max_frame_size", hello.max_frame_size)];
            ("agent-hello", said.into_iter().chain(capabilities).collect())
        }
        Frame::HaproxyDisconnect(why) => ("haproxy-disconnect", left(why)),
        Frame::AgentDisconnect(why) => ("agent-disconnect", left(why)),
        Frame::Notify { stream, frame, messages } => {
            let value =
                messages.iter().map(|message| json!({"name": text(&message.name), "args": args(&message.args)}));
            let written: Vec<String> = messages
                .iter()
                .map(|message| {
                    let args: Vec<String> = message.args.iter().map(|arg| named(&arg.name, &arg.value)).collect();
                    format!("{}({})", plain(&message.name), args.join(", "))
                })
                .collect();
            let messages = Field::written("messages", value.collect(), written.join(" "));
            ("notify", vec![Field::new("stream", stream), Field::new("frame_id", frame), messages])
        }
        Frame::Ack { stream, frame, actions } => {
            let (value, written): (Vec<Json>, Vec<String>) = actions.iter().map(action).unzip();
            let written = if written.is_empty() { "no opinion".to_owned() } else { written.join(" ") };
            let actions = Field::written("actions", value.into(), written);
            ("ack", vec![Field::new("stream", stream), Field::new("frame_id", frame), actions])
        }
    }
}

fn left(why: Disconnect) -> Vec<Field> {
    vec![Field::new("status", why.status.code()), Field::new("message", why.message)]
}

fn args(args: &[Argument]) -> Json {
    let mut all = Map::new();
    for arg in args {
        all.insert(text(&arg.name), value(&arg.value));
    }
    Json::Object(all)
}

fn action(action: &Action) -> (Json, String) {
    match action {
        Action::SetVar { scope, name, value: set } => {
            let told = json!({"action": "set-var", "scope": scope.name(), "name": text(name), "value": value(set)});
            (told, format!("set-var {}.{}", scope.name(), named(name, set)))
        }
        Action::UnsetVar { scope, name } => {
            let told = json!({"action": "unset-var", "scope": scope.name(), "name": text(name)});
            (told, format!("unset-var {}.{}", scope.name(), plain(name)))
        }
    }
}

fn named(name: &[u8], of: &Value) -> String {
    let value = match value(of) {
        Json::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    format!("{}={value}", plain(name))
}

/// A name that steers no terminal.
fn plain(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int32(n) => (*n).into(),
        Value::Uint32(n) => (*n).into(),
        Value::Int64(n) => (*n).into(),
        Value::Uint64(n) => (*n).into(),
        Value::Ipv4(address) => address.to_string().into(),
        Value::Ipv6(address) => address.to_string().into(),
        Value::String(bytes) | Value::Binary(bytes) => text(bytes).into(),
    }
}
