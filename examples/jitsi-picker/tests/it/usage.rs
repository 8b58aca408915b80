//! Help and wrong command lines.

use crate::run;

#[test]
fn every_command_has_help_with_an_example() {
    for command in ["", "watch", "rank", "select", "check", "advise", "serve", "shards", "demo"] {
        let args: Vec<&str> = [command, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let ran = run(&args, &[("JITSI_PICKER_PASSWORD", "geheim")]);
        assert_eq!(ran.code, 0, "{args:?} {ran:?}");
        assert!(ran.out.contains("Example") && !ran.out.contains("geheim"), "{args:?}");
    }
    let help = run(&["watch", "--help"], &[]).out;
    assert!(help.contains("JITSI_PICKER_SERVER") && !help.contains("--password <"), "{help}");
}

#[test]
fn wrong_usage_ends_with_two() {
    for args in [
        &["pick"][..],
        &[],
        &["rank", "-o", "yaml"],
        &["select"],
        &["check"],
        &["advise"],
        &["rank"],
        &["watch", "--presences", "x"],
        &["serve", "--presences", "x"],
        &["serve", "--bind", "here"],
        &["rank", "--strategy", "Best"],
        &["rank", "--stress-threshold", "nan", "--presences", "x"],
    ] {
        let ran = run(args, &[]);
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{args:?} {ran:?}");
    }
    let said = run(&["rank", "--account", "picker@meet.example", "--room", "brewery@meet.example"], &[]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("JITSI_PICKER_PASSWORD"), "{said:?}");
}

#[test]
fn what_cannot_be_reached_or_read_is_said() {
    let env = [
        ("JITSI_PICKER_ACCOUNT", "picker@meet.example"),
        ("JITSI_PICKER_ROOM", "brewery@meet.example"),
        ("JITSI_PICKER_PASSWORD", "geheim"),
    ];
    let ran = run(&["rank", "--server", "127.0.0.1:1"], &env);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("cannot connect to 127.0.0.1:1") && !ran.err.contains("geheim"), "{ran:?}");
    let ran = run(&["rank", "--presences", "/nonexistent"], &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("/nonexistent cannot be read"), "{ran:?}");
    // A brewery that is named in whatever way is watched beside shards, or it is said why not.
    let config = crate::served::Folder::new();
    let shards = config.put("shards.toml", "[[shard]]\nid = \"a\"\n");
    let ran =
        run(&["serve", "--shards", &shards, "--bind", "127.0.0.1:0", "--bridge-file", "/nonexistent/jvb.conf"], &[]);
    assert!(ran.code == 1 && ran.err.contains("/nonexistent/jvb.conf cannot be read"), "{ran:?}");
    let ran = run(&["demo"], &[("PROSODY", "/nonexistent/prosody")]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("apt-get install prosody"), "{ran:?}");
}
