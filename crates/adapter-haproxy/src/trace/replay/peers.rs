//! What peers say.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Fault, Field, Side, Talk, Told};
use crate::peers::{
    Complaint, Control, DataType, Datum, Entry, Hello, HelloStatus, Key, KeyType, MAX_TABLES, Message, MessageCutter,
    NameRef, NamesReceived, Rate, TableDefinition, Update,
};

/// The longest message that is read, in bytes: no HAProxy has larger buffers.
const MAX_PLAYED: usize = 1 << 20;

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct PeersTalk {
    by: Side,
    streams: [Stream; 2],
}

/// What one side says.
#[derive(Debug)]
struct Stream {
    greeting: Vec<u8>,
    open: bool,
    cutter: MessageCutter,
    /// Bytes that were given.
    given: u64,
    tables: BTreeMap<u64, Table>,
    current: Option<u64>,
    names: NamesReceived,
}

#[derive(Debug)]
struct Table {
    definition: TableDefinition,
    last: u32,
}

impl PeersTalk {
    pub(super) fn new(by: Side) -> Self {
        let stream = || Stream {
            greeting: Vec::new(),
            open: false,
            cutter: MessageCutter::new(MAX_PLAYED),
            given: 0,
            tables: BTreeMap::new(),
            current: None,
            names: NamesReceived::new(),
        };
        Self { by, streams: [stream(), stream()] }
    }
}

impl Talk for PeersTalk {
    fn take(&mut self, side: Side, bytes: &[u8], sink: &mut dyn FnMut(Told)) -> Result<(), Fault> {
        let [haproxy, us] = &mut self.streams;
        let (stream, other) = if side == Side::Us { (us, haproxy) } else { (haproxy, us) };
        stream.given += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if stream.open {
            stream.cutter.push(bytes);
        } else {
            stream.greeting.extend_from_slice(bytes);
            let Some(told) = greet(&stream.greeting, side == self.by)? else { return Ok(()) };
            let (frame, fields, len) = told;
            sink(Told { offset: 0, frame, fields });
            stream.open = true;
            let greeting = std::mem::take(&mut stream.greeting);
            stream.cutter.push(greeting.get(len..).unwrap_or_default());
        }
        loop {
            let offset = stream.given - u64::try_from(stream.cutter.pending()).unwrap_or(0);
            let why = |error: &dyn std::fmt::Display| Fault { offset, why: error.to_string() };
            let Some(message) = stream.cutter.cut().map_err(|error| why(&error))? else { return Ok(()) };
            let (frame, fields) = stream.tell(message, &other.tables).map_err(|error| why(&error))?;
            sink(Told { offset, frame, fields });
        }
    }

    fn waiting(&self, side: Side) -> usize {
        self.streams.get(side.index()).map_or(0, |stream| stream.greeting.len() + stream.cutter.pending())
    }
}

/// A greeting, and how long it is.
type Greeting = (&'static str, Vec<Field>, usize);

fn greet(bytes: &[u8], calling: bool) -> Result<Option<Greeting>, Fault> {
    let why = |error| Fault { offset: 0, why: format!("{error}") };
    if calling {
        let hello = Hello::decode(bytes).map_err(why)?;
        return Ok(hello.map(|(hello, len)| {
            let fields = vec![
                Field::new("version", format!("2.{}", hello.minor)),
                Field::new("called", hello.called),
                Field::new("calling", hello.calling),
                Field::new("pid", hello.pid),
            ];
            ("hello", fields, len)
        }));
    }
    let status = HelloStatus::decode(bytes).map_err(why)?;
    Ok(status.map(|(status, len)| ("status", vec![Field::new("code", status.code())], len)))
}

impl Stream {
    fn tell(
        &mut self,
        message: Message,
        theirs: &BTreeMap<u64, Table>,
    ) -> Result<(&'static str, Vec<Field>), Box<dyn std::error::Error>> {
        Ok(match message {
            Message::Control(control) => (control_name(control), Vec::new()),
            Message::Error(Complaint::Protocol) => ("protocol-error", Vec::new()),
            Message::Error(Complaint::TooLong) => ("message-too-long", Vec::new()),
            Message::Define(definition) => {
                let id = definition.id();
                if self.tables.len() >= MAX_TABLES && !self.tables.contains_key(&id) {
                    return Err(format!("more than {MAX_TABLES} tables").into());
                }
                self.current = Some(id);
                let last = self.tables.get(&id).map_or(0, |table| table.last);
                let fields = define(&definition);
                self.tables.insert(id, Table { definition, last });
                ("define", fields)
            }
            Message::Switch { table } => {
                self.current = Some(table);
                ("switch", named("table", table, &self.tables))
            }
            Message::Update(update) => ("update", self.update(&update)?),
            Message::Ack { table, update } => {
                let mut fields = named("table", table, theirs);
                fields.push(Field::new("update", update));
                ("ack", fields)
            }
            Message::Unknown { class, kind, payload } => {
                let fields =
                    vec![Field::new("class", class), Field::new("type", kind), Field::new("bytes", payload.len())];
                ("unknown", fields)
            }
        })
    }

    fn update(&mut self, update: &Update) -> Result<Vec<Field>, Box<dyn std::error::Error>> {
        let table = self.current.and_then(|id| self.tables.get_mut(&id)).ok_or("an entry of no table")?;
        let entry = Entry::decode(&table.definition, &update.body)?;
        table.last = update.id.unwrap_or(table.last.wrapping_add(1));
        let mut fields = vec![
            Field::new("table", table.definition.name()),
            Field::new("id", table.last),
            Field::new("key", key(entry.key())),
        ];
        fields.extend(update.remaining.map(|left| Field::new("left_ms", left)));
        for (data, datum) in entry.data() {
            let value = match datum {
                Datum::Name(NameRef::Nothing) => continue,
                Datum::Name(name) => self.names.resolve(name)?.map_or(Value::Null, |name| bytes(&name)),
                Datum::Number(number) => json!(number),
                Datum::Rate(one) => rate(one),
                Datum::Numbers(all) => json!(all),
                Datum::Rates(all) => all.iter().map(rate).collect(),
            };
            fields.push(Field::new(data.name(), value));
        }
        Ok(fields)
    }
}

fn control_name(control: Control) -> &'static str {
    match control {
        Control::ResyncRequest => "resync-request",
        Control::ResyncFinished => "resync-finished",
        Control::ResyncPartial => "resync-partial",
        Control::ResyncConfirm => "resync-confirm",
        Control::Heartbeat => "heartbeat",
    }
}

fn define(table: &TableDefinition) -> Vec<Field> {
    let kind = match table.key_type() {
        KeyType::Other(code) => json!(code),
        known => json!(known.name()),
    };
    let data: Vec<&str> = table.data().map(DataType::name).collect();
    vec![
        Field::new("table", table.name()),
        Field::new("number", table.id()),
        Field::new("type", kind),
        Field::new("key_len", table.key_len()),
        Field::new("expire_ms", millis(table.expire())),
        Field::written("store", json!(data), format!("store={}", data.join(","))),
    ]
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A table by its name if it is known, else by its number.
fn named(name: &'static str, id: u64, tables: &BTreeMap<u64, Table>) -> Vec<Field> {
    vec![match tables.get(&id) {
        Some(table) => Field::new(name, table.definition.name()),
        None => Field::new(name, id),
    }]
}

fn key(key: &Key) -> Value {
    match key {
        Key::Integer(number) => json!(number),
        Key::Ipv4(address) => json!(address.to_string()),
        Key::Ipv6(address) => json!(address.to_string()),
        Key::String(text) => bytes(text),
        Key::Binary(bytes) => json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

fn bytes(text: &[u8]) -> Value {
    String::from_utf8_lossy(text).into()
}

fn rate(rate: &Rate) -> Value {
    json!({"age_ms": rate.age, "current": rate.current, "previous": rate.previous})
}
