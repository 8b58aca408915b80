//! Where the database is, and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Parameters of a URL that are handed on; the others are Rails' own, or unknown.
const KNOWN: [&str; 11] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "host",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "options",
    "port",
    "target_session_attrs",
];

/// Whether this program can speak TLS to a database.
const HAS_TLS: bool = cfg!(feature = "postgres-tls");

/// What TLS has to prove; the words are Postgres' own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// `disable`: there is none.
    Never,
    /// `prefer`, and `allow`: it is used where the server has it, whoever that is.
    #[default]
    Whatever,
    /// `require`: it is used, whoever the server is.
    Nothing,
    /// `verify-ca`: the server's certificate is signed by somebody trusted.
    Authority,
    /// `verify-full`: and it is for the host of the URL.
    Name,
}

/// TLS as the URL asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) proof: Proof,
    /// `sslrootcert`: whom to trust. The system's authorities, if it is not set.
    pub(super) roots: Option<PathBuf>,
    /// `sslcert` and `sslkey`: who we are.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

/// Where the database is, and how it is spoken to.
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) tls: Wanted,
    /// Connections at most. Default 5, or `pool` of the URL.
    pub connections: usize,
    /// Longest wait for any operation, connecting and trying again included. Default 10 s.
    pub timeout: Duration,
    /// How often an operation is tried again when its connection turns out to be dead. Default 3. While the server starts,
    /// or has no room for another connection, it is tried again for half of the timeout, however often.
    pub retries: u32,
    /// Whether indexes of our own are added beside Scalelite's, by which long lists are found quickly. Nobody waits for
    /// that, and a user who may not do it goes on without. Default on.
    pub indexes: bool,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("target", &self.target())
            .field("tls", &self.tls)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("indexes", &self.indexes)
            .finish()
    }
}

impl PostgresOptions {
    /// Reads a URL such as `postgresql://user:password@host:5432/scalelite`. Without a database in it, that is
    /// `scalelite`. Of Rails' parameters `pool` counts; others that Postgres does not know are passed over.
    ///
    /// `sslmode` is read as Postgres' own programs read it: `prefer` when it is not there, which goes on without TLS when
    /// it does not come about or the server lets nobody in with it; `require` proves nothing
    /// unless `sslrootcert` names a file of authorities, by which the certificate is checked then; `verify-ca` and
    /// `verify-full` trust the authorities of that file, or the system's without one. `sslcert` and `sslkey` name our
    /// own certificate and its key. All files are in PEM form. What asks for TLS is refused without the feature
    /// `postgres-tls`.
    ///
    /// # Errors
    ///
    /// Words about what is wrong with it, without anything secret of it.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let rest = ["postgresql://", "postgres://", "postgis://"].iter().find_map(|scheme| place.strip_prefix(scheme));
        let rest = rest.ok_or("must begin with postgresql:// or postgres://")?;
        let (mut connections, mut kept) = (5, Vec::new());
        let (mut tls, mut certificate, mut key) = (Wanted::default(), None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("pool", text) => {
                    let number = text.parse().ok().filter(|n| (1..=1000).contains(n));
                    connections = number.ok_or("pool must be a whole number from 1 to 1000")?;
                }
                ("sslmode", word) => tls.proof = proof(word)?,
                // The word by which Postgres' programs name the authorities of the system.
                ("sslrootcert", "" | "system") => tls.roots = None,
                ("sslrootcert", path) => tls.roots = Some(path.into()),
                ("sslcert", path) if !path.is_empty() => certificate = Some(PathBuf::from(path)),
                ("sslkey", path) if !path.is_empty() => key = Some(PathBuf::from(path)),
                (name, _) if KNOWN.contains(&name) => {
                    kept.push(form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish());
                }
                _ => {}
            }
        }
        tls.own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("sslcert and sslkey go together: one of them is missing".to_owned()),
        };
        if tls.proof == Proof::Nothing && tls.roots.is_some() {
            tls.proof = Proof::Authority;
        }
        if !HAS_TLS && tls.proof > Proof::Whatever {
            return Err(
                "sslmode asks for TLS to the database, and this program was built without it: build it with the \
                        feature postgres-tls, or use a tunnel and sslmode=disable"
                    .to_owned(),
            );
        }
        let clean = format!("postgresql://{rest}?{}", kept.join("&"));
        // The error may quote what it did not understand, and that may be a password.
        let mut config = Config::from_str(&clean)
            .map_err(|_| "is not a URL such as postgresql://user:password@host:5432/scalelite")?;
        if config.get_dbname().is_none_or(str::is_empty) {
            config.dbname("scalelite");
        }
        if config.get_hosts().is_empty() {
            config.host("127.0.0.1");
        }
        if config.get_application_name().is_none() {
            config.application_name("bbb-balancer");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        // Nobody reads along between two processes of one machine: no word of sslmode counts there.
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
            tls = Wanted { proof: Proof::Never, ..Wanted::default() };
        }
        config.ssl_mode(match tls.proof {
            _ if !HAS_TLS => SslMode::Disable,
            Proof::Never => SslMode::Disable,
            Proof::Whatever => SslMode::Prefer,
            _ => SslMode::Require,
        });
        Ok(Self { config, tls, connections, timeout: Duration::from_secs(10), retries: 3, indexes: true })
    }

    /// Where it is, without any secret.
    pub(super) fn target(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("postgres {host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
    }
}

fn proof(word: &str) -> Result<Proof, String> {
    match word {
        "disable" => Ok(Proof::Never),
        "allow" | "prefer" => Ok(Proof::Whatever),
        "require" => Ok(Proof::Nothing),
        "verify-ca" => Ok(Proof::Authority),
        "verify-full" => Ok(Proof::Name),
        _ => Err("sslmode must be disable, allow, prefer, require, verify-ca or verify-full".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_rails_reads_them() {
        let o = PostgresOptions::from_url("postgresql://postgres:geheim@db:5433?pool=7&encoding=utf8").unwrap();
        assert_eq!((o.connections, o.target().as_str()), (7, "postgres db:5433/scalelite"));
        assert!(!format!("{o:?}").contains("geheim"));
        let o = PostgresOptions::from_url("postgres://u@h/other?sslmode=prefer&connect_timeout=2").unwrap();
        assert_eq!(o.target(), "postgres h:5432/other");
        assert_eq!(o.config.get_connect_timeout(), Some(&Duration::from_secs(2)));
        for (wrong, said) in [
            ("mysql://x", "must begin with postgresql://"),
            ("postgres://h/db?sslmode=always", "sslmode must be disable, allow"),
            ("postgres://h/db?pool=0", "pool must be"),
            ("postgres://h/db?sslcert=/a.pem", "sslcert and sslkey go together"),
            ("postgres://u:geheim@h:port/db", "is not a URL"),
        ] {
            let e = PostgresOptions::from_url(wrong).unwrap_err();
            assert!(e.contains(said) && !e.contains("geheim"), "{wrong}: {e}");
        }
    }

    #[test]
    fn words_about_tls_are_read_as_postgres_reads_them() {
        let read = |query: &str| PostgresOptions::from_url(&format!("postgres://h/db?{query}"));
        for (query, proof, mode) in [
            ("", Proof::Whatever, SslMode::Prefer),
            ("sslmode=disable", Proof::Never, SslMode::Disable),
            ("sslmode=allow", Proof::Whatever, SslMode::Prefer),
            ("sslmode=require", Proof::Nothing, SslMode::Require),
            ("sslmode=require&sslrootcert=system", Proof::Nothing, SslMode::Require),
            ("sslmode=require&sslrootcert=/ca.pem", Proof::Authority, SslMode::Require),
            ("sslrootcert=/ca.pem", Proof::Whatever, SslMode::Prefer),
            ("sslmode=verify-ca", Proof::Authority, SslMode::Require),
            ("sslmode=verify-full&sslrootcert=/ca.pem", Proof::Name, SslMode::Require),
        ] {
            match read(query) {
                Ok(o) if HAS_TLS => assert_eq!((o.tls.proof, o.config.get_ssl_mode()), (proof, mode), "{query}"),
                Ok(o) => assert!(proof <= Proof::Whatever && o.config.get_ssl_mode() == SslMode::Disable, "{query}"),
                Err(e) => assert!(!HAS_TLS && e.contains("postgres-tls"), "{query}: {e}"),
            }
        }
        let local = PostgresOptions::from_url("postgresql:///db?host=/run/postgresql&sslrootcert=/ca.pem").unwrap();
        assert_eq!((local.tls.proof, local.config.get_ssl_mode()), (Proof::Never, SslMode::Disable));
        let own = read("sslcert=/a%20b.pem&sslkey=/k.pem").unwrap().tls.own;
        assert_eq!(own, Some(("/a b.pem".into(), "/k.pem".into())));
    }
}
