//! The Redis store over TLS, on a real redis-server with certificates made for the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use balancer_core::{RedisLink, RedisOptions, RedisStore, StickStore};

#[cfg(feature = "redis-cluster")]
use crate::redis_server::until;
use crate::redis_server::{RedisServer, free_port, patient};

fn openssl(folder: &Path, args: &[&str]) {
    let done = Command::new("openssl").current_dir(folder).args(args).stderr(Stdio::piped()).output().unwrap();
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An authority, and a certificate of it for this name, in a folder that is removed again.
struct Certificates(PathBuf);

impl Certificates {
    fn new(test: &str, name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            assert!(std::env::var_os("CI").is_none(), "openssl is not installed");
            eprintln!("skipped: openssl is not installed");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("balancer-tls-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let ca = [&["req", "-x509"][..], &key, &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"]];
        openssl(&folder, &[&ca.concat()[..], &["-days", "2", "-addext", "basicConstraints=critical,CA:TRUE"]].concat());
        let request = [&["req"][..], &key, &["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"]];
        openssl(&folder, &request.concat());
        std::fs::write(folder.join("ext"), format!("subjectAltName={name}\nbasicConstraints=CA:FALSE\n")).unwrap();
        let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(&folder, &[&sign[..], &["-days", "2", "-extfile", "ext", "-out", "server.pem"]].concat());
        Some(Self(folder))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn args(&self, port: u16) -> Vec<String> {
        let (cert, key, ca) = (self.path("server.pem"), self.path("server.key"), self.path("ca.pem"));
        let args = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
        let more = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
        args.into_iter().chain(more).map(str::to_owned).collect()
    }

    fn server(&self, port: u16) -> Option<RedisServer> {
        self.server_with(port, &[])
    }

    fn server_with(&self, port: u16, more: &[&str]) -> Option<RedisServer> {
        let args = self.args(port);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        RedisServer::start(&args)
    }

    fn options(&self, port: u16) -> RedisOptions {
        patient(RedisOptions::from_url(&format!("rediss://127.0.0.1:{port}")).unwrap()).ca_file(self.path("ca.pem"))
    }

    /// By this URL; where no TLS is spoken that is waited for.
    fn quick(&self, url: &str) -> RedisLink {
        let options = RedisOptions::from_url(url).unwrap().ca_file(self.path("ca.pem"));
        let options = options.connect_timeout(Duration::from_secs(4)).response_timeout(Duration::from_secs(14));
        RedisLink::new(options).unwrap()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(feature = "testing")]
#[tokio::test]
async fn the_store_conforms_over_tls() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let Some(certificates) = Certificates::new("conforms", "IP:127.0.0.1") else { return };
    let port = free_port();
    let Some(_server) = certificates.server(port) else { return };
    let number = AtomicU64::new(0);
    let make = || async {
        let namespace = format!("tls{}", number.fetch_add(1, Ordering::Relaxed));
        RedisStore::new(RedisLink::new(certificates.options(port).namespace(namespace)).unwrap())
    };
    balancer_core::conformance::run(make, &balancer_core::conformance::Clock::Real).await;
}

#[tokio::test]
async fn a_restart_is_survived_over_tls() {
    let Some(certificates) = Certificates::new("restart", "IP:127.0.0.1") else { return };
    let port = free_port();
    let Some(mut server) = certificates.server(port) else { return };
    let link = RedisLink::new(certificates.options(port)).unwrap();
    link.ping().await.unwrap();
    server.stop();
    assert!(link.ping().await.is_err());
    server.resume();
    link.ping().await.unwrap();
    assert_eq!(RedisStore::new(link).count(&"nobody".into()).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_named() {
    let Some(certificates) = Certificates::new("named", "DNS:elsewhere.example") else { return };
    let port = free_port();
    let Some(server) = certificates.server(port) else { return };
    let said = |options: RedisOptions| async {
        let options = options.connect_timeout(Duration::from_secs(5));
        RedisLink::new(options).unwrap().ping().await.unwrap_err().to_string()
    };
    let name = said(certificates.options(port)).await;
    assert!(name.contains("for another name"), "{name}");
    let Some(others) = Certificates::new("others", "IP:127.0.0.1") else { return };
    let issuer = said(certificates.options(port).ca_file(others.path("ca.pem"))).await;
    assert!(issuer.contains("signed by nobody we trust"), "{issuer}");
    let plain = said(certificates.options(server.port())).await;
    assert!(plain.contains("does it speak TLS"), "{plain}");
    let missing = RedisLink::new(certificates.options(port).ca_file("/none/ca.pem")).unwrap_err().to_string();
    assert!(missing.contains("/none/ca.pem"), "{missing}");
}

#[cfg(feature = "redis-sentinel")]
#[tokio::test]
async fn sentinels_and_their_master_are_asked_over_tls() {
    let Some(certificates) = Certificates::new("sentinel", "IP:127.0.0.1") else { return };
    let (port, watch) = (free_port(), free_port());
    let Some(master) = certificates.server(port) else { return };
    let sentinel = |named: u16| {
        let args = certificates.args(watch);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(["--tls-replication", "yes"]).collect();
        RedisServer::start_sentinel(&format!("sentinel monitor mymaster 127.0.0.1 {named} 1\n"), &args)
    };
    let link = |port: u16| certificates.quick(&format!("rediss+sentinel://127.0.0.1:{port}/mymaster"));
    let Some(running) = sentinel(port) else { return };
    link(watch).ping().await.unwrap();
    // What speaks plainly is refused, sentinel or master.
    let plain = link(running.port()).ping().await.unwrap_err().to_string();
    assert!(plain.contains("does it speak TLS"), "{plain}");
    drop(running);
    let Some(_other) = sentinel(master.port()) else { return };
    let plain = link(watch).ping().await.unwrap_err().to_string();
    assert!(plain.contains("does it speak TLS") && plain.contains(&master.port().to_string()), "{plain}");
}

#[cfg(feature = "redis-cluster")]
#[tokio::test]
async fn the_nodes_of_a_cluster_are_asked_over_tls() {
    let Some(certificates) = Certificates::new("cluster", "IP:127.0.0.1") else { return };
    for (bus, works) in [("yes", true), ("no", false)] {
        let port = free_port();
        let cluster = ["--cluster-enabled", "yes", "--tls-cluster", bus];
        let Some(node) = certificates.server_with(port, &cluster) else { return };
        let direct = RedisLink::new(patient(RedisOptions::new("127.0.0.1").port(node.port()).unwrap())).unwrap();
        direct.call(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await.unwrap();
        until("the cluster comes up", async || {
            let info = direct.call(&["CLUSTER", "INFO"]).await.unwrap();
            info.as_str().unwrap().contains("cluster_state:ok").then_some(())
        })
        .await;
        let store = RedisStore::new(certificates.quick(&format!("rediss+cluster://127.0.0.1:{port}")));
        // A cluster whose bus is plain names its plain ports, where nothing is said without TLS.
        match store.count(&"nobody".into()).await {
            Ok(count) => assert!(works && count == 0),
            Err(error) => assert!(!works && error.to_string().contains("does it speak TLS"), "{error}"),
        }
    }
}
