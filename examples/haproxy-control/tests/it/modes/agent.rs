//! Agent checks that `run` answers: weight by load, drains; an operator's maintenance stays.

use std::io::{Read, Write};

use real_servers::free_port;

use super::{Site, Wish, names};
use crate::samples::haproxies;

#[test]
fn weights_follow_the_load_and_maintenance_of_an_operator_stays() {
    for binary in haproxies() {
        let port = free_port();
        let server =
            format!("weight = 100\nagent_host = \"127.0.0.1\"\nagent_port = {port}\nagent_send = \"NAME PROCESS\"");
        let settings = format!("[agent]\nlisten = \"127.0.0.1:{port}\"\nslack = 1\n");
        let mut site = Site::start(&binary, &Wish { server: &server, settings: &settings, ..Wish::of("map", 1) });
        let weight = |site: &Site, name: &str| -> u64 {
            let state = site.order(1, "show servers state rooms");
            let line = state.lines().find(|line| line.split(' ').nth(3) == Some(name)).unwrap_or_default().to_owned();
            line.split(' ').nth(7).and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let answered = |site: &Site| site.status()["agent"]["answered"].as_u64().unwrap_or(0);
        site.until("HAProxy asks", |site| answered(site) >= 3);
        let rooms = names("class", 24);
        let homes = site.homes(1, &rooms);
        site.until("all rooms are known", |site| site.status()["rooms"] == 24);
        let count = |name: &str| homes.values().filter(|home| *home == name).count();
        let mut order = ["mm1", "mm2", "mm3"];
        order.sort_by_key(|name| count(name));
        let [least, _, most] = order;
        assert!(count(least) < count(most), "{homes:?}");
        site.until("the weight follows the load", |site| weight(site, least) == 100 && weight(site, most) < 100);
        assert_eq!(site.homes(1, &rooms), homes, "rooms stay whatever the weights");

        // A drain of ours, by both ways, and its end.
        site.done_ask(&["cordon", most]);
        let state = |site: &Site, name: &str| {
            let stat = site.order(1, "show stat");
            stat.lines().find(|line| line.starts_with(&format!("rooms,{name},"))).unwrap_or_default().to_owned()
        };
        site.until("it is drained", |site| state(site, most).contains(",DRAIN"));
        let then = answered(&site);
        site.until("everybody was asked again", |site| {
            assert_eq!(site.homes(1, &rooms), homes, "a drain keeps rooms");
            answered(site) >= then + 6
        });
        site.done_ask(&["uncordon", most]);
        site.until("it is up again", |site| state(site, most).contains(",UP,"));

        // An operator's maintenance is none of the agent's business.
        site.order(1, &format!("set server rooms/{least} state maint"));
        let then = answered(&site);
        site.until("everybody was asked again", |site| answered(site) >= then + 6);
        assert!(state(&site, least).contains(",MAINT,"), "{}", state(&site, least));
        // Nor is that of one who drains here meanwhile.
        site.done_ask(&["cordon", least]);
        let then = answered(&site);
        site.until("everybody was asked again", |site| answered(site) >= then + 6);
        assert!(state(&site, least).contains(",MAINT,"), "{}", state(&site, least));
        assert_eq!(site.ask(&["uncordon", least]).code, 3, "it is somebody else's");

        assert!(!site.log().contains("steps of"), "{}", site.log());

        // An agent that is gone takes nothing down.
        site.kill_control(0);
        assert!(site.home(1, "late").starts_with("mm"));
    }
}

#[test]
fn no_load_makes_nothing_of_a_small_weight() {
    for binary in haproxies() {
        let port = free_port();
        let server = format!("agent_host = \"127.0.0.1\"\nagent_port = {port}\nagent_send = \"NAME PROCESS\"");
        let settings = format!("[agent]\nlisten = \"127.0.0.1:{port}\"\nslack = 1\n");
        let site = Site::start(&binary, &Wish { server: &server, settings: &settings, ..Wish::of("map", 1) });
        let rooms = names("class", 24);
        let homes = site.homes(1, &rooms);
        site.until("all rooms are known", |site| site.status()["rooms"] == 24);
        let answered = |site: &Site| site.status()["agent"]["answered"].as_u64().unwrap_or(0);
        let weights = |site: &Site| -> Vec<String> {
            let state = site.order(1, "show servers state rooms");
            let lines = state.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()) && line.len() > 2);
            lines.filter_map(|line| Some(line.split(' ').nth(7)?.to_owned())).collect()
        };
        let then = answered(&site);
        site.until("everybody was asked, the loads known", |site| answered(site) >= then + 12);
        let loaded: std::collections::BTreeSet<&String> = homes.values().collect();
        assert_eq!((loaded.len(), weights(&site)), (3, vec!["1".to_owned(); 3]), "{homes:?}");
        assert_eq!(site.log().matches("steps of 100 %").count(), 3, "said once of each: {}", site.log());
        // Names that are no servers are told of, so many of them.
        assert!(!site.log().contains("is no server here"), "{}", site.log());
        // At first nobody knew any.
        let before = site.status()["agent"]["unknown"].as_u64().unwrap();
        for n in 0..40 {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(format!("mn{n} lb1\n").as_bytes()).unwrap();
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "nothing is said of it");
        }
        let log = site.log();
        assert_eq!(log.matches("is no server here").count(), 32, "{log}");
        assert!(log.contains("lb1 asks about \"mn0\", which is no server here") && log.contains("agent-send"), "{log}");
        let status = site.ask(&["status"]).out;
        let told = format!(", {} about servers that are not known: see the log", before + 40);
        assert!(status.contains(&told), "{told}: {status}");
        // One that is drained takes nothing new, the others do.
        site.done_ask(&["cordon", "mm1"]);
        let late = |site: &Site| site.homes(1, &names("late", 9));
        site.until("it takes none", |site| site.server("mm1")["takes_rooms"] == false);
        assert!(late(&site).values().all(|home| home == "mm2" || home == "mm3"), "{:?}", late(&site));
    }
}
