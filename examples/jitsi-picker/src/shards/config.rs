//! The file that names the shards and where their rooms are kept.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapter_jitsi::{RegionGroups, Shard, ShardAddresses, ShardOptions, ShardUnit};
use balancer_core::{
    FileOptions, FileStore, HealthRules, MemoryStore, RedisLink, RedisOptions, RedisStore, StickStore, Weight,
};
use console::{Failure, meant_by_serde, printable};
use serde::Deserialize;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A file to begin with.
pub(crate) const EXAMPLE: &str = r#"# Shards for `jitsi-picker serve --shards FILE`.

# Where rooms are kept: memory (one picker, forgotten with it), file:/var/lib/jitsi-picker/rooms (one picker), or a Redis
# that any number of pickers share. ${NAME} is taken from the environment.
store = "redis://:${REDIS_PASSWORD}@127.0.0.1:6379"
# namespace = "jitsi-shards"
# How long a Redis may take to answer, in seconds; then known rooms go on and new ones are refused.
# store_timeout = 2

# How long a room is kept that nobody asks for and no focus lists, in seconds.
# ttl = 600
# How long a shard must be down, seen by no picker, before its rooms move, in seconds.
# dead_after = 30
# What a shard's load is counted in, participants or rooms, and how many participants a new room will have.
# load = "participants"
# room_size = 5
# Regions that are near to one another.
region_groups = [["eu", "uk"], ["us", "ca"]]

[health]
# interval = 5      # seconds between two looks at a shard
# timeout = 3       # for each part
# rise = 3          # good looks that bring a shard back
# fall = 2          # bad looks that take it down

# Addresses are private ones in plain HTTP; a part without one is not asked. The id is the server's name in HAProxy.
[[shard]]
id = "eu-1"
region = "eu"
# weight = 100
web = "10.0.1.1:80"
bosh = "10.0.1.1:5280"
xmpp = "10.0.1.1:5222"
focus = "10.0.1.1:8888"
# bridges = 1       # so many must be operational

[[shard]]
id = "us-1"
region = "us"
web = "10.0.2.1:80"
bosh = "10.0.2.1:5280"
focus = "10.0.2.1:8888"
"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default = "memory")]
    store: String,
    #[serde(default = "namespace")]
    namespace: String,
    #[serde(default = "two")]
    store_timeout: f64,
    #[serde(default = "ten_minutes")]
    ttl: f64,
    #[serde(default = "half_a_minute")]
    dead_after: f64,
    #[serde(default)]
    load: Unit,
    #[serde(default = "five")]
    room_size: u32,
    #[serde(default)]
    region_groups: Vec<Vec<String>>,
    #[serde(default)]
    health: HealthSpec,
    #[serde(default)]
    shard: Vec<ShardSpec>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    #[default]
    Participants,
    Rooms,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HealthSpec {
    interval: f64,
    timeout: f64,
    rise: u32,
    fall: u32,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self { interval: 5.0, timeout: 3.0, rise: 3, fall: 2 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardSpec {
    id: String,
    #[serde(default)]
    region: String,
    #[serde(default = "hundred")]
    weight: u16,
    web: Option<String>,
    bosh: Option<String>,
    xmpp: Option<String>,
    focus: Option<String>,
    #[serde(default = "one")]
    bridges: u64,
}

fn memory() -> String {
    "memory".to_owned()
}

fn namespace() -> String {
    "jitsi-shards".to_owned()
}

fn two() -> f64 {
    2.0
}

fn ten_minutes() -> f64 {
    600.0
}

fn half_a_minute() -> f64 {
    30.0
}

fn five() -> u32 {
    5
}

fn hundred() -> u16 {
    100
}

fn one() -> u64 {
    1
}

/// Where rooms are kept.
#[derive(Clone, Debug)]
enum Place {
    Memory,
    File(PathBuf),
    Redis(Box<RedisOptions>),
}

/// What the file says.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The shards.
    pub(crate) shards: Vec<Shard>,
    /// How they are chosen.
    pub(crate) options: ShardOptions,
    /// When they count as up and down.
    pub(crate) rules: HealthRules,
    /// The limit for each part.
    pub(crate) timeout: Duration,
    place: Place,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Redis(options) => f.write_str(&options.target()),
        }
    }
}

impl Config {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let unread = |e: std::io::Error| {
            Failure::failed(format!("{name} cannot be read"))
                .cause(e)
                .hint("`jitsi-picker shards example` prints a file to begin with")
        };
        // A pipe or a device has no length that could be looked at before.
        let mut text = String::new();
        let length = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        if length.map_err(unread)? as u64 > MAX_FILE {
            return Err(Failure::failed(format!("{name} is larger than 1 MiB, which no configuration is")));
        }
        Self::parse(&name, &text, |variable| std::env::var(variable).ok())
    }

    fn parse(name: &str, text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let spec: Spec = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let why = error.message();
            Failure::failed(format!("{name}:{line}: {why}{}", meant_by_serde(why)))
                .hint("`jitsi-picker shards example` prints all there is")
        })?;
        let wrong = |what: String| Failure::failed(format!("{name}: {what}"));
        let span = |what: &str, seconds: f64, least: f64| {
            let fits = (least..=31_536_000.0).contains(&seconds);
            let refused = || wrong(format!("{what} = {seconds} must be a number of seconds from {least} to 31536000"));
            if fits { Ok(Duration::from_secs_f64(seconds)) } else { Err(refused()) }
        };
        let count = |what: &str, n: u32| match n {
            1..=1000 => Ok(n),
            _ => Err(wrong(format!("{what} = {n} must be from 1 to 1000"))),
        };
        let health = spec.health;
        let (rise, fall) = (count("rise", health.rise)?, count("fall", health.fall)?);
        let rules = HealthRules::new(rise, fall, span("interval", health.interval, 0.05)?);
        let mut options = ShardOptions::default();
        options.groups = RegionGroups::new(spec.region_groups);
        options.load.room = count("room_size", spec.room_size)?;
        options.load.unit = match spec.load {
            Unit::Participants => ShardUnit::Participants,
            Unit::Rooms => ShardUnit::Rooms,
        };
        options.ttl = span("ttl", spec.ttl, 5.0)?;
        options.dead_after = span("dead_after", spec.dead_after, 1.0)?;
        options.settle = options.settle.min(options.dead_after);
        let shards: Vec<Shard> = spec
            .shard
            .into_iter()
            .map(|spec| shard(spec).map_err(|e| wrong(e.to_string())))
            .collect::<Result<_, _>>()?;
        if shards.is_empty() {
            return Err(wrong("there is no [[shard]]".to_owned())
                .hint("`jitsi-picker shards example` prints a file to begin with"));
        }
        options.trust_new = !is_probed(&shards);
        let store = expand(&spec.store, env).map_err(&wrong)?;
        let limit = span("store_timeout", spec.store_timeout, 0.05)?;
        let place = place(&store, &spec.namespace, limit).map_err(wrong)?;
        Ok(Self { shards, options, rules, timeout: span("timeout", health.timeout, 0.05)?, place })
    }

    /// Whether anything is asked of the shards.
    pub(crate) fn is_probed(&self) -> bool {
        is_probed(&self.shards)
    }

    /// Opens the place where rooms are kept.
    pub(crate) fn store(&self) -> Result<Arc<dyn StickStore>, Failure> {
        let failed = |e: &dyn fmt::Display| Failure::failed(format!("{} cannot be used", self.place)).cause(e);
        Ok(match &self.place {
            Place::Memory => Arc::new(MemoryStore::default()),
            Place::File(path) => Arc::new(FileStore::open(path, &FileOptions::new()).map_err(|e| failed(&e))?),
            Place::Redis(options) => {
                let link = RedisLink::new((**options).clone()).map_err(|e| failed(&e))?;
                if let Some(warning) = link.warning() {
                    crate::complain(&format!("<4>{}", printable(warning)));
                }
                Arc::new(RedisStore::new(link))
            }
        })
    }

    /// The place in words, without any secret.
    pub(crate) fn place(&self) -> String {
        self.place.to_string()
    }
}

fn is_probed(shards: &[Shard]) -> bool {
    shards.iter().any(|shard| !shard.addresses().is_empty())
}

fn shard(spec: ShardSpec) -> Result<Shard, adapter_jitsi::ShardError> {
    let ShardSpec { id, region, weight, web, bosh, xmpp, focus, bridges } = spec;
    let addresses = ShardAddresses { web, bosh, xmpp, focus };
    let shard = Shard::try_new(&id)?.with_region(&region)?.with_addresses(addresses)?;
    Ok(shard.with_weight(Weight::new(weight)).with_bridges(bridges))
}

/// Puts in what the environment has for every `${NAME}`.
fn expand(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut parts = text.split("${");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').ok_or("store has a ${ without its }")?;
        out.push_str(&env(name).ok_or_else(|| format!("store: the variable {} is not set", printable(name)))?);
        out.push_str(rest);
    }
    Ok(out)
}

fn place(store: &str, namespace: &str, limit: Duration) -> Result<Place, String> {
    if store == "memory" {
        return Ok(Place::Memory);
    }
    if let Some(path) = store.strip_prefix("file:") {
        return if path.is_empty() {
            Err("store = \"file:\" names no file".to_owned())
        } else {
            Ok(Place::File(path.into()))
        };
    }
    if !store.contains("://") {
        return Err("store must be memory, file:PATH or the URL of a Redis: redis://HOST:6379".to_owned());
    }
    let options = RedisOptions::from_url(store).map_err(|e| format!("store: {e}"))?;
    Ok(Place::Redis(Box::new(options.namespace(namespace).connect_timeout(limit).response_timeout(limit))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "[[shard]]\nid = \"a\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        let env = |name: &str| (name == "REDIS_PASSWORD").then(|| "hunter2".to_owned());
        Config::parse("shards.toml", text, env).map_err(|e| e.to_string())
    }

    #[test]
    fn the_example_is_read_and_its_secret_stays_in() {
        let config = parse(EXAMPLE).unwrap();
        assert_eq!((config.shards.len(), config.shards[0].region()), (2, Some("eu")));
        assert!(config.place().contains("127.0.0.1:6379"));
        assert!(!format!("{config:?} {}", config.place()).contains("hunter2"));
        assert!(!config.options.trust_new);
        // What stands there as a comment is the default.
        let bare: String =
            EXAMPLE.lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n")).collect();
        let all: String = EXAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')) => {
                    format!("{setting}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let [mut bare, mut all] = [bare, all].map(|text| parse(&text).unwrap());
        assert_eq!(bare.options.groups, all.options.groups);
        // Their order is by chance.
        for config in [&mut bare, &mut all] {
            config.options.groups = RegionGroups::default();
        }
        assert_eq!(format!("{bare:?}"), format!("{all:?}"));
        assert!(parse(PLAIN).unwrap().options.trust_new, "nobody is asked");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let said = Config::read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(said.contains("larger than 1 MiB"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, names) in [
            (format!("stor = \"memory\"\n{PLAIN}"), "shards.toml:1: unknown field `stor`"),
            (format!("stor = \"memory\"\n{PLAIN}"), "did you mean \"store\"?"),
            (format!("{PLAIN}[health]\nraise = 2"), "did you mean \"rise\"?"),
            (format!("load = \"room\"\n{PLAIN}"), "did you mean \"rooms\"?"),
            (String::new(), "there is no [[shard]]"),
            ("[[shard]]\nid = \":a\"".to_owned(), "\":a\" cannot be the id"),
            ("[[shard]]\nid = \"a\"\nweb = \"http://x\"".to_owned(), "shard a: web ="),
            (format!("ttl = 1\n{PLAIN}"), "ttl = 1 must be"),
            (format!("dead_after = 0.5\n{PLAIN}"), "dead_after = 0.5 must be"),
            (format!("ttl = nan\n{PLAIN}"), "ttl = NaN must be"),
            (format!("{PLAIN}[health]\nrise = 0"), "rise = 0 must be"),
            (format!("store = \"redis://${{NOT_SET}}@x\"\n{PLAIN}"), "NOT_SET is not set"),
            (format!("store = \"redis://${{NOT_SET\"\n{PLAIN}"), "without its }"),
            (format!("store = \"disk\"\n{PLAIN}"), "store must be memory"),
            (format!("store = \"file:\"\n{PLAIN}"), "names no file"),
            (format!("store = \"mysql://x\"\n{PLAIN}"), "store: "),
        ] {
            let said = parse(&text).unwrap_err();
            assert!(said.contains(names), "{names}: {said}");
        }
        let said = parse(&format!("store = \"redis://:${{REDIS_PASSWORD}}@host:no\"\n{PLAIN}")).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
    }
}
