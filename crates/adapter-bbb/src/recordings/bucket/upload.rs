//! Files on their way into a bucket, and whether they arrived.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use md5::{Digest, Md5};

use super::answer;
use super::call::{Ask, Trouble};
use super::objects::{MD5, md5};
use super::sign::{hex, sha256};
use super::{FilesError, RecordingBucket};
use crate::recordings::import::{Manifest, Unpacked};
use crate::recordings::tree::io_error;

/// The most that a server copies at once, and so the largest file.
const LARGEST: u64 = 5 << 30;
/// So many parts may a file have.
const PARTS: u64 = 10_000;
/// The longest key, in bytes.
const LONGEST_KEY: usize = 1024;

/// By what a file that was sent is known again.
#[derive(Debug)]
struct Sent {
    /// The tag of what was sent as one, or in these parts.
    tag: String,
    /// The tag that it has as one.
    md5: String,
}

/// What browsers are told that a file is.
pub(super) fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("xml") => "text/xml; charset=utf-8",
        Some("json") => "application/json",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("vtt") => "text/vtt; charset=utf-8",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("ico") => "image/vnd.microsoft.icon",
        Some("webm") => "video/webm",
        Some("mp4" | "m4v") => "video/mp4",
        Some("ogg" | "oga") => "audio/ogg",
        Some("mp3") => "audio/mpeg",
        Some("m4a") => "audio/mp4",
        Some("wav") => "audio/wav",
        Some("pdf") => "application/pdf",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// A piece of a file.
fn piece(path: &Path, from: u64, size: u64) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, FilesError> {
    let owned = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&owned)).await;
    done.map_err(io::Error::other).flatten().map_err(|e| io_error(path, &e))
}

impl RecordingBucket {
    /// Sends files into a place, and sees that each of them arrived: by its size and its tag, or by reading it.
    pub(super) async fn send(&self, folder: &Path, files: &Manifest, place: &str) -> Result<(), FilesError> {
        let mut all = Vec::with_capacity(files.len());
        for (path, file) in files {
            let name = path.to_str().filter(|name| !name.contains(char::is_control));
            let name =
                name.ok_or_else(|| self.wrong(&path.to_string_lossy(), "the name of this file cannot be a key"))?;
            let key = format!("{place}{name}");
            if key.len() > LONGEST_KEY {
                return Err(self.wrong(&key, "the name of this file is too long for a key"));
            }
            if file.size > LARGEST {
                return Err(self.wrong(&key, "the file has more than 5 GiB, the most that a bucket copies at once"));
            }
            all.push((key, folder.join(path), file.clone()));
        }
        let sent = Arc::new(Mutex::new(Vec::with_capacity(all.len())));
        self.each(all, |bucket, (key, path, file)| {
            let sent = sent.clone();
            async move {
                let done = bucket.send_file(&key, &path, &file).await?;
                sent.lock().unwrap_or_else(PoisonError::into_inner).push((key, file, done));
                Ok(())
            }
        })
        .await?;
        let sent = std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner));
        let found = self.list(place).await?;
        for (key, file, sent) in sent {
            let there = key.strip_prefix(place).and_then(|name| found.get(name));
            let whole = match there {
                Some(there) if there.size != file.size => false,
                Some(there) if there.etag == sent.tag || there.etag == sent.md5 => true,
                // Servers that encrypt have tags of their own.
                Some(_) => self.digest_of(&key).await? == file.digest,
                None => false,
            };
            if !whole {
                return Err(self.differs(&key, file.size));
            }
        }
        Ok(())
    }

    async fn send_file(&self, key: &str, path: &Path, file: &Unpacked) -> Result<Sent, FilesError> {
        if file.size > self.0.options.part {
            return self.send_parts(key, path, file).await;
        }
        let size = file.size;
        let (body, sum, digest) = blocking(path, move |path| {
            let body = piece(path, 0, size)?;
            let (sum, digest) = (hex(&md5(&body)), sha256(&body));
            Ok((body, sum, digest))
        })
        .await?;
        self.unchanged(path, digest == file.digest)?;
        let headers = [("content-type", kind(key)), (MD5, sum.as_str())];
        let ask = Ask { method: "PUT", key, headers: &headers, body, digest: Some(digest), ..Ask::default() };
        self.ask(&ask).await.map_err(|e| self.failed(key, &e))?;
        Ok(Sent { tag: sum.clone(), md5: sum })
    }

    fn unchanged(&self, path: &Path, is: bool) -> Result<(), FilesError> {
        let changed = || FilesError::Io {
            path: path.display().to_string(),
            why: "it is not what was unpacked there: is the disk in order?".to_owned(),
        };
        if is { Ok(()) } else { Err(changed()) }
    }

    async fn send_parts(&self, key: &str, path: &Path, file: &Unpacked) -> Result<Sent, FilesError> {
        let (sum, digest) = blocking(path, |path| {
            let (mut sum, mut digest) = (Md5::new(), sha2::Sha256::new());
            let mut source = File::open(path)?;
            let mut buffer = vec![0; 128 << 10];
            loop {
                match source.read(&mut buffer) {
                    Ok(0) => return Ok((hex(&sum.finalize()), digest.finalize().into())),
                    Ok(n) => {
                        let read = buffer.get(..n).unwrap_or_default();
                        sum.update(read);
                        digest.update(read);
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        })
        .await?;
        let digest: [u8; 32] = digest;
        self.unchanged(path, digest == file.digest)?;
        let headers = [("content-type", kind(key)), (MD5, sum.as_str())];
        let ask = Ask { method: "POST", key, query: &[("uploads", "")], headers: &headers, ..Ask::default() };
        let begun = self.ask(&ask).await.map_err(|e| self.failed(key, &e))?;
        let odd = || self.failed(key, &Trouble::Odd("names no upload"));
        let id = answer::upload_id(&begun.body).ok_or_else(odd)?;
        match self.send_each_part(key, &id, path, file.size).await {
            Ok(tag) => Ok(Sent { tag, md5: sum }),
            Err(e) => {
                // What cannot be given up now is found as a leftover later.
                let _ = self.give_up(key, &id).await;
                Err(e)
            }
        }
    }

    async fn send_each_part(&self, key: &str, id: &str, path: &Path, size: u64) -> Result<String, FilesError> {
        let part = self.0.options.part.max(size.div_ceil(PARTS));
        let mut sums = Md5::new();
        let mut complete = b"<CompleteMultipartUpload>".to_vec();
        let (mut from, mut number) = (0, 0_u32);
        while from < size {
            number += 1;
            let (start, length) = (from, part.min(size - from));
            let body = blocking(path, move |path| piece(path, start, length)).await?;
            let sum = md5(&body);
            let text = number.to_string();
            let query = [("partNumber", text.as_str()), ("uploadId", id)];
            let ask = Ask { method: "PUT", key, query: &query, body, ..Ask::default() };
            let sent = self.ask(&ask).await.map_err(|e| self.failed(key, &e))?;
            let etag = sent.etag();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if etag.is_empty() || !etag.bytes().all(plain) {
                return Err(self.failed(key, &Trouble::Odd("has no tag of a part")));
            }
            complete.extend_from_slice(
                format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>").as_bytes(),
            );
            sums.update(sum);
            from += length;
        }
        complete.extend_from_slice(b"</CompleteMultipartUpload>");
        let (query, headers) = ([("uploadId", id)], [("content-type", "application/xml")]);
        let ask =
            Ask { method: "POST", key, query: &query, headers: &headers, body: complete.into(), ..Ask::default() };
        match self.ask(&ask).await {
            // Known no longer: an answer was lost, and this was tried again. Whether it arrived is seen afterwards.
            Ok(_) | Err(Trouble::Refused { status: 404, .. }) => {}
            Err(e) => return Err(self.failed(key, &e)),
        }
        Ok(format!("{}-{number}", hex(&sums.finalize())))
    }

    /// Gives up an upload in parts.
    pub(super) async fn give_up(&self, key: &str, id: &str) -> Result<(), FilesError> {
        let query = [("uploadId", id)];
        match self.ask(&Ask { method: "DELETE", key, query: &query, ..Ask::default() }).await {
            Err(e) if !e.is(404) => Err(self.failed(key, &e)),
            _ => Ok(()),
        }
    }

    /// Uploads that were begun below a place and never ended: their keys and ids.
    pub(super) async fn unfinished(&self, place: &str) -> Result<Vec<(String, String)>, FilesError> {
        let ask = Ask { method: "GET", query: &[("uploads", ""), ("prefix", place)], ..Ask::default() };
        let answer = self.ask(&ask).await.map_err(|e| self.failed(place, &e))?;
        // When there are more, they are found the next time.
        let odd = || self.failed(place, &Trouble::Odd("is no list of uploads"));
        let (mut found, _) = answer::uploads(&answer.body).ok_or_else(odd)?;
        found.retain(|(key, _)| key.starts_with(place));
        Ok(found)
    }
}
