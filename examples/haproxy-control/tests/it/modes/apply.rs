//! `apply` for several backends with rooms, and in some processes only.

use super::site::settings_file;
use super::{Site, Wish, names};
use crate::Ran;
use crate::control::room_server;
use crate::samples::haproxies;

/// What is wanted: the servers of the first HAProxy but for one, and one more.
fn other(site: &Site, but: &str, more: &str) {
    let text = site.folder.get("lb1.toml");
    let (servers, rest) = text.split_once("[global]").unwrap();
    let mut blocks: Vec<String> = servers.split("[[server]]").map(str::to_owned).collect();
    blocks.retain(|block| !block.contains(&format!("\"{but}\"")));
    let port = room_server(more);
    blocks.push(format!("\nname = \"{more}\"\nhost = \"127.0.0.1\"\nport = {port}\nid = 9\n"));
    site.folder.put("other.toml", format!("{}[global]{rest}", blocks.join("[[server]]")));
}

fn apply(site: &Site, file: &str, settings: &str, more: &[&str]) -> Ran {
    site.run(&[&["apply", file, "--kind", "edumeet", "--config", settings], more].concat())
}

#[test]
fn each_backend_with_rooms_is_looked_after() {
    for binary in haproxies() {
        let second = "backend = \"pages\"\nmode = \"spoe\"\nnamespace = \"pages\"\ntable = \"\"\n";
        let site = Site::start(&binary, &Wish { second, ..Wish::of("map", 1) });
        let settings = settings_file(0);
        let rooms = names("class", 12);
        let homes = site.homes(1, &rooms);
        site.until("all rooms are known", |site| site.status()["rooms"] == 12);
        let has = |site: &Site, backend: &str, server: &str| {
            site.order(1, &format!("show servers state {backend}")).contains(&format!(" {server} "))
        };
        let drained = |site: &Site, backend: &str| {
            let stat = site.order(1, "show stat");
            stat.lines().any(|line| line.starts_with(&format!("{backend},mm1,")) && line.contains(",DRAIN"))
        };

        // An order of one backend is none of the other's, and is kept.
        site.done_ask(&["cordon", "mm1", "--backend", "pages"]);
        site.until("it is drained there", |site| drained(site, "pages"));
        let kept = apply(&site, "lb1.toml", &settings, &[]);
        assert!(kept.code == 0 && kept.out == "OK nothing is to be done\n", "{kept:?}");
        assert!(drained(&site, "pages") && !drained(&site, "rooms"));
        site.done_ask(&["uncordon", "mm1", "--backend", "pages"]);

        // A plan for each, rooms only where there are some.
        other(&site, "mm3", "mm4");
        let shown = apply(&site, "other.toml", &settings, &["--dry-run"]);
        for want in ["add server rooms/mm4", "add server pages/mm4", "del server rooms/mm3", "del server pages/mm3"] {
            assert!(shown.code == 0 && shown.out.contains(want), "{want}: {shown:?}");
        }
        let theirs = homes.values().filter(|home| *home == "mm3").count();
        assert!(
            theirs > 0 && shown.out.contains(" of rooms: mm3 -> mm") && !shown.out.contains(" of pages:"),
            "{shown:?}"
        );
        let json = apply(&site, "other.toml", &settings, &["--dry-run", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(json["processes"][0]["leaving"], serde_json::json!(["pages/mm3", "rooms/mm3"]), "{json:#}");
        assert_eq!(json["moves"].as_array().unwrap().len(), theirs);
        let refused = apply(&site, "other.toml", &settings, &[]);
        assert!(refused.code == 3 && refused.err.contains("in use on rooms/mm3"), "{refused:?}");
        assert!(refused.err.contains("drain mm3 --backend rooms --wait"), "{refused:?}");
        assert!(has(&site, "rooms", "mm3") && !has(&site, "pages", "mm4"), "nothing was changed");

        let done = apply(&site, "other.toml", &settings, &["--move-rooms"]);
        assert!(done.code == 0 && done.out.starts_with("OK lb1: "), "{done:?}");
        for backend in ["rooms", "pages"] {
            assert!(has(&site, backend, "mm4") && !has(&site, backend, "mm3"), "{backend}");
        }
        let moved = site.homes(1, &rooms);
        for (room, home) in &moved {
            assert!(home != "mm3" && (*home == homes[room] || homes[room] == "mm3"), "{room}: {home}");
        }
        assert_eq!(apply(&site, "other.toml", &settings, &[]).out, "OK nothing is to be done\n");
        // A controller with other backends is not asked to order these about.
        let text = site.folder.get(&settings).replace("\"pages\"\nmode", "\"gone\"\nmode");
        site.folder.put("others.toml", text);
        let strange = apply(&site, "other.toml", "others.toml", &["--dry-run"]);
        assert!(
            strange.code == 2
                && strange.err.contains("no backend is called \"gone\"")
                && strange.err.contains("SIGHUP")
        );
    }
}

#[test]
fn what_was_done_in_some_processes_only_is_told() {
    for binary in haproxies() {
        // Beside its own socket each HAProxy has one that changes no servers.
        let cluster = "[extra]\nglobal = [\"stats socket FOLDER/PROCESS-looks.sock level operator\"]\n";
        let site = Site::start(&binary, &Wish { cluster, ..Wish::of("map", 2) });
        let settings = site.folder.get(&settings_file(0));
        other(&site, "mm9", "mm4");
        let has = |site: &Site, lb: usize| site.order(lb, "show servers state rooms").contains(" mm4 ");
        let of = |looks: &str| {
            let sock = |kind: &str| format!("{}/{looks}{kind}.sock", site.folder.display());
            site.folder.put("some.toml", settings.replace(&sock(""), &sock("-looks")));
            apply(&site, "other.toml", "some.toml", &[])
        };
        // The first one refuses: nothing is done anywhere.
        let none = of("lb1");
        assert!(none.code == 1 && none.err.contains("haproxy lb1") && !none.err.contains("done before"), "{none:?}");
        assert!(!has(&site, 1) && !has(&site, 2));
        // The second one does.
        let some = of("lb2");
        assert!(some.code == 4 && some.out.is_empty(), "{some:?}");
        assert!(some.err.contains("haproxy lb2") && some.err.contains("done before it: lb1: "), "{some:?}");
        assert!(some.err.contains("left to do: lb2; `apply` once more does it"), "{some:?}");
        assert!(has(&site, 1) && !has(&site, 2));
        // As it says.
        let rest = apply(&site, "other.toml", &settings_file(0), &[]);
        assert!(rest.code == 0 && has(&site, 2), "{rest:?}");
        assert_eq!(apply(&site, "other.toml", &settings_file(0), &[]).out, "OK nothing is to be done\n");
    }
}
