//! Answers, read whole and written again.

use std::fmt::Display;

use serde_json::Value;

use crate::HaproxyVersion;
use crate::runtime::{
    CliSocket, Info, Level, MapHit, MapInfo, MapLine, PeersSection, ServerConns, ServerState, SessionLine, StatKind,
    StatTable, TableEntry, TableInfo, TableReader, TypedField, TypedStat, TypedValue, WeightInForce,
};

fn read_as<T, E: Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

/// What was read, written again, must be what came.
fn same(got: &str, want: &str) -> Result<(), String> {
    if got == want {
        return Ok(());
    }
    let at = got.lines().zip(want.lines()).find(|(a, b)| a != b);
    Err(format!("read otherwise than it was: {at:?}"))
}

fn that(good: bool, what: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(what.to_owned()) }
}

/// Reads an accepted answer. Every command must be known here.
pub(super) fn read(words: &[&str], text: &str) -> Result<(), String> {
    match words {
        ["show", "version"] => read_as(text.parse::<HaproxyVersion>()).map(drop),
        ["show", "info", rest @ ..] => info(rest, text),
        ["show", "stat", "domain", ..] => read_as(StatTable::parse(text)).map(drop),
        ["show", "stat" | "schema", .., "json"] => read_as(serde_json::from_str::<Value>(text)).map(drop),
        ["show", "stat", "typed"] => typed_stat(text),
        ["show", "stat", rest @ ..] => stat(rest, text),
        ["show", "backend"] => that(text.starts_with("# name"), "no # name"),
        ["show", "servers", "state", rest @ ..] => state(rest, text),
        ["show", "servers", "conn", rest @ ..] => conn(rest, text),
        ["show", "env", ..] => that(text.lines().next().is_some_and(|l| l.contains('=')), "NAME=value"),
        ["show", "cli", "sockets"] => {
            let all = read_as(CliSocket::parse_all(text))?;
            let lines: Vec<String> = all.iter().map(|s| format!("{} {} {}", s.address, s.level, s.processes)).collect();
            same(&format!("# socket lvl processes\n{}", lines.join("\n")), text)
        }
        ["show", "cli", "level"] => read_as(text.parse::<Level>()).and_then(|level| same(&level.to_string(), text)),
        ["show", "startup-logs"] => that(text.is_empty() || text.starts_with('['), "no log"),
        ["show", "errors"] => that(text.starts_with("Total events captured on ["), "no count of events"),
        ["show", "activity"] => that(text.lines().all(|l| l.contains(": ")), "name: value"),
        ["show", "resolvers"] => that(text.starts_with("Resolvers section "), "no section"),
        ["get", "weight", _] => {
            let weight = read_as(text.parse::<WeightInForce>())?;
            same(&format!("{} (initial {})", weight.now, weight.initial), text)
        }
        ["show", "map" | "acl"] => maps(text),
        ["show", "map" | "acl", ..] => {
            let all = read_as(MapLine::parse_all(text))?;
            let lines: Vec<String> = all
                .iter()
                .map(|l| {
                    let blank = if l.value.is_empty() { "" } else { " " };
                    format!("{} {}{blank}{}", l.reference, l.key, l.value)
                })
                .collect();
            same(&lines.join("\n"), text)
        }
        ["get", "map" | "acl", ..] => hit(text),
        ["show", "table"] => {
            let all = read_as(TableInfo::parse_all(text))?;
            let line =
                |t: &TableInfo| format!("# table: {}, type: {}, size:{}, used:{}", t.name, t.kind, t.size, t.used);
            same(&all.iter().map(line).collect::<Vec<_>>().join("\n"), text)
        }
        ["show", "table", name, rest @ ..] => table(name, rest, text),
        ["show", "peers", ..] => peers(text),
        ["show", "sess"] => {
            let all = read_as(SessionLine::parse_all(text))?;
            let known = |(s, line): (&SessionLine, &str)| {
                line.starts_with(&format!("{}: proto=", s.pointer))
                    && line.contains(&format!(" src={} fe={} ", s.source, s.frontend))
                    && line.contains(&format!(" age={} ", s.age))
                    && (s.server.is_some() || line.contains(" srv=<none> "))
            };
            that(all.iter().zip(text.lines()).all(known), "sessions read otherwise")
        }
        ["show", "sess", "all"] => that(text.starts_with("0x"), "no session"),
        ["help", ..] => that(text.starts_with("The following commands are valid"), "no help"),
        ["get", "var", ..] => Ok(()),
        ["add", "server", "help"] => that(text.contains("keywords supported"), "no list"),
        ["wait", ..] => that(text.is_empty() || text.contains("Done") || text.contains("wait"), "not done"),
        ["echo", rest @ ..] => same(&rest.join(" "), text),
        ["add" | "del", "backend", ..] | ["publish" | "unpublish", ..] => {
            that(text.to_lowercase().contains("backend "), "no backend")
        }
        ["set", "server", _, "name", _] => same("Server name updated.", text),
        ["prompt", ..] | ["quit"] | [] => that(text.is_empty(), "not empty"),
        ["show", ..] | ["get", ..] | ["#", ..] => Err(format!("nothing reads this answer: {text:?}")),
        // An order, whose success the command itself has told.
        _ => Ok(()),
    }
}

fn number(value: &TypedValue) -> (&'static str, String) {
    match value {
        TypedValue::S32(n) => ("s32", n.to_string()),
        TypedValue::S64(n) => ("s64", n.to_string()),
        TypedValue::U32(n) => ("u32", n.to_string()),
        TypedValue::U64(n) => ("u64", n.to_string()),
        TypedValue::Float(n) => ("flt", n.to_string()),
        TypedValue::Text(text) => ("str", text.clone()),
    }
}

fn typed_line(field: &TypedField) -> String {
    let (kind, value) = number(&field.value);
    format!("{}.{}.{}:{}:{kind}:{value}", field.position, field.name, field.process, field.tags)
}

fn info(rest: &[&str], text: &str) -> Result<(), String> {
    match rest {
        ["json"] => read_as(serde_json::from_str::<Value>(text)).map(drop),
        ["typed"] => {
            let fields = read_as(TypedField::parse_info(text))?;
            same(&fields.iter().map(typed_line).collect::<Vec<_>>().join("\n"), text)
        }
        _ => {
            let info = read_as(Info::parse(text))?;
            let lines: Vec<String> = info.fields().map(|(n, v)| format!("{n}: {v}").trim_end().to_owned()).collect();
            let want: Vec<&str> = text.lines().map(str::trim_end).collect();
            same(&lines.join("\n"), &want.join("\n"))?;
            that(rest == ["desc"] || info.pid() > 0, "no process number")
        }
    }
}

fn typed_stat(text: &str) -> Result<(), String> {
    let all = read_as(TypedStat::parse(text))?;
    let lines: Vec<String> = all
        .iter()
        .map(|s| {
            let kind = match s.object.kind {
                StatKind::Frontend => "F",
                StatKind::Backend => "B",
                StatKind::Server => "S",
                StatKind::Listener => "L",
            };
            format!("{kind}.{}.{}.{}", s.object.proxy, s.object.id, typed_line(&s.field))
        })
        .collect();
    let want: Vec<&str> = text.lines().filter(|l| !l.is_empty()).collect();
    same(&lines.join("\n"), &want.join("\n"))
}

fn stat(rest: &[&str], text: &str) -> Result<(), String> {
    let table = read_as(StatTable::parse(text))?;
    let mut out = format!("# {},", table.columns().names().join(","));
    for row in table.rows() {
        out.push('\n');
        for (_, value) in row.fields() {
            out.push_str(value);
            out.push(',');
        }
        that(row.kind().is_some(), "a line without a type")?;
        let known = !matches!(row.status(), crate::runtime::ServerStatus::Other(_));
        that(known, &format!("a status that is not known: {}", row.status()))?;
    }
    same(&out, &text.replace('"', ""))?;
    let (servers, proxy) = (rest.get(1) == Some(&"4"), rest.first().filter(|p| **p != "-1"));
    for row in table.rows() {
        that(!servers || row.kind() == Some(StatKind::Server), "not a server")?;
        that(proxy.is_none_or(|p| row.proxy() == *p), "of another proxy")?;
    }
    Ok(())
}

fn dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("-")
}

fn state(rest: &[&str], text: &str) -> Result<(), String> {
    let all = read_as(ServerState::parse_all(text))?;
    that(all.len() + 2 == text.lines().count(), "lines are missing")?;
    for (s, line) in all.iter().zip(text.lines().skip(2)) {
        let w: Vec<&str> = line.split(' ').collect();
        that(w.len() == 25, "25 columns")?;
        let address = s.address.map_or("-".to_owned(), |a| a.to_string());
        let since = s.since_change.as_secs();
        let got = format!(
            "{} {} {} {} {address} {} {} {} {} {since} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
            s.backend_id,
            s.backend,
            s.id,
            s.name,
            s.operation,
            s.admin,
            s.weight,
            s.initial_weight,
            w[10],
            w[11],
            w[12],
            s.check,
            s.agent,
            w[15],
            u8::from(s.has_forced_id),
            dash(&s.fqdn),
            s.port,
            w[19],
            u8::from(s.uses_ssl),
            s.check_port,
            dash(&s.check_address),
            dash(&s.agent_address),
            s.agent_port,
        );
        same(&got, line)?;
        that(rest.first().is_none_or(|b| s.backend == *b), "of another backend")?;
    }
    Ok(())
}

fn conn(rest: &[&str], text: &str) -> Result<(), String> {
    let all = read_as(ServerConns::parse_all(text))?;
    that(all.len() + 1 == text.lines().count(), "lines are missing")?;
    let head: Vec<&str> = text.lines().next().unwrap_or_default()[2..].split(' ').collect();
    for (s, line) in all.iter().zip(text.lines().skip(1)) {
        let w: Vec<&str> = line.split(' ').collect();
        let at = |name: &str| head.iter().position(|h| *h == name).and_then(|i| w.get(i)).copied();
        same(&format!("{}/{}", s.backend, s.server), w[0])?;
        same(&s.used.to_string(), at("used_cur").unwrap_or_default())?;
        same(&s.idle.to_string(), at("idle_cur").unwrap_or_default())?;
        that(s.served.map(|n| n.to_string()).as_deref() == at("served"), "served")?;
        that(rest.first().is_none_or(|b| s.backend == *b), "of another backend")?;
    }
    Ok(())
}

fn maps(text: &str) -> Result<(), String> {
    let all = read_as(MapInfo::parse_all(text))?;
    let mut out = "# id (file) description".to_owned();
    for m in &all {
        out += &format!(
            "\n{} ({}) {} curr_ver={} next_ver={} entry_cnt={}",
            m.id, m.path, m.description, m.version, m.prepared, m.entries
        );
    }
    same(&out, text)
}

fn hit(text: &str) -> Result<(), String> {
    let hit = read_as(text.parse::<MapHit>())?;
    that(text.starts_with(&format!("type={},", hit.method)), "its type")?;
    match hit.found {
        None => that(text.contains("=no"), "found, but not read"),
        Some((key, value)) => {
            let map = text.contains(&format!("key=\"{key}\", value=\"{value}\""));
            that(map || text.ends_with(&format!("pattern=\"{key}\"")), "key and value")
        }
    }
}

fn table(name: &str, rest: &[&str], text: &str) -> Result<(), String> {
    if text.is_empty() {
        return that(rest.first() == Some(&"key"), "no line of the table");
    }
    let mut reader = TableReader::default();
    let mut entries: Vec<(TableEntry, &str)> = vec![];
    for line in text.lines() {
        if let Some(entry) = read_as(reader.read(line))? {
            entries.push((entry, line));
        }
    }
    let info = reader.info().ok_or("no line of the table")?;
    same(&info.name, name)?;
    that(!rest.is_empty() || info.used == entries.len() as u64, "entries are missing")?;
    for (entry, line) in entries {
        let key = entry.key.replace('\\', "\\\\").replace(' ', "\\ ");
        let mut words: Vec<String> =
            vec![format!("key={key}"), format!("use={}", entry.used), format!("exp={}", entry.expires.as_millis())];
        words.extend(entry.server_id.map(|id| format!("server_id={id}")));
        words.extend(entry.data.iter().map(|(n, v)| format!("{n}={v}")));
        words.push(format!("server_key={}", dash(&entry.server_key)));
        let rest = line.split_once(": ").map(|(_, r)| r).unwrap_or_default();
        let want: Vec<String> = rest.split(' ').filter(|w| !w.starts_with("shard=")).map(str::to_owned).collect();
        let (mut got, mut want) = (words.join(" ").split(' ').map(str::to_owned).collect::<Vec<_>>(), want);
        got.sort();
        want.sort();
        that(got == want, &format!("entry {line:?} read as {got:?}"))?;
    }
    Ok(())
}

fn peers(text: &str) -> Result<(), String> {
    let sections = read_as(PeersSection::parse_all(text))?;
    let lines = |begin: &str| text.lines().filter(|l| l.trim_start().starts_with(begin)).count();
    let peers: Vec<_> = sections.iter().flat_map(|s| &s.peers).collect();
    let tables: Vec<_> = peers.iter().flat_map(|p| &p.tables).collect();
    that(sections.len() == text.lines().filter(|l| l.starts_with("0x")).count(), "sections are missing")?;
    that(tables.len() == lines("table:"), "tables are missing")?;
    for t in tables {
        let line = format!("id={} update={} localupdate={}", t.name, t.update, t.local_update);
        that(text.contains(&line), "figures of a table")?;
        let line = format!("last_acked={} last_pushed={} last_get={} ", t.last_acked, t.last_pushed, t.last_get);
        that(text.contains(&line), "what was exchanged of a table")?;
    }
    for p in peers {
        let kind = if p.local { "local" } else { "remote" };
        that(text.contains(&format!("id={}({kind},", p.name)), "a peer")?;
        that(text.contains(&format!(" addr={} ", p.address)), "its address")?;
        that(text.contains(&format!("last_status={} ", p.last_status)), "its status")?;
    }
    Ok(())
}
