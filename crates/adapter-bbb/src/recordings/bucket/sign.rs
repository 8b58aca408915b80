//! Signatures of requests, version 4: pure functions of the request and the time.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// What is not encoded besides letters and digits.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &VALUE.remove(b'/');
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Whose signature it is.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) key_id: String,
    pub(super) secret: Secret,
    pub(super) session: Option<Secret>,
    pub(super) region: String,
}

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    /// The path, encoded.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Names in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// Seconds since 1970.
    pub(super) at: u64,
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A text takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A key as it stands in a path.
pub(super) fn encoded_path(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

/// A query as it is signed and sent.
pub(super) fn encoded_query(query: &[(&str, &str)]) -> String {
    let encoded = |text| utf8_percent_encode(text, VALUE).to_string();
    let mut pairs: Vec<_> = query.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Seconds since 1970 as `20130524T000000Z`.
pub(super) fn stamp(at: u64) -> String {
    let (days, second) = (at / 86_400, at % 86_400);
    // Days are counted from 1 March of the year 0, so that leap days end years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

impl Signer {
    fn scope(&self, stamp: &str) -> String {
        format!("{}/{}/s3/aws4_request", stamp.get(..8).unwrap_or_default(), self.region)
    }

    fn signature(&self, of: &Signed<'_>, names: &str, headers: &[(&str, &str)], query: &str, payload: &str) -> String {
        let mut canonical = format!("{}\n{}\n{query}\n", of.method, of.path);
        for (name, value) in headers {
            let _ = writeln!(canonical, "{name}:{}", value.trim());
        }
        let _ = write!(canonical, "\n{names}\n{payload}");
        let (stamp, digest) = (stamp(of.at), hex(&sha256(canonical.as_bytes())));
        let text = format!("{ALGORITHM}\n{stamp}\n{}\n{digest}", self.scope(&stamp));
        let first = format!("AWS4{}", self.secret.expose());
        let date = mac(first.as_bytes(), stamp.get(..8).unwrap_or_default());
        let key = [self.region.as_str(), "s3", "aws4_request"].iter().fold(date, |key, part| mac(&key, part));
        hex(&mac(&key, &text))
    }

    /// The headers that sign a request whose body has this digest: all that has to be sent besides its own.
    pub(super) fn headers(&self, of: &Signed<'_>, payload: &[u8; 32]) -> Vec<(&'static str, String)> {
        let mut more =
            vec![("host", of.host.to_owned()), ("x-amz-content-sha256", hex(payload)), ("x-amz-date", stamp(of.at))];
        if let Some(session) = &self.session {
            more.push(("x-amz-security-token", session.expose().to_owned()));
        }
        let mut all: Vec<(&str, &str)> = of.headers.to_vec();
        all.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        all.sort_unstable();
        let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let signature = self.signature(of, &names, &all, &encoded_query(of.query), &hex(payload));
        let (key_id, scope) = (&self.key_id, self.scope(&stamp(of.at)));
        let authorization =
            format!("{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}");
        more.push(("authorization", authorization));
        more
    }

    /// The query of a link that anybody may follow for so many seconds.
    pub(super) fn link(&self, of: &Signed<'_>, seconds: u64) -> String {
        let stamp = stamp(of.at);
        let (credential, seconds) = (format!("{}/{}", self.key_id, self.scope(&stamp)), seconds.to_string());
        let mut query = of.query.to_vec();
        query.extend([
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", credential.as_str()),
            ("X-Amz-Date", stamp.as_str()),
            ("X-Amz-Expires", seconds.as_str()),
            ("X-Amz-SignedHeaders", "host"),
        ]);
        if let Some(session) = &self.session {
            query.push(("X-Amz-Security-Token", session.expose()));
        }
        let query = encoded_query(&query);
        let signature = self.signature(of, "host", &[("host", of.host)], &query, "UNSIGNED-PAYLOAD");
        format!("{query}&X-Amz-Signature={signature}")
    }
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    // A key of any length will do.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mut mac| {
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_369_353_600;
    const HOST: &str = "examplebucket.s3.amazonaws.com";

    /// The access key of Amazon's published examples.
    fn signer() -> Signer {
        Signer {
            key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session: None,
            region: "us-east-1".to_owned(),
        }
    }

    fn signature(of: &Signed<'_>, body: &[u8]) -> String {
        let headers = signer().headers(of, &sha256(body));
        let (_, value) = headers.iter().find(|(name, _)| *name == "authorization").unwrap();
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn published_examples_come_out() {
        assert_eq!(stamp(AT), "20130524T000000Z");
        let get = Signed {
            method: "GET",
            host: HOST,
            path: "/test.txt",
            query: &[],
            headers: &[("range", "bytes=0-9")],
            at: AT,
        };
        assert_eq!(signature(&get, b""), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let headers = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let path = encoded_path("/test$file.text");
        let put = Signed { method: "PUT", host: HOST, path: &path, query: &[], headers: &headers, at: AT };
        let of_put = signature(&put, b"Welcome to Amazon S3.");
        assert_eq!(of_put, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
        let query = [("prefix", "J"), ("max-keys", "2")];
        let list = Signed { method: "GET", host: HOST, path: "/", query: &query, headers: &[], at: AT };
        assert_eq!(signature(&list, b""), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
        let get = Signed { headers: &[], ..get };
        let link = signer().link(&get, 86_400);
        let signed = link.rsplit_once("X-Amz-Signature=").unwrap().1;
        assert_eq!(signed, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    }

    #[test]
    fn days_are_counted_rightly() {
        for (at, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_799, "20000229T235959Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(at), text);
        }
    }

    #[test]
    fn odd_names_are_encoded() {
        assert_eq!(encoded_path("a b/ü+&=?#%~._-"), "a%20b/%C3%BC%2B%26%3D%3F%23%25~._-");
        assert_eq!(encoded_query(&[("uploads", ""), ("prefix", "a/b c")]), "prefix=a%2Fb%20c&uploads=");
    }
}
