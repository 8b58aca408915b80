//! Fake servers in a process of their own.
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{ChildStdout, Command, Stdio};

use adapter_bbb::testing::{FakeBbb, FakeOptions, Mode};
use tokio::io::AsyncBufReadExt as _;

use crate::process::Owned;

/// Starts fakes, prints `URL SECRET` of each, and serves until killed; with `until_eof`, until standard input ends.
pub(crate) async fn serve(count: u16, base_port: u16, until_eof: bool) -> Result<(), String> {
    let mut fakes = Vec::new();
    for index in 0..count {
        let port = if base_port == 0 { 0 } else { base_port.saturating_add(index) };
        let options = FakeOptions::new(format!("fakesecret{index}")).name(format!("fake{index}")).port(port);
        let fake = FakeBbb::start(options).await.map_err(|error| error.to_string())?;
        fake.limit_log(0);
        println!("{} {}", fake.base(), fake.secret());
        fakes.push(fake);
    }
    std::io::stdout().flush().map_err(|error| error.to_string())?;
    if until_eof {
        let mut orders = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(order)) = orders.next_line().await {
            let fake = order.strip_prefix("hang ").and_then(|index| fakes.get(index.parse::<usize>().ok()?));
            let fake = fake.ok_or_else(|| format!("no order is {order:?}"))?;
            fake.set_mode(Mode::Hang).await.map_err(|error| error.to_string())?;
            println!("done");
            std::io::stdout().flush().map_err(|error| error.to_string())?;
        }
    } else {
        std::future::pending::<()>().await;
    }
    drop(fakes);
    Ok(())
}

/// The process of the fakes, seen from outside.
pub(crate) struct Fakes {
    /// URL and secret of each.
    pub(crate) servers: Vec<(String, String)>,
    lines: Lines<BufReader<ChildStdout>>,
    process: Owned,
}

impl Fakes {
    /// Starts this program again as a process of fakes.
    pub(crate) fn start(count: u16) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["fakes", "--until-eof", "--count", &count.to_string()]);
        let mut process = Owned::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let output = process.0.stdout.take().ok_or("the fakes have no output")?;
        let mut servers = Vec::new();
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref().take(usize::from(count)) {
            let line = line.map_err(|error| error.to_string())?;
            let (url, secret) = line.split_once(' ').ok_or("the fakes said something unexpected")?;
            servers.push((url.to_owned(), secret.to_owned()));
        }
        if servers.len() != usize::from(count) {
            return Err("the fakes ended before they were ready".to_owned());
        }
        Ok(Self { servers, lines, process })
    }

    /// Makes one of them answer nothing any more.
    pub(crate) fn hang(&mut self, index: usize) -> Result<(), String> {
        let input = self.process.0.stdin.as_mut().ok_or("the fakes have no input")?;
        writeln!(input, "hang {index}").map_err(|error| error.to_string())?;
        match self.lines.next() {
            Some(Ok(line)) if line == "done" => Ok(()),
            other => Err(format!("the fakes did not hang: {other:?}")),
        }
    }
}
