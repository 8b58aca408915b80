//! `servers sync` and `servers add-all`, at a real balancer.

use std::path::PathBuf;

use adapter_bbb::testing::{FakeBbb, FakeOptions};

use crate::processes::Balancer;
use crate::{Ran, run};

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bbb-balancer-{}-{name}.yaml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn at(balancer: &Balancer, args: &[&str]) -> Ran {
    let url = format!("http://127.0.0.1:{}", balancer.port);
    run(args, &[("BALANCER_URL", &url), ("LOADBALANCER_SECRET", crate::processes::SECRET)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_become_those_of_a_file() {
    let mut fakes = Vec::new();
    for n in 0..3 {
        fakes.push(FakeBbb::start(FakeOptions::new(format!("fake-secret-{n}"))).await.unwrap());
    }
    let bases: Vec<String> = fakes.iter().map(FakeBbb::base).collect();
    tokio::task::block_in_place(|| {
        let balancer = Balancer::in_memory();
        let two = File::new(
            "two",
            &format!(
                "a.example: {{\"url\": {:?}, \"secret\": \"fake-secret-0\"}}\nb.example:\n  url: {}\n  secret: \
                 fake-secret-1\n  load_multiplier: 2\n  tag: eu\n",
                bases[0], bases[1]
            ),
        );
        let plan = at(&balancer, &["servers", "sync", two.path(), "--dry-run"]);
        assert_eq!(plan.code, 0, "{plan:?}");
        let want = format!(
            "a.example: add {}\na.example: enable\nb.example: add {}\nb.example: enable\nNothing was changed (--dry-run)\n",
            bases[0], bases[1]
        );
        assert_eq!(plan.out, want);
        assert_eq!(at(&balancer, &["servers:yaml"]).out, "{}\n");
        let done = at(&balancer, &[&format!("servers:sync[{}]", two.path())]);
        assert_eq!(done.out, want.replace("Nothing was changed (--dry-run)", "OK"), "{done:?}");
        // What it prints is what it reads: nothing is left to do.
        let yaml = at(&balancer, &["servers", "yaml", "--show-secrets"]).out;
        assert!(
            yaml.contains("b.example:\n  enabled: true\n  load_multiplier: 2.0\n  secret: fake-secret-1\n  tag: eu\n")
        );
        let again = File::new("again", &yaml);
        assert_eq!(at(&balancer, &["servers", "sync", again.path()]).out, "OK\n");
        let masked = File::new("masked", &at(&balancer, &["servers", "yaml"]).out);
        let refused = at(&balancer, &["servers", "sync", masked.path()]);
        assert!(refused.code == 1 && refused.err.contains("--show-secrets"), "{refused:?}");

        // One changed, one left out with a meeting on it.
        assert_eq!(at(&balancer, &["servers:tag[b.example]"]).out, "OK\n");
        balancer.poll();
        for n in 0..8 {
            assert!(balancer.create(&format!("m{n}")).contains("SUCCESS"));
        }
        let on_b = fakes[1].meetings().len();
        assert!(on_b > 0 && !fakes[0].meetings().is_empty(), "both have some");
        let one =
            File::new("one", &format!("a.example:\n  url: {}\n  secret: fake-secret-0\n  enabled: false\n", bases[0]));
        let plan = at(&balancer, &["servers", "sync", one.path(), "--dry-run"]).out;
        assert!(plan.starts_with("a.example: cordon\n  m") && plan.contains("\nb.example: cordon\n  m"), "{plan}");
        assert_eq!(plan.matches("\n  m").count(), 8, "every meeting is named: {plan}");
        let plan = at(&balancer, &["servers", "sync", one.path(), "--mode", "keep", "--dry-run"]).out;
        assert!(!plan.contains("b.example"), "{plan}");
        let json = at(&balancer, &[&format!("servers:sync[{},force,dryrun]", one.path()), "-o", "json"]).out;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["changes"][1]["meetings"].as_array().unwrap().len(), on_b, "{json}");
        assert_eq!(at(&balancer, &["servers", "sync", one.path()]).code, 0);
        let states = at(&balancer, &["servers:yaml[true]"]).out;
        assert_eq!(states.matches("state: cordoned").count(), 2, "{states}");
        assert_eq!(at(&balancer, &["servers", "sync", one.path(), "--mode", "force"]).code, 0);
        assert!(!at(&balancer, &["servers"]).out.contains("b.example"));
    });
    // Its meetings are ended in the background.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !fakes[1].meetings().is_empty() {
        assert!(std::time::Instant::now() < end, "{:?}", fakes[1].meetings().len());
        tokio::task::yield_now().await;
    }
}

#[test]
fn all_of_a_file_are_added() {
    let balancer = Balancer::in_memory();
    let list = File::new(
        "list",
        "servers:\n- url: http://127.0.0.1:9/bigbluebutton/api\n  secret: s1\n- url: http://127.0.0.1:10/bigbluebutton/api\n  \
         secret: s2\n",
    );
    let plan = at(&balancer, &["servers", "add-all", list.path(), "--dry-run"]);
    let lines = ["server: http://127.0.0.1:9/bigbluebutton/api", "server: http://127.0.0.1:10/bigbluebutton/api"];
    assert_eq!(plan.out, format!("{}\n{}\nNothing was changed (--dry-run)\n", lines[0], lines[1]));
    let done = at(&balancer, &[&format!("servers:addAll[{}]", list.path())]);
    let out: Vec<&str> = done.out.lines().collect();
    assert_eq!((out[0], out[2], out[4]), (lines[0], lines[1], "OK"), "{done:?}");
    assert!(out[1].starts_with("id: ") && out[3].starts_with("id: "), "{done:?}");
    let again = at(&balancer, &["servers", "addAll", list.path()]);
    assert!(again.code == 1 && again.err.contains("is there already"), "{again:?}");
    let bad = File::new("bad", "a b:\n  secret: x\nc:\n  colour: red\n");
    let said = at(&balancer, &["servers", "sync", bad.path()]);
    for want in ["a b: an id has letters", "c: colour is unknown", "c: its secret is missing", "nothing was changed"] {
        assert!(said.err.contains(want), "{want}: {said:?}");
    }
    assert!(!said.err.contains("x;"), "{said:?}");
}
