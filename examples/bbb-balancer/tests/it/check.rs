//! `check`, and what `serve` refuses.

use crate::{SECRET, run};

#[test]
fn prints_the_effective_configuration() {
    let ran = run(&["check", "--port", "4000"], &[("LOADBALANCER_SECRET", SECRET), ("POLL_INTERVAL", "30")]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let has = |words: &[&str]| ran.out.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == words);
    assert!(has(&["port", "4000", "--port"]));
    assert!(has(&["poll_interval", "30", "environment", "POLL_INTERVAL"]));
    assert!(has(&["loadbalancer_secret", "2bdc...4535", "environment", "LOADBALANCER_SECRET"]));
    assert!(has(&["redis_url", "<none>", "default"]));
    assert!(!ran.out.contains(SECRET) && ran.out.ends_with("the configuration is good\n"));
}

#[test]
fn says_where_recordings_are_kept() {
    for (env, says) in [
        (&[][..], "index in the file ./d/recordings.redb: there is no DATABASE_URL"),
        (&[("DATABASE_URL", "postgres://u:p4ss@db/x")][..], "index in the database of DATABASE_URL"),
        (&[("DATABASE_URL", "postgres://db/x"), ("DB_DISABLED", "true")][..], "index in the file "),
        (&[("RECORDING_DISABLED", "true")][..], "none: RECORDING_DISABLED is set"),
    ] {
        let env = [&[("LOADBALANCER_SECRET", SECRET), ("BALANCER_DATA_DIR", "./d")][..], env].concat();
        let ran = run(&["check"], &env);
        assert!(ran.code == 0 && ran.out.contains(&format!("\nrecordings = {says}")), "{ran:?}");
        assert!(!ran.out.contains("p4ss"), "{ran:?}");
    }
    let alone = [("LOADBALANCER_SECRET", SECRET), ("REDIS_URL", "redis://127.0.0.1:1")];
    let ran = run(&["check"], &alone);
    assert!(ran.out.contains("\nrecordings = unknown to this balancer: set DATABASE_URL"), "{ran:?}");
}

#[test]
fn says_what_is_wrong() {
    let ran = run(&["check"], &[("LOADBALANCER_SECRET", "changeme"), ("RAILS_ENV", "production")]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("\nwarning: secret 1 is an example"), "{}", ran.out);
    assert!(ran.out.contains("\nnotice: RAILS_ENV has no effect"), "{}", ran.out);
    let ran = run(&["check"], &[("POLL_INTERVAL", "0")]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("\nerror: poll_interval \"0\" (environment POLL_INTERVAL)"), "{}", ran.out);
    assert!(ran.out.contains("\nerror: LOADBALANCER_SECRET is not set"), "{}", ran.out);
    let ran = run(&["serve"], &[("POLL_INTERVAL", "0"), ("LOADBALANCER_SECRET", SECRET)]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("error: the balancer cannot start: poll_interval \"0\""), "{ran:?}");
    let ran = run(&["serve"], &[("POLL_INTERVAL", "0")]);
    assert!(ran.err.contains("; and poll_interval \"0\"") && !ran.err.contains("\\n"), "{ran:?}");
}

#[test]
fn reads_a_file() {
    let dir = std::env::temp_dir().join(format!("bbb-balancer-check-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("bal.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "loadbalancer_secret = \"${LB}\"\nport = 4100\n").unwrap();
    let ran = run(&["check", "--config", file], &[("LB", SECRET)]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains(&format!("{file}:2")));
    let ran = run(&["check"], &[("LB", SECRET), ("BALANCER_CONFIG", file), ("PORT", "4200")]);
    assert!(ran.code == 0 && ran.out.contains("environment PORT"), "{ran:?}");
    std::fs::write(&path, "prot = 4100\n").unwrap();
    let ran = run(&["check", "--config", file], &[("LB", SECRET)]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.ends_with("\n1 error: `serve` would not start\n"), "{}", ran.out);
    assert!(ran.out.contains(":1: unknown setting \"prot\"; did you mean \"port\"?"), "{}", ran.out);
    // Everything that is wrong is told at once, what cannot be known is not.
    std::fs::write(&path, "prot = 4100\npoll_interval = 0\nlaod = \"users\"\nurl_host = []\n").unwrap();
    let ran = run(&["check", "--config", file], &[("LB", SECRET), ("RESPONSE_TIMEOUT", "soon")]);
    assert_eq!(ran.code, 1);
    for want in
        [":1: unknown setting", ":3: unknown setting", ":4: url_host must be", "poll_interval", "response_timeout"]
    {
        assert!(ran.out.lines().any(|l| l.starts_with("error: ") && l.contains(want)), "{want}: {}", ran.out);
    }
    assert!(ran.out.ends_with("\n5 errors: `serve` would not start\n"), "{}", ran.out);
    std::fs::remove_dir_all(&dir).unwrap();
    let ran = run(&["check", "--config", file], &[("LB", SECRET)]);
    assert!(ran.code == 1 && ran.out.contains("cannot be read"), "{ran:?}");
}
