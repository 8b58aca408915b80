//! Messages in the words of the recordings.

use serde_json::{Map, Value as Json, json};

use crate::peers::{
    Control, DataKind, DataType, Datum, Entry, Key, KeyType, Message, NameRef, Rate, TableDefinition, Update,
};

/// What we read, against what the recording says; it may say more.
pub(super) fn compare(ours: &Json, told: &Json) -> Result<(), String> {
    for (name, value) in ours.as_object().into_iter().flatten() {
        // Bytes that are no text have no one way to be told.
        let told_somehow = name == "key" && value.is_null();
        if !told_somehow && value != &told[name] {
            return Err(format!("{name} is {value}, not {}", told[name]));
        }
    }
    Ok(())
}

pub(super) fn message(message: &Message) -> Json {
    match message {
        Message::Control(control) => {
            let kind = match control {
                Control::ResyncRequest => 0,
                Control::ResyncFinished => 1,
                Control::ResyncPartial => 2,
                Control::ResyncConfirm => 3,
                Control::Heartbeat => 4,
            };
            json!({"class": 0, "type": kind})
        }
        Message::Ack { table, update } => json!({"class": 10, "type": 132, "id": table, "update": update}),
        Message::Define(table) => define(table),
        other => json!({"unexpected": format!("{other:?}")}),
    }
}

fn define(table: &TableDefinition) -> Json {
    let key_type = match table.key_type() {
        KeyType::Other(code) => json!(code),
        known => json!(known.name()),
    };
    let (mut lengths, mut periods) = (Map::new(), Map::new());
    for data in table.data() {
        if let Some(period) = table.period(data) {
            periods.insert(data.name().to_owned(), millis(period));
        }
        if matches!(data.kind(), DataKind::Numbers | DataKind::Rates) {
            lengths.insert(data.name().to_owned(), table.count(data).into());
        }
    }
    json!({
        "class": 10, "type": 130, "id": table.id(), "table": table.name(), "keytype": key_type,
        "keylen": table.key_len(), "data": table.data().map(DataType::name).collect::<Vec<_>>(),
        "data_bits": table.bits(), "expire_ms": millis(table.expire()), "array_len": lengths, "period_ms": periods,
    })
}

fn millis(time: std::time::Duration) -> Json {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

pub(super) fn entry(
    table: &TableDefinition,
    id: u32,
    update: &Update,
    entry: &Entry,
    server_key: Option<&[u8]>,
) -> Json {
    let kind = match (update.id, update.remaining) {
        (Some(_), None) => 128,
        (None, None) => 129,
        (Some(_), Some(_)) => 133,
        (None, Some(_)) => 134,
    };
    let key = match entry.key() {
        Key::Integer(n) => json!(n),
        Key::Ipv4(address) => json!(address),
        Key::Ipv6(address) => json!(address.to_string()),
        Key::String(text) => std::str::from_utf8(text).map_or(Json::Null, Json::from),
        Key::Binary(_) => Json::Null,
    };
    let mut values = Map::new();
    for (data, datum) in entry.data() {
        let value = match datum {
            Datum::Number(n) => json!(n),
            Datum::Rate(r) => rate(r),
            Datum::Numbers(all) => json!(all),
            Datum::Rates(all) => all.iter().map(rate).collect(),
            Datum::Name(NameRef::Nothing) => Json::Null,
            Datum::Name(NameRef::Known(id)) => json!({"id": id, "cached": server_key.map(String::from_utf8_lossy)}),
            Datum::Name(NameRef::New(id, name)) => json!({"id": id, "new": String::from_utf8_lossy(name)}),
        };
        values.insert(data.name().to_owned(), value);
    }
    let mut words = json!({"class": 10, "type": kind, "table": table.name(), "update": id, "values": values});
    words["key"] = key;
    if let Some(ms) = update.remaining {
        words["expire_ms"] = ms.into();
    }
    words
}

fn rate(rate: &Rate) -> Json {
    json!({"age_ms": rate.age, "curr": rate.current, "prev": rate.previous})
}
