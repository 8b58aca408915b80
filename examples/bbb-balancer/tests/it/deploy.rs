//! The unit and the container file: what they start is started here, outside of systemd and of a container.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::processes::{Guard, free_port, until};
use crate::{SECRET, run};

const UNIT: &str = include_str!("../../deploy/bbb-balancer.service");
const CONTAINER: &str = include_str!("../../deploy/Containerfile");
const BINARY: &str = env!("CARGO_BIN_EXE_bbb-balancer");

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bbb-balancer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the lines that begin with a word say, without that word.
fn lines<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(word)).collect()
}

#[test]
fn the_service_manager_is_told() {
    let folder = Folder::new("notify");
    let path = folder.0.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = || {
        let mut bytes = [0; 512];
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let start = lines(UNIT, "ExecStart=/usr/local/bin/bbb-balancer ");
    let [words] = start.as_slice() else { panic!("one ExecStart of the program: {start:?}") };
    let port = free_port().to_string();
    let process = Command::new(BINARY)
        .args(words.split(' '))
        .env_clear()
        .env("LOADBALANCER_SECRET", SECRET)
        .env("BIND", format!("127.0.0.1:{port}"))
        .env("BALANCER_DATA_DIR", folder.0.join("data"))
        .env("NOTIFY_SOCKET", &path)
        // Twice in that time, and some ten words wait for whoever does not listen: the last one is to find room.
        .env("WATCHDOG_USEC", "2000000")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Guard(process);
    assert_eq!(hear(), format!("READY=1\nSTATUS=serving at http://127.0.0.1:{port}"));
    // Ready means that it answers.
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(run(&["status", "--url", &url], &[("LOADBALANCER_SECRET", SECRET)]).code, 0);
    assert_eq!([hear(), hear(), hear()], ["WATCHDOG=1"; 3]);
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let last = std::iter::repeat_with(hear).find(|words| words != "WATCHDOG=1");
    assert!(last.is_some_and(|words| words.starts_with("STOPPING=1\n")));
    assert!(process.0.wait().unwrap().success());
}

#[test]
fn the_configuration_is_read_again() {
    let folder = Folder::new("reload");
    let (path, config) = (folder.0.join("notify"), folder.0.join("balancer.toml"));
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = || {
        let mut bytes = [0; 1024];
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let port = free_port();
    let write = |more: &str| {
        std::fs::write(&config, format!("bind = \"127.0.0.1:{port}\"\nmemory = true\n{more}")).unwrap();
    };
    write("loadbalancer_secrets = \"first-secret\"\n");
    let process = Command::new(BINARY)
        .args(["serve", "--config", config.to_str().unwrap()])
        .env_clear()
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Guard(process);
    let ready = format!("READY=1\nSTATUS=serving at http://127.0.0.1:{port}");
    assert_eq!(hear(), ready);
    let url = format!("http://127.0.0.1:{port}");
    let accepted = |secret: &str| run(&["servers", "--url", &url], &[("BALANCER_SECRET", secret)]).code == 0;
    let pid = process.0.id().to_string();
    let reload = || {
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        assert!(hear().starts_with("RELOADING=1\n"));
        hear()
    };
    assert!(accepted("first-secret") && !accepted("second-secret"));
    write("loadbalancer_secrets = \"second-secret:first-secret\"\n");
    assert_eq!(reload(), ready);
    assert!(accepted("first-secret") && accepted("second-secret"), "both, while front-ends change");
    write("loadbalancer_secrets = \"second-secret\"\nurl_host = \"bbb.example.com\"\nbogus = 1\n");
    let told = reload();
    assert!(told.starts_with(&ready) && told.contains("the old one stays: ") && told.contains("bogus"), "{told}");
    assert!(accepted("first-secret"), "a bad file changes nothing");
    write("loadbalancer_secrets = \"second-secret\"\npoll_interval = 30\nmax_meeting_duration = 90\n");
    assert_eq!(reload(), format!("{ready}; needs a restart for poll_interval"));
    assert!(!accepted("first-secret") && accepted("second-secret"));
    std::fs::remove_file(&config).unwrap();
    assert!(reload().contains("cannot be read"));
    assert!(accepted("second-secret"));
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut log = String::new();
    std::io::Read::read_to_string(&mut process.0.stdout.take().unwrap(), &mut log).unwrap();
    assert!(process.0.wait().unwrap().success());
    for want in ["nothing was changed", "poll_interval", "max_meeting_duration", "cannot be changed at run time"] {
        assert!(log.contains(want), "{want}: {log}");
    }
    assert!(!log.contains("first-secret") && !log.contains("second-secret"), "{log}");
}

#[test]
fn the_unit_is_good() {
    for want in ["Type=notify", "Restart=always", "NoNewPrivileges=yes", "ExecReload=/bin/kill -HUP $MAINPID"] {
        assert!(UNIT.lines().any(|line| line == want), "{want}");
    }
    let seconds = |name| lines(UNIT, name)[0].parse::<u64>().unwrap();
    assert!(seconds("WatchdogSec=") >= 10);
    assert!(seconds("TimeoutStartSec=") > 30, "meetings are looked for that long");
    assert!(seconds("TimeoutStopSec=") > 20, "requests are finished that long");
    let folder = Folder::new("unit");
    let path = folder.0.join("bbb-balancer.service");
    std::fs::write(&path, UNIT.replace("/usr/local/bin/bbb-balancer", BINARY)).unwrap();
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output() {
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("bbb-balancer")).collect();
            assert!(done.status.success() && ours.is_empty(), "{said}");
        }
        Err(e) => println!("SKIPPED: systemd-analyze is not here: {e}"),
    }
}

/// The words of a JSON list at the end of a line.
fn words(line: &str) -> Vec<String> {
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
}

#[test]
fn what_the_container_runs_works_outside_of_one() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    for from in lines(CONTAINER, "COPY ").iter().filter(|line| !line.starts_with("--from")) {
        let source = from.split(' ').next().unwrap();
        assert!(root.join(source).exists(), "{source} is not in the workspace");
    }
    assert!(root.join("Cargo.lock").exists(), "--locked needs it");
    let build = lines(CONTAINER, "RUN cargo build ");
    assert_eq!(build, [format!("--locked --release -p {}", env!("CARGO_PKG_NAME"))]);

    let folder = Folder::new("container");
    let port = free_port().to_string();
    let mut env: Vec<(String, String)> = Vec::new();
    for line in lines(CONTAINER, "ENV ") {
        let (name, value) = line.split_once('=').unwrap();
        let value = match name {
            "PORT" => port.clone(),
            "BALANCER_DATA_DIR" => format!("{}{value}", folder.0.display()),
            _ => value.to_owned(),
        };
        env.push((name.to_owned(), value));
    }
    env.push(("LOADBALANCER_SECRET".to_owned(), SECRET.to_owned()));
    env.push(("URL_HOST".to_owned(), "lb.example.com".to_owned()));
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();

    let entry = words(lines(CONTAINER, "ENTRYPOINT ")[0]);
    assert_eq!(entry, ["bbb-balancer"]);
    let process = Command::new(BINARY)
        .args(words(lines(CONTAINER, "CMD ")[0]))
        .env_clear()
        .envs(env.iter().copied())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Guard(process);
    let health = words(lines(CONTAINER, "HEALTHCHECK ")[0]);
    assert_eq!(health[0], "bbb-balancer");
    let health: Vec<&str> = health[1..].iter().map(String::as_str).collect();
    until("it is healthy", || (run(&health, &env).code == 0).then_some(()));
    assert!(folder.0.join("data/bbb-balancer.redb").exists());
    // STOPSIGNAL
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(process.0.wait().unwrap().success());
    assert_ne!(run(&health, &env).code, 0, "it is stopped");
}
