//! The command that carries advice out.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::mind::Said;
use super::show::name;
use crate::cli::HookArgs;
use console::Exit;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The exit code, where there is one.
    pub(super) code: Option<i32>,
    /// In words.
    pub(super) text: String,
    /// How our own process is to end because of it.
    pub(super) exit: Exit,
}

impl HookArgs {
    /// Runs it with this advice, if it is set and there is something to do.
    pub(super) fn call(&self, said: &Said, json: &Value) -> Option<impl Future<Output = Ended> + Send + use<>> {
        let command = self.exec.as_ref().filter(|_| said.steps.action() != "none")?;
        let mut run = if self.shell {
            let mut run = Command::new("/bin/sh");
            run.arg("-c").arg(command);
            run
        } else {
            let mut run = Command::new(command);
            run.args(&self.exec_arg);
            run
        };
        let steps = &said.steps;
        let lines = |nicks: &[String]| nicks.join("\n");
        run.env("ADVICE_ACTION", steps.action())
            .env("ADVICE_ADD", steps.add.to_string())
            .env("ADVICE_UNDRAIN", lines(&steps.undrain))
            .env("ADVICE_DRAIN", lines(&steps.drain))
            .env("ADVICE_STOP", lines(&steps.stop))
            .env("ADVICE_REASON", said.code)
            .env("ADVICE_TEXT", steps.text())
            .env("ADVICE_NEEDED", said.needed.to_string())
            .env("ADVICE_USABLE", said.usable.to_string())
            .env("ADVICE_MEAN", said.mean.to_string())
            .env("ADVICE_PREDICTED", said.predicted.to_string())
            .env("ADVICE_BY", name(said.by))
            .env("ADVICE_JSON", json.to_string())
            // It has no business in the brewery.
            .env_remove("JITSI_PICKER_PASSWORD")
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .process_group(0)
            .kill_on_drop(true);
        let limit = Duration::from_secs(self.exec_timeout);
        let name = console::printable(command);
        Some(async move {
            let began = Instant::now();
            let failed = |text: String| Ended { code: None, text, exit: Exit::Failed };
            let mut child = match run.spawn() {
                Ok(child) => child,
                Err(e) => return failed(format!("{name} cannot be run: {e}")),
            };
            let took = || format!("after {:.1} s", began.elapsed().as_secs_f64());
            match timeout(limit, child.wait()).await {
                Ok(Ok(status)) => {
                    let exit = if status.success() { Exit::Done } else { Exit::Failed };
                    let how = match status.code() {
                        Some(code) => format!("ended with {code}"),
                        None => "was ended by a signal".to_owned(),
                    };
                    Ended { code: status.code(), text: format!("{name} {how} {}", took()), exit }
                }
                Ok(Err(e)) => failed(format!("{name} cannot be waited for: {e}")),
                Err(_) => {
                    kill(&mut child).await;
                    Ended { code: None, text: format!("{name} was killed {}", took()), exit: Exit::TimedOut }
                }
            }
        })
    }
}

/// Kills the command and whatever it has started.
async fn kill(child: &mut Child) {
    if let Some(id) = child.id() {
        let mut group = Command::new("kill");
        group.args(["-KILL", "--", &format!("-{id}")]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Without that program only the command itself is killed.
        let _ = group.status().await;
    }
    let _ = child.kill().await;
}
