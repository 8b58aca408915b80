//! SIGHUP while HAProxy asks and peers are connected.

use real_servers::free_port;

use super::crowd::Crowd;
use super::site::settings_file;
use super::{Site, Wish, names};
use crate::samples::haproxies;

#[test]
fn settings_are_read_again_under_people_who_come() {
    for binary in haproxies() {
        for mode in ["map", "spoe", "peers"] {
            let count = if mode == "peers" { 2 } else { 1 };
            let port = free_port();
            let server =
                format!("weight = 100\nagent_host = \"127.0.0.1\"\nagent_port = {port}\nagent_send = \"NAME PROCESS\"");
            let settings = format!("[agent]\nlisten = \"127.0.0.1:{port}\"\n");
            let site = Site::start(&binary, &Wish { server: &server, settings: &settings, ..Wish::of(mode, count) });
            let rooms = names("class", 12);
            let homes = site.homes(1, &rooms);
            site.until("all rooms are known", |site| site.status()["rooms"] == 12);
            let file = settings_file(0);
            let first = site.folder.get(&file);
            let crowd = Crowd::come(&site, &rooms);
            crowd.more(&site, 50);
            let said = |site: &Site, words: &str| site.log().matches(words).count();
            let read = "the settings were read again, and are in force";
            // Twice others, the second time with another address of the same port; once wrong ones, once an address that
            // somebody has, once one that cannot be.
            let ours = format!("[agent]\nlisten = \"127.0.0.1:{port}\"");
            let wider = format!("[agent]\nanywhere = true\nlisten = \"0.0.0.0:{port}\"");
            let listen = format!("listen = \"127.0.0.1:{}\"\n", site.apis[0]);
            let tokened = first.replace(&listen, &format!("{listen}token = \"sesame\"\n")).replace("\"8s\"", "\"9s\"");
            for (turn, settings) in [(1, tokened), (2, first.replace(&ours, &wider))] {
                site.folder.put(&file, settings);
                site.signal(0, "-HUP");
                site.until("they are in force", |site| said(site, read) == turn);
                crowd.more(&site, 50);
                let told = site.ask(&["uncordon", "mm1"]);
                assert_eq!(told.code != 0, turn == 1, "a token is asked for: {told:?}");
            }
            let refused = "new settings cannot be used, those of before stay in force";
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let elsewhere = format!("listen = \"{}\"", taken.local_addr().unwrap());
            for (turn, wrong, why) in [
                (1, first.replace("idle =", "ilde ="), "did you mean"),
                (2, first.replace(&ours, &format!("[agent]\n{elsewhere}")), "agent.listen: "),
                (
                    3,
                    first.replace(&ours, "[agent]\nlisten = \"unix@/nowhere/at/all.sock\""),
                    "cannot listen at unix@/nowhere",
                ),
            ] {
                site.folder.put(&file, wrong);
                site.signal(0, "-HUP");
                site.until("they are refused", |site| said(site, refused) == turn);
                assert!(site.log().contains(why), "{}", site.log());
            }

            // Who asks is answered again, and who was connected is connected.
            let answered = |site: &Site| site.status()["agent"]["answered"].as_u64().unwrap_or(0);
            let before = answered(&site);
            site.until("HAProxy checks by the agent", |site| answered(site) >= before + 6);
            match mode {
                "spoe" => {
                    site.until_agent("2");
                    let placed = |site: &Site| site.status()["spoe"]["placed"].as_u64().unwrap_or(0);
                    let before = placed(&site);
                    site.until("rooms are placed", |site| placed(site) > before);
                }
                "peers" => site.until_peers(0),
                _ => {}
            }
            let met = crowd.go();
            met.whole(&homes);
            assert!(!site.log().contains("ERROR") || said(&site, "ERROR") == 3, "{}", site.log());
            site.until("all rooms are known", |site| site.status()["rooms"] == met.homes.len());
            let splits = site.ask(&["splits"]);
            assert_eq!(splits.code, 0, "{mode}: {splits:?}\n{}", site.log());
            println!(
                "{}: {mode}: {} requests to {} rooms over two changes of settings, none failed; longest {:.0?}",
                binary.display(),
                met.asked,
                met.homes.len(),
                met.longest
            );
        }
    }
}
