//! What a controller says, for people.

use serde_json::Value;

use super::{Cell, LISTED, counted, printable, table};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> Cell {
    Cell::number(value.as_u64())
}

/// Everything at a glance.
pub(super) fn status(status: &Value) -> String {
    let servers: Vec<Vec<Cell>> = list(&status["servers"])
        .iter()
        .map(|server| {
            let seen = server["seen"].as_object().into_iter().flatten();
            let seen: Vec<String> = seen.map(|(process, word)| format!("{process}={}", text(word))).collect();
            vec![
                Cell::text(text(&server["name"])),
                Cell::text(&if server["dead"] == true {
                    format!("{}, rooms move", text(&server["verdict"]))
                } else {
                    text(&server["verdict"]).to_owned()
                }),
                Cell::text(text(&server["order"])),
                number(&server["rooms"]),
                number(&server["sessions"]),
                number(&server["weight"]),
                Cell::text(text(&server["address"])),
                Cell::text(&seen.join(" ")),
            ]
        })
        .collect();
    let processes: Vec<Vec<Cell>> = list(&status["processes"])
        .iter()
        .map(|process| {
            vec![
                Cell::text(text(&process["name"])),
                Cell::text(if process["up"] == true { "up" } else { "lost" }),
                number(&process["pid"]),
                Cell::text(text(&process["version"])),
                number(&process["pins"]),
                number(&process["behind"]),
                Cell::text(text(&process["trouble"])),
            ]
        })
        .collect();
    let mut out = match (text(&status["mode"]), list(&status["backends"]).len()) {
        ("map" | "", 0 | 1) => String::new(),
        (mode, _) => format!("{}, places are written by {}\n\n", printable(text(&status["backend"])), how(mode)),
    };
    out.push_str(&table(&["SERVER", "VERDICT", "ORDER", "ROOMS", "SESSIONS", "WEIGHT", "ADDRESS", "SEEN"], &servers));
    out.push('\n');
    out.push_str(&table(&["PROCESS", "STATE", "PID", "VERSION", "PINS", "BEHIND", "TROUBLE"], &processes));
    out.push_str(&beside(status));
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    let store = match status["store_trouble"].as_str() {
        Some(why) => format!("lost: rooms that are known stay, and nothing moves ({})", printable(why)),
        None if status["store_up"] == true => "up".to_owned(),
        None => "not read yet".to_owned(),
    };
    let rooms = counted(usize::try_from(count("rooms")).unwrap_or(usize::MAX), "room");
    out.push_str(&format!(
        "\n{rooms}, {} on two servers, {} without a server; store {store}\n",
        count("splits"),
        count("stranded")
    ));
    if let Some(why) = status["unready"].as_str() {
        // Of each HAProxy it is told above.
        let why = if list(&status["processes"]).iter().any(|process| process["up"] == true) {
            why
        } else {
            "no HAProxy answers"
        };
        out.push_str(&format!("nothing is in control: {}\n", printable(why)));
    }
    out
}

fn how(mode: &str) -> &'static str {
    match mode {
        "spoe" => "nobody: HAProxy asks (SPOE)",
        "peers" => "a peer, in stick tables",
        _ => "map entries",
    }
}

/// Agents and peers.
fn beside(status: &Value) -> String {
    let mut out = String::new();
    if let Some(peers) = status["peers"]["peers"].as_array() {
        let rows: Vec<Vec<Cell>> = peers
            .iter()
            .map(|peer| {
                let state = if peer["connected"] == true { "connected" } else { "not connected" };
                let last = if peer["connected"] == true { "" } else { text(&peer["last"]) };
                let counts = ["updates_in", "updates_out"].map(|name| number(&peer[name]));
                let [told, taught] = counts;
                vec![Cell::text(text(&peer["name"])), Cell::text(state), told, taught, Cell::text(last)]
            })
            .collect();
        out.push('\n');
        out.push_str(&table(&["PEER", "STATE", "LEARNED", "TAUGHT", "TROUBLE"], &rows));
    }
    let count = |of: &Value, name: &str| of[name].as_u64().unwrap_or(0);
    for of in list(&status["peers"]["tables"]) {
        out.push_str(&format!(
            "\ntable {}: {} entries, {} conflicts\n",
            printable(text(&of["name"])),
            count(of, "entries"),
            count(of, "conflicts")
        ));
    }
    let (spoe, agent) = (&status["spoe"], &status["agent"]);
    if spoe.is_object() {
        out.push_str(&format!(
            "\nHAProxy asks over {} connections: {} rooms placed, {} adopted, {} answers for known ones, {} late\n",
            count(spoe, "connections"),
            count(spoe, "placed"),
            count(spoe, "adopted"),
            count(spoe, "kept"),
            count(spoe, "late")
        ));
    }
    if agent.is_object() {
        out.push_str(&format!("\n{} agent checks answered", count(agent, "answered")));
        for (name, what) in [
            ("unknown", "about servers that are not known: see the log"),
            ("turned_away", "turned away: too many at a time"),
        ] {
            if count(agent, name) > 0 {
                out.push_str(&format!(", {} {what}", count(agent, name)));
            }
        }
        out.push('\n');
    }
    out
}

/// Where the place of a room is written, in another mode than by a map.
fn written(report: &Value) -> String {
    let mut out = String::new();
    for one in list(&report["written"]) {
        let server = printable(one["server"].as_str().unwrap_or("nothing"));
        if let Some(number) = one["decision"].as_u64() {
            let why = printable(text(&one["why"]));
            out.push_str(&format!("  SPOE decision {number}: {server}, {why}\n"));
            continue;
        }
        let peer = match one["peer_connected"].as_bool() {
            Some(true) => " (peer connected)",
            Some(false) => " (peer not connected)",
            None => "",
        };
        out.push_str(&format!("  {} in {}: {server}{peer}\n", text(&one["what"]), printable(text(&one["in"]))));
    }
    out
}

/// Where a room is, and why.
pub(super) fn room(report: &Value) -> String {
    let mut out = match report["server"].as_str() {
        Some(server) => format!("{} is on {}", printable(text(&report["room"])), printable(server)),
        None if report["asked"] == false => format!("nobody can say where {} is", printable(text(&report["room"]))),
        None => format!("{} is on no server", printable(text(&report["room"]))),
    };
    out.push_str(&format!(": {}\n", printable(text(&report["because"]))));
    if let Some(verdict) = report["verdict"].as_str() {
        let unused = report["unused_ms"].as_u64().unwrap_or(0) / 1000;
        out.push_str(&format!("  its server is {verdict}; somebody last came {unused} s ago\n"));
    }
    let by_map = matches!(text(&report["mode"]), "map" | "");
    if !by_map {
        out.push_str(&written(report));
    }
    for process in list(&report["processes"]) {
        if !by_map {
            if let Some(why) = process["trouble"].as_str() {
                out.push_str(&format!("  {}: {}\n", text(&process["process"]), printable(why)));
            }
            continue;
        }
        let told = |name: &str| printable(process[name].as_str().unwrap_or("nothing"));
        out.push_str(&format!(
            "  {}: map says {}, table says {}",
            text(&process["process"]),
            told("pin"),
            told("table")
        ));
        match process["trouble"].as_str() {
            Some(why) => out.push_str(&format!(" ({})\n", printable(why))),
            None => out.push('\n'),
        }
    }
    if report["server"].is_null() && report["asked"] == true {
        let to = report["would_go"].as_str().unwrap_or("nowhere: no server takes rooms");
        out.push_str(&format!("  it would go to {}\n", printable(to)));
    }
    for one in list(&report["excluded"]) {
        out.push_str(&format!("  {} takes no new rooms: {}\n", printable(text(&one[0])), printable(text(&one[1]))));
    }
    for moved in list(&report["moves"]) {
        let (from, to) = (printable(text(&moved["from"])), printable(text(&moved["to"])));
        out.push_str(&format!("  moved from {from} to {to}: {}\n", text(&moved["why"])));
    }
    out
}

/// Rooms on two servers.
pub(super) fn splits(found: &Value) -> String {
    let mut rows = Vec::new();
    for room in list(&found["rooms"]) {
        for seen in list(&room["seen"]) {
            rows.push(vec![
                Cell::text(text(&room["room"])),
                Cell::text(text(&room["home"])),
                Cell::text(text(&seen["server"])),
                Cell::text(text(&seen["by"])),
                Cell::number(seen["used_ms_ago"].as_u64().map(|ms| ms / 1000)),
                number(&seen["people"]),
            ]);
        }
    }
    let mut out = String::new();
    if !rows.is_empty() {
        out.push_str(&table(&["ROOM", "HOME", "SEEN ON", "BY", "USED S AGO", "PEOPLE"], &rows));
        out.push('\n');
    }
    let count = list(&found["rooms"]).len();
    let asked: Vec<&str> = list(&found["asked"]).iter().map(text).collect();
    out.push_str(&format!("{} on two servers; asked: {}\n", counted(count, "room"), asked.join(", ")));
    for (who, why) in found["silent"].as_object().into_iter().flatten() {
        out.push_str(&format!("not asked: {}: {}\n", printable(who), printable(text(why))));
    }
    out
}

/// What an order would come to.
pub(super) fn would(order: &str, left: &Value, moves: &[Value]) -> String {
    let server = printable(text(&left["server"]));
    match order {
        "maint" => format!("{}{server} would then take nothing\n", moved(moves)),
        "ready" if left["order"].is_null() => format!("nothing: {server} is under no order\n"),
        "ready" => format!("{server} would take new rooms again; none returns\n"),
        _ => format!("{server} would take no new rooms and keep what it has: {}\n", self::left(left)),
    }
}

/// Rooms that would move.
pub(crate) fn moved(moves: &[Value]) -> String {
    let mut out = String::new();
    for one in moves.iter().take(LISTED) {
        let word = |name: &str| printable(one[name].as_str().unwrap_or("nowhere"));
        let at = one["backend"].as_str().map(|backend| format!(" of {}", printable(backend))).unwrap_or_default();
        out.push_str(&format!("room {}{at}: {} -> {}\n", word("room"), word("from"), word("to")));
    }
    if moves.len() > LISTED {
        out.push_str(&format!("and {} more rooms\n", moves.len() - LISTED));
    }
    out.push_str(&format!("{} would move\n", counted(moves.len(), "room")));
    out
}

/// What is left, in one line.
pub(super) fn left(left: &Value) -> String {
    let rooms = counted(list(&left["rooms"]).len(), "room");
    let sessions = counted(usize::try_from(left["sessions"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX), "session");
    let yet = if left["in_force"] == false { ", not in force yet" } else { "" };
    let entries = match left["entries"].as_u64() {
        Some(n @ 1..) => format!(", {} in stick tables", counted(usize::try_from(n).unwrap_or(usize::MAX), "room")),
        _ => String::new(),
    };
    format!("{rooms} in use, {} idle{entries}, {sessions}{yet}", left["idle"].as_u64().unwrap_or(0))
}

/// What is left, by room.
pub(super) fn remaining(left: &Value) -> String {
    let rooms = list(&left["rooms"]);
    let rows: Vec<Vec<Cell>> =
        rooms.iter().take(LISTED).map(|one| vec![Cell::text(text(&one[0])), number(&one[1])]).collect();
    let mut out = table(&["ROOM", "USED S AGO"], &rows);
    if rooms.len() > LISTED {
        out.push_str(&format!("and {} more\n", rooms.len() - LISTED));
    }
    out.push_str(&format!("{}\n", self::left(left)));
    out
}
