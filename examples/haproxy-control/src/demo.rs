//! `demo`: a real HAProxy, three room servers and the lessons of a morning, in seconds.

use std::time::Instant;

use crate::cli::{DemoArgs, Output};
use crate::haproxy::Installed;
use console::{Failure, Outcome};

mod farm;
mod ledger;
mod morning;
mod people;
mod play;
mod report;
mod steward;

fn failed(what: &str, e: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the demo cannot go on: {what}")).cause(e)
}

/// Plays a morning.
///
/// # Errors
///
/// No HAProxy, anything that does not start, an interruption; a room that was split or a request that failed without
/// need, after the table.
pub(crate) fn run(args: &DemoArgs) -> Result<Outcome, Failure> {
    let haproxy = Installed::find(args.haproxy.as_deref())?.ok_or_else(not_installed)?;
    crate::run::runtime()?.block_on(async {
        tokio::select! {
            done = play::play(args, haproxy) => done,
            () = console::signalled() => Err(Failure::failed("interrupted").hint("everything it started is gone")),
        }
    })
}

fn not_installed() -> Failure {
    Failure::failed("haproxy is not installed")
        .hint("install it, as with `apt-get install haproxy`, or name it by --haproxy; nothing else is needed")
}

/// Lines of progress: for people on standard output, beside JSON on standard error.
struct Teller {
    began: Instant,
    output: Output,
}

impl Teller {
    fn tell(&self, text: &str) {
        let line = format!("{:>6.1} s  {text}\n", self.began.elapsed().as_secs_f64());
        match self.output {
            Output::Table => crate::progress(&line),
            Output::Json => crate::complain(line.trim_end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_haproxy_it_says_how_to_get_one() {
        let said = not_installed().to_string();
        assert!(
            said.contains("haproxy is not installed\n  hint: ") && said.contains("apt-get install haproxy"),
            "{said}"
        );
    }
}
