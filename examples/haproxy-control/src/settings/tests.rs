use super::*;

const LEAST: &str = "[[haproxy]]\nname = \"a\"\nruntime = \"/s\"\n[rooms]\nbackend = \"rooms\"\nmap = \"/p.map\"\n";

#[test]
fn the_example_is_in_force_as_it_stands() {
    let settings = Settings::parse("control.toml", EXAMPLE).unwrap();
    // Everything commented out in it can be switched on.
    let all: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || is_key(rest)).unwrap_or(line))
        .map(|line| format!("{}\n", line.replace("${HAPROXY_CONTROL_TOKEN}", "t")))
        .collect();
    let full = Settings::parse("all", &all).unwrap();
    assert!(full.probe.is_some() && full.ask.is_some() && full.apply.is_some(), "{all}");
    assert!(full.spoe.is_some() && full.peers.is_some() && full.agent.is_some(), "{all}");
    assert_eq!(settings.rooms[0].ttl.get().as_secs(), 8 * 3600);
    // What is printed as in force can be read, and is in force.
    let printed = settings.effective().unwrap();
    assert_eq!(Settings::parse("printed", &printed).unwrap().effective().unwrap(), printed);
    assert_eq!(full.rooms[0].ttl.get(), settings.rooms[0].ttl.get());
    let spoe = full.clone().in_mode(None, "all").unwrap();
    assert_eq!((spoe.rooms[0].mode(), spoe.spoe), (Mode::Map, Some(Spoe::default())), "what is shown is the default");
    assert_eq!((full.peers.clone().unwrap(), full.agent.clone().unwrap()), (Peers::default(), AgentPort::default()));
    assert!(full.effective().unwrap().contains("token = \"***\""));
}

fn is_key(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

#[test]
fn what_cannot_be_is_refused_with_its_line() {
    let refused = |more: &str| Settings::parse("c", &format!("{LEAST}{more}")).unwrap_err().to_string();
    assert!(refused("mapp = \"x\"\n").contains("c:7: unknown field `mapp`"), "{}", refused("mapp = \"x\"\n"));
    assert!(refused("mapp = \"x\"\n").contains("did you mean \"map\"?"));
    assert!(refused("ttl = \"8 o'clock\"\n").contains("c:7"));
    assert!(refused("[store]\nurl = \"redis://:${NOT_SET_AT_ALL}@x\"\n").contains("NOT_SET_AT_ALL is not set"));
    assert!(refused("[health]\ndecide = \"both\"\n").contains("no [probe] block"));
    assert!(refused("[http]\nlisten = \"0.0.0.0:1\"\n").contains("http.token"));
    assert!(refused("[http]\ntoken = \"\"\n").contains("http.token is empty"));
    assert!(refused("[loop]\nresync = \"0s\"\n").contains("loop.resync is 0ms"));
    assert!(refused("[probe]\ninter = \"0s\"\n").contains("probe.inter is 0ms"));
    assert!(refused("[probe]\nstatuses = [399, 200]\n").contains("probe.statuses is [399, 200]"));
    for odd in ["", "rooms", "https://{address}:{port}/rooms", "http://{adress}/", "http://u:secret@ h/"] {
        let why = refused(&format!("[ask]\nurl = \"{odd}\"\n"));
        assert!(
            why.contains("ask.url: ") && why.contains("{address}:{port}") && !why.contains("secret"),
            "{odd}: {why}"
        );
    }
    assert!(refused("[ask]\nurl = \"http://{address}/\"\nlabel = \"\"\n").contains("ask.label is empty"));
    assert!(refused("[[haproxy]]\nname = \"b\"\nruntime = \"nowhere\"\n").contains("runtime of haproxy \"b\""));
    let twice = format!("{LEAST}[[haproxy]]\nname = \"a\"\nruntime = \"/t\"\n");
    assert!(Settings::parse("c", &twice).unwrap_err().to_string().contains("are called \"a\""));
}

#[test]
fn only_a_process_of_this_host_gets_its_map_file_unasked() {
    for (runtime, here) in
        [("/run/a.sock", true), ("unix@/run/a.sock", true), ("127.0.0.1:9999", false), ("utrecht:9999", false)]
    {
        let settings = Settings::parse("c", &LEAST.replace("/s", runtime)).unwrap();
        assert_eq!(settings.haproxy[0].pins_path(&settings.rooms[0]).is_some(), here, "{runtime}");
    }
}

#[test]
fn each_backend_has_its_mode_and_what_the_mode_needs() {
    let read = |text: &str, default| Settings::parse("c", text)?.in_mode(default, "c");
    let refused = |text: &str, default| read(text, default).unwrap_err().to_string();
    let bare = LEAST.replace("map = \"/p.map\"\n", "");
    assert_eq!(read(LEAST, None).unwrap().rooms[0].mode(), Mode::Map);
    assert!(refused(&bare, None).contains("rooms.map of rooms is missing"));
    assert_eq!(read(&bare, Some(Mode::Spoe)).unwrap().rooms[0].mode(), Mode::Spoe);
    assert!(refused(LEAST, Some(Mode::Spoe)).contains("has no meaning in mode \"spoe\""));
    // What the file says beats the flag.
    assert_eq!(read(&format!("{LEAST}mode = \"map\"\n"), Some(Mode::Peers)).unwrap().rooms[0].mode(), Mode::Map);
    assert!(read(&bare, Some(Mode::Peers)).is_ok(), "it waits for calls");
    let silent = format!("{bare}[peers]\nlisten = \"\"\n");
    assert!(refused(&silent, Some(Mode::Peers)).contains("nobody calls"));
    for (mode, block) in [(Mode::Spoe, "spoe"), (Mode::Peers, "peers"), (Mode::Spoe, "agent")] {
        let open = format!("{bare}[{block}]\nlisten = \"0.0.0.0:9000\"\n");
        let why = refused(&open, Some(mode));
        assert!(why.contains("is public") && why.contains(&format!("{block}.anywhere = true")), "{why}");
        assert!(read(&format!("{open}anywhere = true\n"), Some(mode)).is_ok());
    }
    let two = |more: &str| {
        let head = LEAST.split("[rooms]").next().unwrap();
        format!("{head}[[rooms]]\nbackend = \"a\"\nmode = \"spoe\"\n[[rooms]]\nbackend = \"b\"\n{more}")
    };
    assert!(refused(&two("mode = \"peers\"\n"), None).contains("the namespace \"\""));
    for with in ["a", "pages"] {
        let mine = two(&format!("mode = \"peers\"\nnamespace = \"b\"\nwith = [\"{with}\"]\n"));
        let why = refused(&mine.replacen("mode = \"spoe\"\n", "mode = \"spoe\"\nwith = [\"pages\"]\n", 1), None);
        assert!(why.contains("which another [[rooms]] block looks after"), "{why}");
    }
    let both = read(&two("mode = \"peers\"\nnamespace = \"b\"\n"), None).unwrap();
    let printed = both.effective().unwrap();
    assert_eq!(read(&printed, None).unwrap().effective().unwrap(), printed);
    let asked = refused(&two("mode = \"spoe\"\nnamespace = \"b\"\n"), None);
    assert!(asked.contains("the message \"place\""), "{asked}");
    assert!(refused(&two("strategy = \"best\"\nmode = \"spoe\"\n"), None).contains("least-loaded"));
}

#[test]
fn no_password_is_printed() {
    let mut settings = Settings::parse("c", LEAST).unwrap();
    settings.store.url = Text::from("redis://:hidden@h");
    assert!(!settings.effective().unwrap().contains("hidden") && !format!("{settings:?}").contains("hidden"));
}
