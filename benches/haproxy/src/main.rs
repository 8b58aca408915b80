//! Measures `haproxy-control predict` and `plan` with many servers and rooms: time from start to end, peak memory.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const HELP: &str = "\
usage: haproxy-scale [--program PATH] [--servers N] [--keys N]

Measures haproxy-control predict and plan; 1,000 servers of weight 100 and 100,000 rooms unless told. Memory is the
peak of the resident set as the system counts it.";

struct Wanted {
    program: PathBuf,
    servers: usize,
    keys: usize,
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted { program: "../target/release/haproxy-control".into(), servers: 1_000, keys: 100_000 };
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value\n\n{HELP}"))?;
        let number = || value.parse().map_err(|_| format!("{arg} takes a whole number, not {value:?}"));
        match arg.as_str() {
            "--program" => wanted.program = value.into(),
            "--servers" => wanted.servers = number()?,
            "--keys" => wanted.keys = number()?,
            _ => return Err(format!("no option is called {arg}\n\n{HELP}")),
        }
    }
    Ok(wanted)
}

/// A folder that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("haproxy-scale-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }

    fn put(&self, name: &str, text: &str) -> Result<(), String> {
        fs::write(self.0.join(name), text).map_err(|e| format!("{name}: {e}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(servers: usize, balance: &str, hash: &str) -> String {
    let mut text = format!("backend rooms\n balance {balance}\n hash-type {hash}\n");
    text += " stick-table type string len 1024 size 1m expire 8h\n stick on var(txn.room)\n";
    for n in 1..=servers {
        let _ = writeln!(text, " server s{n} 10.{}.{}.{}:80 id {n} weight 100", n >> 16, (n >> 8) & 255, n & 255);
    }
    text
}

/// The most memory a running process had so far, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Time and peak memory of one run.
fn measure(program: &Path, folder: &Path, args: &[&str]) -> Result<(Duration, u64), String> {
    let keys = File::open(folder.join("rooms.txt")).map_err(|e| format!("rooms.txt: {e}"))?;
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(keys).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", program.display()))?;
    let mut most = 0;
    let status = loop {
        // It only grows: what is read last counts, which is at most a millisecond before the end.
        most = peak(child.id()).unwrap_or(0).max(most);
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let took = start.elapsed();
    if status.success() { Ok((took, most)) } else { Err(format!("{} {args:?} failed ({status})", program.display())) }
}

fn run() -> Result<(), String> {
    let wanted = read(std::env::args().skip(1))?;
    let program = wanted.program.canonicalize().map_err(|e| format!("{}: {e}", wanted.program.display()))?;
    let scratch = Scratch::new()?;
    let rooms: String = (0..wanted.keys).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "room-{}-{n}", n.wrapping_mul(2_654_435_761) & 0xffff);
        text
    });
    scratch.put("rooms.txt", &rooms)?;
    scratch.put("consistent.cfg", &config(wanted.servers, "hash var(txn.room)", "consistent"))?;
    scratch.put("map.cfg", &config(wanted.servers, "hash var(txn.room)", "map-based"))?;
    let table = rooms.lines().enumerate().fold(
        format!("# table: rooms, type: string, size:1048576, used:{}\n", wanted.keys),
        |mut text, (n, room)| {
            let server = n % wanted.servers.max(1) + 1;
            let _ = writeln!(text, "0x{n:x}: key={room} use=0 exp=1 server_id={server} server_key=s{server}");
            text
        },
    );
    scratch.put("table.txt", &table)?;
    let new = wanted.servers + 1;
    let (name, id) = (format!("s{new}"), new.to_string());
    println!("{} servers of weight 100, {} rooms\n", wanted.servers, wanted.keys);
    println!("{:<52} {:>9} {:>10}", "", "time", "memory");
    for (config, command) in [
        ("consistent.cfg", &["predict"][..]),
        ("consistent.cfg", &["plan", "--keys", "-", "add", &name, "--id", &id]),
        ("consistent.cfg", &["plan", "--keys", "-", "remove", "s7"]),
        ("consistent.cfg", &["plan", "--keys", "-", "drain", "s7"]),
        ("consistent.cfg", &["plan", "--keys", "-", "weight", "s7", "50"]),
        ("consistent.cfg", &["plan", "--table", "table.txt", "remove", "s7"]),
        ("map.cfg", &["predict"]),
        ("map.cfg", &["plan", "--keys", "-", "add", &name, "--id", &id]),
    ] {
        let (first, rest) = command.split_at(1);
        let options = ["--config", config, "--backend", "rooms", "--haproxy-version", "2.6.12"];
        let args = [first, &options, rest].concat();
        let mut best: Option<(Duration, u64)> = None;
        for _ in 0..3 {
            let (took, memory) = measure(&program, &scratch.0, &args)?;
            best = Some(best.map_or((took, memory), |(least, most)| (least.min(took), most.max(memory))));
        }
        let (took, memory) = best.unwrap_or_default();
        let title = format!("{} ({})", command.join(" "), config.trim_end_matches(".cfg"));
        println!("{title:<52} {:>6.0} ms {:>6.1} MiB", took.as_secs_f64() * 1e3, memory as f64 / 1024.0);
    }
    println!("\ntime is the least of three runs, reading and writing included; memory the most");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("haproxy-scale: {why}");
            ExitCode::FAILURE
        }
    }
}
