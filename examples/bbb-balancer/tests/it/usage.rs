//! Help and wrong command lines.

use crate::run;

#[test]
fn every_command_has_help_with_an_example() {
    let commands: &[&[&str]] = &[
        &[],
        &["serve"],
        &["demo"],
        &["check"],
        &["doctor"],
        &["import"],
        &["completions"],
        &["servers"],
        &["servers", "add"],
        &["servers", "yaml"],
        &["servers", "sync"],
        &["servers", "add-all"],
        &["meetings", "info"],
        &["meetings", "end"],
        &["cordon"],
        &["uncordon"],
        &["drain"],
        &["poll"],
        &["status"],
        &["explain"],
        &["plan"],
        &["meetings"],
    ];
    for command in commands {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let ran = run(&args, &[("BALANCER_SECRET", "geheim")]);
        assert_eq!(ran.code, 0, "{args:?} {ran:?}");
        assert!(ran.out.contains("Example"), "{args:?}");
        assert!(!ran.out.contains("geheim"), "{args:?}");
    }
    let help = run(&["serve", "--help"], &[]).out;
    for want in ["--poll-interval <SECONDS>", "[env: POLL_INTERVAL, INTERVAL]", "[default: 60]", "--memory"] {
        assert!(help.contains(want), "{want} in {help}");
    }
    assert!(!help.contains("--loadbalancer-secret"));
    assert!(run(&["status", "--help"], &[]).out.contains("BALANCER_URL"));
}

#[test]
fn wrong_usage_ends_with_two() {
    for args in [
        &["stats"][..],
        &[],
        &["servers", "add", "https://x/api"],
        &["servers:add[x"],
        &["servers:ad[x,y]"],
        &["status", "--url", "x", "--secret", "s"],
        &["status", "-o", "xml"],
        &["serve", "--prot", "1"],
    ] {
        let ran = run(args, &[]);
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{args:?} {ran:?}");
    }
    assert!(run(&["servers:ad[x,y]"], &[]).err.contains("did you mean \"servers:add\"?"));
    assert!(run(&["serve", "--prot", "1"], &[]).err.contains("'--port'"));
}
