//! Predictions beside the real program, on two branches of it.

use std::path::PathBuf;
use std::process::Command;

use crate::run::{Tally, run_and_read};
use crate::tools;

/// Random backends on each branch, of 60 requests each: more than 10,000 placements.
const CASES: &str = "170";

pub(crate) fn haproxy(tally: &mut Tally) -> Result<(), String> {
    for program in [PathBuf::from("haproxy"), tools::second_haproxy()?] {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet", "-p", "adapter-haproxy", "--test", "it", "--", "--nocapture"]);
        // By its full path: the tests ask whether it is there.
        let path = if program.is_absolute() { program } else { PathBuf::from("/usr/sbin/haproxy") };
        command.env("HAPROXY", &path).env("HAPROXY_CASES", CASES);
        let lines = run_and_read(&format!("predictions beside {}", path.display()), &mut command)?;
        tally.passed += lines.iter().filter(|l| l.ends_with(": 0 different")).count() as u64;
    }
    Ok(())
}
