//! Commands a second, beside a bare loop over the same socket.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use adapter_haproxy::runtime::{Client, ClientOptions, Command, MasterClient, WorkerTarget};

use super::live::{Live, binaries};
use super::name;

const LINE: &[u8] = b"get weight rooms/mm1\n";
/// How often both take turns in a run.
const TURNS: usize = 20;
/// Commands the bare loop sends before it reads.
const AHEAD: usize = 1000;

fn connect(live: &Live) -> UnixStream {
    let mut stream = UnixStream::connect(live.path("admin")).unwrap();
    stream.write_all(b"prompt\n").unwrap();
    let mut answer = [0; 16];
    let n = stream.read(&mut answer).unwrap();
    assert_eq!(&answer[..n], b"\n> ");
    stream
}

/// Writes a command, reads up to the prompt, and so on: nothing is looked at.
fn one_by_one(live: &Live, count: usize) {
    let mut stream = connect(live);
    let mut buffer = [0; 16384];
    for _ in 0..count {
        stream.write_all(LINE).unwrap();
        let mut have = 0;
        while !buffer[..have].ends_with(b"> ") {
            have += stream.read(&mut buffer[have..]).unwrap();
        }
    }
}

/// Writes many commands, then reads as many prompts.
fn pipelined(live: &Live, count: usize) {
    let mut stream = connect(live);
    let (lines, mut buffer) = (LINE.repeat(AHEAD), [0; 65536]);
    for _ in 0..count / AHEAD {
        stream.write_all(&lines).unwrap();
        let mut prompts = 0;
        while prompts < AHEAD {
            let n = stream.read(&mut buffer).unwrap();
            prompts += buffer[..n].iter().filter(|byte| **byte == b'>').count();
        }
    }
}

/// A connection for each command, through the master as it has to be there.
fn each_its_own(live: &Live, count: usize) {
    let line = [b"@1 ", LINE].concat();
    let mut answer = Vec::new();
    for _ in 0..count {
        let mut stream = UnixStream::connect(live.path("master")).unwrap();
        stream.write_all(&line).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        answer.clear();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"100 "));
    }
}

async fn ask(client: &Client, count: usize) {
    let command = Command::get_weight(&name("rooms/mm1"));
    for _ in 0..count {
        assert!(client.call(&command).await.unwrap().text().starts_with("100 "));
    }
}

/// What the bare loop has at hand as bytes, this has at hand as commands.
async fn ask_all(client: &Client, commands: &[Command]) {
    assert_eq!(client.call_all(commands).await.unwrap().len(), commands.len());
}

/// Seven runs, in each of which both take turns many times, so that whatever else the machine does is borne by both;
/// the rates of the run whose ratio is the median.
fn compare(count: usize, mut bare: impl FnMut(usize), mut ours: impl FnMut(usize)) -> (f64, f64) {
    let time = |work: &mut dyn FnMut(usize)| {
        let began = Instant::now();
        work(count / TURNS);
        began.elapsed()
    };
    let rate = |time: Duration| u32::try_from(count).map(f64::from).unwrap() / time.as_secs_f64();
    let mut runs = vec![];
    for _ in 0..7 {
        let (mut theirs, mut own) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TURNS {
            theirs += time(&mut bare);
            own += time(&mut ours);
        }
        runs.push((rate(theirs), rate(own)));
    }
    runs.sort_by(|(a, b), (c, d)| (b / a).total_cmp(&(d / c)));
    runs[runs.len() / 2]
}

/// The ratios of the client to the bare loops; the one of commands sent ahead, many times faster than a loop, is printed
/// alone.
fn run(scale: usize) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ahead = vec![Command::get_weight(&name("rooms/mm1")); 200 * scale / TURNS];
    let mut ratios = vec![];
    for binary in binaries() {
        let live = Live::with_master(&binary);
        let direct = live.client();
        let through = MasterClient::new(live.address("master"), ClientOptions::default()).worker(WorkerTarget::Current);
        let told = [
            ("one by one", compare(40 * scale, |n| one_by_one(&live, n), |n| runtime.block_on(ask(&direct, n)))),
            (
                "sent ahead",
                compare(200 * scale, |n| pipelined(&live, n), |n| runtime.block_on(ask_all(&direct, &ahead[..n]))),
            ),
            (
                "a connection each, through the master",
                compare(4 * scale, |n| each_its_own(&live, n), |n| runtime.block_on(ask(&through, n))),
            ),
        ];
        for (what, (bare, ours)) in told {
            let ratio = ours / bare;
            println!("{}: {what}: bare loop {bare:.0}/s, client {ours:.0}/s, ratio {ratio:.2}", live.version);
            if what != "sent ahead" {
                ratios.push(ratio);
            }
        }
    }
    ratios
}

#[test]
fn commands_are_counted() {
    assert!(run(TURNS * 5).iter().all(|ratio| *ratio > 0.0));
}

#[test]
#[ignore = "measures, optimised and alone: cargo xtask bench haproxy-control"]
fn commands_a_second() {
    for ratio in run(1000) {
        assert!(ratio >= 0.8, "the client has {ratio:.2} of a bare loop");
    }
}
