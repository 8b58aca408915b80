//! The suites that drive a running balancer from outside.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use real_servers::free_port;

use crate::run::{Guard, Scratch, Tally, root, run, run_and_read, target, wait_for_port};
use crate::tools;

/// Cases the suite must at least have passed: fewer means that it did not really run.
const LEAST: u64 = 250;

const SECRET: &str = "lbsecret";

/// A balancer of its own, with what it needs to run.
struct Balancer {
    port: u16,
    _process: Guard,
    _redis: Option<Guard>,
    _scratch: Scratch,
}

fn binary() -> PathBuf {
    target().join("debug/bbb-balancer")
}

fn build() -> Result<(), String> {
    run("building bbb-balancer", Command::new("cargo").args(["build", "--quiet", "-p", "bbb-balancer"]))
}

impl Balancer {
    fn start(store: &str) -> Result<Self, String> {
        let scratch = Scratch::new(store)?;
        let port = free_port();
        let mut command = Command::new(binary());
        command.args(["serve", "--bind", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(&scratch.0);
        let log = std::fs::File::create(scratch.0.join("log")).map_err(|e| format!("log: {e}"))?;
        let both = log.try_clone().map_err(|e| format!("log: {e}"))?;
        command.stdin(Stdio::null()).stdout(log).stderr(both);
        for name in ["REDIS_URL", "BIND", "PORT", "INTERVAL"] {
            command.env_remove(name);
        }
        // Polls are driven by the suite, and dead servers must not take long.
        command
            .env("LOADBALANCER_SECRET", SECRET)
            .env("LOADBALANCER_SECRETS", "aa:bb")
            .env("CONNECT_TIMEOUT", "1")
            .env("RESPONSE_TIMEOUT", "3")
            .env("POLL_INTERVAL", "36000")
            .env("URL_HOST", "127.0.0.1");
        let redis = if store == "redis" {
            let port = free_port();
            command.env("REDIS_URL", format!("redis://127.0.0.1:{port}"));
            Some(redis(port, &scratch)?)
        } else {
            None
        };
        let mut process = Guard::start(&mut command)?;
        wait_for_port("the balancer", port, &mut process)
            .map_err(|e| format!("{e}\n{}", std::fs::read_to_string(scratch.0.join("log")).unwrap_or_default()))?;
        Ok(Self { port, _process: process, _redis: redis, _scratch: scratch })
    }

    /// A Python command that knows this balancer.
    fn python(&self, python: &PathBuf) -> Command {
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut command = Command::new(python);
        command
            .env("LB_URL", format!("{url}/bigbluebutton/api"))
            .env("LB_SECRET", SECRET)
            .env("LB_SECRET2", "aa:bb")
            .env("LB_MAX_WAIT", "5")
            .env("BALANCER_URL", url)
            .env("BALANCER_SECRET", SECRET)
            .env("BALANCER", binary())
            .env("SL_RAKE", binary())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1");
        command
    }
}

fn redis(port: u16, scratch: &Scratch) -> Result<Guard, String> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    let mut redis = Guard::start(command.arg(&scratch.0).stdout(Stdio::null()))?;
    wait_for_port("redis-server", port, &mut redis)?;
    Ok(redis)
}

/// The black-box suite, once on each store.
pub(crate) fn suite(tally: &mut Tally) -> Result<(), String> {
    build()?;
    let python = tools::python()?;
    let folder = std::env::var_os("BBB_SUITE").map_or_else(|| root().join("tests/bbb-suite"), PathBuf::from);
    let folder = folder.canonicalize().map_err(|e| format!("the suite {}: {e}", folder.display()))?;
    let hook = folder.join("wrappers/scalelite_admin.py");
    for store in ["file", "redis"] {
        let balancer = Balancer::start(store)?;
        let mut command = balancer.python(&python);
        command.env("LB_ADMIN", format!("{} {}", python.display(), hook.display()));
        command.args(["-m", "pytest", "-p", "no:cacheprovider", "-q", "--rootdir"]).arg(&folder).arg(&folder);
        let lines = run_and_read(&format!("black-box suite, {store} store"), &mut command)?;
        let passed: u64 = lines.iter().filter(|l| l.starts_with("CASE PASS")).count() as u64;
        let ours = lines.iter().filter(|l| l.starts_with("CASE PASS") && !l.contains(" self ")).count() as u64;
        if ours < LEAST {
            return Err(format!("black-box suite, {store} store: only {ours} cases passed, {LEAST} at least are due"));
        }
        tally.passed += passed;
    }
    Ok(())
}

/// Real clients against a running balancer.
pub(crate) fn clients(tally: &mut Tally) -> Result<(), String> {
    build()?;
    tools::install(&["npm"])?;
    let python = tools::python()?;
    tools::node_modules()?;
    let balancer = Balancer::start("file")?;
    let folder = root().join("tests/clients");
    let mut command = balancer.python(&python);
    command.env("PYTHONPATH", root().join("tests/bbb-suite"));
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "-q", "--rootdir"]).arg(&folder).arg(&folder);
    let lines = run_and_read("bbbctl and bigbluebutton-js drive the balancer", &mut command)?;
    let passed = lines.iter().rev().find_map(|l| l.split(" passed").next()?.trim().parse::<u64>().ok());
    tally.passed += passed.ok_or("real clients: no case passed")?;
    Ok(())
}
