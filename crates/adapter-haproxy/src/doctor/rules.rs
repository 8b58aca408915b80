//! The rules by their ids.

use balancer_core::Level::{self, Error, Note, Warning};
use balancer_core::RuleInfo;

const fn rule(id: &'static str, level: Level, about: &'static str) -> RuleInfo {
    RuleInfo::new(id, level, about)
}

/// Every rule there is, by id.
pub const DOCTOR_RULES: &[RuleInfo] = &[
    rule(
        "BLC-H001",
        Error,
        "a line HAProxy cannot read: open quote, stray backslash, too many words, no last line feed",
    ),
    rule("BLC-H002", Error, "a keyword without the blank behind it"),
    rule("BLC-H003", Error, "dots where something was left out"),
    rule("BLC-H004", Error, "a word that was removed or renamed"),
    rule("BLC-H005", Error, "a word HAProxy does not know, close to one it does"),
    rule("BLC-H006", Error, "a word this version does not know yet"),
    rule("BLC-H007", Warning, "every connection is closed after one answer"),
    rule("BLC-H008", Warning, "headers hidden behind the version of option httpchk"),
    rule("BLC-H009", Note, "the lowest TLS version said by what it is not"),
    rule("BLC-H010", Warning, "port 433 where 443 was meant"),
    rule("BLC-H011", Warning, "plain HTTP on port 443"),
    rule("BLC-H012", Warning, "plain HTTP sent to port 443 of a server"),
    rule("BLC-H013", Error, "TLS to a server without a word on verification"),
    rule("BLC-H014", Note, "verification of a server that is not asked for TLS"),
    rule("BLC-H015", Error, "two listeners on one address"),
    rule("BLC-H016", Error, "a certificate file that cannot be read"),
    rule("BLC-H017", Error, "a certificate file without key or without certificate"),
    rule("BLC-H018", Error, "a certificate that has expired or is not valid yet"),
    rule("BLC-H019", Warning, "a certificate that expires soon"),
    rule("BLC-H020", Error, "a certificate for another name"),
    rule("BLC-H021", Error, "HAProxy's control socket open to others"),
    rule("BLC-H022", Warning, "a header that clients can send as well"),
    rule("BLC-H023", Note, "servers see the balancer's address instead of the client's"),
    rule("BLC-H024", Warning, "no timeout for connect, client or server"),
    rule("BLC-H025", Warning, "no timeout for quiet websockets or slow requests"),
    rule("BLC-H026", Error, "a frontend and a backend of different modes"),
    rule("BLC-H027", Error, "a backend that is not there"),
    rule("BLC-H028", Error, "two things of one name"),
    rule("BLC-H029", Warning, "servers known by their position"),
    rule("BLC-H030", Error, "a statistics page where everybody may change servers"),
    rule("BLC-H031", Error, "a password everybody knows"),
    rule("BLC-H032", Warning, "a statistics page over a path of the application"),
    rule("BLC-H033", Warning, "a statistics page without password"),
    rule("BLC-H034", Note, "a password in plain text"),
    rule("BLC-H035", Warning, "cookie stickiness that cannot work"),
    rule("BLC-H036", Warning, "a server by a name that must resolve before HAProxy starts"),
    rule("BLC-H037", Warning, "a weight too small for an agent check to scale"),
    rule("BLC-H040", Warning, "a hash type that nothing uses"),
    rule("BLC-H041", Warning, "room keys raw in one place and decoded in another"),
    rule("BLC-H042", Warning, "a key that is looked up and never stored"),
    rule("BLC-H043", Warning, "JSON read by counting quotes"),
    rule("BLC-H044", Note, "callbacks that are posted have no room"),
    rule("BLC-H045", Note, "an empty parameter counts as found"),
    rule("BLC-H046", Warning, "everybody behind one address goes to one server"),
    rule("BLC-H047", Warning, "entries that never expire"),
    rule("BLC-H048", Note, "a table size counts entries"),
    rule("BLC-H049", Error, "a table's setting on a stick rule"),
    rule("BLC-H050", Error, "a peers section without this host"),
    rule("BLC-H051", Note, "a peers section of one"),
    rule("BLC-H052", Error, "a table or a peers section that is not there"),
    rule("BLC-H053", Warning, "a table of IPv4 addresses behind an IPv6 listener"),
    rule("BLC-H054", Note, "the local peer left to the host's name"),
    rule("BLC-H055", Warning, "a decoded key that a NUL byte cuts"),
];
