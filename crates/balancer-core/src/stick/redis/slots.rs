//! The slots of a Redis Cluster: which one a key has, and which node serves it. Pure.

use super::options::Address;
use super::reply::RedisReply;

pub(super) const SLOTS: u16 = 16384;

/// The slot of a key: its hash tag, where it has one, decides.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM: polynomial 0x1021, from zero.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

/// A run of slots, both ends included, and the master that serves it.
pub(super) type Range = (u16, u16, Address);

/// Reads the answer to `CLUSTER SLOTS`; a node that knows no address of its own is the one that was asked.
pub(super) fn ranges(reply: &RedisReply, asked: &Address) -> Option<Vec<Range>> {
    let rows = reply.as_list();
    if rows.len() > usize::from(SLOTS) || !matches!(reply, RedisReply::List(_)) {
        return None;
    }
    rows.iter()
        .map(|row| {
            let [first, last, master, ..] = row.as_list() else { return None };
            let bound = |of: &RedisReply| of.as_int().and_then(|n| u16::try_from(n).ok()).filter(|n| *n < SLOTS);
            let [host, port, ..] = master.as_list() else { return None };
            let port = port.as_int().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)?;
            let (first, last) = (bound(first)?, bound(last)?);
            (first <= last).then(|| Some((first, last, address(host.as_str().unwrap_or(""), port, asked)?)))?
        })
        .collect()
}

fn address(host: &str, port: u16, asked: &Address) -> Option<Address> {
    match (host, asked) {
        ("" | "?", Address::Tcp { host, .. }) => Some(Address::Tcp { host: host.clone(), port }),
        ("" | "?", Address::Unix(_)) => None,
        (host, _) => Some(Address::Tcp { host: host.to_owned(), port }),
    }
}

/// What a node says instead of an answer when a key is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirection {
    /// The slot lives there now.
    Moved(Address),
    /// The slot is on its way there: this one call only.
    Ask(Address),
}

/// Reads `MOVED SLOT HOST:PORT` and `ASK SLOT HOST:PORT`.
pub(super) fn redirection(words: &str, asked: &Address) -> Option<Redirection> {
    let mut words = words.split(' ');
    let (kind, _slot, place) = (words.next()?, words.next()?, words.next()?);
    let (host, port) = place.trim().rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let to = address(host, port, asked)?;
    match kind {
        "MOVED" => Some(Redirection::Moved(to)),
        "ASK" => Some(Redirection::Ask(to)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    fn text(text: &str) -> RedisReply {
        RedisReply::Text(text.into())
    }

    #[test]
    fn slots_are_those_of_the_servers() {
        // As `CLUSTER KEYSLOT` answers; the first is the check value of the CRC.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, at) in [("foo", 12182), ("{foo}bar", 12182), ("x{}y", slot(b"x{}y")), ("a{foo}{bar}", 12182)] {
            assert_eq!(slot(key.as_bytes()), at, "{key}");
        }
        assert_eq!(slot(b"x{}y"), crc16(b"x{}y") % SLOTS);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn maps_and_redirections_are_read() {
        let asked = tcp("seed", 7000);
        let row = |first, last, host: RedisReply, port| {
            RedisReply::List(vec![
                RedisReply::Int(first),
                RedisReply::Int(last),
                RedisReply::List(vec![host, RedisReply::Int(port), text("id")]),
            ])
        };
        let map = RedisReply::List(vec![row(0, 99, text("a"), 1), row(100, 16383, RedisReply::Nil, 2)]);
        assert_eq!(ranges(&map, &asked), Some(vec![(0, 99, tcp("a", 1)), (100, 16383, tcp("seed", 2))]));
        for wrong in [row(5, 4, text("a"), 1), row(0, 16384, text("a"), 1), row(0, 1, text("a"), 0), text("x")] {
            assert_eq!(ranges(&RedisReply::List(vec![wrong]), &asked), None);
        }
        assert_eq!(redirection("MOVED 5 ::1:7001", &asked), Some(Redirection::Moved(tcp("::1", 7001))));
        assert_eq!(redirection("ASK 5 :7001", &asked), Some(Redirection::Ask(tcp("seed", 7001))));
        assert_eq!(redirection("ERR no such thing", &asked), None);
    }

    proptest! {
        #[test]
        fn any_words_are_survived(words in "(MOVED|ASK|) ?.{0,30}", key in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = redirection(&words, &tcp("h", 1));
            prop_assert!(slot(&key) < SLOTS);
        }
    }
}
