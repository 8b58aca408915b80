//! Plans: what would happen, and nothing happens.

use adapter_bbb::ServerState;
use adapter_bbb::testing::MeetingSpec;
use serde_json::{Value, json};

use crate::stage::{Process, Stage, patient};

async fn plan(process: &Process, body: Value) -> Value {
    let answer = process.post("plan", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// Status without what the passing of time changes, and all meetings.
async fn seen(process: &Process) -> (Value, String) {
    let mut status: Value = serde_json::from_str(&process.call("status", "").await.body).unwrap();
    for name in ["uptime_seconds", "next_poll_seconds"] {
        status[name] = Value::Null;
    }
    for server in status["servers"].as_array_mut().unwrap() {
        server["age_seconds"] = Value::Null;
    }
    (status, process.call("meetings", "").await.body)
}

fn room<'p>(plan: &'p Value, id: &str) -> &'p Value {
    plan["plan"]["rooms"].as_array().unwrap().iter().find(|r| r["room"] == id).unwrap()
}

#[tokio::test]
async fn every_change_is_planned_and_nothing_happens() {
    let stage = Stage::memory(3).await;
    let process = stage.process(patient()).await;
    for n in 0..9 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    assert_eq!(stage.counts(), [3, 3, 3]);
    let before = seen(&process).await;
    let requests: Vec<_> = stage.fakes.iter().map(|f| f.inspect(|s| s.requests())).collect();
    let homes: Vec<String> = {
        let list: Value = serde_json::from_str(&before.1).unwrap();
        list["meetings"].as_array().unwrap().iter().map(|m| m["server"].as_str().unwrap().to_owned()).collect()
    };
    for (step, moved) in [
        (json!({"remove": "s0"}), true),
        (json!({"disable": "s0"}), true),
        (json!({"drain": "s0"}), false),
        (json!({"enable": "s0"}), false),
        (json!({"weight": {"id": "s0", "load_multiplier": 100}}), false),
        (json!({"add": {"url": "https://new.example.com/bigbluebutton/api", "load_multiplier": "2"}}), false),
    ] {
        let made = plan(&process, json!({ "steps": [step] })).await;
        for (n, home) in homes.iter().enumerate() {
            let r = room(&made, &format!("m{n}"));
            let want = if moved && home == "s0" { "moves" } else { "stays" };
            assert_eq!((r["fate"].as_str(), r["from"].as_str()), (Some(want), Some(home.as_str())), "{step}: {r}");
        }
        let totals = &made["plan"]["totals"];
        assert_eq!(totals["moved"], if moved { 3 } else { 0 }, "{step}");
        let alone = &made["plan"]["servers"][0]["alone_after"];
        if step.get("enable").is_some() {
            assert_eq!(totals["moved_alone"], 0, "no change at all");
        } else if step.get("add").is_some() {
            let new = &made["plan"]["servers"][3];
            assert_eq!((&new["id"], &new["added"]), (&json!("new.example.com"), &json!(true)));
            // It is empty, and a meeting there counts twice.
            assert_eq!((new["before"].as_u64(), new["after"].as_u64()), (Some(0), Some(0)));
            assert!(new["alone_after"].as_u64() > Some(1), "{new}");
        } else {
            assert_eq!(alone, 0, "{step}");
        }
        assert_eq!(made["hosts"]["s1"], stage.fakes[1].base().split('/').nth(2).unwrap());
    }
    assert_eq!(seen(&process).await, before);
    let after: Vec<_> = stage.fakes.iter().map(|f| f.inspect(|s| s.requests())).collect();
    assert_eq!(after, requests, "no server was asked for anything");
}

#[tokio::test]
async fn what_is_planned_happens() {
    let stage = Stage::memory(3).await;
    stage.burden(1, 200);
    stage.burden(2, 100);
    let process = stage.process(patient()).await;
    for n in 0..4 {
        assert!(process.create(&format!("m{n}")).await.ok());
    }
    assert_eq!(stage.counts(), [4, 1, 1]);
    let wanted = json!({"steps": [{"disable": "s0"}], "meetings": ["m2", "new", "m0"]});
    let made = plan(&process, wanted).await;
    assert_eq!(made["plan"]["totals"]["rooms"], 3);
    stage.state(0, ServerState::Disabled).await;
    process.poll().await;
    for id in ["m2", "new", "m0"] {
        let r = room(&made, id);
        assert_eq!(r["to"], "s2", "{r}");
        assert!(process.create(id).await.ok());
        assert_eq!(process.home(id).await.as_deref(), r["to"].as_str());
    }
    assert_eq!(room(&made, "new")["fate"], "placed");
    assert_eq!(room(&made, "m2")["reason"], "its server is in maintenance");
}

#[tokio::test]
async fn tags_are_kept() {
    let mut stage = Stage::memory(1).await;
    stage.add(1, Some("eu"), None).await;
    stage.add(2, Some("eu"), None).await;
    let process = stage.process(patient()).await;
    assert!(process.call("create", "meetingID=m&meta_server-tag=eu&moderatorPW=a&attendeePW=b").await.ok());
    let home = process.home("m").await.unwrap();
    let other = if home == "s1" { "s2" } else { "s1" };
    let body = json!({"steps": [{"remove": home}], "meetings": ["m", "plain"]});
    let made = plan(&process, body.clone()).await;
    assert_eq!((&room(&made, "m")["to"], &room(&made, "plain")["to"]), (&json!(other), &json!("s0")));
    let mut tagged = body;
    tagged["tag"] = json!("eu!");
    assert_eq!(room(&plan(&process, tagged).await, "plain")["to"], other);
    let all = json!({"steps": [{"disable": "s0"}, {"disable": "s1"}, {"disable": "s2"}]});
    let made = plan(&process, all).await;
    assert_eq!((&room(&made, "m")["fate"], &room(&made, "m")["why"]), (&json!("refused"), &json!("no_candidate")));
}

#[tokio::test]
async fn wrong_plans_are_refused() {
    let stage = Stage::memory(1).await;
    let process = stage.process(patient()).await;
    stage.fakes[0].put_meeting(MeetingSpec::new("m"));
    let url = stage.fakes[0].base();
    let many = json!({"steps": [], "meetings": vec!["m"; 20_001]});
    for (body, status, part) in [
        (json!({}), 400, "steps must be a list"),
        (json!({"steps": ["drain"]}), 400, "a step has one word"),
        (json!({"steps": [{"drain": "s0", "remove": "s0"}]}), 400, "a step has one word"),
        (json!({"steps": [{"paint": "s0"}]}), 400, "a step is add"),
        (json!({"steps": [{"drain": "s9"}]}), 404, "s9"),
        (json!({"steps": [{"remove": "s0"}, {"drain": "s0"}]}), 404, "s0"),
        (json!({"steps": [{"weight": {"id": "s0"}}]}), 400, "non-zero"),
        (json!({"steps": [{"weight": {"id": "s0", "load_multiplier": "-1"}}]}), 400, "non-zero"),
        (json!({"steps": [{"add": {"url": "x"}}]}), 400, "not a URL"),
        (json!({"steps": [{"add": {"url": "http://a:server-secret@b/api"}}]}), 400, "user name"),
        (json!({"steps": [{"add": {"url": url}}]}), 400, "in the pool already"),
        (json!({"steps": vec![json!({"drain": "s0"}); 257]}), 400, "at most 256"),
        (json!({"steps": [], "meetings": [1]}), 400, "list of meeting ids"),
        (json!({"steps": [], "meetings": [""]}), 400, "empty or longer"),
        (many, 400, "at most 20000"),
        (Value::Null, 400, "steps"),
    ] {
        let answer = process.post("plan", &body.to_string()).await;
        assert!(answer.status == status && answer.body.contains(part), "{part}: {answer:?}");
        assert!(!answer.body.contains("server-secret"), "{answer:?}");
    }
    assert!(process.call("plan", "").await.body.contains("unsupportedRequest"));
    let answer = process.post("plan", r#"{"steps": [{"drain": "s0"}]}"#).await;
    assert!(!answer.body.contains(stage.fakes[0].secret()), "{answer:?}");
}
