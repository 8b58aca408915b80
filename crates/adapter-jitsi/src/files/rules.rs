//! The rules by their ids.

use balancer_core::Level::{self, Error, Note, Warning};
use balancer_core::RuleInfo;

const fn rule(id: &'static str, level: Level, about: &'static str) -> RuleInfo {
    RuleInfo::new(id, level, about)
}

/// Every rule there is, by id.
pub const JITSI_RULES: &[RuleInfo] = &[
    rule("BLC-J001", Error, "a file that cannot be read"),
    rule("BLC-J002", Warning, "several properties on one line, which Java reads as one"),
    rule("BLC-J003", Error, "a bridge that publishes no statistics"),
    rule("BLC-J004", Error, "statistics that do not go to the brewery"),
    rule("BLC-J005", Error, "a connection without host, domain, account, password or brewery room"),
    rule("BLC-J006", Warning, "certificates that are not verified"),
    rule("BLC-J007", Note, "media over TCP switched off"),
    rule("BLC-J008", Error, "localhost as XMPP server of a bridge on another machine"),
    rule("BLC-J009", Error, "two secrets for one account on one machine"),
    rule("BLC-J010", Error, "two secrets for one account on two machines"),
    rule("BLC-J011", Error, "two bridges of one nickname in one brewery"),
    rule("BLC-J012", Warning, "a bridge without nickname"),
    rule("BLC-J013", Warning, "two names that differ by a slip of the pen"),
    rule("BLC-J014", Error, "a port that cannot be reached"),
    rule("BLC-J015", Error, "a bridge in another brewery than its focus or the other bridges"),
    rule("BLC-J016", Warning, "a property close to one that is known"),
    rule("BLC-J017", Warning, "a setting given twice with different values"),
    rule("BLC-J018", Note, "localhost as XMPP server, where it is not known whether one runs there"),
    rule("BLC-J019", Error, "a domain or room service that the XMPP server's whole configuration does not have"),
    rule("BLC-J020", Error, "an XMPP server that does not listen where a bridge connects to"),
];
