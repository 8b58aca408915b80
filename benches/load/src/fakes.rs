//! Fake servers in a process of their own.
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use adapter_bbb::testing::{FakeBbb, FakeOptions};
use tokio::io::AsyncReadExt as _;

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
        let mut byte = [0];
        let mut input = tokio::io::stdin();
        while input.read(&mut byte).await.is_ok_and(|read| read > 0) {}
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
    _process: Owned,
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
        for line in BufReader::new(output).lines().take(usize::from(count)) {
            let line = line.map_err(|error| error.to_string())?;
            let (url, secret) = line.split_once(' ').ok_or("the fakes said something unexpected")?;
            servers.push((url.to_owned(), secret.to_owned()));
        }
        if servers.len() != usize::from(count) {
            return Err("the fakes ended before they were ready".to_owned());
        }
        Ok(Self { servers, _process: process })
    }
}
