//! What is done with objects: listed, written, copied, compared, removed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};

use super::answer::{self, Object};
use super::call::{Ask, Trouble};
use super::sign::{encoded_path, hex};
use super::{FilesError, Listing, RecordingBucket};
use crate::api::push_text;

/// So many objects are removed by one request.
const BATCH: usize = 1000;
/// More objects than this are not looked at below one place: an archive has fewer.
const MOST: usize = 1_000_000;
/// The header that keeps the MD5 of a file that was sent in parts.
pub(super) const MD5: &str = "x-amz-meta-md5";

/// Whether two objects are the same for all that their tags tell.
pub(super) fn alike(one: &Object, other: &Object) -> bool {
    one.size == other.size && one.etag == other.etag && !one.etag.is_empty()
}

pub(super) fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

impl RecordingBucket {
    async fn pages(
        &self,
        prefix: &str,
        delimiter: &str,
        most: u16,
        mut with: impl FnMut(answer::Page) -> bool + Send,
    ) -> Result<(), FilesError> {
        let mut token: Option<String> = None;
        let mut seen = 0;
        let most = most.to_string();
        loop {
            let mut query = vec![("list-type", "2"), ("max-keys", most.as_str()), ("prefix", prefix)];
            if !delimiter.is_empty() {
                query.push(("delimiter", delimiter));
            }
            if let Some(token) = &token {
                query.push(("continuation-token", token));
            }
            let ask = Ask { method: "GET", query: &query, ..Ask::default() };
            let answer = self.ask(&ask).await.map_err(|e| self.failed(prefix, &e))?;
            let odd = || self.failed(prefix, &Trouble::Odd("is no list of objects"));
            let mut page = answer::page(&answer.body).ok_or_else(odd)?;
            seen += page.objects.len() + page.folders.len();
            let next = page.next.take();
            if !with(page) || next.is_none() {
                return Ok(());
            }
            if seen > MOST || next == token {
                return Err(self.wrong(prefix, "there are more objects than are ever looked at"));
            }
            token = next;
        }
    }

    /// The objects below a place, which ends in `/`.
    pub(super) async fn list(&self, place: &str) -> Result<Listing, FilesError> {
        let mut all = Listing::new();
        self.pages(place, "", self.0.options.page, |page| {
            let named = page.objects.into_iter();
            all.extend(named.filter_map(|(key, o)| Some((key.strip_prefix(place)?.to_owned(), o))));
            true
        })
        .await?;
        Ok(all)
    }

    /// The names of what could be folders in a place, which ends in `/`.
    pub(super) async fn folders(&self, place: &str) -> Result<Vec<String>, FilesError> {
        let mut all = Vec::new();
        self.pages(place, "/", self.0.options.page, |page| {
            let names = page.folders.iter().filter_map(|key| key.strip_prefix(place)?.strip_suffix('/'));
            all.extend(names.map(str::to_owned));
            true
        })
        .await?;
        Ok(all)
    }

    /// Whether there is anything below a place.
    pub(super) async fn has_any(&self, place: &str) -> Result<bool, FilesError> {
        let mut any = false;
        self.pages(place, "", 1, |page| {
            any = !page.objects.is_empty();
            false
        })
        .await?;
        Ok(any)
    }

    /// Writes a small object as a whole.
    pub(super) async fn put(&self, key: &str, body: Bytes, kind: &str) -> Result<(), FilesError> {
        let (expected, size) = (hex(&md5(&body)), body.len() as u64);
        let ask = Ask { method: "PUT", key, headers: &[("content-type", kind)], body, ..Ask::default() };
        let sent = self.ask(&ask).await.map_err(|e| self.failed(key, &e))?;
        let etag = sent.etag().to_owned();
        // Servers that encrypt have tags of their own.
        if etag == expected || etag.len() != expected.len() {
            return Ok(());
        }
        let digest = super::sign::sha256(&ask.body);
        if self.digest_of(key).await? == digest { Ok(()) } else { Err(self.differs(key, size)) }
    }

    pub(super) fn differs(&self, key: &str, size: u64) -> FilesError {
        self.wrong(key, format!("what is there is not the {size} bytes that were sent; they are sent again next time"))
    }

    /// Reads a small object; `None` when it is not there.
    pub(super) async fn get(&self, key: &str, most: u64) -> Result<Option<Bytes>, FilesError> {
        let range = format!("bytes=0-{most}");
        let ask = Ask { method: "GET", key, headers: &[("range", &range)], ..Ask::default() };
        match self.ask(&ask).await {
            Ok(found) if found.body.len() as u64 > most => Err(self.wrong(key, "it is too long to be read")),
            Ok(found) => Ok(Some(found.body)),
            // An empty one has no first byte.
            Err(e) if e.is(416) => Ok(Some(Bytes::new())),
            Err(Trouble::Refused { status: 404, code, .. }) if code != "NoSuchBucket" => Ok(None),
            Err(e) => Err(self.failed(key, &e)),
        }
    }

    /// Has the server copy an object.
    pub(super) async fn copy(&self, from: &str, to: &str) -> Result<(), FilesError> {
        let source = format!("/{}/{}", self.0.options.bucket, encoded_path(from));
        let ask = Ask { method: "PUT", key: to, headers: &[("x-amz-copy-source", &source)], ..Ask::default() };
        self.ask(&ask).await.map(drop).map_err(|e| self.failed(to, &e))
    }

    /// Whether an object has the contents of another one: by size and tag, by the MD5 that the other one was sent with,
    /// or else by reading both.
    ///
    /// What an object was sent with says nothing of what it is now: only the tag of `other` is compared with it.
    pub(super) async fn same(&self, one: (&str, &Object), other: (&str, &Object)) -> Result<bool, FilesError> {
        let ((one, of_one), (other, of_other)) = (one, other);
        if of_one.size != of_other.size {
            return Ok(false);
        }
        if alike(of_one, of_other) || of_other.etag == self.noted_md5(one).await? {
            return Ok(true);
        }
        Ok(self.digest_of(one).await? == self.digest_of(other).await?)
    }

    /// The SHA-256 of an object, read through.
    pub(super) async fn digest_of(&self, key: &str) -> Result<[u8; 32], FilesError> {
        self.read_through(key).await.map_err(|e| self.failed(key, &e))
    }

    /// The MD5 that an object was sent with; nothing equals what is returned when it was sent without.
    async fn noted_md5(&self, key: &str) -> Result<String, FilesError> {
        let ask = Ask { method: "HEAD", key, ..Ask::default() };
        let head = self.ask(&ask).await.map_err(|e| self.failed(key, &e))?;
        let noted = head.header(MD5);
        Ok(if noted.len() == 32 { noted.to_owned() } else { "none".to_owned() })
    }

    /// Removes objects; what is not there is fine. Only who has the right to change what is there may.
    pub(super) async fn remove(&self, keys: &[String]) -> Result<(), FilesError> {
        for batch in keys.chunks(BATCH) {
            self.still_held()?;
            let first = batch.first().map_or("", String::as_str);
            let mut body = b"<Delete><Quiet>true</Quiet>".to_vec();
            for key in batch {
                body.extend_from_slice(b"<Object><Key>");
                push_text(&mut body, key);
                body.extend_from_slice(b"</Key></Object>");
            }
            body.extend_from_slice(b"</Delete>");
            let sum = STANDARD.encode(md5(&body));
            let headers = [("content-md5", sum.as_str()), ("content-type", "application/xml")];
            let (query, body) = ([("delete", "")], Bytes::from(body));
            let ask = Ask { method: "POST", query: &query, headers: &headers, body, ..Ask::default() };
            let answer = self.ask(&ask).await.map_err(|e| self.failed(first, &e))?;
            match answer::not_deleted(&answer.body) {
                Some(None) => {}
                Some(Some((key, code, message))) => {
                    return Err(self.failed(&key, &Trouble::Refused { status: 200, code, message }));
                }
                None => return Err(self.failed(first, &Trouble::Odd("does not say what was removed"))),
            }
        }
        Ok(())
    }
}
