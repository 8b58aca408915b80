//! Tests that measure the process they run in.

use std::process::Command;

/// Says in the process of its own which test it is for.
const ALONE: &str = "TEST_ALONE";

/// Whether this test may measure here. If not it was run once more in a process of its own, where no other takes memory.
pub(crate) fn is_alone(test: &str) -> bool {
    if std::env::var(ALONE).is_ok_and(|alone| alone == test) {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let run = command.args(["--exact", test, "--nocapture", "--quiet"]).env(ALONE, test).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains(" 1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
    // Without the frame of the tests.
    let frame = |line: &&str| ["", "."].contains(line) || line.starts_with("running ") || line.starts_with("test ");
    said.lines().filter(|line| !frame(line)).for_each(|line| println!("{line}"));
    false
}
