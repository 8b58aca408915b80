//! Shell completion: the scripts name what there is, and the shells can read them.

use std::process::{Command, Stdio};

use crate::run;

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell], &[]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{shell}");
        for word in ["bbb-balancer", "servers", "doctor", "cordon", "poll-interval", "completions"] {
            assert!(ran.out.contains(word), "{shell} does not complete {word}");
        }
        // `-n` reads a script without running it; a shell that is not installed cannot.
        let mut reader = match Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(reader) => reader,
            Err(e) => {
                println!("SKIPPED: {shell} is not here: {e}");
                continue;
            }
        };
        std::io::Write::write_all(&mut reader.stdin.take().unwrap(), ran.out.as_bytes()).unwrap();
        let done = reader.wait_with_output().unwrap();
        assert!(done.status.success(), "{shell}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(run(&["completions", "cmd"], &[]).code, 2);
}

#[test]
fn bash_completes_a_word() {
    let script = run(&["completions", "bash"], &[]).out;
    let ask = format!(
        "{script}\nCOMP_WORDS=(bbb-balancer servers co) COMP_CWORD=2; _bbb_balancer bbb-balancer co servers; \
         echo \"${{COMPREPLY[@]}}\""
    );
    assert!(script.contains("complete -F _bbb_balancer ") && !script.contains(" bbb_balancer\n"));
    match Command::new("bash").args(["--norc", "-c", &ask]).output() {
        Ok(done) => {
            let out = String::from_utf8_lossy(&done.stdout);
            assert_eq!(out.trim(), "cordon", "{}", String::from_utf8_lossy(&done.stderr));
        }
        Err(e) => println!("SKIPPED: bash is not here: {e}"),
    }
}
