//! The long form: nodes are processes, which are killed.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use real_servers::RedisServer;

use super::faults::{redis, storm};
use super::mesh::{Member, Node, Pins, Plan};

/// What a node's process is told: its name, its port, the store's port, and the peers.
const TOLD: &str = "PEER_NODE";

/// The ports and names of a plan, as one word.
fn word(plan: &Plan, at: usize, store: u16) -> String {
    let peers = plan.lbs.iter().chain(&plan.nodes).map(|(name, port)| format!("{name}={port}"));
    format!("{at} {store} {} {}", plan.lbs.len(), peers.collect::<Vec<_>>().join(" "))
}

fn unword(text: &str) -> (Plan, usize, u16) {
    let mut words = text.split(' ');
    let mut number = || words.next().unwrap().parse::<usize>().unwrap();
    let (at, store, lbs) = (number(), number(), number());
    let peer = |word: &str| word.split_once('=').map(|(name, port)| (name.to_owned(), port.parse().unwrap())).unwrap();
    let mut lbs_then_nodes: Vec<(String, u16)> = words.map(peer).collect();
    let nodes = lbs_then_nodes.split_off(lbs);
    let plan =
        Plan { lbs: lbs_then_nodes, nodes, servers: Vec::new(), running: 0, more: String::new(), ssl: String::new() };
    (plan, at, u16::try_from(store).unwrap())
}

/// A node in a process of its own.
struct Process {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(plan: &Plan, at: usize, store: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "peers::soak::a_node", "--ignored", "--nocapture", "--quiet"]);
        command.env(TOLD, word(plan, at, store)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, orders, answers }
    }

    /// The lines of an answer.
    fn order(&mut self, order: &str) -> Vec<String> {
        writeln!(self.orders, "{order}").unwrap();
        let mut all = Vec::new();
        loop {
            let line = self.answers.next().expect("the node lives").unwrap();
            match line.split_once('|') {
                Some(("", "")) => return all,
                Some(("", said)) => all.push(said.to_owned()),
                // What the test's own frame prints.
                _ => {}
            }
        }
    }
}

impl Member for Process {
    fn connected(&mut self) {
        self.order("connected");
    }

    fn claim(&mut self, room: &str, server: &str) {
        self.order(&format!("claim|{room}|{server}"));
    }

    fn rebind(&mut self, room: &str, server: &str) {
        self.order(&format!("rebind|{room}|{server}"));
    }

    fn pins(&mut self) -> Pins {
        let pin =
            |line: String| line.split_once('|').map(|(room, server)| (room.to_owned(), server.to_owned())).unwrap();
        self.order("pins").into_iter().map(pin).collect()
    }

    fn sees(&mut self, peer: &str) -> bool {
        !self.order(&format!("sees|{peer}")).is_empty()
    }
}

/// With `kill -9`.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "a process that long_peers starts: cargo xtask soak peers"]
fn a_node() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let (plan, at, store) = unword(&told);
    let mut node = Node::start(plan.options(at), Plan::table(), Arc::new(redis(store)));
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = order.split('|').collect();
        let mut out = String::new();
        match words[..] {
            ["connected"] => Member::connected(&mut node),
            ["claim", room, server] => Member::claim(&mut node, room, server),
            ["rebind", room, server] => Member::rebind(&mut node, room, server),
            ["pins"] => out.extend(node.pins().iter().map(|(room, server)| format!("|{room}|{server}\n"))),
            ["sees", peer] if node.sees(peer) => out.push_str("|yes\n"),
            ["sees", _] => {}
            _ => panic!("{order:?} is no order"),
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("{out}|\n").as_bytes()).unwrap();
        stdout.flush().unwrap();
    }
}

#[test]
#[ignore = "takes minutes: cargo xtask soak peers"]
fn long_peers() {
    let server = RedisServer::start(&[]).expect("redis-server is installed");
    let port = server.port();
    storm(10_000, &server, &move |plan, at| Box::new(Process::start(plan, at, port)));
}
