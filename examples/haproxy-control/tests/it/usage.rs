//! Help and wrong command lines.

use crate::{Folder, run, run_in, sample};

#[test]
fn every_command_has_help_with_an_example() {
    let commands: &[&[&str]] = &[
        &[],
        &["check"],
        &["explain-log"],
        &["render"],
        &["predict"],
        &["run"],
        &["completions"],
        &["replay"],
        &["plan"],
        &["plan", "add"],
        &["plan", "remove"],
        &["plan", "weight"],
        &["plan", "drain"],
        &["plan", "maint"],
        &["plan", "reorder"],
    ];
    for command in commands {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let ran = run(&args);
        assert!(ran.code == 0 && ran.out.contains("Example"), "{args:?} {ran:?}");
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    for args in [
        &[][..],
        &["chekc", "a"],
        &["check"],
        &["check", "a.cfg", "-o", "yaml"],
        &["render", "edumeet"],
        &["render", "nginx", "a.toml"],
        &["predict", "--config", "a.cfg"],
        &["predict", "--haproxy-version", "2.6"],
        &["predict", "--haproxy-version", "two", "--algorithm", "source", "--server", "a"],
        &["predict", "--haproxy-version", "3.1", "--algorithm", "source", "--server", "a"],
        &["predict", "--haproxy-version", "2.6", "--algorithm", "source", "--server", "a:b"],
        &["predict", "--no-haproxy", "--algorithm", "source", "--server", "a"],
        &["plan", "--haproxy-version", "2.6", "--algorithm", "source", "--server", "a", "add"],
        &["plan", "--haproxy-version", "2.6", "--algorithm", "source", "--server", "a", "remove", "b"],
        &["plan", "--haproxy-version", "2.6", "--algorithm", "source", "--server", "a", "remove", "a"],
        &["plan", "--haproxy-version", "2.6", "--algorithm", "source", "--server", "a", "weight", "a", "heavy"],
        &["plan", "--haproxy-version", "2.6", "--algorithm", "roundrobin", "--server", "a", "add", "b"],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{args:?} {ran:?}");
    }
    assert!(run(&["chekc", "a"]).err.contains("'check'"));
}

#[test]
fn what_cannot_be_read_is_named() {
    for args in [
        &["check", "/nowhere/a.cfg", "--haproxy-version", "2.6"][..],
        &["check", "/nowhere/a.cfg"],
        &["explain-log", "/nowhere/a.log"],
        &["render", "edumeet", "/nowhere/a.toml", "--haproxy-version", "2.6"],
        &["predict", "/nowhere/keys", "--haproxy-version", "2.6", "--algorithm", "source", "--server", "a"],
        &["predict", "--config", "/nowhere/a.cfg", "--backend", "b", "--haproxy-version", "2.6"],
        &["check", "/dev/null", "--haproxy", "/nowhere/haproxy"],
    ] {
        let ran = run(args);
        assert!(ran.code == 1 && ran.err.contains("/nowhere/") && ran.err.starts_with("error: "), "{args:?} {ran:?}");
    }
    let ran = run(&["check", "/dev/null", "--haproxy", "/bin/echo"]);
    assert!(ran.code == 1 && ran.err.contains("/bin/echo does not answer -v"), "{ran:?}");
}

#[test]
fn the_unit_reloads_only_what_passes() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/check.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("ExecReload=")).collect();
    // The first clears what the distribution's unit does, the last tells HAProxy.
    let [clear, check, tell] = lines[..] else { panic!("{lines:?}") };
    assert_eq!((clear, tell), ("", "/bin/kill -USR2 $MAINPID"));
    let folder = Folder::new("haproxy-control");
    let file = folder.join("haproxy.cfg").display().to_string();
    let args =
        check.strip_prefix("/usr/local/bin/haproxy-control ").unwrap().replace("/etc/haproxy/haproxy.cfg", &file);
    let args: Vec<&str> = args.split(' ').collect();
    folder.put("haproxy.cfg", sample("golden/render-cookie-2.6.cfg"));
    assert_eq!(run_in(&folder, &args, "").code, 0);
    folder.put("haproxy.cfg", sample("golden/jitsi.cfg"));
    assert_eq!(run_in(&folder, &args, "").code, 1);
}

#[test]
fn a_token_goes_nowhere_in_clear_text_that_was_to_be_encrypted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    for command in [&["status"][..], &["cordon", "mm1"]] {
        let ran = run(&[command, &["--api", &format!("https://{at}"), "--token", "sesame"]].concat());
        assert!(
            ran.code == 1 && ran.err.contains("only http is spoken here") && !ran.err.contains("sesame"),
            "{ran:?}"
        );
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody was called");
}
