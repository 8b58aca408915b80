//! Several backends of one controller, each with its own mode.

use std::process::{Command, Stdio};

use real_servers::free_port;

use crate::control::{Running, get, until};
use crate::samples::haproxies;
use crate::{Folder, run_in};

#[test]
fn each_backend_is_asked_for_by_its_name() {
    let (folder, api, own) = (Folder::new("haproxy-control"), free_port(), free_port());
    let at = folder.display();
    let settings = format!(
        "[[haproxy]]\nname = \"lb1\"\nruntime = \"{at}/admin.sock\"\n\
         [[rooms]]\nbackend = \"a\"\nmap = \"{at}/a.map\"\n[[rooms]]\nbackend = \"b\"\nmode = \"spoe\"\nnamespace = \"b\"\n\
         [spoe]\nlisten = \"127.0.0.1:{own}\"\n[loop]\nevery = \"50ms\"\n[http]\nlisten = \"127.0.0.1:{api}\"\n"
    );
    folder.put("control.toml", settings);
    let start = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haproxy-control"));
        command.args(["run", "--config", "control.toml"]).args(extra).current_dir(&*folder).stdin(Stdio::null());
        command
    };
    let checked = start(&["--check"]).output().unwrap();
    let printed = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(printed.contains("mode = \"map\"") && printed.contains("mode = \"spoe\""), "{printed}");
    assert!(printed.contains("[spoe]") && !printed.contains("[peers]"), "{printed}");
    let mut control = Running(start(&[]).stderr(Stdio::null()).spawn().unwrap());
    let run = |args: &[&str]| run_in(&folder, &[args, &["--config", "control.toml"]].concat(), "");
    until("it has looked", || run(&["status"]).code == 0);
    let both = run(&["status"]).out;
    assert!(both.contains("a, places are written by map entries") && both.contains("b, places are written by nobody"));
    let json: serde_json::Value = serde_json::from_str(&run(&["status", "-o", "json"]).out).unwrap();
    assert_eq!((&json["backends"][0]["backend"], &json["backends"][1]["mode"]), (&"a".into(), &"spoe".into()));
    let one: serde_json::Value = serde_json::from_str(&run(&["status", "-o", "json", "--backend", "b"]).out).unwrap();
    assert!(one["backend"] == "b" && one["spoe"].is_object(), "{one:#}");
    let which = run(&["explain", "algebra"]);
    assert!(which.code == 2 && which.err.contains("--backend names one"), "{which:?}");
    assert_eq!(run(&["explain", "algebra", "--backend", "b"]).code, 0);
    assert!(run(&["cordon", "mm1", "--backend", "c"]).err.contains("there are a, b"));
    let metrics = get(api, "/metrics");
    assert_eq!(metrics.matches("# TYPE balancer_store_up gauge").count(), 1, "{metrics}");
    for pool in ["a", "b"] {
        assert!(metrics.contains(&format!("balancer_store_up{{pool=\"{pool}\"}} ")), "{metrics}");
    }
    // Who is asked where somebody else listens says so, and ends.
    let taken = start(&[]).env("RUST_BACKTRACE", "0").output().unwrap();
    let said = String::from_utf8_lossy(&taken.stderr);
    assert!(taken.status.code() == Some(1) && said.contains("cannot be listened at"), "{said}");
    assert_eq!(control.end(), Some(0));
}

#[test]
fn the_samples_are_good() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/modes");
    for binary in haproxies() {
        let by = ["--haproxy", binary.to_str().unwrap()];
        for mode in ["spoe", "peers"] {
            let cluster = format!("{mode}-cluster.toml");
            let ran = run_in(&samples, &[&["render", "edumeet", &cluster][..], &by].concat(), "");
            assert!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
            let engine = run_in(&samples, &[&["render", "edumeet", &cluster, "--engine"][..], &by].concat(), "");
            assert_eq!(engine.code == 0 && engine.out.contains("spoe-message place"), mode == "spoe", "{engine:?}");
        }
    }
    for mode in ["spoe", "peers"] {
        let ran = run_in(&samples, &["run", "--config", &format!("{mode}-control.toml"), "--check"], "");
        assert!(ran.code == 0 && ran.out.contains(&format!("mode = \"{mode}\"")), "{ran:?}");
    }
}

#[test]
fn strangers_are_kept_out_and_scripts_complete() {
    let folder = Folder::new("haproxy-control");
    for block in ["spoe", "peers", "agent"] {
        let mode = if block == "peers" { "peers" } else { "spoe" };
        folder.put(
            "control.toml",
            format!(
                "[[haproxy]]\nname = \"lb1\"\nruntime = \"/nowhere\"\n[rooms]\nbackend = \"rooms\"\n\
                 [{block}]\nlisten = \"0.0.0.0:9600\"\n"
            ),
        );
        let ran = run_in(&folder, &["run", "--config", "control.toml", "--mode", mode], "");
        assert!(ran.code == 1 && ran.err.contains("is public") && ran.err.contains("anywhere = true"), "{ran:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let ran = crate::run(&["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("haproxy-control") && ran.out.contains("mode"), "{shell}");
    }
}
