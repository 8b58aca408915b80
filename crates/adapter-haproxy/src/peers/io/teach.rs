//! What a peer does not know yet, written ahead of the socket.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::link::Link;

/// How many bytes are prepared before they are written.
const AHEAD: usize = 128 * 1024;
/// How many entries are written at once, and how many slots are looked at for them, while nobody else can look.
const BATCH: usize = 512;
const SLOTS: usize = 65_536;

impl Link<'_> {
    /// Prepares what the peer does not know yet, as much as is sent at once; this many bytes wait already.
    pub(super) fn fill(&mut self, waiting: usize) {
        let Some((line, _)) = self.line() else { return };
        if !self.session.is_open() {
            return;
        }
        let now = self.inner.now();
        let mut rows = Vec::new();
        while self.session.output_len() + waiting < AHEAD {
            rows.clear();
            if let Some(table) = line.next(BATCH, &mut rows) {
                let slots = rows.iter().map(|row| *row as usize..*row as usize + 1);
                self.teach(table, slots, now);
            } else if line.take_all() {
                self.scan = Some((0, 0));
            } else if let Some((table, slot)) = self.scan {
                if table >= self.shelves.len() {
                    self.scan = None;
                    if std::mem::take(&mut self.lesson) {
                        self.session.end_lesson(self.inner.complete.load(Ordering::SeqCst));
                    }
                    continue;
                }
                let (next, slots) = self.teach(table, std::iter::once(slot..slot + SLOTS), now);
                self.scan = Some(if next >= slots { (table + 1, 0) } else { (table, next) });
            } else {
                break;
            }
        }
    }

    /// Writes what it does not know of these slots of a table, up to a batch. Where that ended, and how many slots there
    /// are.
    fn teach(&mut self, table: usize, slots: impl Iterator<Item = Range<usize>>, now: u64) -> (usize, usize) {
        let (Some((line, _)), Some(shelf)) = (self.line(), self.shelves.get(table)) else { return (0, 0) };
        let Some(definition) = self.taught.get(table) else { return (0, 0) };
        let (session, number) = (&mut self.session, shelf.number());
        let expire = u64::try_from(definition.expire().as_millis()).unwrap_or(u64::MAX);
        let (mut taught, mut untaught, mut end) = (0, 0, 0);
        let mut known = shelf.known();
        let known = &mut *known;
        for slots in slots {
            end = known.mirror.lessons(slots, line.bit, now, |key, server, until| {
                // A full life needs no word.
                let left = until.saturating_sub(now);
                let left = Some(Duration::from_millis(left)).filter(|_| expire == 0 || left + 1000 < expire);
                let (name, id) = (known.names.key(server).as_bytes(), known.names.id(server));
                match session.teach_pin(number, key, id, name, left) {
                    Ok(_) => taught += 1,
                    Err(_) => untaught += 1,
                }
                taught + untaught < BATCH as u64
            });
        }
        line.updates_out.fetch_add(taught, Ordering::Relaxed);
        shelf.counts.untaught.fetch_add(untaught, Ordering::Relaxed);
        (end, known.mirror.slots())
    }
}
