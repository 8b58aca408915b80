//! TLS to a database that has a certificate, by every word of `sslmode`.

use std::path::Path;

use adapter_bbb::{IndexError, PostgresOptions, PostgresRecordings, RecordingIndex};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use real_servers::{Folder, PostgresServer};

use super::world::{connect, recording};

/// An authority: its certificate, and what signs.
fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}

/// A certificate for these names and its key; one that expired long ago, if so wanted.
fn certificate(issuer: &Issuer<'_, KeyPair>, names: &[&str], expired: bool) -> (String, String) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "postgres");
    if expired {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn index_at(server: &PostgresServer, host: &str, query: &str) -> Result<PostgresRecordings, IndexError> {
    let url = format!("postgresql://postgres@{host}:{}/scalelite?{query}", server.port());
    PostgresRecordings::new(PostgresOptions::from_url(&url).unwrap())
}

/// Whether it works, or why not.
async fn tried(server: &PostgresServer, host: &str, query: &str) -> Result<(), IndexError> {
    index_at(server, host, query)?.check().await
}

/// The server speaks TLS with this certificate.
fn certified(server: &mut PostgresServer, (certificate, key): &(String, String)) {
    server.put("server.crt", certificate);
    server.put("server.key", key);
    server.restart_with(&["ssl=on"]);
}

/// How many connections of ours there are with TLS.
async fn encrypted(server: &PostgresServer) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE ssl AND application_name = 'bbb-balancer'";
    connect(server, "scalelite").await.query_one(count, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn every_word_of_sslmode_is_kept_on_a_real_server() {
    let Some(mut server) = PostgresServer::start() else { return };
    let folder = Folder::new("certificates");
    let ((ca, ours), (other, _)) = (authority("ours"), authority("other"));
    let (ca, other) = (file(&folder, "ca.pem", &ca), file(&folder, "other.pem", &other));
    let trust = format!("sslrootcert={ca}");

    // Without TLS there: who prefers it goes on, who requires it is told.
    for word in ["disable", "allow", "prefer"] {
        tried(&server, "127.0.0.1", &format!("sslmode={word}")).await.unwrap();
    }
    tried(&server, "127.0.0.1", "").await.unwrap();
    for query in ["sslmode=require", &format!("sslmode=verify-ca&{trust}"), &format!("sslmode=verify-full&{trust}")] {
        let e = tried(&server, "127.0.0.1", query).await.unwrap_err();
        assert!(e.to_string().contains("does not speak TLS: set ssl = on"), "{query}: {e}");
        assert!(matches!(e, IndexError::Unusable { .. }), "{query}: {e:?}");
    }

    certified(&mut server, &certificate(&ours, &["localhost"], false));
    let unknown = "signed by nobody we trust: name the file of its authority by sslrootcert";
    let elsewhere = "is for another name: use that one as host in DATABASE_URL, or sslmode=verify-ca";
    for (host, query, refused) in [
        ("127.0.0.1", "sslmode=prefer".to_owned(), None),
        ("127.0.0.1", "sslmode=require".to_owned(), None),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={other}"), Some(unknown)),
        ("127.0.0.1", format!("sslmode=require&{trust}"), None),
        ("127.0.0.1", format!("sslmode=verify-ca&{trust}"), None),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={other}"), Some(unknown)),
        // Nobody of the system's authorities signed it.
        ("localhost", "sslmode=verify-full&sslrootcert=system".to_owned(), Some(unknown)),
        ("localhost", format!("sslmode=verify-full&{trust}"), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other}"), Some(unknown)),
        ("127.0.0.1", format!("sslmode=verify-full&{trust}"), Some(elsewhere)),
    ] {
        let done = index_at(&server, host, &query);
        let (index, done) = match done {
            Ok(index) => {
                let done = index.check().await;
                (Some(index), done)
            }
            Err(e) => (None, Err(e)),
        };
        match (done, refused) {
            (Ok(()), None) => assert!(encrypted(&server).await > 0, "{host} {query}"),
            (Err(e), Some(why)) => {
                assert!(e.to_string().contains(why) && matches!(e, IndexError::Unusable { .. }), "{host} {query}: {e}");
            }
            (done, refused) => panic!("{host} {query}: {done:?}, not {refused:?}"),
        }
        drop(index);
    }
    let plain = index_at(&server, "127.0.0.1", "sslmode=disable&application_name=plain").unwrap();
    plain.check().await.unwrap();
    // More than one, while indexes are built.
    let mine = "SELECT coalesce(bool_or(ssl), true) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE application_name = 'plain'";
    assert!(!connect(&server, "scalelite").await.query_one(mine, &[]).await.unwrap().get::<_, bool>(0));

    // It goes on working, and what it carries arrives.
    let index = index_at(&server, "localhost", &format!("sslmode=verify-full&{trust}")).unwrap();
    let r = recording("r", &"m".repeat(100_000), 0, true);
    assert_eq!(index.import(&r).await.unwrap(), r);
    server.stop();
    assert!(index.get("r").await.unwrap_err().is_retryable());
    server.resume();
    assert_eq!(index.get("r").await.unwrap(), Some(r));

    certified(&mut server, &certificate(&ours, &["localhost"], true));
    let e = tried(&server, "localhost", &format!("sslmode=verify-full&{trust}")).await.unwrap_err();
    assert!(e.to_string().contains("its certificate has expired: renew it"), "{e}");
    tried(&server, "localhost", "sslmode=require").await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_when_it_is_named() {
    let Some(mut server) = PostgresServer::start() else { return };
    let folder = Folder::new("certificates");
    // As the manual of Postgres makes it.
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap().pem();
    certified(&mut server, &(own.clone(), key.serialize_pem()));
    let named = format!("sslrootcert={}", file(&folder, "own.pem", &own));
    tried(&server, "localhost", &format!("sslmode=verify-full&{named}")).await.unwrap();
    tried(&server, "127.0.0.1", &format!("sslmode=verify-ca&{named}")).await.unwrap();
    let e = tried(&server, "127.0.0.1", &format!("sslmode=verify-full&{named}")).await.unwrap_err();
    assert!(e.to_string().contains("is for another name"), "{e}");
    let (other, _) = authority("localhost");
    let other = format!("sslmode=verify-ca&sslrootcert={}", file(&folder, "other.pem", &other));
    assert!(tried(&server, "127.0.0.1", &other).await.is_err());
}

/// Logins are bound to the certificate, and servers that demand TLS or a certificate of ours get it.
#[tokio::test]
async fn logins_over_tls() {
    let Some(mut server) = PostgresServer::start() else { return };
    let folder = Folder::new("certificates");
    let (ca, ours) = authority("ours");
    let admin = connect(&server, "postgres").await;
    admin.batch_execute("CREATE ROLE lodger LOGIN SUPERUSER PASSWORD 'geheim'").await.unwrap();
    drop(admin);
    certified(&mut server, &certificate(&ours, &["localhost"], false));
    server.put("pg_hba.conf", "hostssl all lodger all scram-sha-256\nhost all postgres all trust\n");
    server.restart_with(&["ssl=on"]);
    let at = |user: &str, query: &str| {
        let url = format!("postgresql://{user}@127.0.0.1:{}/scalelite?{query}", server.port());
        PostgresRecordings::new(PostgresOptions::from_url(&url).unwrap()).unwrap()
    };
    at("lodger:geheim", "sslmode=require&channel_binding=require").check().await.unwrap();
    at("lodger:geheim", "").check().await.unwrap();
    let e = at("lodger:falsch", "sslmode=require").check().await.unwrap_err();
    assert!(e.to_string().contains("is DATABASE_URL right?") && !e.to_string().contains("falsch"), "{e}");
    let e = at("lodger:geheim", "sslmode=disable").check().await.unwrap_err();
    assert!(e.to_string().contains("sslmode=require") && !e.to_string().contains("geheim"), "{e}");

    server.put("ca.crt", &ca);
    server.put("pg_hba.conf", "hostssl all postgres all cert clientcert=verify-full\n");
    server.restart_with(&["ssl=on", "ssl_ca_file=ca.crt"]);
    let e = tried(&server, "127.0.0.1", "sslmode=require").await.unwrap_err();
    assert!(e.to_string().contains("certificate"), "{e}");
    let (own, key) = certificate(&ours, &["postgres"], false);
    let own =
        format!("sslmode=require&sslcert={}&sslkey={}", file(&folder, "own.pem", &own), file(&folder, "own.key", &key));
    tried(&server, "127.0.0.1", &own).await.unwrap();
}

/// Who only prefers TLS does without it where it does not come about, as Postgres' own programs do; nobody else does.
#[tokio::test]
async fn who_prefers_tls_goes_on_without_it_when_it_fails() {
    let Some(mut server) = PostgresServer::start() else { return };
    let (_, ours) = authority("ours");
    certified(&mut server, &certificate(&ours, &["localhost"], false));
    // As an old server has it: no way of talking that is still good for anything.
    server.restart_with(&["ssl=on", "ssl_max_protocol_version=TLSv1.2", "ssl_ciphers=AES128-SHA"]);
    for word in ["", "sslmode=allow", "sslmode=prefer"] {
        let index = index_at(&server, "127.0.0.1", word).unwrap();
        index.check().await.unwrap();
        assert_eq!(encrypted(&server).await, 0, "{word}");
    }
    let e = tried(&server, "127.0.0.1", "sslmode=require").await.unwrap_err();
    assert!(e.to_string().contains("it refuses our side of TLS"), "{e}");
    // One that wants TLS all the same: what is wrong with it is what is said.
    server.put("pg_hba.conf", "hostssl all all all trust\n");
    server.restart_with(&["ssl=on", "ssl_max_protocol_version=TLSv1.2", "ssl_ciphers=AES128-SHA"]);
    let e = tried(&server, "127.0.0.1", "").await.unwrap_err();
    assert!(e.to_string().contains("it refuses our side of TLS"), "{e}");
    // One that speaks it, and lets us in only without.
    server.put("pg_hba.conf", "hostnossl all all all trust\n");
    server.restart_with(&["ssl=on"]);
    tried(&server, "127.0.0.1", "").await.unwrap();
    let e = tried(&server, "127.0.0.1", "sslmode=require").await.unwrap_err();
    assert!(e.to_string().contains("does it want no TLS? Then say sslmode=disable"), "{e}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = Folder::new("certificates");
    let gone = folder.join("gone.pem");
    let empty = file(&folder, "empty.pem", "nothing in it\n");
    let (ca, issuer) = authority("ours");
    let ca = file(&folder, "ca.pem", &ca);
    let (own, _) = certificate(&issuer, &["a"], false);
    let (_, key) = certificate(&issuer, &["b"], false);
    let (own, key) = (file(&folder, "own.pem", &own), file(&folder, "other.key", &key));
    for (query, says) in [
        (format!("sslmode=verify-ca&sslrootcert={}", gone.display()), format!("sslrootcert {}", gone.display())),
        (format!("sslmode=verify-ca&sslrootcert={empty}"), format!("sslrootcert {empty} holds no certificate")),
        (format!("sslcert={ca}&sslkey={empty}"), format!("sslkey {empty} cannot be read")),
        (format!("sslcert={own}&sslkey={key}"), format!("sslkey {key} does not fit to sslcert {own}")),
    ] {
        let options = PostgresOptions::from_url(&format!("postgres://u:geheim@h/x?{query}")).unwrap();
        let e = PostgresRecordings::new(options).unwrap_err();
        assert!(e.to_string().contains(&says) && !format!("{e:?}").contains("geheim"), "{query}: {e}");
        assert!(matches!(e, IndexError::Unusable { .. }), "{e:?}");
    }
}
