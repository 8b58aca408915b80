//! Processes of fake servers: killed, stopped, and told over their standard input how to misbehave.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use adapter_bbb::testing::{FakeBbb, FakeOptions, Mode};

/// The secret of every fake server.
pub(super) const FAKE_SECRET: &str = "fake-secret";
const PORTS: &str = "SOAK_FAKE_PORTS";
const DEADLINE: Duration = Duration::from_secs(30);

/// Not a test of its own: the process of some fake servers. It ends with its standard input.
#[tokio::test]
async fn fake_servers_process() {
    let Ok(ports) = std::env::var(PORTS) else { return };
    let mut fakes = Vec::new();
    for port in ports.split(',') {
        let options = FakeOptions::new(FAKE_SECRET).port(port.parse().unwrap());
        let fake = FakeBbb::start(options).await.unwrap();
        fake.limit_log(0);
        fakes.push(fake);
    }
    let listening: Vec<String> = fakes.iter().map(|f| f.port().to_string()).collect();
    println!("\nlistening on {}", listening.join(","));
    let (orders, mut heard) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if orders.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(order) = heard.recv().await {
        obey(&fakes, &order).await;
        println!("done");
    }
}

/// `NUMBER|tenth|all MODE [MILLISECONDS]`; `tenth` is one in ten.
async fn obey(fakes: &[FakeBbb], order: &str) {
    let words: Vec<&str> = order.split(' ').collect();
    let time = Duration::from_millis(words.get(2).map_or(0, |ms| ms.parse().unwrap()));
    for (n, fake) in fakes.iter().enumerate() {
        let meant = match words[0] {
            "all" => true,
            "tenth" => n.is_multiple_of(10),
            number => number.parse() == Ok(n),
        };
        if !meant {
            continue;
        }
        match words[1] {
            "ok" => fake.ok().await.unwrap(),
            "hang" => fake.set_mode(Mode::Hang).await.unwrap(),
            "slow" => fake.set_mode(Mode::Slow(time)).await.unwrap(),
            "cut" => fake.set_mode(Mode::Cut).await.unwrap(),
            "cut-create" => fake.set_mode_for(&["create", "end"], Mode::Cut),
            "late-create" => fake.set_late("create", time),
            other => panic!("no mode is called {other}"),
        }
    }
}

/// A running process of fake servers, killed when it is dropped.
#[derive(Debug)]
pub(super) struct Fakes {
    pub(super) ports: Vec<u16>,
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Drop for Fakes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command with as many open files as this machine lets us have: the usual 1,024 are too few for many servers.
pub(super) fn roomy(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"", "sh", program]);
    command
}

impl Fakes {
    /// One server on each port; 0 is a free one.
    pub(super) fn start(ports: &[u16]) -> Self {
        let exe = std::env::current_exe().unwrap();
        let list: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut child = roomy(exe.to_str().unwrap())
            .args(["--exact", "soak::fakes::fake_servers_process", "--nocapture"])
            .env(PORTS, list.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // Nobody listens any more when the owner is gone; reading on keeps the process from blocking.
                let _ = tell.send(line);
            }
        });
        let mut fakes = Self { ports: Vec::new(), child, orders, lines };
        let ports = fakes.wait_for("listening on ");
        fakes.ports = ports.split(',').map(|p| p.parse().unwrap()).collect();
        fakes
    }

    fn wait_for(&self, prefix: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).expect("the process of fake servers answers");
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Gives an order and waits until it is carried out.
    pub(super) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        self.wait_for("done");
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Sends a signal to one process: `STOP`, `CONT`, `KILL`.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.is_ok_and(|s| s.success()), "kill -{name} {pid}");
}
