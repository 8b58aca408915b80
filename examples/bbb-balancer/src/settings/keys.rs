//! Every setting: its name in the file, its environment names, its default.

/// What may be shown of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// All of it.
    Plain,
    /// The first and last digits.
    Secret,
    /// A URL without its password.
    Url,
    /// Names of `name=value` pairs, without the values.
    Names,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The name in the file; the flag is the same with dashes.
    pub(crate) name: &'static str,
    /// Names in the environment, the first one that is set and not empty counts.
    pub(crate) env: &'static [&'static str],
    /// The default as it would be written; empty for none.
    pub(crate) default: &'static str,
    /// The placeholder in the help.
    pub(crate) value: &'static str,
    /// What it is, for the help.
    pub(crate) help: &'static str,
    /// What may be shown of it.
    pub(crate) show: Show,
    /// The section of the help.
    pub(crate) group: &'static str,
}

impl Key {
    const fn shown(mut self, show: Show) -> Self {
        self.show = show;
        self
    }

    /// Whether it is a switch: the flag alone means `true`.
    pub(crate) fn is_switch(&self) -> bool {
        self.value == "BOOL"
    }

    /// Whether there is a flag for it. Secrets have none: every user of the machine can read a command line.
    pub(crate) fn has_flag(&self) -> bool {
        self.show != Show::Secret
    }

    /// The flag without its dashes.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

macro_rules! keys {
    ($( $group:literal { $( $name:ident $value:ident [$($env:literal)*] $default:literal $help:literal
        $(=> $show:ident)? ; )* } )*) => {
        /// Every setting, in the order of the help and of `check`.
        pub(crate) const KEYS: &[Key] = &[$($(
            Key {
                name: stringify!($name), env: &[$($env),*], default: $default, value: stringify!($value),
                help: $help, show: Show::Plain, group: $group,
            }$(.shown(Show::$show))?,
        )*)*];
    };
}

keys! {
    "Listening" {
        url_host HOST ["URL_HOST"] "" "Host name that requests must have; any when not set";
        port PORT ["PORT"] "3000" "TCP port to listen on, on every address";
        bind ADDRESS ["BIND"] "" "Where to listen instead: 127.0.0.1:3000, tcp://0.0.0.0:3000 or unix:///run/bbb.sock";
        admin_bind ADDRESS ["BALANCER_ADMIN_BIND"] "" "Answer operators' calls and figures here alone, not where front-ends call";
        threads N ["BALANCER_THREADS" "WEB_CONCURRENCY" "RAILS_MAX_THREADS"] "0" "Worker threads; 0 is one per processor";
    }
    "Secrets and checksums" {
        loadbalancer_secret SECRET ["LOADBALANCER_SECRET"] "" "The secret front-ends sign with" => Secret;
        loadbalancer_secrets LIST ["LOADBALANCER_SECRETS"] "" "Further secrets, separated by colons" => Secret;
        loadbalancer_checksum_algorithm LIST ["LOADBALANCER_CHECKSUM_ALGORITHM"] "SHA1:SHA256:SHA512"
            "Accepted checksum algorithms, separated by colons";
        signed_forms BOOL ["BALANCER_SIGNED_FORMS"] "false" "Refuse forms whose checksum does not cover their body";
    }
    "Store" {
        redis_url URL ["REDIS_URL"] "" "Keep servers and meetings in Redis: redis://, rediss://, redis+sentinel:// or unix://" => Url;
        redis_namespace NAME ["REDIS_NAMESPACE"] "scalelite" "Prefix of every Redis key";
        redis_pool N ["REDIS_POOL"] "1" "Redis connections; each carries any number of requests at once";
        pool_timeout SECONDS ["REDIS_POOL_TIMEOUT"] "5" "Longest wait for an answer of Redis";
        data_dir DIR ["BALANCER_DATA_DIR"] "./bbb-balancer-data" "Keep them in a file in this directory when there is no Redis";
        memory BOOL ["BALANCER_MEMORY"] "false" "Keep them in memory: nothing survives a restart";
    }
    "Servers" {
        poll_interval SECONDS ["POLL_INTERVAL" "INTERVAL"] "60" "Time between two polls of a server";
        connect_timeout SECONDS ["CONNECT_TIMEOUT"] "5" "Longest wait for a connection to a server";
        response_timeout SECONDS ["RESPONSE_TIMEOUT"] "10" "Longest wait for a server's answer";
        server_healthy_threshold N ["SERVER_HEALTHY_THRESHOLD"] "1" "Good polls in a row that bring a server online";
        server_unhealthy_threshold N ["SERVER_UNHEALTHY_THRESHOLD"] "2" "Failed polls in a row that take it offline";
        server_id_is_hostname BOOL ["SERVER_ID_IS_HOSTNAME"] "false" "Use a new server's host name as its id";
        load FORMULA ["BALANCER_LOAD"] "users" "What load counts: users (young meetings count more) or meetings";
        load_min_user_count N ["LOAD_MIN_USER_COUNT"] "15" "What a young meeting counts at least";
        load_join_buffer_time MINUTES ["LOAD_JOIN_BUFFER_TIME"] "15" "How long a meeting is young";
    }
    "Meetings" {
        max_meeting_duration MINUTES ["MAX_MEETING_DURATION"] "0" "Longest meeting; 0 is no limit";
        default_meeting_ttl SECONDS ["DEFAULT_MEETING_TTL"] "86400" "How long a meeting nobody asks for stays known";
        create_exclude_params NAMES ["CREATE_EXCLUDE_PARAMS"] "" "Parameters of create to leave out: a,b";
        join_exclude_params NAMES ["JOIN_EXCLUDE_PARAMS"] "" "Parameters of join to leave out: a,b";
        default_create_params PAIRS ["DEFAULT_CREATE_PARAMS"] "" "Parameters of create when not sent: a=1,b=2" => Names;
        override_create_params PAIRS ["OVERRIDE_CREATE_PARAMS"] "" "Parameters of create whatever is sent: a=1,b=2" => Names;
        default_join_params PAIRS ["DEFAULT_JOIN_PARAMS"] "" "Parameters of join when not sent: a=1,b=2" => Names;
        override_join_params PAIRS ["OVERRIDE_JOIN_PARAMS"] "" "Parameters of join whatever is sent: a=1,b=2" => Names;
        get_meetings_api_disabled BOOL ["GET_MEETINGS_API_DISABLED"] "false" "Answer getMeetings with an empty list";
        voice_bridge_len N ["VOICE_BRIDGE_LEN"] "9" "Digits of a voice bridge number";
        use_external_voice_bridge BOOL ["USE_EXTERNAL_VOICE_BRIDGE"] "false" "Try a front-end's own voiceBridge first";
    }
    "Tenants and dial-in" {
        multitenancy_enabled BOOL ["MULTITENANCY_ENABLED"] "false" "Tell tenants apart by the first label of the host name they call";
        fsapi_password SECRET ["FSAPI_PASSWORD"] "" "Password of telephone servers; the first secret when not set, none at all when set to nothing" => Secret;
        fsapi_max_duration MINUTES ["FSAPI_MAX_DURATION"] "" "Longest call by telephone; 0 is no limit [default: that of meetings]";
        voice_bridge_min N ["VOICE_BRIDGE_MIN"] "5" "Least digits that callers may type";
        voice_bridge_max N ["VOICE_BRIDGE_MAX"] "9" "Most digits that callers may type";
    }
    "Recordings" {
        recording_disabled BOOL ["RECORDING_DISABLED"] "false" "Know no recordings: getRecordings answers an empty list, and nothing is played or imported";
        database_url URL ["DATABASE_URL"] "" "Keep the index of recordings in Postgres, in Scalelite's tables: postgresql://USER:PASSWORD@HOST/DATABASE; otherwise in a file in data_dir" => Url;
        db_disabled BOOL ["DB_DISABLED"] "false" "Use no database, whatever database_url is";
        db_connection_retry_count N ["DB_CONNECTION_RETRY_COUNT"] "3" "How often something is tried again when the connection to the database breaks";
        database_indexes BOOL ["BALANCER_DATABASE_INDEXES"] "true" "Add indexes to that database beside Scalelite's, by which long lists come quickly";
        get_recordings_api_filtered BOOL ["GET_RECORDINGS_API_FILTERED"] "false" "Refuse getRecordings without meetingID or recordID";
        recording_spool_dir DIR ["RECORDING_SPOOL_DIR"] "/var/bigbluebutton/spool" "Where archives of recordings arrive; imported when the folder is there";
        recording_work_dir DIR ["RECORDING_WORK_DIR"] "/var/bigbluebutton/recording/scalelite" "Where they are unpacked: best on the file system of the next two";
        recording_publish_dir DIR ["RECORDING_PUBLISH_DIR"] "/var/bigbluebutton/published" "Where published recordings are";
        recording_unpublish_dir DIR ["RECORDING_UNPUBLISH_DIR"] "/var/bigbluebutton/unpublished" "Where unpublished recordings are";
        recording_import_unpublished BOOL ["RECORDING_IMPORT_UNPUBLISHED"] "false" "Leave imported recordings unpublished until somebody publishes them";
        recording_import_poll BOOL ["RECORDING_IMPORT_POLL"] "true" "Look at the spool again and again, not only when something arrives";
        recording_import_poll_interval SECONDS ["RECORDING_IMPORT_POLL_INTERVAL"] "60" "Time between two looks at the spool";
        recording_playback_formats LIST ["RECORDING_PLAYBACK_FORMATS"] "presentation:video:screenshare:podcast:notes:capture"
            "Formats whose files are given out, separated by colons";
        protected_recordings_enabled BOOL ["PROTECTED_RECORDINGS_ENABLED"] "false" "Let recordings be protected: played with a token that getRecordings gives out";
        protected_recordings_token_timeout MINUTES ["PROTECTED_RECORDINGS_TOKEN_TIMEOUT"] "60" "How long such a token waits to be used";
        protected_recordings_timeout MINUTES ["PROTECTED_RECORDINGS_TIMEOUT"] "360" "How long a protected recording can be played with it";
        secret_key_base SECRET ["SECRET_KEY_BASE"] "" "Signs the cookies of protected recordings" => Secret;
    }
    "Recordings in S3 (a build with the feature s3)" {
        s3_recording BOOL ["S3_RECORDING"] "false" "Keep recordings in a bucket, below published/ and unpublished/, instead of folders";
        s3_bucket_name NAME ["S3_BUCKET_NAME"] "" "The bucket";
        s3_prefix TEXT ["BALANCER_S3_PREFIX"] "" "What every key in it begins with";
        s3_endpoint URL ["AWS_ENDPOINT_URL_S3" "AWS_ENDPOINT_URL"] "" "The server, as https://s3.example.com; Amazon's of the region when not set";
        s3_region NAME ["AWS_REGION" "AWS_DEFAULT_REGION"] "us-east-1" "The region that requests are signed for";
        s3_path_style WHAT ["BALANCER_S3_PATH_STYLE"] "auto" "Whether the bucket's name is in paths, not in the host name: true, false, or auto for with s3_endpoint only";
        s3_access_key_id SECRET ["AWS_ACCESS_KEY_ID"] "" "The access key's id" => Secret;
        s3_secret_access_key SECRET ["AWS_SECRET_ACCESS_KEY"] "" "The access key's secret" => Secret;
        s3_session_token SECRET ["AWS_SESSION_TOKEN"] "" "The access key's session, if it is a passing one" => Secret;
        s3_playback WAY ["BALANCER_S3_PLAYBACK"] "redirect" "How files get to browsers: redirect to a signed link, or accel for the web server in front to fetch it";
        s3_link_time MINUTES ["BALANCER_S3_LINK_TIME"] "360" "How long such a link is good";
    }
    "Callbacks" {
        callback_allow NETWORKS ["BALANCER_CALLBACK_ALLOW"] "" "Private networks that callbacks and documents may lead to: 10.0.0.0/8,fd00::/8; private is all";
        relay_recording_ready BOOL ["BALANCER_RELAY_RECORDING_READY"] "false" "Have servers tell the balancer that a recording is ready, and tell the front-end";
    }
    "Output" {
        build_number TEXT ["BUILD_NUMBER"] "" "What the API reports as its build";
        log_level LEVEL ["BALANCER_LOG_LEVEL" "RAILS_LOG_LEVEL"] "info" "Least important events to log: error, warn, info, debug or trace";
        log_json BOOL ["BALANCER_LOG_JSON"] "false" "Write log lines as JSON";
    }
    "Limits" {
        max_connections N ["BALANCER_MAX_CONNECTIONS"] "4096" "Connections at once";
        max_head SIZE ["BALANCER_MAX_HEAD"] "64KiB" "Head of a request";
        max_form SIZE ["BALANCER_MAX_FORM"] "1MiB" "Form or JSON body";
        max_slides SIZE ["BALANCER_MAX_SLIDES"] "64MiB" "Body with slides";
        max_slides_held SIZE ["BALANCER_MAX_SLIDES_HELD"] "512MiB" "Slides under way that are kept at once, for another server";
        max_reply SIZE ["BALANCER_MAX_REPLY"] "16MiB" "A server's answer";
        head_timeout SECONDS ["BALANCER_HEAD_TIMEOUT"] "10" "Longest time for the head of a request to arrive";
        rate_limit N ["BALANCER_RATE_LIMIT"] "0" "Calls a second that one caller may send in the long run; 0 is no limit";
        rate_burst N ["BALANCER_RATE_BURST"] "100" "Calls that one caller may send at once, with rate_limit";
        rate_per WHAT ["BALANCER_RATE_PER"] "address" "By what callers are told apart: address or secret (behind a proxy)";
        idle_timeout SECONDS ["BALANCER_IDLE_TIMEOUT"] "60" "Longest time between two requests of a connection";
    }
}

/// Settings that are taken over when the configuration is read again; the others need a restart.
const LIVE: &[&str] = &[
    "url_host",
    "loadbalancer_secret",
    "loadbalancer_secrets",
    "loadbalancer_checksum_algorithm",
    "signed_forms",
    "server_id_is_hostname",
    "max_meeting_duration",
    "create_exclude_params",
    "join_exclude_params",
    "default_create_params",
    "override_create_params",
    "default_join_params",
    "override_join_params",
    "get_meetings_api_disabled",
    "use_external_voice_bridge",
    "relay_recording_ready",
    "fsapi_password",
    "fsapi_max_duration",
    "voice_bridge_min",
    "voice_bridge_max",
    "build_number",
    "rate_limit",
    "rate_burst",
    "rate_per",
];

/// Whether this setting is taken over without a restart.
pub(crate) fn is_live(name: &str) -> bool {
    LIVE.contains(&name)
}

/// Names of Scalelite's that change nothing here, and why; a name ending in `_` stands for all that begin with it.
pub(crate) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("PREPARED_STATEMENT", "the database keeps no prepared statements, so a pooler may stand before it"),
    ("DEFAULT_LOCALE", "the page of a recording that is not found is in English"),
    ("CLOUDFRONT_URL", "recordings in a bucket are played by signed links to it: see BALANCER_S3_PLAYBACK"),
    ("CF_KEY_PAIR_ID", "recordings in a bucket are played by signed links to it: see BALANCER_S3_PLAYBACK"),
    ("CF_PRIVATE_KEY_B64", "recordings in a bucket are played by signed links to it: see BALANCER_S3_PLAYBACK"),
    ("POLLER_THREADS", "polls run at once without threads of their own"),
    ("POLLER_WAIT_TIMEOUT", "every poll has its own limit: CONNECT_TIMEOUT and RESPONSE_TIMEOUT"),
    ("RAILS_ENV", "there is one environment; the Redis prefix is REDIS_NAMESPACE"),
    ("RAILS_LOG_TO_STDOUT", "logs always go to standard output"),
    ("SCALELITE_API_PORT", "it belongs to the nginx image; set PORT"),
    ("NGINX_", "it belongs to the nginx image; put TLS in front of the balancer"),
    ("BEHIND_PROXY", "it belongs to the nginx image"),
];

/// The setting of this name in the file.
pub(crate) fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Why a name has no effect, if it is one of those.
pub(crate) fn without_effect(name: &str) -> Option<&'static str> {
    let fits = |known: &str| name == known || (known.ends_with('_') && name.starts_with(known));
    WITHOUT_EFFECT.iter().find(|(known, _)| fits(known)).map(|(_, why)| *why)
}
