//! `cargo xtask soak`: the tests in which everything fails at once, for as long as it shall take.

use std::process::Command;

use crate::run::run;
use crate::{haproxy, jitsi, tools};

/// What a soak can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    seconds: Option<u64>,
    seed: Option<u64>,
}

/// A soak: its name, the options it takes, and what it does.
type Soak = (&'static str, &'static [&'static str], fn(Options) -> Result<(), String>);

/// The first one runs where none is named.
const SOAKS: &[Soak] = &[
    ("", &["--seconds", "--seed"], |options| balancer("soak::long_soak", options)),
    ("servers", &[], |options| balancer("soak::servers::long_servers", options)),
    ("scalelite", &["--seed"], |options| balancer("soak::scalelite::long_scalelite", options)),
    ("tenants", &[], |_| tenants()),
    ("recordings", &[], |_| recordings()),
    ("haproxy", &["--seed"], |options| haproxy::soak(options.seed)),
    ("fuzz", &["--seconds", "--seed"], |options| haproxy::soak_fuzz(options.seconds, options.seed)),
    ("reload", &[], |_| haproxy::soak_reload()),
    ("control", &[], |_| haproxy::soak_control()),
    ("peers", &[], |_| haproxy::soak_peers()),
    ("placement", &[], |_| haproxy::soak_placement()),
    ("jitsi", &[], |_| jitsi::soak()),
    ("jitsi-inputs", &[], |_| jitsi::inputs()),
    ("bridges", &[], |_| jitsi::soak_bridges()),
    ("shards", &["--seed"], |options| jitsi::soak_shards(options.seed)),
];

fn read(args: &[String]) -> Result<(&'static Soak, Options), String> {
    let mut words = args.iter().map(String::as_str).peekable();
    let name = words.next_if(|word| !word.starts_with("--")).unwrap_or_default();
    let names = || SOAKS.iter().skip(1).map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    let soak = SOAKS.iter().find(|(known, ..)| *known == name);
    let soak = soak.ok_or_else(|| format!("there is no soak {name:?}: {} are", names()))?;
    let mut options = Options::default();
    while let Some(word) = words.next() {
        if !soak.1.contains(&word) {
            let takes =
                if soak.1.is_empty() { "no options".to_owned() } else { format!("{} alone", soak.1.join(" and ")) };
            return Err(format!("soak {name} takes {takes}, not {word:?}"));
        }
        let value = words.next().unwrap_or_default();
        let number = value.parse().map_err(|_| format!("{word} takes a whole number, not {value:?}"))?;
        let option = if word == "--seed" { &mut options.seed } else { &mut options.seconds };
        *option = Some(number);
    }
    Ok((soak, options))
}

pub(crate) fn run_soak(args: &[String]) -> Result<(), String> {
    let ((_, _, soak), options) = read(args)?;
    soak(options)
}

/// An ignored test of the BigBlueButton balancer.
fn balancer(name: &str, options: Options) -> Result<(), String> {
    tools::install(&[])?;
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "-p", "bbb-balancer", "--test", "it", "--"]);
    test.args(["--exact", name, "--ignored", "--nocapture"]);
    // What is missing must not look like a run without violations.
    test.env("CI", "true");
    for (variable, value) in [("SOAK_SECONDS", options.seconds), ("SOAK_SEED", options.seed)] {
        match value {
            Some(n) => test.env(variable, n.to_string()),
            None => test.env_remove(variable),
        };
    }
    run("soaking", &mut test)
}

/// Two tenants beside one alone, in many more schedules than the test has, and two thousand of them on one Redis.
fn tenants() -> Result<(), String> {
    tools::install(&[])?;
    for (what, args) in [
        ("soaking tenants", ["tenants::property", "--nocapture", "--include-ignored"]),
        ("soaking 2,000 tenants", ["tenants::crowd::long", "--nocapture", "--include-ignored"]),
    ] {
        let mut test = Command::new("cargo");
        test.args(["test", "--quiet", "-p", "adapter-bbb", "--all-features", "--test", "it", "--"]);
        run(what, test.args(args).env("CI", "true").env("TENANT_CASES", "2000"))?;
    }
    Ok(())
}

/// An importer of recordings that is killed 200 times on each kind of index and 60 times with a bucket, and a database
/// that dies 60 times.
fn recordings() -> Result<(), String> {
    tools::install(&[])?;
    tools::python()?;
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "-p", "adapter-bbb", "--all-features", "--test", "it", "--"]);
    test.args(["--exact", "importing::kills::long_kills", "importing::outages::long_deaths", "s3::kills::long_kills"]);
    test.args(["--ignored", "--nocapture", "--test-threads=1"]);
    test.env("CI", "true").env_remove("SOAK_KILLS");
    run("killing importers and their database", &mut test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<(&'static str, Options), String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        read(&words).map(|((name, ..), options)| (*name, options))
    }

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        let seeded = |seed| Options { seed: Some(seed), ..Options::default() };
        assert_eq!(words(""), Ok(("", Options::default())));
        assert_eq!(words("--seed 7 --seconds 20"), Ok(("", Options { seconds: Some(20), ..seeded(7) })));
        for (name, takes, _) in &SOAKS[1..] {
            assert_eq!(words(name), Ok((*name, Options::default())));
            match takes.contains(&"--seed") {
                true => assert_eq!(words(&format!("{name} --seed 3")), Ok((*name, seeded(3)))),
                false => assert!(words(&format!("{name} --seed 3")).unwrap_err().contains("no options")),
            }
        }
        for (wrong, names) in [
            ("--seed", "--seed"),
            ("--seconds x", "\"x\""),
            ("all", "\"all\""),
            ("servers --seed 1", "servers takes no options"),
            ("haproxy --seconds 1", "--seed alone"),
            ("scalelite servers", "\"servers\""),
            ("jitsi servers", "no options"),
        ] {
            assert!(words(wrong).unwrap_err().contains(names), "{wrong}");
        }
    }
}
