//! Commands a second, beside a bare loop over the same socket. Run by hand, optimised:
//! `cargo test --release -p adapter-haproxy --features runtime --test it -- --ignored --nocapture commands_a_second`

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use adapter_haproxy::runtime::{Client, ClientOptions, Command};

use super::live::{Live, binaries};
use super::name;

const COMMANDS: u32 = 20_000;

/// Writes a command, reads up to the prompt, and so on: nothing is looked at.
fn bare(live: &Live) -> Duration {
    let mut stream = UnixStream::connect(live.path("admin")).unwrap();
    let mut buffer = [0; 16384];
    let mut ask = |line: &[u8]| {
        stream.write_all(line).unwrap();
        let mut have = 0;
        while !buffer[..have].ends_with(b"> ") {
            have += stream.read(&mut buffer[have..]).unwrap();
        }
    };
    ask(b"prompt\n");
    let began = Instant::now();
    for _ in 0..COMMANDS {
        ask(b"get weight rooms/mm1\n");
    }
    began.elapsed()
}

#[test]
#[ignore = "measures; run it alone and optimised"]
fn commands_a_second() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for binary in binaries() {
        let live = Live::start(&binary);
        let client = Client::new(live.address("admin"), ClientOptions::default());
        let server = name("rooms/mm1");
        let command = Command::get_weight(&server);
        let (mut one, mut many, mut loops) = (vec![], vec![], vec![]);
        for _ in 0..7 {
            loops.push(bare(&live));
            one.push(runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..COMMANDS {
                    client.weight(&server).await.unwrap();
                }
                began.elapsed()
            }));
            many.push(runtime.block_on(async {
                let commands = vec![command.clone(); COMMANDS as usize];
                let began = Instant::now();
                assert_eq!(client.call_all(&commands).await.unwrap().len(), COMMANDS as usize);
                began.elapsed()
            }));
        }
        let rate = |times: &mut Vec<Duration>| {
            times.sort();
            f64::from(COMMANDS) / times[times.len() / 2].as_secs_f64()
        };
        let (bare, one, many) = (rate(&mut loops), rate(&mut one), rate(&mut many));
        println!(
            "{}: bare loop {bare:.0}/s, client {one:.0}/s (ratio {:.2}), many at once {many:.0}/s (ratio {:.2})",
            live.version,
            one / bare,
            many / bare
        );
        assert!(one / bare >= 0.8, "the client has {:.2} of the bare loop", one / bare);
    }
}
