//! A guide whose commands are run: one shell for all of them, on a machine whose `/etc` and `/usr/local` are folders of
//! the test, and whose `systemctl` notes its orders and runs the balancer as its unit says.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const SYSTEMCTL: &str = r#"#!/bin/sh
unit_file=ROOT/etc/systemd/system/bbb-balancer.service
verb=$1
shift
[ "$1" = --now ] && shift
[ $# = 0 ] && echo "$verb" >> ROOT/orders
for unit in "$@"; do
    echo "$verb $unit" >> ROOT/orders
    [ "$unit" = bbb-balancer ] || continue
    environment=ROOT$(sed -n 's/^EnvironmentFile=-*//p' "$unit_file")
    port=$(sed -n 's/^PORT=//p' "$environment")
    case $verb in
    enable | start)
        start=$(sed -n 's/^ExecStart=//p' "$unit_file")
        env -i PATH="$PATH" sh -c 'set -a; . "$0"; set +a; exec "$@"' "$environment" ROOT$start >> ROOT/log 2>&1 &
        echo $! > ROOT/pid
        until curl -fs "http://127.0.0.1:$port/livez" > ROOT/livez; do
            kill -0 "$(cat ROOT/pid)" || exit 1
            sleep 0.05
        done
        ;;
    disable | stop)
        pid=$(cat ROOT/pid)
        kill "$pid" && rm ROOT/pid
        # Until it has ended, as the real one does: one that nobody waited for has no program any more.
        while readlink "/proc/$pid/exe" > ROOT/livez; do sleep 0.05; done
        ;;
    esac
done
"#;

pub(super) struct Guide {
    root: PathBuf,
    /// Headings and the lines to run under them.
    parts: VecDeque<(String, Vec<String>)>,
    shell: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The commands of a guide, by heading.
fn commands(text: &str) -> VecDeque<(String, Vec<String>)> {
    let mut parts: VecDeque<(String, Vec<String>)> = VecDeque::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            parts.push_back((heading.to_owned(), Vec::new()));
        } else if line.starts_with("```") {
            assert!(inside || line == "```sh", "only commands stand in blocks: {line}");
            inside = !inside;
        } else if inside && let Some((_, lines)) = parts.back_mut() {
            lines.push(line.to_owned());
        }
    }
    parts
}

impl Guide {
    pub(super) fn open(name: &str, text: &str, environment: &str) -> Self {
        let root = std::env::temp_dir().join(format!("bbb-balancer-migration-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        for folder in ["bin", "usr/local/bin", "etc/default", "etc/systemd/system", "release/deploy"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let name = root.to_str().unwrap();
        let systemctl = root.join("bin/systemctl");
        std::fs::write(&systemctl, SYSTEMCTL.replace("ROOT", name)).unwrap();
        std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(root.join("etc/default/scalelite"), environment).unwrap();
        let release = root.join("release");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bbb-balancer"), release.join("bbb-balancer")).unwrap();
        let unit = include_str!("../../../deploy/bbb-balancer.service");
        std::fs::write(release.join("deploy/bbb-balancer.service"), unit).unwrap();
        let mut shell = Command::new("sh")
            .current_dir(&release)
            .env_clear()
            .env("PATH", format!("{name}/bin:{name}/usr/local/bin:/usr/local/bin:/usr/bin:/bin"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = shell.stdin.take().unwrap();
        let answers = BufReader::new(shell.stdout.take().unwrap());
        Self { parts: commands(text), root, shell, orders, answers }
    }

    /// Leaves out the lines under the next heading, which must be this one.
    pub(super) fn skip(&mut self, heading: &str) {
        let (next, _) = self.parts.pop_front().expect("the guide goes on");
        assert_eq!(next, heading);
    }

    /// Runs the lines under the next heading, which must be this one: what they print. All of them must succeed.
    pub(super) fn follow(&mut self, heading: &str) -> String {
        self.follow_to(heading, &[])
    }

    /// The same where the lines end with these codes, as far as they are given.
    pub(super) fn follow_to(&mut self, heading: &str, codes: &[u8]) -> String {
        while self.parts.front().is_some_and(|(_, lines)| lines.is_empty()) {
            self.parts.pop_front();
        }
        let (next, lines) = self.parts.pop_front().expect("the guide goes on");
        assert_eq!(next, heading);
        let name = self.root.to_str().unwrap().to_owned();
        let mut all = String::new();
        for (at, line) in lines.into_iter().enumerate() {
            let here = line
                .replace(" /etc/", &format!(" {name}/etc/"))
                .replace(" /usr/local/", &format!(" {name}/usr/local/"));
            writeln!(self.orders, "{{ {here}\n}} < /dev/null 2>&1; echo \"=== $?\"").unwrap();
            let mut told = String::new();
            let status = loop {
                let mut read = String::new();
                assert!(self.answers.read_line(&mut read).unwrap() > 0, "the shell ended at {line}: {told}");
                match read.split_once("=== ") {
                    Some((rest, status)) => {
                        told += rest;
                        break status.trim().to_owned();
                    }
                    None => told += &read,
                }
            };
            let log = std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
            let code = codes.get(at).copied().unwrap_or_default();
            assert_eq!(status, code.to_string(), "{line}\n{told}\n{log}");
            all += &told;
        }
        all
    }

    /// What `systemctl` was told.
    pub(super) fn orders(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root.join("orders")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether every command was run.
    pub(super) fn is_done(&self) -> bool {
        self.parts.iter().all(|(_, lines)| lines.is_empty())
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        if let Ok(pid) = std::fs::read_to_string(self.root.join("pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
