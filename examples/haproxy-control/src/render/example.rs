//! Descriptions to begin with.

use crate::cli::Kind;

/// The description of a kind, with everything there is in comments.
pub(super) fn text(kind: Kind) -> String {
    let (what, servers, own) = match kind {
        Kind::Edumeet => ("edumeet room servers", ["edumeet1", "edumeet2"], ROOMS),
        Kind::Shards => ("shards of Jitsi Meet", ["shard1", "shard2"], ROOMS),
        Kind::Cookie => ("web servers, each visitor kept by a cookie", ["web1", "web2"], ""),
        Kind::Source => ("web servers, each visitor kept by address", ["web1", "web2"], ""),
    };
    let tenants = if kind == Kind::Edumeet { TENANTS } else { "" };
    let peers = match kind {
        Kind::Cookie => String::new(),
        Kind::Source => PEERS.to_owned(),
        _ => commented(PEERS),
    };
    let offload = if own.is_empty() { "" } else { OFFLOAD };
    let [one, two] = servers;
    format!(
        "# {what}\n\n# The HAProxy that will read the configuration; else the installed one.\n# haproxy = \"2.6\"\n{own}{tenants}\n\
         {LISTEN}\n{SERVER_HEAD}[[server]]\nname = \"{one}\"\nhost = \"192.0.2.11\"\nport = 80\nid = 1\n{SERVER_MORE}\n\
         [[server]]\nname = \"{two}\"\nhost = \"192.0.2.12\"\nport = 80\nid = 2\n\n{PEERS_HEAD}{peers}\n{offload}{REST}"
    )
}

fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
}

const ROOMS: &str = "\
\n# A map file that pins rooms to servers: one room a line, percent-encoded, and its server. It must exist.
# pins = \"/etc/haproxy/pins.map\"
# Pinned rooms move by that map alone, as `haproxy-control run` changes it; until then an error, not another server:
# hold_pins = true
";

const TENANTS: &str = "\
\n# Rooms of one name on several host names are different rooms (edumeet 4.x).
# tenants = true
";

const LISTEN: &str = "\
[[listen]]
port = 80
# host = \"192.0.2.1\"                 # all IPv4 addresses unless given
# certificate = \"/etc/haproxy/meet.example.com.pem\"    # TLS: certificate, chain and key in one file
# alpn = [\"h2\", \"http/1.1\"]
# accept_proxy = false               # expects the PROXY protocol
";

const SERVER_HEAD: &str = "# Ids are what tables and hashes know a server by: never give one out again.\n";

const SERVER_MORE: &str = "\
# weight = 100                       # 0 to 256
# max_connections = 500
# check = true
# cookie = \"a\"                       # the cookie value that means this server
# tls = \"none\"                       # none, verified, unverified, or a file of authorities
# tls_name = \"web1.example.com\"
# agent_host = \"127.0.0.1\"           # where `haproxy-control run` serves agent checks; else on the server itself
# agent_port = 9707                  # a program that says how much it can take, in percent of weight: give that, as 100
# agent_send = \"web1\"
# resolvers = \"dns\"
# backup = false
# send_proxy = false
";

const PEERS_HEAD: &str = "# HAProxys that share the table; with itself alone, the table outlives a reload.\n";

const PEERS: &str = "\
[peers]
name = \"mates\"
local = \"lb1\"
# Within TLS, where members are not at hand on private addresses: all of them, `haproxy-control run --mode peers` too.
# certificate = \"/etc/haproxy/lb1.pem\"  # this host's, with its key
# authority = \"/etc/haproxy/ca.pem\"     # who vouches for all members

[[peers.member]]
name = \"lb1\"
host = \"127.0.0.1\"
port = 10000
";

const OFFLOAD: &str = "\
# HAProxy asks `haproxy-control run --mode spoe` where a room belongs. `render KIND FILE --engine` writes its engine file.
# [offload]
# file = \"/etc/haproxy/spoe.conf\"
# fail = \"open\"                      # without an answer HAProxy places rooms itself; \"closed\": 503 for new ones
# message = \"place\"                  # rooms.message of the controller
# patience_ms = 50                   # spoe.patience of the controller
#
# [[offload.agent]]
# name = \"control1\"
# host = \"127.0.0.1\"
# port = 9600

";

const REST: &str = "\
# [check]
# path = \"/\"
# host = \"meet.example.com\"
# statuses = \"200-399\"

# [[resolvers]]
# name = \"dns\"
# servers = [\"192.0.2.53\"]

# [global]
# log = \"stdout\"                     # or /dev/log, or 192.0.2.9:514
# max_connections = 20000
# threads = 4
# socket = \"/run/haproxy/admin.sock\"
# chroot = \"/var/lib/haproxy\"
# user = \"haproxy\"
# group = \"haproxy\"

# [timeouts]                         # seconds
# connect = 5
# client = 50
# server = 50
# tunnel = 3600
# http_request = 10
# queue = 10

# [stats]
# port = 8404
# host = \"127.0.0.1\"                 # elsewhere users are required
# uri = \"/\"
# admin = false                      # lets this host change servers
# metrics = false                    # /metrics for Prometheus
#
# [[stats.user]]
# name = \"ops\"
# hash = \"${STATS_HASH}\"             # mkpasswd -m sha-512

# [extra]                            # lines taken over as they are
# global = []
# defaults = []
# frontend = []
# backend = []
";
