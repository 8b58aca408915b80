//! `cargo xtask soak`: the tests in which everything fails at once, for as long as it shall take.

use std::process::Command;

use crate::run::run;
use crate::{haproxy, jitsi, tools};

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    servers: bool,
    haproxy: bool,
    jitsi: bool,
    inputs: bool,
    bridges: bool,
    reload: bool,
    control: bool,
    shards: bool,
    scalelite: bool,
    seconds: Option<u64>,
    seed: Option<u64>,
}

fn read(args: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().map(String::as_str).unwrap_or_default();
            value.parse().map(Some).map_err(|_| format!("{arg} takes a whole number, not {value:?}"))
        };
        match arg.as_str() {
            "servers" => wanted.servers = true,
            "haproxy" => wanted.haproxy = true,
            "jitsi" => wanted.jitsi = true,
            "reload" => wanted.reload = true,
            "control" => wanted.control = true,
            "jitsi-inputs" => wanted.inputs = true,
            "bridges" => wanted.bridges = true,
            "shards" => wanted.shards = true,
            "scalelite" => wanted.scalelite = true,
            "--seconds" => wanted.seconds = number()?,
            "--seed" => wanted.seed = number()?,
            other => {
                let all = "servers, haproxy, reload, control, jitsi, jitsi-inputs, bridges, shards, scalelite, --seconds N \
                    and --seed N";
                return Err(format!("soak has no {other:?}: {all} are"));
            }
        }
    }
    if wanted.servers && (wanted.seconds.is_some() || wanted.seed.is_some()) {
        return Err("soak servers takes neither --seconds nor --seed".into());
    }
    if wanted.scalelite && (wanted.servers || wanted.haproxy || wanted.seconds.is_some()) {
        return Err("soak scalelite takes --seed alone".into());
    }
    if wanted.haproxy && (wanted.servers || wanted.seconds.is_some()) {
        return Err("soak haproxy takes --seed alone".into());
    }
    if wanted.jitsi && (wanted != Wanted { jitsi: true, ..Wanted::default() }) {
        return Err("soak jitsi takes nothing else".into());
    }
    if wanted.inputs && (wanted != Wanted { inputs: true, ..Wanted::default() }) {
        return Err("soak jitsi-inputs takes nothing else".into());
    }
    if wanted.bridges && (wanted != Wanted { bridges: true, ..Wanted::default() }) {
        return Err("soak bridges takes nothing else".into());
    }
    if wanted.reload && (wanted != Wanted { reload: true, ..Wanted::default() }) {
        return Err("soak reload takes nothing else".into());
    }
    if wanted.control && (wanted != Wanted { control: true, ..Wanted::default() }) {
        return Err("soak control takes nothing else".into());
    }
    if wanted.shards && (wanted != Wanted { shards: true, seed: wanted.seed, ..Wanted::default() }) {
        return Err("soak shards takes --seed alone".into());
    }
    Ok(wanted)
}

pub(crate) fn run_soak(args: &[String]) -> Result<(), String> {
    let wanted = read(args)?;
    if wanted.haproxy {
        return haproxy::soak(wanted.seed);
    }
    if wanted.jitsi {
        return jitsi::soak();
    }
    if wanted.inputs {
        return jitsi::inputs();
    }
    if wanted.bridges {
        return jitsi::soak_bridges();
    }
    if wanted.reload {
        return haproxy::soak_reload();
    }
    if wanted.control {
        return haproxy::soak_control();
    }
    if wanted.shards {
        return jitsi::soak_shards(wanted.seed);
    }
    tools::install(&[])?;
    let name = match wanted {
        Wanted { servers: true, .. } => "soak::servers::long_servers",
        Wanted { scalelite: true, .. } => "soak::scalelite::long_scalelite",
        _ => "soak::long_soak",
    };
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "-p", "bbb-balancer", "--test", "it", "--"]);
    test.args(["--exact", name, "--ignored", "--nocapture"]);
    // What is missing must not look like a run without violations.
    test.env("CI", "true");
    for (variable, value) in [("SOAK_SECONDS", wanted.seconds), ("SOAK_SEED", wanted.seed)] {
        match value {
            Some(n) => test.env(variable, n.to_string()),
            None => test.env_remove(variable),
        };
    }
    run("soaking", &mut test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Wanted, String> {
        read(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        assert_eq!(words(""), Ok(Wanted::default()));
        assert_eq!(
            words("--seed 7 --seconds 20"),
            Ok(Wanted { servers: false, seconds: Some(20), seed: Some(7), ..Wanted::default() })
        );
        assert_eq!(words("servers"), Ok(Wanted { servers: true, ..Wanted::default() }));
        assert_eq!(words("haproxy --seed 3"), Ok(Wanted { haproxy: true, seed: Some(3), ..Wanted::default() }));
        assert_eq!(words("shards --seed 3"), Ok(Wanted { shards: true, seed: Some(3), ..Wanted::default() }));
        assert_eq!(words("scalelite --seed 3"), Ok(Wanted { scalelite: true, seed: Some(3), ..Wanted::default() }));
        assert_eq!(words("jitsi"), Ok(Wanted { jitsi: true, ..Wanted::default() }));
        assert_eq!(words("jitsi-inputs"), Ok(Wanted { inputs: true, ..Wanted::default() }));
        assert_eq!(words("bridges"), Ok(Wanted { bridges: true, ..Wanted::default() }));
        assert_eq!(words("reload"), Ok(Wanted { reload: true, ..Wanted::default() }));
        assert_eq!(words("control"), Ok(Wanted { control: true, ..Wanted::default() }));
        for (wrong, names) in [
            ("--seed", "--seed"),
            ("--seconds x", "\"x\""),
            ("all", "\"all\""),
            ("servers --seed 1", "neither"),
            ("haproxy --seconds 1", "--seed alone"),
            ("scalelite --seconds 1", "--seed alone"),
            ("scalelite servers", "--seed alone"),
            ("jitsi --seed 1", "nothing else"),
            ("jitsi servers", "nothing else"),
            ("jitsi-inputs --seed 1", "jitsi-inputs takes nothing else"),
            ("bridges --seconds 9", "nothing else"),
            ("reload --seed 1", "nothing else"),
            ("control --seconds 1", "nothing else"),
            ("shards --seconds 1", "--seed alone"),
        ] {
            assert!(words(wrong).unwrap_err().contains(names), "{wrong}");
        }
    }
}
