//! `drain`, `cordon` and `--dry-run` against a real balancer.

use std::process::{Command, Stdio};

use adapter_bbb::testing::{FakeBbb, FakeOptions};
use serde_json::Value;

use crate::processes::{self, Balancer};
use crate::{Ran, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_drained_when_its_last_meeting_is_over() {
    let fake = FakeBbb::start(FakeOptions::new("a-servers-own-secret")).await.unwrap();
    tokio::task::block_in_place(|| {
        let lb = Balancer::in_memory();
        let id = lb.add(&fake.base(), fake.secret());
        lb.poll();
        for meeting in ["math", "art"] {
            assert!(lb.create(meeting).contains("SUCCESS"));
        }
        let url = format!("http://127.0.0.1:{}", lb.port);
        let env = [("BALANCER_URL", url.as_str()), ("BALANCER_SECRET", processes::SECRET)];
        let ask = |args: &[&str]| -> Ran { run(args, &env) };
        let state = || lb.status()["servers"][0]["state"].as_str().unwrap().to_owned();

        // Described, and not done.
        for change in ["cordon", "disable", "panic", "remove", "drain"] {
            let ran = ask(&["servers", change, &id, "--dry-run"]);
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
            assert!(ran.out.starts_with(&format!("{change} {id}: 2 meetings would ")), "{ran:?}");
            assert!(ran.out.ends_with("  art\n  math\nNothing was changed (--dry-run)\n"), "{ran:?}");
        }
        let ran = ask(&["cordon", &id, "--dry-run", "-o", "json"]);
        let told: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&told["meetings"][1], &told["dry_run"]), (&"math".into(), &true.into()));
        assert_eq!((state().as_str(), ask(&["meetings"]).out.matches("MeetingID").count()), ("enabled", 2));

        // A deadline that passes.
        let ran = ask(&["drain", &id, "--wait", "--deadline", "1"]);
        assert_eq!((ran.code, ran.out.as_str(), state().as_str()), (5, "", "cordoned"), "{ran:?}");
        assert!(
            ran.err.contains("still has 2 meetings after 1 s") && ran.err.contains("running: art, math"),
            "{ran:?}"
        );
        assert_eq!((ask(&["uncordon", &id]).out.as_str(), state().as_str()), ("OK\n", "enabled"));
        assert_eq!((ask(&["servers", "drain", &id]).out.as_str(), state().as_str()), ("OK\n", "cordoned"));

        // Meetings that end while it waits.
        let waiting = Command::new(env!("CARGO_BIN_EXE_bbb-balancer"))
            .args(["drain", &id, "--wait", "--deadline", "60"])
            .env_clear()
            .envs(env)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for meeting in ["math", "art"] {
            assert!(lb.end(meeting).contains("SUCCESS"));
        }
        let done = waiting.wait_with_output().unwrap();
        assert!(done.status.success());
        assert_eq!(String::from_utf8_lossy(&done.stdout), format!("OK\n{id} has no meetings\n"));
        let ran = ask(&["drain", &id, "--wait", "-o", "json"]);
        assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["meetings"], serde_json::json!([]));
        assert_eq!(ask(&["drain", &id, "--deadline", "5"]).code, 2, "a deadline without --wait");
    });
}
