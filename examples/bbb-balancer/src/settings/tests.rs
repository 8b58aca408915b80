use std::path::Path;

use super::keys::key;
use super::sources::Source;
use super::*;

const SECRET: &str = "2bdce5cbab581f3f20b199b970e53ae3c9d9df6392f79589bd58be020ed14535";

/// Flags, environment (with a secret unless it names one) and file.
fn sources(flags: &[(&'static str, &str)], env: &[(&str, &str)], file: &str) -> Result<Sources, Vec<String>> {
    let own = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
    let mut all = vec![("LOADBALANCER_SECRET".to_owned(), SECRET.to_owned())];
    all.extend(own(env));
    let mut sources = Sources::new(flags.iter().map(|(n, v)| (*n, (*v).to_owned())), all);
    sources.read_text(Path::new("bal.toml"), file)?;
    Ok(sources)
}

fn read(flags: &[(&'static str, &str)], env: &[(&str, &str)], file: &str) -> Result<Settings, Vec<String>> {
    Settings::read(&sources(flags, env, file)?)
}

fn errors(flags: &[(&'static str, &str)], env: &[(&str, &str)], file: &str) -> String {
    read(flags, env, file).map(|_| "no error").unwrap_err().join("\n")
}

#[test]
fn defaults_are_those_of_scalelite() {
    let s = read(&[], &[], "").unwrap();
    assert_eq!(s.listen, Listen::Tcp("0.0.0.0:3000".parse().unwrap()));
    assert_eq!(s.store, Store::File("./bbb-balancer-data".into()));
    assert_eq!((s.poll_interval, s.meeting_ttl), (Duration::from_secs(60), Duration::from_secs(86_400)));
    assert_eq!((s.connect_timeout, s.response_timeout), (Duration::from_secs(5), Duration::from_secs(10)));
    assert_eq!((s.healthy_threshold, s.unhealthy_threshold), (1, 2));
    assert_eq!(s.formula, LoadFormula::default());
    assert_eq!((s.max_meeting_minutes, s.voice_digits, s.threads), (0, 9, None));
    assert_eq!(s.checksums.algorithms(), Algorithms::default());
    assert_eq!(s.checksums.first_secret(), Some(SECRET));
    assert_eq!((s.limits.connections, s.limits.head, s.limits.form), (4096, 64 << 10, 1 << 20));
    assert_eq!((s.limits.slides, s.limits.reply), (64 << 20, 16 << 20));
    assert_eq!((s.limits.head_time, s.limits.idle), (Duration::from_secs(10), Duration::from_secs(60)));
    assert!(!s.id_is_hostname && !s.get_meetings_disabled && !s.external_voice_bridge && !s.log_json);
    assert!(s.url_host.is_none() && s.build.is_none() && s.notices().is_empty() && s.warnings().is_empty());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file = "port = 1\nvoice_bridge_len = 7\nlog_json = true\n";
    let env = [("PORT", "2"), ("VOICE_BRIDGE_LEN", "8")];
    let s = read(&[("port", "3")], &env, file).unwrap();
    assert_eq!(s.listen, Listen::Tcp("0.0.0.0:3".parse().unwrap()));
    assert_eq!((s.voice_digits, s.log_json), (8, true));
    let source = |name| s.lines().iter().find(|l| l.name == name).map(|l| l.source.to_string());
    assert_eq!(source("port").as_deref(), Some("--port"));
    assert_eq!(source("voice_bridge_len").as_deref(), Some("environment VOICE_BRIDGE_LEN"));
    assert_eq!(source("log_json").as_deref(), Some("bal.toml:3"));
    assert_eq!(source("load").as_deref(), Some("default"));
    // Empty counts as not set, wherever it stands.
    let s = read(&[("port", "")], &[("PORT", " ")], file).unwrap();
    assert_eq!(s.listen, Listen::Tcp("0.0.0.0:1".parse().unwrap()));
}

#[test]
fn the_poll_interval_follows_its_rules() {
    let interval = |flag: &str, poll: &str, plain: &str| {
        read(&[("poll_interval", flag)], &[("POLL_INTERVAL", poll), ("INTERVAL", plain)], "").map(|s| s.poll_interval)
    };
    let cases = [
        (("", "", ""), 60.0),
        (("", "", "30"), 30.0),
        (("", "20", "30"), 20.0),
        (("10", "20", "30"), 10.0),
        (("", "2.5", ""), 2.5),
    ];
    for ((flag, poll, plain), want) in cases {
        assert_eq!(interval(flag, poll, plain), Ok(Duration::from_secs_f64(want)), "{flag:?} {poll:?} {plain:?}");
    }
    for zero in ["0", "0.0", "-1"] {
        let said = interval("", zero, "30").unwrap_err();
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("environment POLL_INTERVAL") && said[0].contains("without a pause"), "{said:?}");
    }
    assert!(interval("soon", "", "").unwrap_err()[0].contains("from 1 to 86400"));
    assert!(interval("", "NaN", "").is_err() && interval("", "inf", "").is_err());
}

#[test]
fn errors_name_setting_source_and_remedy() {
    let all = errors(
        &[("load", "cpu")],
        &[("PORT", "70000"), ("CONNECT_TIMEOUT", "0"), ("RAILS_LOG_LEVEL", "loud"), ("REDIS_URL", "http://u:geheim@x")],
        "server_id_is_hostname = \"maybe\"\nmax_form = \"1 potato\"\nloadbalancer_checksum_algorithm = \"MD5\"",
    );
    for want in [
        "load \"cpu\" (--load): must be users or meetings",
        "port \"70000\" (environment PORT): must be a whole number from 0 to 65535",
        "connect_timeout \"0\" (environment CONNECT_TIMEOUT): must be a number of seconds above 0",
        "log_level \"loud\" (environment RAILS_LOG_LEVEL): must be error, warn",
        "server_id_is_hostname \"maybe\" (bal.toml:1): must be true or false",
        "max_form \"1 potato\" (bal.toml:2): must be a size",
        "loadbalancer_checksum_algorithm \"MD5\" (bal.toml:3): unknown checksum algorithm",
        "redis_url (environment REDIS_URL): must begin with redis://",
    ] {
        assert!(all.contains(want), "{want}\nin\n{all}");
    }
    assert!(!all.contains("geheim"));
    assert!(errors(&[], &[("LOADBALANCER_SECRET", "")], "").contains("openssl rand -hex 32"));
    let said = errors(&[], &[("DEFAULT_JOIN_PARAMS", "a=1,b")], "");
    assert!(said.contains("default_join_params") && said.contains("not name=value"), "{said}");
    assert!(read(&[], &[("MULTITENANCY_ENABLED", "true")], "").unwrap().multitenancy);
    assert!(read(&[], &[], "multitenancy_enabled = true").unwrap().multitenancy);
    assert!(!read(&[], &[("MULTITENANCY_ENABLED", "false")], "").unwrap().multitenancy);
    let said = errors(&[], &[("VOICE_BRIDGE_MIN", "8"), ("VOICE_BRIDGE_MAX", "7")], "");
    assert!(said.contains("must not be more than voice_bridge_max"), "{said}");
    let open = read(&[], &[("FSAPI_PASSWORD", "")], "").unwrap();
    assert!(open.dial_in.password.is_some() && open.warnings().iter().any(|w| w.contains("/fsapi")));
    assert!(read(&[], &[], "").unwrap().dial_in.password.is_none());
}

#[test]
fn the_file_is_checked() {
    let said = errors(&[], &[], "port = 1\n\n  redis_ulr = \"redis://x\"\n");
    assert_eq!(said, "bal.toml:3: unknown setting \"redis_ulr\"; did you mean \"redis_url\"?");
    assert!(
        errors(&[], &[], "[colour]\nx = 1").contains("bal.toml:1: unknown setting \"colour\"; `bbb-balancer check`")
    );
    assert!(errors(&[], &[], "port = 1\nport").contains("bal.toml:2: "));
    assert!(errors(&[], &[], "port = [1]").contains("port must be a text, a number"));
    let s = read(&[], &[], "default_locale = \"de\"\nCLOUDFRONT_URL = \"x\"").unwrap();
    assert_eq!(s.notices().len(), 2, "{:?}", s.notices());
}

#[test]
fn secrets_in_the_file_come_from_the_environment() {
    let env = [("LB", "abc"), ("LOADBALANCER_SECRET", "")];
    let s = read(&[], &env, "loadbalancer_secret = \"x${LB}y${LB}\"\nurl_host = \"${LB}\"").unwrap();
    assert_eq!(s.checksums.first_secret(), Some("xabcyabc"));
    assert_eq!(s.url_host.as_deref(), Some("${LB}"));
    assert!(errors(&[], &env, "loadbalancer_secret = \"${NONE}\"").contains("${NONE} is not set"));
    assert!(errors(&[], &env, "loadbalancer_secret = \"${NONE\"").contains("no closing brace"));
}

#[test]
fn nothing_secret_is_shown() {
    let env = [
        ("LOADBALANCER_SECRETS", "kurz:0123456789012345678901234567890123456789"),
        ("REDIS_URL", "rediss://user:geheim@redis.example.com:6379/2"),
        ("DEFAULT_CREATE_PARAMS", "moderatorPW=geheim,lang=en"),
    ];
    let s = read(&[], &env, "").unwrap();
    let shown = format!("{s:?} {:?}", s.store);
    for hidden in [SECRET, "geheim", "kurz", "4567890123"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
    let line = |name| s.lines().iter().find(|l| l.name == name).map(|l| l.value.as_str());
    assert_eq!(line("loadbalancer_secret"), Some("2bdc...4535"));
    assert_eq!(line("loadbalancer_secrets"), Some("...:0123...6789"));
    assert_eq!(line("redis_url"), Some("rediss://user:...@redis.example.com:6379/2"));
    assert_eq!(line("default_create_params"), Some("moderatorPW=...,lang=..."));
    let want = ["secret 2 has only 4 characters"];
    assert!(s.warnings().iter().zip(want).all(|(got, want)| got.starts_with(want)) && s.warnings().len() == 1);
    let s = read(&[], &[("LOADBALANCER_SECRET", "8cd8ef52e8e101574e400365b55e11a6")], "").unwrap();
    assert!(s.warnings()[0].contains("everybody knows"));
}

#[test]
fn where_to_listen() {
    let bind = |text: &str| read(&[("bind", text)], &[("PORT", "4000")], "").map(|s| s.listen);
    let tcp = |text: &str| Ok(Listen::Tcp(text.parse().unwrap()));
    assert_eq!(bind(""), tcp("0.0.0.0:4000"));
    assert_eq!(bind("127.0.0.1:5000"), tcp("127.0.0.1:5000"));
    assert_eq!(bind("tcp://0.0.0.0:3000/"), tcp("0.0.0.0:3000"));
    assert_eq!(bind("tcp://[::1]:3000"), tcp("[::1]:3000"));
    assert_eq!(bind("127.0.0.1"), tcp("127.0.0.1:4000"));
    assert_eq!(bind("[::]"), tcp("[::]:4000"));
    assert_eq!(bind("unix:///run/bbb.sock"), Ok(Listen::Unix("/run/bbb.sock".into())));
    assert!(bind("unix://").is_err() && bind("ssl://0.0.0.0:1").is_err() && bind("127.0.0.1:port").is_err());
}

#[test]
fn where_to_keep_things() {
    let redis = [("REDIS_URL", "redis://127.0.0.1"), ("REDIS_POOL", "3"), ("REDIS_NAMESPACE", "other")];
    let want = Store::Redis {
        url: Secret::new("redis://127.0.0.1"),
        namespace: "other".into(),
        connections: 3,
        timeout: Duration::from_secs(5),
    };
    assert_eq!(read(&[], &redis, "").map(|s| s.store), Ok(want.clone()));
    let s = read(&[("memory", "true")], &redis, "").unwrap();
    assert_eq!((s.store.clone(), s.notices().len()), (Store::Memory, 1));
    let s = read(&[], &redis, "memory = true").unwrap();
    assert_eq!((s.store.clone(), s.notices().len()), (want, 1));
    assert!(errors(&[], &[redis[0], ("BALANCER_MEMORY", "1")], "").contains("remove one of the two"));
    assert_eq!(read(&[("data_dir", "/x")], &[], "").map(|s| s.store), Ok(Store::File("/x".into())));
    assert!(read(&[], &[("REDIS_URL", "unix:///run/redis.sock")], "").is_ok());
    let sentinels = "redis+sentinel://:geheim@h1,h2:7/mymaster?sentinel_password=geheim";
    let s = read(&[], &[("REDIS_URL", sentinels)], "").unwrap();
    let shown = s.lines().iter().find(|l| l.name == "redis_url").map(|l| l.value.clone());
    assert_eq!(shown.as_deref(), Some("redis+sentinel://:...@h1,h2:7/mymaster?..."));
    let said = errors(&[], &[("REDIS_URL", "redis+cluster://:geheim@h1,h2")], "");
    assert!(said.contains("Redis Cluster") && said.contains("redis+sentinel://") && !said.contains("geheim"), "{said}");
}

#[test]
fn the_rest_is_understood() {
    let threads = |env: &[(&str, &str)]| read(&[], env, "").map(|s| s.threads);
    assert_eq!(threads(&[("WEB_CONCURRENCY", "0"), ("RAILS_MAX_THREADS", "5")]), Ok(Some(5)));
    assert_eq!(threads(&[("WEB_CONCURRENCY", "4"), ("RAILS_MAX_THREADS", "5")]), Ok(Some(4)));
    let s = read(&[("load", "meetings")], &[("BALANCER_MAX_HEAD", "32k"), ("RAILS_LOG_LEVEL", "fatal")], "").unwrap();
    assert_eq!(s.formula, LoadFormula::default().with_kind(LoadKind::Meetings));
    assert!(s.formula_text.starts_with("meetings"));
    assert_eq!((s.limits.head, s.log_level), (32 << 10, tracing::Level::ERROR));
    let s = read(&[], &[("CLOUDFRONT_URL", "x"), ("DEFAULT_LOCALE", "de"), ("OTHER", "x")], "").unwrap();
    assert_eq!(s.notices().len(), 2, "{:?}", s.notices());
    assert!(s.notices().iter().all(|notice| notice.contains("has no effect: ")));
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_bucket_needs_a_build_with_it() {
    let said = errors(&[], &[("S3_RECORDING", "true")], "");
    assert!(said.contains("S3_RECORDING") && said.contains("--features s3"), "{said}");
    assert!(
        read(&[], &[("AWS_REGION", "eu-west-1"), ("S3_BUCKET_NAME", "lessons")], "").unwrap().folders.bucket.is_none()
    );
}

#[cfg(feature = "s3")]
#[test]
fn a_bucket_is_described_by_the_environment() {
    let on = ("S3_RECORDING", "true");
    let said = errors(&[], &[on], "");
    for part in ["s3_bucket_name", "s3_access_key_id", "s3_secret_access_key"] {
        assert!(said.contains(part), "{said}");
    }
    let named = [on, ("S3_BUCKET_NAME", "lessons"), ("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "geheim")];
    let with = |more: &[(&str, &str)]| read(&[], &[named.as_slice(), more].concat(), "");
    let s = with(&[]).unwrap();
    let bucket = s.folders.bucket.as_ref().unwrap();
    assert_eq!((bucket.region.as_str(), bucket.redirects, bucket.path_style), ("us-east-1", true, None));
    assert!(!format!("{s:?}").contains("geheim"));
    let own =
        [("AWS_ENDPOINT_URL", "http://minio:9000"), ("BALANCER_S3_PATH_STYLE", "true"), ("BALANCER_S3_PREFIX", "a/b")];
    let s =
        with(&[own.as_slice(), &[("BALANCER_S3_PLAYBACK", "accel"), ("BALANCER_S3_LINK_TIME", "5")]].concat()).unwrap();
    let bucket = s.folders.bucket.as_ref().unwrap();
    assert_eq!((bucket.redirects, bucket.path_style, bucket.link_time.as_secs()), (false, Some(true), 300));
    for (name, bad, part) in [
        ("S3_BUCKET_NAME", "Lessons!", "cannot name a bucket"),
        ("AWS_ENDPOINT_URL", "minio:9000", "https://HOST"),
        ("BALANCER_S3_PLAYBACK", "proxy", "redirect"),
        ("BALANCER_S3_PATH_STYLE", "maybe", "true or false"),
        ("BALANCER_S3_LINK_TIME", "0", "from 1"),
    ] {
        let said = with(&[(name, bad)]).unwrap_err().join("\n");
        assert!(said.contains(part), "{said}");
    }
    assert!(with(&[("RECORDING_DISABLED", "true")]).unwrap().folders.bucket.is_none());
}

#[test]
fn recordings_are_kept_where_the_environment_says() {
    let at = |env: &[(&str, &str)]| format!("{:?}", read(&[], env, "").unwrap().recordings.at);
    let (redis, url) = (("REDIS_URL", "redis://x"), ("DATABASE_URL", "postgresql://u:geheim@db:5432?pool=9"));
    assert!(at(&[]).starts_with("File("));
    assert_eq!(at(&[("BALANCER_MEMORY", "true")]), "Memory");
    assert_eq!(at(&[redis]), "Unset");
    assert_eq!(at(&[redis, ("BALANCER_DATA_DIR", "/x")]), "File(\"/x\")");
    assert_eq!(at(&[redis, url, ("RECORDING_DISABLED", "true")]), "Nowhere");
    assert_eq!(at(&[redis, url, ("DB_DISABLED", "true")]), "Unset");
    let found = at(&[url, ("DB_CONNECTION_RETRY_COUNT", "1")]);
    assert!(at(&[url, ("BALANCER_DATABASE_INDEXES", "false")]).contains("indexes: false"));
    for part in ["Postgres(", "postgres db:5432/scalelite", "connections: 9", "retries: 1", "indexes: true"] {
        assert!(found.contains(part) && !found.contains("geheim"), "{part} in {found}");
    }
    assert!(!read(&[], &[], "").unwrap().recordings.filtered);
    assert!(read(&[], &[("GET_RECORDINGS_API_FILTERED", "true")], "").unwrap().recordings.filtered);
    let said = errors(&[], &[("DATABASE_URL", "mysql://u:geheim@db/x")], "");
    assert!(said.contains("database_url (environment DATABASE_URL): must begin with postgresql://"), "{said}");
    assert!(!said.contains("geheim"));
}

#[test]
fn keys_are_consistent() {
    for (at, one) in KEYS.iter().enumerate() {
        assert!(KEYS[at + 1..].iter().all(|other| other.name != one.name), "{}", one.name);
        assert!(KEYS[at + 1..].iter().all(|other| one.env.iter().all(|e| !other.env.contains(e))), "{}", one.name);
    }
    let found = sources(&[], &[], "").unwrap().find(key("port").unwrap());
    assert!(found.source == Source::Default && found.text == "3000");
}

#[test]
fn what_is_private_is_allowed_by_name_only() {
    let s = read(&[], &[], "").unwrap();
    assert!(s.admin_listen.is_none() && !s.signed_forms && !s.relay_recording_ready);
    assert!(s.callback_allow.check("http://10.0.0.1/").is_err());
    let env = [("BALANCER_CALLBACK_ALLOW", "10.0.0.0/8, fd00::/8"), ("BALANCER_ADMIN_BIND", "127.0.0.1:3001")];
    let s = read(&[], &env, "signed_forms = true\n").unwrap();
    assert_eq!(s.admin_listen, Some(Listen::Tcp("127.0.0.1:3001".parse().unwrap())));
    assert!(s.signed_forms && s.callback_allow.check("http://10.0.0.1/").is_ok());
    assert!(s.callback_allow.check("http://192.168.0.1/").is_err());
    let said = errors(&[], &[("BALANCER_CALLBACK_ALLOW", "10.0.0.0/99"), ("BALANCER_ADMIN_BIND", "127.0.0.1")], "");
    assert!(said.contains("\"10.0.0.0/99\" is no network") && said.contains("names no port"), "{said}");
    // Documents for everybody as well: not one meeting would be created.
    let with = |url: &str| format!("logo=x,preUploadedPresentation=http://{url}/welcome.pdf");
    for name in ["DEFAULT_CREATE_PARAMS", "OVERRIDE_CREATE_PARAMS"] {
        let said = errors(&[], &[(name, &with("10.1.2.3"))], "");
        for part in [&name.to_lowercase(), "every create fail", "10.1.2.3", "BALANCER_CALLBACK_ALLOW"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(read(&[], &[(name, &with("8.8.8.8"))], "").is_ok());
        assert!(read(&[], &[(name, &with("10.1.2.3")), ("BALANCER_CALLBACK_ALLOW", "10.0.0.0/8")], "").is_ok());
    }
}

#[test]
fn tenants_need_a_name_to_be_below_of() {
    let warned = |env: &[(&str, &str)]| read(&[], env, "").unwrap().warnings().join(" ").contains("URL_HOST");
    let on = ("MULTITENANCY_ENABLED", "true");
    assert!(warned(&[on]));
    assert!(!warned(&[on, ("URL_HOST", "bbb.example.com")]) && !warned(&[]));
}

#[test]
fn recordings_are_in_the_folders_of_scalelite() {
    let r = read(&[], &[], "").unwrap().folders;
    assert_eq!(r.spool.to_str(), Some("/var/bigbluebutton/spool"));
    assert_eq!(r.work.to_str(), Some("/var/bigbluebutton/recording/scalelite"));
    assert_eq!(r.published.to_str(), Some("/var/bigbluebutton/published"));
    assert_eq!(r.unpublished.to_str(), Some("/var/bigbluebutton/unpublished"));
    assert!(!r.spool_is_set && !r.import_unpublished && r.key.is_none());
    assert_eq!(r.formats, ["presentation", "video", "screenshare", "podcast", "notes", "capture"]);
    let seconds = [r.poll, r.token_time, r.cookie_time].map(|time| time.as_secs());
    assert_eq!(seconds, [60, 3600, 21_600]);
    // Protected recordings need a key, and a key alone protects nothing.
    let said = errors(&[], &[("PROTECTED_RECORDINGS_ENABLED", "true")], "");
    assert!(said.contains("secret_key_base") && said.contains("openssl rand -hex 64"), "{said}");
    let key = ("SECRET_KEY_BASE", "0123456789abcdef0123456789abcdef");
    let on = read(&[], &[("PROTECTED_RECORDINGS_ENABLED", "true"), key], "").unwrap();
    assert!(on.folders.key.is_some());
    assert!(!format!("{:?} {:?}", on.folders, on.lines()).contains(key.1));
    assert!(read(&[], &[key], "").unwrap().folders.key.is_none());
    let off = [("PROTECTED_RECORDINGS_ENABLED", "true"), ("RECORDING_DISABLED", "true")];
    assert!(read(&[], &off, "").is_ok());
}

/// What becomes of a name of Scalelite's.
enum Fate {
    /// This value is taken by the setting of this name.
    Taken(&'static str, &'static str),
    /// It is told that it has no effect, and why.
    Idle,
}

#[test]
fn every_name_of_the_environment_is_honoured_or_answered() {
    use Fate::{Idle, Taken};
    // Every name of Scalelite's environment.
    let table = [
        ("URL_HOST", Taken("url_host", "bbb.example.com")),
        ("SECRET_KEY_BASE", Taken("secret_key_base", "0123456789abcdef")),
        ("LOADBALANCER_SECRET", Taken("loadbalancer_secret", SECRET)),
        ("LOADBALANCER_SECRETS", Taken("loadbalancer_secrets", SECRET)),
        ("DATABASE_URL", Taken("database_url", "postgres://db/x")),
        ("REDIS_URL", Taken("redis_url", "redis://127.0.0.1")),
        ("PORT", Taken("port", "3001")),
        ("BIND", Taken("bind", "tcp://127.0.0.1:1")),
        ("WEB_CONCURRENCY", Taken("threads", "2")),
        ("RAILS_MAX_THREADS", Taken("threads", "3")),
        ("RAILS_ENV", Idle),
        ("BUILD_NUMBER", Taken("build_number", "v1")),
        ("RAILS_LOG_TO_STDOUT", Idle),
        ("RAILS_LOG_LEVEL", Taken("log_level", "warn")),
        ("SCALELITE_API_PORT", Idle),
        ("REDIS_POOL", Taken("redis_pool", "2")),
        ("REDIS_NAMESPACE", Taken("redis_namespace", "other")),
        ("PREPARED_STATEMENT", Idle),
        ("DB_CONNECTION_RETRY_COUNT", Taken("db_connection_retry_count", "5")),
        ("DB_DISABLED", Taken("db_disabled", "true")),
        ("LOADBALANCER_CHECKSUM_ALGORITHM", Taken("loadbalancer_checksum_algorithm", "SHA256")),
        ("CONNECT_TIMEOUT", Taken("connect_timeout", "1.5")),
        ("RESPONSE_TIMEOUT", Taken("response_timeout", "2")),
        ("MAX_MEETING_DURATION", Taken("max_meeting_duration", "90")),
        ("DEFAULT_MEETING_TTL", Taken("default_meeting_ttl", "600")),
        ("CREATE_EXCLUDE_PARAMS", Taken("create_exclude_params", "a,b")),
        ("JOIN_EXCLUDE_PARAMS", Taken("join_exclude_params", "a,b")),
        ("DEFAULT_CREATE_PARAMS", Taken("default_create_params", "a=1,b=2=3")),
        ("OVERRIDE_CREATE_PARAMS", Taken("override_create_params", "a=1")),
        ("DEFAULT_JOIN_PARAMS", Taken("default_join_params", "a=1")),
        ("OVERRIDE_JOIN_PARAMS", Taken("override_join_params", "a=1")),
        ("GET_MEETINGS_API_DISABLED", Taken("get_meetings_api_disabled", "true")),
        ("SERVER_ID_IS_HOSTNAME", Taken("server_id_is_hostname", "true")),
        ("MULTITENANCY_ENABLED", Taken("multitenancy_enabled", "true")),
        ("LOAD_MIN_USER_COUNT", Taken("load_min_user_count", "20")),
        ("LOAD_JOIN_BUFFER_TIME", Taken("load_join_buffer_time", "5")),
        ("POLL_INTERVAL", Taken("poll_interval", "30")),
        ("INTERVAL", Taken("poll_interval", "31")),
        ("POLLER_THREADS", Idle),
        ("POLLER_WAIT_TIMEOUT", Idle),
        ("SERVER_HEALTHY_THRESHOLD", Taken("server_healthy_threshold", "3")),
        ("SERVER_UNHEALTHY_THRESHOLD", Taken("server_unhealthy_threshold", "4")),
        ("RECORDING_SPOOL_DIR", Taken("recording_spool_dir", "/spool")),
        ("RECORDING_WORK_DIR", Taken("recording_work_dir", "/work")),
        ("RECORDING_PUBLISH_DIR", Taken("recording_publish_dir", "/published")),
        ("RECORDING_UNPUBLISH_DIR", Taken("recording_unpublish_dir", "/unpublished")),
        ("RECORDING_DISABLED", Taken("recording_disabled", "true")),
        ("RECORDING_IMPORT_UNPUBLISHED", Taken("recording_import_unpublished", "true")),
        ("RECORDING_IMPORT_POLL", Taken("recording_import_poll", "false")),
        ("RECORDING_IMPORT_POLL_INTERVAL", Taken("recording_import_poll_interval", "5")),
        ("GET_RECORDINGS_API_FILTERED", Taken("get_recordings_api_filtered", "true")),
        ("RECORDING_PLAYBACK_FORMATS", Taken("recording_playback_formats", "presentation:notes")),
        ("PROTECTED_RECORDINGS_ENABLED", Taken("protected_recordings_enabled", "false")),
        ("PROTECTED_RECORDINGS_TOKEN_TIMEOUT", Taken("protected_recordings_token_timeout", "5")),
        ("PROTECTED_RECORDINGS_TIMEOUT", Taken("protected_recordings_timeout", "50")),
        ("DEFAULT_LOCALE", Idle),
        ("S3_RECORDING", Taken("s3_recording", "false")),
        ("S3_BUCKET_NAME", Taken("s3_bucket_name", "lessons")),
        ("CLOUDFRONT_URL", Idle),
        ("CF_KEY_PAIR_ID", Idle),
        ("CF_PRIVATE_KEY_B64", Idle),
        ("VOICE_BRIDGE_LEN", Taken("voice_bridge_len", "7")),
        ("VOICE_BRIDGE_MIN", Taken("voice_bridge_min", "4")),
        ("VOICE_BRIDGE_MAX", Taken("voice_bridge_max", "12")),
        ("USE_EXTERNAL_VOICE_BRIDGE", Taken("use_external_voice_bridge", "true")),
        ("FSAPI_PASSWORD", Taken("fsapi_password", SECRET)),
        ("FSAPI_MAX_DURATION", Taken("fsapi_max_duration", "30")),
        ("NGINX_SSL", Idle),
        ("NGINX_BEHIND_PROXY", Idle),
        ("BEHIND_PROXY", Idle),
        ("NGINX_RECORDINGS_ONLY", Idle),
    ];
    for (name, fate) in &table {
        match fate {
            Taken(setting, value) => {
                let with = sources(&[], &[(name, value)], "").unwrap();
                let found = with.find(key(setting).unwrap());
                assert_eq!((found.text.as_str(), found.source), (*value, Source::Env(name)), "{name}");
                let s = Settings::read(&with).map_err(|errors| format!("{name}: {errors:?}")).unwrap();
                assert!(!s.notices().iter().any(|notice| notice.contains(name)), "{name}: {:?}", s.notices());
                // A value that it cannot have is told with its name; texts can have any.
                let texts = [
                    "url_host",
                    "loadbalancer_secret",
                    "loadbalancer_secrets",
                    "fsapi_password",
                    "build_number",
                    "redis_namespace",
                    "create_exclude_params",
                    "join_exclude_params",
                    "recording_spool_dir",
                    "recording_work_dir",
                    "recording_publish_dir",
                    "recording_unpublish_dir",
                    "secret_key_base",
                    "s3_bucket_name",
                ];
                if !texts.contains(setting) {
                    let said = errors(&[], &[(name, "?:/ ?")], "");
                    assert!(said.contains(&format!("environment {name}")), "{name}: {said}");
                }
            }
            Idle => {
                let s = read(&[], &[(name, "1")], "").unwrap();
                let told = s.notices().iter().find(|notice| notice.starts_with(&format!("{name} has no effect: ")));
                assert!(told.is_some_and(|notice| notice.len() > name.len() + 30), "{name}: {:?}", s.notices());
            }
        }
    }
    println!("{} names of the environment", table.len());
}
