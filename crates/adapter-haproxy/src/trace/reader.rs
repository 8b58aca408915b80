//! Traces, read.

use std::io::{self, ErrorKind, Read};

use super::error::TraceError;
use super::record::{MAGIC, MAX_RECORD, Record, VERSION};

/// Reads a trace, record by record. Keeps no more than one.
#[derive(Debug)]
pub struct TraceReader<R> {
    source: R,
    began: u64,
    /// Where the next record begins.
    next: u64,
    /// Where the last one given began.
    offset: u64,
    cut: Option<u64>,
    record: Vec<u8>,
}

impl<R: Read> TraceReader<R> {
    /// Reads how it begins.
    ///
    /// # Errors
    /// If that is no trace, or one of another version.
    pub fn new(mut source: R) -> Result<Self, TraceError> {
        let mut head = Vec::new();
        take(&mut source, MAGIC.len() + VERSION.len() + 8, &mut head)?;
        let rest = head.strip_prefix(MAGIC).ok_or(TraceError::NotATrace)?;
        let Some((version, began)) = rest.split_at_checked(VERSION.len()).filter(|(version, _)| *version == VERSION)
        else {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Err(TraceError::Version { found: String::from_utf8_lossy(line).into_owned() });
        };
        let next = u64::try_from(MAGIC.len() + version.len() + 8).unwrap_or(u64::MAX);
        let cut = u64::try_from(began.len()).ok().filter(|len| *len < 8);
        let began = began.try_into().map(u64::from_be_bytes).unwrap_or(0);
        Ok(Self { source, began, next, offset: 0, cut, record: Vec::new() })
    }

    /// When it begins, in milliseconds since 1970.
    pub fn began(&self) -> u64 {
        self.began
    }

    /// Where in the file the last record begins that was read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// After the end: how many bytes follow the last whole record, if any do. Whoever wrote was killed, or the file was
    /// copied meanwhile.
    pub fn cut(&self) -> Option<u64> {
        self.cut
    }

    /// The next record; `None` at the end, or where the file was cut.
    ///
    /// # Errors
    /// If it is damaged; there is nothing to be read behind it.
    pub fn next_record(&mut self) -> Result<Option<Record>, TraceError> {
        if self.cut.is_some() {
            return Ok(None);
        }
        let damaged = |offset, fault| TraceError::Damaged { offset, fault };
        let front = take(&mut self.source, 4, &mut self.record)?;
        let Ok(len) = <[u8; 4]>::try_from(&*self.record).map(u32::from_be_bytes) else {
            self.cut = u64::try_from(front).ok().filter(|len| *len > 0);
            return Ok(None);
        };
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        if wanted > MAX_RECORD {
            return Err(damaged(self.next, "it is longer than records are"));
        }
        let got = take(&mut self.source, wanted, &mut self.record)?;
        if got < wanted {
            self.cut = u64::try_from(front + got).ok();
            return Ok(None);
        }
        let record = Record::decode(&self.record).map_err(|fault| damaged(self.next, fault))?;
        self.offset = self.next;
        self.next += 4 + u64::from(len);
        Ok(Some(record))
    }
}

/// Reads as many bytes, or all there are.
fn take(source: &mut impl Read, wanted: usize, into: &mut Vec<u8>) -> io::Result<usize> {
    into.clear();
    let mut source = source.take(u64::try_from(wanted).unwrap_or(u64::MAX));
    loop {
        match source.read_to_end(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done.map(|_| into.len()),
        }
    }
}
