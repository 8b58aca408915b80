//! Settings of `serve`, from the command line, the environment and a file.

mod bucket;
mod keys;
mod place;
mod read;
mod recordings;
mod report;
mod sources;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use adapter_bbb::{
    AddressRules, Algorithms, Checksums, DialInOptions, LoadFormula, LoadKind, ParamRules, PostgresOptions, RateLimit,
    RatePer, Secret,
};

pub(crate) use keys::{KEYS, is_live};
pub(crate) use place::local;
pub(crate) use recordings::Folders;
pub(crate) use report::{Line, lines as source_lines, masked, weak, weakness};
pub(crate) use sources::{Source, Sources};

use read::Reader;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Where servers and meetings are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// In memory: nothing survives a restart.
    Memory,
    /// In a file in this directory.
    File(PathBuf),
    /// In Redis.
    Redis {
        /// Its URL, which may hold a password.
        url: Secret,
        /// Prefix of every key.
        namespace: String,
        /// Connections.
        connections: usize,
        /// Longest wait for an answer.
        timeout: Duration,
    },
}

/// Where the index of recordings is kept.
#[derive(Clone, Debug)]
pub(crate) enum RecordingsAt {
    /// Nowhere: there are to be none.
    Nowhere,
    /// Nowhere: nobody has said where.
    Unset,
    /// In memory: nothing survives a restart.
    Memory,
    /// In a file in this directory.
    File(PathBuf),
    /// In Postgres.
    Postgres(Box<PostgresOptions>),
}

/// What is to be known of recordings.
#[derive(Clone, Debug)]
pub(crate) struct Recordings {
    /// Where their index is kept.
    pub(crate) at: RecordingsAt,
    /// Whether `getRecordings` must name meetings or recordings.
    pub(crate) filtered: bool,
}

/// Limits on what comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Head of a request, bytes.
    pub(crate) head: usize,
    /// Form or JSON body, bytes.
    pub(crate) form: usize,
    /// Body with slides, bytes.
    pub(crate) slides: usize,
    /// Slides under way that are kept at once for another server, bytes.
    pub(crate) slides_held: usize,
    /// A server's answer, bytes.
    pub(crate) reply: usize,
    /// Longest time for a head to arrive.
    pub(crate) head_time: Duration,
    /// Longest time between two requests of a connection.
    pub(crate) idle: Duration,
}

/// Everything `serve` needs to know. `Debug` shows nothing secret.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The host name requests must have.
    pub(crate) url_host: Option<String>,
    /// Where to listen.
    pub(crate) listen: Listen,
    /// Where operators' calls are answered, if apart.
    pub(crate) admin_listen: Option<Listen>,
    /// Whether checksums of forms must cover their bodies.
    pub(crate) signed_forms: bool,
    /// Which addresses callbacks and documents may have.
    pub(crate) callback_allow: AddressRules,
    /// Whether front-ends are those of tenants.
    pub(crate) multitenancy: bool,
    /// Dial-in.
    pub(crate) dial_in: DialInOptions,
    /// Whether servers tell the balancer of recordings that are ready.
    pub(crate) relay_recording_ready: bool,
    /// Worker threads; `None` is one per processor.
    pub(crate) threads: Option<usize>,
    /// Secrets, of which there is at least one, and accepted algorithms.
    pub(crate) checksums: Checksums,
    /// The same secrets, to be compared with others.
    pub(crate) secrets: Vec<Secret>,
    /// Where servers and meetings are kept.
    pub(crate) store: Store,
    /// Where recordings are known.
    pub(crate) recordings: Recordings,
    /// Time between two polls of a server.
    pub(crate) poll_interval: Duration,
    /// Longest wait for a connection to a server.
    pub(crate) connect_timeout: Duration,
    /// Longest wait for a server's answer.
    pub(crate) response_timeout: Duration,
    /// Good polls that bring a server online.
    pub(crate) healthy_threshold: u32,
    /// Failed polls that take it offline.
    pub(crate) unhealthy_threshold: u32,
    /// Whether a new server's id is its host name.
    pub(crate) id_is_hostname: bool,
    /// How load is computed.
    pub(crate) formula: LoadFormula,
    /// The load formula in words.
    pub(crate) formula_text: String,
    /// Longest meeting in minutes; 0 is no limit.
    pub(crate) max_meeting_minutes: u32,
    /// How long a meeting nobody asks for stays known.
    pub(crate) meeting_ttl: Duration,
    /// Rules for `create`.
    pub(crate) create: ParamRules,
    /// Rules for `join`.
    pub(crate) join: ParamRules,
    /// Whether `getMeetings` answers an empty list.
    pub(crate) get_meetings_disabled: bool,
    /// Digits of a voice bridge number.
    pub(crate) voice_digits: usize,
    /// Whether a front-end's own `voiceBridge` is tried first.
    pub(crate) external_voice_bridge: bool,
    /// Where recordings come from and go to.
    pub(crate) folders: Folders,
    /// How often one caller may call.
    pub(crate) rate: Option<RateLimit>,
    /// What the API reports as its build.
    pub(crate) build: Option<String>,
    /// Least important events to log.
    pub(crate) log_level: tracing::Level,
    /// Whether log lines are JSON.
    pub(crate) log_json: bool,
    /// Limits on what comes from outside.
    pub(crate) limits: Limits,
    lines: Vec<Line>,
    notices: Vec<String>,
    warnings: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The lines are redacted, and hold everything else.
        f.debug_struct("Settings").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads everything, and refuses what cannot be.
    ///
    /// # Errors
    ///
    /// One line for each wrong setting: its name, value unless secret, source, and what it should be.
    pub(crate) fn read(sources: &Sources) -> Result<Self, Vec<String>> {
        let mut r = Reader::new(sources);
        let algorithms = r.with("loadbalancer_checksum_algorithm", |t| t.parse::<Algorithms>().map_err(say));
        let list =
            adapter_bbb::secrets(r.text("loadbalancer_secret").as_deref(), r.text("loadbalancer_secrets").as_deref());
        if list.is_empty() {
            r.errors.push(
                "LOADBALANCER_SECRET is not set, so every call would be refused; set it to the output of \
                 `openssl rand -hex 32`, and give it to the front-ends"
                    .to_owned(),
            );
        }
        let mut warnings = report::weak(&list);
        let dial_in = dial_in(&mut r, sources, &mut warnings);
        let secrets = list.iter().map(|secret| Secret::new(secret.as_str())).collect();
        let checksums = Checksums::new(list, checked_algorithms(sources, algorithms));
        let mut notices = report::idle(sources);
        let kind = r.with("load", |text| match text {
            "users" => Ok(LoadKind::Attendees),
            "meetings" => Ok(LoadKind::Meetings),
            _ => Err("must be users or meetings".to_owned()),
        });
        let kind = kind.unwrap_or_default();
        let min_user_count = r.number("load_min_user_count", 0, 100_000);
        let buffer = r.number("load_join_buffer_time", 0, 1440);
        let formula_text = match kind {
            LoadKind::Meetings => "meetings x load multiplier".to_owned(),
            _ => format!(
                "(users + moderators, at least {min_user_count} in a meeting younger than {buffer} min) x load multiplier"
            ),
        };
        let formula = LoadFormula::default()
            .with_kind(kind)
            .with_min_user_count(min_user_count)
            .with_join_buffer(Duration::from_secs(u64::from(buffer) * 60));
        let store = place::store(&mut r, &mut notices);
        let mut settings = Self {
            url_host: r.text("url_host"),
            listen: place::listen(&mut r),
            admin_listen: place::admin_listen(&mut r),
            signed_forms: r.switch("signed_forms"),
            callback_allow: r.with("callback_allow", |t| t.parse::<AddressRules>().map_err(say)).unwrap_or_default(),
            multitenancy: r.switch("multitenancy_enabled"),
            dial_in,
            relay_recording_ready: r.switch("relay_recording_ready"),
            threads: Some(r.count("threads", 0, 1024)).filter(|n| *n > 0),
            checksums,
            secrets,
            recordings: place::recordings(&mut r, &store),
            store,
            poll_interval: interval(&mut r),
            connect_timeout: r.seconds("connect_timeout", 600.0),
            response_timeout: r.seconds("response_timeout", 600.0),
            healthy_threshold: r.number("server_healthy_threshold", 1, 1000),
            unhealthy_threshold: r.number("server_unhealthy_threshold", 1, 1000),
            id_is_hostname: r.switch("server_id_is_hostname"),
            formula,
            formula_text,
            max_meeting_minutes: r.number("max_meeting_duration", 0, 525_600),
            meeting_ttl: Duration::from_secs(r.number("default_meeting_ttl", 60, 31_536_000).into()),
            create: rules(&mut r, "default_create_params", "override_create_params", "create_exclude_params"),
            join: rules(&mut r, "default_join_params", "override_join_params", "join_exclude_params"),
            get_meetings_disabled: r.switch("get_meetings_api_disabled"),
            voice_digits: r.count("voice_bridge_len", 2, 18),
            external_voice_bridge: r.switch("use_external_voice_bridge"),
            folders: recordings::read(&mut r),
            rate: rate(&mut r),
            build: r.text("build_number"),
            log_level: level(&mut r),
            log_json: r.switch("log_json"),
            limits: Limits {
                connections: r.count("max_connections", 1, 1_000_000),
                head: r.bytes("max_head", 8 << 10, 1 << 20),
                form: r.bytes("max_form", 1 << 10, 64 << 20),
                slides: r.bytes("max_slides", 1 << 10, 1 << 30),
                slides_held: r.bytes("max_slides_held", 1 << 20, 1 << 40),
                reply: r.bytes("max_reply", 64 << 10, 1 << 30),
                head_time: r.seconds("head_timeout", 600.0),
                idle: r.seconds("idle_timeout", 3600.0),
            },
            lines: report::lines(sources),
            notices,
            warnings,
        };
        documents(&mut r, &settings);
        if settings.multitenancy && settings.url_host.is_none() {
            let what = "MULTITENANCY_ENABLED without URL_HOST: the first label of any host name is taken for a tenant, \
                        and callbacks of servers cannot lead back to one; set URL_HOST to the name below which tenants are";
            settings.warnings.push(what.to_owned());
        }
        if r.errors.is_empty() { Ok(settings) } else { Err(r.errors) }
    }

    /// The effective configuration, without anything secret.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Names that were set and have no effect, one line each.
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What is set in a way that should not stay.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The accepted algorithms: the default is the adapter's own, which also decides how our own calls are signed.
fn checked_algorithms(sources: &Sources, read: Option<Algorithms>) -> Algorithms {
    let key = keys::key("loadbalancer_checksum_algorithm");
    let given = key.is_some_and(|key| sources.find(key).source != sources::Source::Default);
    read.filter(|_| given).unwrap_or_default()
}

fn say(e: impl fmt::Display) -> String {
    e.to_string()
}

fn rules(r: &mut Reader<'_>, defaults: &str, overrides: &str, exclude: &str) -> ParamRules {
    // One by one first, so that the error names the right setting.
    let [d, o, x] = [defaults, overrides, exclude].map(|name| r.text(name).unwrap_or_default());
    let ok = [
        r.with(defaults, |text| ParamRules::parse(text, "", "").map_err(say)),
        r.with(overrides, |text| ParamRules::parse("", text, "").map_err(say)),
        r.with(exclude, |text| ParamRules::parse("", "", text).map_err(say)),
    ];
    if ok.iter().any(Option::is_none) {
        return ParamRules::default();
    }
    ParamRules::parse(&d, &o, &x).unwrap_or_default()
}

/// Refuses documents for every `create` that no `create` may have: all of them would fail.
fn documents(r: &mut Reader<'_>, settings: &Settings) {
    for name in ["default_create_params", "override_create_params"] {
        let rules = ParamRules::parse(&r.text(name).unwrap_or_default(), "", "").unwrap_or_default();
        let is_document = |param: &str| param.strip_suffix("[]").unwrap_or(param) == "preUploadedPresentation";
        let mut urls = rules.values().filter(|(param, url)| is_document(param) && !url.trim().is_empty());
        if let Some(why) = urls.find_map(|(_, url)| settings.callback_allow.check(url).err()) {
            let why = format!(
                "its preUploadedPresentation would make every create fail: {why} \
                 (BALANCER_CALLBACK_ALLOW takes networks such as 10.0.0.0/8)"
            );
            r.refuse(name, &why);
        }
    }
}

fn interval(r: &mut Reader<'_>) -> Duration {
    let zero = r.found("poll_interval").text.parse::<f64>().is_ok_and(|seconds| seconds <= 0.0);
    if zero {
        r.refuse(
            "poll_interval",
            "polling without a pause would do nothing but poll; leave it away for 60 seconds, or set 1 or more",
        );
        return Duration::from_secs(60);
    }
    r.with("poll_interval", |text| match text.parse::<f64>() {
        Ok(seconds) if (1.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("must be a number of seconds from 1 to 86400".to_owned()),
    })
    .unwrap_or_default()
}

fn rate(r: &mut Reader<'_>) -> Option<RateLimit> {
    let per_second = r.with("rate_limit", |text| match text.parse::<f64>() {
        Ok(n) if (0.0..=1_000_000.0).contains(&n) => Ok(n),
        _ => Err("must be a number of calls a second from 0 to 1000000".to_owned()),
    });
    let burst = r.number("rate_burst", 1, 1_000_000);
    let per = r.with("rate_per", |text| match text {
        "address" => Ok(RatePer::Address),
        "secret" => Ok(RatePer::Secret),
        _ => Err("must be address or secret".to_owned()),
    });
    // Below one call in an hour there is no limit to speak of.
    let per_second = per_second.filter(|n| *n > 1.0 / 3600.0)?;
    Some(RateLimit { per_second, burst, per: per.unwrap_or_default() })
}

fn dial_in(r: &mut Reader<'_>, sources: &Sources, warnings: &mut Vec<String>) -> DialInOptions {
    let mut o = DialInOptions::default();
    o.password = r.text("fsapi_password").map(Secret::new);
    if o.password.is_none() && sources.env("FSAPI_PASSWORD").is_some() {
        warnings.push("FSAPI_PASSWORD is empty: everybody who reaches /fsapi learns where meetings are".to_owned());
        o.password = Some(Secret::new(""));
    }
    if r.text("fsapi_max_duration").is_some() {
        o.max_minutes = Some(r.number("fsapi_max_duration", 0, 525_600));
    }
    let (least, most) = (r.number("voice_bridge_min", 1, 32), r.number("voice_bridge_max", 1, 32));
    if least > most {
        r.refuse("voice_bridge_min", "must not be more than voice_bridge_max");
    }
    o.digits = (least, most);
    o
}

fn level(r: &mut Reader<'_>) -> tracing::Level {
    r.with("log_level", |text| match text.to_ascii_lowercase().as_str() {
        "error" | "fatal" | "unknown" => Ok(tracing::Level::ERROR),
        "warn" | "warning" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err("must be error, warn, info, debug or trace".to_owned()),
    })
    .unwrap_or(tracing::Level::INFO)
}

#[cfg(test)]
mod tests;
