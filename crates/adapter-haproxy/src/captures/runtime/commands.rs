//! What was sent, written again.

use std::net::IpAddr;

use crate::HaproxyVersion;
use crate::runtime::{
    AddServer, AdminState, AgentState, Command, CommandError, HealthState, MapEntry, ServerName, StatKinds, StatScope,
    TableFilter, TableKey, TableTest, WeightChange,
};

/// The commands in what was sent over one connection. 3.x reads one line only, and tags of payloads.
pub(super) fn cut(send: &str, modern: bool) -> Vec<String> {
    let mut out = vec![];
    let mut lines = send.strip_suffix('\n').unwrap_or(send).split('\n');
    let interactive = send.starts_with("prompt") && !send.starts_with("prompt n");
    while let Some(whole) = lines.next() {
        let line = whole.trim_end_matches('\r');
        let tag = line.rsplit_once(" <<").map(|(_, tag)| tag);
        if tag == Some("") || (modern && tag.is_some()) {
            let end = tag.unwrap_or_default();
            let payload: Vec<&str> = lines.by_ref().take_while(|l| *l != end).collect();
            out.push(format!("{line}\n{}", payload.join("\n")));
        } else {
            let mut one = String::new();
            let mut escaped = false;
            for c in line.chars() {
                if c == ';' && !escaped {
                    out.push(std::mem::take(&mut one).trim().to_owned());
                } else {
                    one.push(c);
                }
                escaped = c == '\\' && !escaped;
            }
            out.push(one.trim().to_owned());
        }
        // 3.x takes the carriage return for one more command.
        if modern && line.len() < whole.len() {
            out.push(String::new());
        }
        if modern && !interactive {
            break;
        }
    }
    // Behind `<<` glued to a word old releases read the lines, an empty one among them, as commands.
    if out.len() > 1 && out.last().is_some_and(String::is_empty) && send.ends_with("\n\n") && send.contains("<<\n") {
        out.truncate(1);
    }
    out
}

/// The words of a command, escapes kept.
pub(super) fn words(line: &str) -> Vec<&str> {
    line.lines().next().unwrap_or_default().split(' ').filter(|w| !w.is_empty()).collect()
}

/// The command as this crate writes it, which must be what was sent; or as typed, if it is one to be refused.
pub(super) fn written(line: &str, words: &[&str]) -> Result<Command, String> {
    match typed(line, words) {
        Some(Ok(command)) => {
            let first = line.lines().next().unwrap_or_default();
            let first = first.strip_suffix(" <<").unwrap_or(first);
            if command.line() == first || command.line().split("ms").collect::<String>() == first {
                Ok(command)
            } else {
                Err(format!("we would have sent {:?}", command.line()))
            }
        }
        // What we refuse to send, or have no constructor for.
        Some(Err(_)) | None => Ok(unwritten(line, words)),
    }
}

fn unwritten(line: &str, words: &[&str]) -> Command {
    let silent = Command::clear_counters(false);
    match words {
        ["add", "server", "help"] => Command::show_info(),
        ["add", "server", ..] => add_server("a/b", "127.0.0.1:1", &[]).unwrap_or(silent),
        ["set", "server", _, "addr", ..] => address("a/b", &["127.0.0.1"]).unwrap_or(silent),
        ["set", "server", _, "name", ..] => Command::show_info(),
        ["add" | "del", "backend", ..] | ["publish" | "unpublish", ..] => Command::show_info(),
        ["prepare", ..] => Command::prepare_map("m").unwrap_or(silent),
        ["show" | "get" | "help" | "wait" | "echo" | "prompt" | "quit" | "nosuch" | "nosuchcommand" | "#", ..] | [] => {
            Command::show_info()
        }
        _ if super::raw(line).is_ok_and(|c| !c.writes()) => Command::show_info(),
        _ => silent,
    }
}

fn name(text: &str) -> Result<ServerName, CommandError> {
    text.parse()
}

fn unescape(word: &str) -> String {
    let mut out = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn address(server: &str, rest: &[&str]) -> Result<Command, CommandError> {
    let bad = || CommandError::Empty { what: "address" };
    let ip: IpAddr = rest.first().and_then(|t| t.parse().ok()).ok_or_else(bad)?;
    let port = match rest {
        [_] => None,
        [_, "port", port] if !port.starts_with(['+', '-']) => Some(port.parse().map_err(|_| bad())?),
        _ => return Err(bad()),
    };
    Ok(Command::set_address(&name(server)?, ip, port))
}

/// The same server with the id HAProxy was left to choose.
fn add_server(server: &str, address: &str, rest: &[&str]) -> Result<Command, CommandError> {
    let bad = || CommandError::Empty { what: "address" };
    let address = address.parse().map_err(|_| bad())?;
    let mut add = AddServer::new(name(server)?, address, 1);
    for word in rest {
        add = add.word(word);
    }
    Command::add_server(&add, HaproxyVersion::new(2, 8))
}

fn filter(rest: &[&str]) -> Result<TableFilter, CommandError> {
    let bad = || CommandError::Empty { what: "filter" };
    if let ["key", key] = rest {
        return Ok(TableFilter::Key(TableKey::Text(unescape(key))));
    }
    let mut tests = vec![];
    for test in rest.chunks(3) {
        let [data, test, number] = test else { return Err(bad()) };
        let test = match *test {
            "eq" => TableTest::Eq,
            "ne" => TableTest::Ne,
            "le" => TableTest::Le,
            "ge" => TableTest::Ge,
            "lt" => TableTest::Lt,
            "gt" => TableTest::Gt,
            _ => return Err(bad()),
        };
        let data = data.strip_prefix("data.").ok_or_else(bad)?;
        tests.push((data.to_owned(), test, number.parse().map_err(|_| bad())?));
    }
    Ok(if tests.is_empty() { TableFilter::All } else { TableFilter::Data(tests) })
}

fn map_command(line: &str, words: &[&str]) -> Result<Command, CommandError> {
    let (version, rest) = match words[2..] {
        [v, ref rest @ ..] if v.starts_with('@') => (v[1..].parse().ok(), rest.to_vec()),
        ref rest => (None, rest.to_vec()),
    };
    let word = |i: usize| rest.get(i).map(|w| unescape(w)).ok_or(CommandError::Empty { what: "word" });
    let map = word(0)?;
    match words[0] {
        "show" => Command::show_map(&map, version),
        "get" => Command::get_map(&map, &word(1)?),
        "del" => Command::del_map(&map, &word(1)?),
        "clear" => Command::clear_map(&map, version),
        "prepare" => Command::prepare_map(&map),
        "commit" => Command::commit_map(&map, version.unwrap_or(0)),
        "set" => Command::set_map(&map, &MapEntry::new(word(1)?, word(2)?)?),
        "add" if words.last() == Some(&"<<") => {
            let entries: Result<Vec<_>, _> = line
                .lines()
                .skip(1)
                .map(|l| l.split_once(' ').map_or_else(|| MapEntry::new(l, ""), |(k, v)| MapEntry::new(k, v)))
                .collect();
            Command::add_map_entries(&map, version, &entries?)
        }
        _ => Err(CommandError::Empty { what: "form of ours" }),
    }
}

fn typed(line: &str, words: &[&str]) -> Option<Result<Command, CommandError>> {
    let with = |server: &str, make: &dyn Fn(&ServerName) -> Command| Some(name(server).map(|n| make(&n)));
    let bad = || CommandError::Empty { what: "number" };
    match words {
        ["show", "version"] => Some(Ok(Command::show_version())),
        ["show", "info"] => Some(Ok(Command::show_info())),
        ["show", "info", "typed"] => Some(Ok(Command::show_info_typed())),
        ["show", "cli", "level"] => Some(Ok(Command::show_level())),
        ["show", "cli", "sockets"] => Some(Ok(Command::show_cli_sockets())),
        ["show", "backend"] => Some(Ok(Command::show_backends())),
        ["show", "servers", "state"] => Some(Ok(Command::show_servers_state())),
        ["show", "servers", "state", backend] => Some(Command::show_servers_state_of(backend)),
        ["show", "servers", "conn", backend] => Some(Command::show_servers_conn_of(backend)),
        ["show", "stat", proxy, "4", "-1"] if *proxy != "-1" => {
            Some(Command::show_stat(StatScope::Proxy(proxy), StatKinds::Servers))
        }
        ["show", "stat", proxy, "7", "-1"] => Some(Command::show_stat(StatScope::Proxy(proxy), StatKinds::All)),
        ["show", "stat", proxy, "1", "-1"] => Some(Command::show_stat(StatScope::Proxy(proxy), StatKinds::Frontends)),
        ["show", "peers"] => Some(Ok(Command::show_peers())),
        ["show", "sess"] => Some(Ok(Command::show_sessions())),
        ["show", "errors"] => Some(Ok(Command::show_errors())),
        ["show", "startup-logs"] => Some(Ok(Command::show_startup_logs())),
        ["show", "env", variable] => Some(Command::show_env(variable)),
        ["show", "activity" | "resolvers"] => Some(Command::show(words[1])),
        ["clear", "counters"] => Some(Ok(Command::clear_counters(false))),
        ["clear", "counters", "all"] => Some(Ok(Command::clear_counters(true))),
        ["get", "weight", server] => with(server, &Command::get_weight),
        ["set", "server", server, "state", state] => {
            let state = match *state {
                "ready" => AdminState::Ready,
                "drain" => AdminState::Drain,
                "maint" => AdminState::Maint,
                _ => return None,
            };
            with(server, &|n| Command::set_state(n, state))
        }
        ["set", "server", server, "weight", weight] => {
            let weight = match weight.strip_suffix('%') {
                Some(percent) => percent.parse().map(WeightChange::Percent),
                None => weight.parse().map(WeightChange::Absolute),
            };
            let weight = weight.map_err(|_| bad());
            Some(name(server).and_then(|n| Command::set_weight(&n, weight?)))
        }
        ["set", "server", server, "addr", rest @ ..] => Some(address(server, rest)),
        ["set", "server", server, "health", health] => {
            let health = match *health {
                "up" => HealthState::Up,
                "stopping" => HealthState::Stopping,
                _ => HealthState::Down,
            };
            with(server, &|n| Command::set_health(n, health))
        }
        ["set", "server", server, "agent", agent] => {
            let agent = if *agent == "up" { AgentState::Up } else { AgentState::Down };
            with(server, &|n| Command::set_agent(n, agent))
        }
        ["set", "server", server, "agent-addr", ip] => {
            let ip = ip.parse().map_err(|_| bad());
            Some(name(server).and_then(|n| Ok(Command::set_agent_address(&n, ip?))))
        }
        ["set", "server", server, "check-addr", ip] => {
            let ip = ip.parse().map_err(|_| bad());
            Some(name(server).and_then(|n| Ok(Command::set_check_address(&n, ip?, None))))
        }
        ["set", "server", server, "agent-port", port] => {
            let port = port.parse().map_err(|_| bad());
            Some(name(server).and_then(|n| Ok(Command::set_agent_port(&n, port?))))
        }
        ["set", "server", server, "check-port", port] => {
            let port = port.parse().map_err(|_| bad());
            Some(name(server).and_then(|n| Ok(Command::set_check_port(&n, port?))))
        }
        ["set", "server", server, "fqdn", fqdn] => Some(name(server).and_then(|n| Command::set_fqdn(&n, fqdn))),
        ["set", "server", server, "ssl", on] => with(server, &|n| Command::set_ssl(n, *on == "on")),
        ["set", "maxconn", "server", server, most] => {
            let most = most.parse().map_err(|_| bad());
            Some(name(server).and_then(|n| Ok(Command::set_maxconn(&n, most?))))
        }
        ["set", "maxconn", "frontend", frontend, most] => {
            let most = most.parse().map_err(|_| bad());
            Some(most.and_then(|most| Command::set_frontend_maxconn(frontend, most)))
        }
        ["enable", "server", server] => with(server, &Command::enable_server),
        ["disable", "server", server] => with(server, &Command::disable_server),
        ["enable" | "disable", "health", server] => with(server, &|n| Command::enable_health(n, words[0] == "enable")),
        ["enable" | "disable", "agent", server] => with(server, &|n| Command::enable_agent(n, words[0] == "enable")),
        ["shutdown", "sessions", "server", server] => with(server, &Command::shutdown_server_sessions),
        ["shutdown", "session", pointer] => Some(Command::shutdown_session(pointer)),
        ["add", "server", server, to, "id", id, rest @ ..] => {
            let id = id.parse().map_err(|_| bad());
            Some(name(server).and_then(|n| {
                let mut add = AddServer::new(n, to.parse().map_err(|_| bad())?, id?);
                for word in rest {
                    add = add.word(word);
                }
                Command::add_server(&add, HaproxyVersion::new(2, 8))
            }))
        }
        ["del", "server", server] => with(server, &Command::del_server),
        ["show", "map"] => Some(Ok(Command::show_maps())),
        [_, "map", ..] if words.len() > 2 => Some(map_command(line, words)),
        ["show", "table"] => Some(Ok(Command::show_tables())),
        ["show", "table", table, rest @ ..] => Some(filter(rest).and_then(|f| Command::show_table(table, &f))),
        ["clear", "table", table, rest @ ..] => Some(filter(rest).and_then(|f| Command::clear_table(table, &f))),
        ["set", "table", table, "key", key, rest @ ..] => {
            let data: Option<Vec<(&str, u64)>> = rest
                .chunks(2)
                .map(|pair| Some((pair.first()?.strip_prefix("data.")?, pair.get(1)?.parse().ok()?)))
                .collect();
            let key = TableKey::Text(unescape(key));
            Some(data.ok_or_else(bad).and_then(|data| Command::set_table(table, &key, &data)))
        }
        _ => None,
    }
}
