use serde_json::json;

use super::*;

fn server(host: &str, figures: [u64; 4]) -> Value {
    json!({"id": format!("id-{host}"), "host": host, "state": "enabled", "online": true, "health": "up",
        "meetings": figures[0], "users": figures[1], "largest_meeting": figures[2], "videos": figures[3],
        "load": 21.0, "expected_load": 36.0, "load_multiplier": 1.0, "bbb_version": "3.0.4", "tag": "",
        "age_seconds": 12.4, "stale": false})
}

#[test]
fn the_status_table_begins_like_that_of_rake() {
    let servers = [server("bbb2.example.com", [4, 14, 4, 5]), server("bbb1.example.com", [12, 25, 7, 15])];
    let table = status::table(&servers, false);
    let want = "
     HOSTNAME        STATE   STATUS  MEETINGS  USERS  LARGEST MEETING  VIDEOS
 bbb1.example.com  enabled   online        12     25                7      15
 bbb2.example.com  enabled   online         4     14                4       5
";
    for (got, want) in table.lines().zip(want.trim_start_matches('\n').lines()) {
        assert!(got.starts_with(want), "{got:?} does not begin with {want:?}");
    }
    let whole = "
     HOSTNAME        STATE   STATUS  MEETINGS  USERS  LARGEST MEETING  VIDEOS  LOAD  BBB VERSION    TAG
 bbb1.example.com  enabled   online        12     25                7      15  21.0  3.0.4        <none>
 bbb2.example.com  enabled   online         4     14                4       5  21.0  3.0.4        <none>
";
    assert_eq!(table, whole.trim_start_matches('\n'));
}

#[test]
fn the_wide_table_adds_columns_at_the_end() {
    let mut odd = server("b", [0; 4]);
    for (name, value) in [("state", json!("cordoned")), ("online", json!(false)), ("load", Value::Null)] {
        odd[name] = value;
    }
    odd["stale"] = json!(true);
    odd["age_seconds"] = json!(195);
    odd["health"] = json!("dead");
    odd["tag"] = json!("eu");
    let table = status::table(&[server("a", [1, 2, 2, 0]), odd, json!({"host": 7})], true);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].ends_with("TAG   HEALTH  EXPECTED LOAD   MULTIPLIER       AGE        ID"), "{table}");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>()[..3], ["a", "enabled", "online"]);
    let odd: Vec<_> = lines[3].split_whitespace().collect();
    assert_eq!(odd[..3], ["b", "cordoned", "offline"]);
    assert_eq!(odd[7..], ["unavailable", "3.0.4", "eu", "dead", "36.0", "1.0", "195s", "(stale)", "id-b"]);
}

#[test]
fn a_load_that_is_not_known_yet_is_explained() {
    let mut new = server("bbb1.example.com", [0; 4]);
    new["load"] = Value::Null;
    let waits = "bbb1.example.com: no load yet, its first poll is still to come\n";
    assert_eq!(status::footer(&json!({}), &[new.clone(), server("bbb2.example.com", [0; 4])]), waits);
    new["state"] = json!("disabled");
    assert_eq!(status::footer(&json!({}), &[new.clone()]), "", "it will have none");
    new["state"] = json!("enabled");
    new["online"] = json!(false);
    assert_eq!(status::footer(&json!({}), &[new]), "");
}

#[test]
fn the_block_of_a_server_is_that_of_rake() {
    let mut server = json!({"id": "2d2d674a", "url": "https://bbb1.example.com/bigbluebutton/api",
        "secret": "2bdce5cbab581f3f20b199b970e53ae3c9d9df6392f79589bd58be020ed14535", "state": "enabled",
        "load": 21.0, "load_multiplier": "1.0", "bbb_version": "3.0.4", "tag": "eu", "online": "online"});
    let want = "id: 2d2d674a\n\turl: https://bbb1.example.com/bigbluebutton/api\n\tsecret: 2bdc...4535\n\tenabled\n\
                \tload: 21.0\n\tload multiplier: 1.0\n\tbbb version: 3.0.4\n\ttag: eu\n\tonline\n";
    assert_eq!(servers::block(&server, false), want);
    assert!(servers::block(&server, true).contains("be020ed14535\n"));
    server["load"] = json!("unavailable");
    server["tag"] = json!("");
    server["bbb_version"] = json!("\u{1b}[2J");
    let block = servers::block(&server, false);
    assert!(block.contains("\tload: unavailable\n") && block.contains("\ttag:\n") && !block.contains('\u{1b}'));
}

#[test]
fn json_masks_secrets_wherever_they_are() {
    let out = json(&json!([{"secret": "short", "inner": {"secrets": "2bdce5cbab581f3f20b199b970e53ae3"}}])).out;
    assert!(out.contains("\"...\"") && out.contains("\"2bdc...3ae3\"") && !out.contains("short"), "{out}");
}

#[test]
fn polls_and_meetings_as_lines() {
    let results = [
        json!({"id": "a", "url": "https://a/api", "ok": true, "error": null, "seconds": 0.124, "meetings": 2,
               "users": 9, "load": 24.0}),
        json!({"id": "b", "url": "https://b/api", "ok": false, "error": "b refuses connections", "seconds": 0.0}),
    ];
    let want = "https://a/api: ok in 0.12 s, 2 meetings, 9 users, load 24.0\n\
                https://b/api: FAILED in 0.00 s: b refuses connections\n1 of 2 servers answered\n";
    assert_eq!(poll::lines(&results), want);
    let meeting = json!({"id": "m", "server": "a", "url": "https://a/api", "voice_bridge": "123", "stamp_ms": 5});
    let want = "MeetingID: m\n\tServer ID: a\n\tServer Url: https://a/api\n";
    assert_eq!(meetings::block(&meeting, false), want);
    assert_eq!(meetings::block(&meeting, true), format!("{want}\tVoice bridge: 123\n"));
}

#[test]
fn hosts_of_urls() {
    let all = ["https://a.b/c", "http://a.b:80/c", "a.b", "https://u:p@a.b:1", "https://[::1]:80/"].map(host);
    assert_eq!(all, ["a.b", "a.b", "a.b", "a.b", "[::1]"]);
    assert_eq!(super::authority("http://u:p@a.b:80/c"), "a.b:80");
}
