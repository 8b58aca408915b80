//! `render`.

use crate::{Folder, expect, haproxy, run, run_in, sample};

const KINDS: [&str; 4] = ["edumeet", "shards", "cookie", "source"];
const PURE: [&str; 3] = ["--haproxy-version", "2.6", "--no-haproxy"];

#[test]
fn every_example_renders_as_recorded() {
    let folder = Folder::new("haproxy-control");
    for kind in KINDS {
        let example = run(&["render", kind, "--example"]);
        assert_eq!(example.code, 0);
        folder.put("a.toml", &example.out);
        let ran = run_in(&folder, &[&["render", kind, "a.toml"][..], &PURE].concat(), "");
        assert_eq!(ran.code, 0, "{ran:?}");
        expect(&format!("render-{kind}.cfg"), &ran.out);
        assert_eq!(run_in(&folder, &[&["render", kind, "-"][..], &PURE].concat(), &example.out).out, ran.out);
        // Every line in comments is right as well: with all of them, HAProxy takes it.
        let full: Vec<&str> = example.out.lines().collect();
        let full: Vec<&str> = full
            .iter()
            .map(|line| {
                line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || rest.contains(" = ")).unwrap_or(line)
            })
            .collect();
        let full = full.join("\n").replace("haproxy = \"2.6\"", "");
        let full =
            full.replace("\"${STATS_HASH}\"", "\"$6$x$y\"").replace("host = \"192.0.2.1\" ", "host = \"127.0.0.1\" ");
        folder.put("full.toml", &full);
        let ran = run_in(&folder, &[&["render", kind, "full.toml"][..], &PURE].concat(), "");
        assert_eq!(ran.code, 0, "{kind} {ran:?}\n{full}");
        expect(&format!("render-{kind}-full.cfg"), &ran.out);
    }
}

#[test]
fn what_is_written_is_proved() {
    if haproxy().is_none() {
        return;
    }
    let folder = Folder::new("haproxy-control");
    folder.put("meet.pem", sample("pki/meet.pem"));
    for kind in KINDS {
        let mut text = run(&["render", kind, "--example"]).out;
        text = text.replace(
            "port = 80\n# host",
            &format!("port = 80\ncertificate = \"{}\"\n# host", folder.join("meet.pem").display()),
        );
        folder.put("a.toml", text);
        let ran = run_in(&folder, &["render", kind, "a.toml", "--out", "haproxy.cfg"], "");
        assert!(ran.code == 0 && ran.out.starts_with("OK haproxy.cfg; HAProxy 2.") && ran.err.is_empty(), "{ran:?}");
        let ran = run_in(&folder, &["check", "haproxy.cfg"], "");
        assert!(ran.code == 0 && ran.out.contains(" accepts it"), "{kind} {ran:?}");
    }
    // Refused: the old file stays.
    let before = folder.get("haproxy.cfg");
    let text = run(&["render", "edumeet", "--example"]).out + "[extra]\nglobal = [\"nonsense\"]\n";
    folder.put("bad.toml", text);
    let ran = run_in(&folder, &["render", "edumeet", "bad.toml", "--out", "haproxy.cfg"], "");
    assert!(ran.code == 1 && ran.err.contains("nothing was written") && ran.err.contains("nonsense"), "{ran:?}");
    assert_eq!(folder.get("haproxy.cfg"), before);
    let ran = run_in(&folder, &["render", "edumeet", "bad.toml", "--out", "haproxy.cfg", "--no-proof"], "");
    assert!(ran.code == 0 && ran.err.contains("not proved"), "{ran:?}");
    assert!(folder.get("haproxy.cfg").contains("nonsense"));
    assert_eq!(std::fs::read_dir(&*folder).unwrap().count(), 4);
}

#[test]
fn what_cannot_be_is_said_with_its_line() {
    let folder = Folder::new("haproxy-control");
    let ok = "[[listen]]\nport = 80\n[[server]]\nname = \"a\"\nhost = \"192.0.2.1\"\nid = 1\n";
    for (kind, text, want) in [
        ("cookie", "[[listen]]\nprot = 80\n".to_owned(), "a.toml:2: unknown field `prot`"),
        ("cookie", "[[listen]]\nprot = 80\n".to_owned(), "did you mean \"port\"?"),
        ("cookie", "[[listen]\n".to_owned(), "a.toml:1: "),
        ("cookie", String::new(), "at least one [[listen]]"),
        ("cookie", format!("pins = \"x\"\n{ok}"), "pins has no meaning for cookie"),
        ("shards", format!("tenants = true\n{ok}"), "tenants has no meaning for shards"),
        ("source", ok.to_owned(), "[peers] is needed"),
        ("cookie", format!("{ok}tls = \"yes\"\n"), "server a: tls \"yes\" is not known"),
        ("cookie", ok.replace("\"a\"", "\"a b\""), "server \"a b\" cannot be a name"),
        ("cookie", ok.replace("id = 1", "id = 0"), "server id \"0\" is not possible"),
        ("cookie", format!("{ok}[timeouts]\nclient = -1\n"), "timeouts.client of -1 s"),
        (
            "cookie",
            format!("{ok}[stats]\nport = 1\nuser = [{{ name = \"o\", hash = \"${{NOT_SET_HERE}}\" }}]\n"),
            "NOT_SET_HERE is not set",
        ),
        ("cookie", format!("haproxy = \"1.8\"\n{ok}"), "1.8"),
    ] {
        folder.put("a.toml", text);
        let version: &[&str] = if want == "1.8" { &[] } else { &["--haproxy-version", "2.6"] };
        let ran = run_in(&folder, &[&["render", kind, "a.toml", "--no-haproxy"][..], version].concat(), "");
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(want), "{want}: {ran:?}");
    }
    folder.put("a.toml", b"\xff");
    assert_eq!(run_in(&folder, &["render", "cookie", "a.toml"], "").code, 1);
}
