//! The rows of one shard: found by key, queued by deadline.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use super::deadlines::{Deadlines, Due};
use super::servers::{NUMBER_BITS, Number, Servers};
use super::table::Time;
use super::{Binding, StickKey, Token};

/// The last deadline there is; in milliseconds, 139 years.
const LAST: Time = u64::MAX >> NUMBER_BITS;
/// Queue entries beyond one per row are tolerated up to so many, or as many as there are rows.
const SLACK: usize = 64;

/// A deadline and the number of a server in one word.
#[derive(Clone, Copy)]
struct Life(u64);

impl Life {
    fn new(until: Time, server: Number) -> Self {
        Self(until.min(LAST) << NUMBER_BITS | u64::from(server.0))
    }

    #[inline]
    fn until(self) -> Time {
        self.0 >> NUMBER_BITS
    }

    #[inline]
    fn server(self) -> Number {
        // Only the bits of the number are left.
        Number(u32::try_from(self.0 & ((1 << NUMBER_BITS) - 1)).unwrap_or(0))
    }
}

/// One binding. It is kept small, since most of what looking one up takes is the way to the memory it lies in: the
/// server is a number, and what only a table with a journal needs takes no place in one without.
pub(super) struct Row<S> {
    key: StickKey,
    token: Token,
    stamp: u64,
    life: Life,
    /// Which write made it durable.
    pub(super) seq: S,
}

impl<S> Row<S> {
    #[inline(always)]
    pub(super) fn new(key: StickKey, server: Number, token: Token, stamp: u64, until: Time, seq: S) -> Self {
        Self { key, token, stamp, life: Life::new(until, server), seq }
    }

    pub(super) fn key(&self) -> &StickKey {
        &self.key
    }

    #[inline]
    pub(super) fn until(&self) -> Time {
        self.life.until()
    }

    pub(super) fn set_until(&mut self, until: Time) {
        self.life = Life::new(until, self.server());
    }

    pub(super) fn server(&self) -> Number {
        self.life.server()
    }

    #[inline]
    pub(super) fn binding(&self, servers: &Servers) -> Binding {
        Binding { backend: servers.id(self.server()).clone(), token: self.token, stamp: self.stamp }
    }

    /// Whether it says exactly this.
    pub(super) fn says(&self, binding: &Binding, servers: &Servers) -> bool {
        (self.token, self.stamp) == (binding.token, binding.stamp) && servers.id(self.server()).is(&binding.backend)
    }

    /// Where it stands in a listing: rows are listed in the order of their coming.
    pub(super) fn position(&self) -> Position {
        (self.stamp, hash(self.key.as_str()))
    }

    /// The order of positions. Hashes are asked for only where they decide, since a key is far away.
    fn in_listing(&self, other: &Self) -> Ordering {
        self.stamp.cmp(&other.stamp).then_with(|| self.position().cmp(&other.position()))
    }

    fn is_behind(&self, position: Position) -> bool {
        self.stamp > position.0 || (self.stamp == position.0 && self.position() > position)
    }
}

/// A row's place in a listing: stamp and hash.
pub(super) type Position = (u64, u64);

pub(super) struct Rows<S> {
    rows: HashTable<Row<S>>,
    /// At least one entry for each row, never behind its deadline. A mere extension need not touch the queue.
    queue: Deadlines,
}

impl<S> Default for Rows<S> {
    fn default() -> Self {
        Self { rows: HashTable::new(), queue: Deadlines::default() }
    }
}

/// Other ones in each process: whoever can name rooms must not be able to choose names of one hash.
static SECRETS: LazyLock<RapidSecrets> =
    LazyLock::new(|| RapidSecrets::seed(RandomState::new().build_hasher().finish()));

/// The hash of a room key, in this process.
#[inline]
pub(super) fn hash(name: &str) -> u64 {
    rapidhash_v3_micro_inline::<true, false>(name.as_bytes(), &SECRETS)
}

/// The shard was chosen by the highest bits, which are therefore the same here.
fn mixed(hash: u64) -> u64 {
    hash.rotate_right(16)
}

/// Whether this queue entry speaks of a row.
fn is_due<S>((queued, hash): Due) -> impl Fn(&Row<S>) -> bool {
    move |row| row.until() <= queued && self::hash(row.key.as_str()) == hash
}

/// What one entry of the queue came to.
pub(super) enum Step {
    /// Its row had expired and is gone.
    Expired(StickKey, Number),
    /// Its row lives on, or had gone before.
    Requeued,
    /// It is not its time yet.
    Quiet,
}

impl<S> Rows<S> {
    pub(super) fn get(&self, hash: u64, key: &StickKey) -> Option<&Row<S>> {
        self.rows.find(mixed(hash), |row| row.key.is(key))
    }

    pub(super) fn get_mut(&mut self, hash: u64, key: &StickKey) -> Option<&mut Row<S>> {
        self.rows.find_mut(mixed(hash), |row| row.key.is(key))
    }

    /// The same by the text of the key.
    pub(super) fn get_named(&mut self, hash: u64, name: &str) -> Option<&mut Row<S>> {
        self.rows.find_mut(mixed(hash), |row| row.key.as_str() == name)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What stands under a key, or room for it, and the queue that a row put there has to join.
    #[inline]
    pub(super) fn entry(&mut self, hash: u64, key: &StickKey) -> (Entry<'_, Row<S>>, &mut Deadlines) {
        let rehash = |row: &Row<S>| mixed(self::hash(row.key.as_str()));
        (self.rows.entry(mixed(hash), |row| row.key.is(key), rehash), &mut self.queue)
    }

    /// Removes the row with this key; the server it named.
    pub(super) fn remove(&mut self, hash: u64, key: &StickKey) -> Option<Number> {
        let (row, _) = self.rows.find_entry(mixed(hash), |row| row.key.is(key)).ok()?.remove();
        self.thin_out();
        Some(row.server())
    }

    /// After a row was removed, overwritten or brought forward.
    pub(super) fn thin_out(&mut self) {
        if self.queue.len() > 2 * self.rows.len() + SLACK {
            self.queue.refill(self.rows.iter().map(|row| (row.until(), hash(row.key.as_str()))));
        }
    }

    /// Moves a row's deadline.
    pub(super) fn set_until(&mut self, hash: u64, key: &StickKey, until: Time, seq: S) {
        let Some(row) = self.get_mut(hash, key) else { return };
        let nearer = until < row.until();
        row.set_until(until);
        row.seq = seq;
        if nearer {
            self.queue.push((until, hash));
            self.thin_out();
        }
    }

    /// The entry of the row that expires first.
    pub(super) fn nearest(&mut self) -> Option<Due> {
        loop {
            let due = self.queue.first()?;
            if self.rows.find(mixed(due.1), is_due(due)).is_some() {
                return Some(due);
            }
            self.requeue(due.1);
        }
    }

    /// One step through what was queued up to `now`.
    pub(super) fn step(&mut self, now: Time) -> Step {
        let Some(due) = self.queue.first().filter(|(queued, _)| *queued <= now) else { return Step::Quiet };
        match self.take(due) {
            Some((key, server)) => Step::Expired(key, server),
            None => {
                self.requeue(due.1);
                Step::Requeued
            }
        }
    }

    /// Removes a row that the first entry speaks of; its key and its server.
    pub(super) fn take(&mut self, due: Due) -> Option<(StickKey, Number)> {
        let (row, _) = self.rows.find_entry(mixed(due.1), is_due(due)).ok()?.remove();
        self.requeue(due.1);
        self.thin_out();
        let server = row.server();
        Some((row.key, server))
    }

    /// The first entry, of this hash, has done its service: its row is gone, or was extended since. What is left of
    /// this hash is queued to where the first of it belongs.
    fn requeue(&mut self, hash: u64) {
        self.queue.pop();
        let left = self.rows.iter_hash(mixed(hash)).filter(|row| self::hash(row.key.as_str()) == hash);
        if let Some(until) = left.map(Row::until).min() {
            self.queue.push((until, hash));
        }
    }

    /// No row expires before this.
    #[inline]
    pub(super) fn quiet_until(&self) -> Option<Time> {
        self.queue.first().map(|(queued, _)| queued)
    }

    /// The first rows of a server behind this position that live on at `now`, in order, at most so many. Looks at
    /// every row: an order kept for this would cost every claim.
    pub(super) fn of(&self, server: Number, after: Option<Position>, now: Time, most: usize) -> Vec<&Row<S>> {
        let mine = self.rows.iter().filter(|row| row.until() > now && row.server() == server);
        let mut rows: Vec<&Row<S>> = mine.filter(|row| after.is_none_or(|after| row.is_behind(after))).collect();
        if rows.len() > most {
            rows.select_nth_unstable_by(most, |a, b| a.in_listing(b));
            rows.truncate(most);
        }
        rows.sort_unstable_by(|a, b| a.in_listing(b));
        rows
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Keys of one hash in this process.
    pub(in super::super) fn alike(count: u64) -> impl Iterator<Item = StickKey> {
        alike_by(&SECRETS, count)
    }

    /// A part of each name is multiplied by nothing, which the rest of the name sees to.
    fn alike_by(secrets: &RapidSecrets, count: u64) -> impl Iterator<Item = StickKey> + use<> {
        let secrets = *secrets;
        let word = |bytes: [u8; 8]| u64::from_le_bytes(bytes);
        let digits = |n: u64| <[u8; 8]>::try_from(format!("{n:08x}").as_bytes()).unwrap();
        let after = |n: u64| {
            let (first, second) = (word(digits(n)) ^ secrets.secrets[2], word(*b"________") ^ secrets.seed);
            let product = u128::from(first) * u128::from(second);
            u64::try_from((product ^ (product >> 64)) & u128::from(u64::MAX)).unwrap().to_le_bytes()
        };
        let start = (0..).find(|n| after(*n).is_ascii()).unwrap();
        let naught = String::from_utf8(after(start).to_vec()).unwrap();
        let name = move |n| format!("{start:08x}________{n:08x}{naught}________________");
        let by = move |name: &str| rapidhash_v3_micro_inline::<true, false>(name.as_bytes(), &secrets);
        let same = by(&name(0));
        (0..count).map(move |n| {
            let name = name(n);
            assert_eq!(by(&name), same);
            StickKey::new(name).unwrap()
        })
    }

    fn add(rows: &mut Rows<()>, key: &StickKey, until: Time) {
        let hash = hash(key.as_str());
        let (Entry::Vacant(free), queue) = rows.entry(hash, key) else { panic!("twice") };
        queue.push((until, hash));
        free.insert(Row::new(key.clone(), Number(0), Token(1), 1, until, ()));
    }

    #[test]
    fn a_row_keeps_a_far_deadline_and_a_high_number_apart() {
        let highest = Number((1 << NUMBER_BITS) - 1);
        for until in [0, 1, LAST - 1, LAST, u64::MAX] {
            let mut row = Row::new(StickKey::new("room").unwrap(), highest, Token(1), 1, until, ());
            assert_eq!((row.until(), row.server()), (until.min(LAST), highest));
            row.set_until(7);
            assert_eq!((row.until(), row.server()), (7, highest));
        }
        assert_eq!(size_of::<Row<()>>(), 40);
    }

    #[test]
    fn rows_of_one_hash_keep_their_deadlines_apart() {
        let mut rows = Rows::default();
        let keys: Vec<StickKey> = alike(3).collect();
        keys.iter().zip([5, 6, 7]).for_each(|(key, until)| add(&mut rows, key, until));
        let hash = hash(keys[0].as_str());
        for (key, until) in keys.iter().zip([30, 10, 20]) {
            rows.get_mut(hash, key).unwrap().set_until(until);
        }
        for (at, key) in [(10, 1), (20, 2), (30, 0)] {
            let due = rows.nearest().unwrap();
            assert_eq!(due.0, at);
            assert_eq!(rows.take(due).unwrap().0, keys[key]);
        }
        assert!(rows.nearest().is_none());
    }

    #[test]
    fn names_chosen_elsewhere_have_hashes_of_their_own() {
        let known = rapidhash::v3::DEFAULT_RAPID_SECRETS;
        let hashes: HashSet<u64> = alike_by(&known, 1_000).map(|key| hash(key.as_str())).collect();
        assert_eq!(hashes.len(), 1_000);
    }

    #[test]
    fn a_step_looks_at_one_entry() {
        let mut rows = Rows::default();
        for n in 0..100 {
            let key = StickKey::new(format!("room {n}")).unwrap();
            add(&mut rows, &key, 10);
            rows.get_mut(hash(key.as_str()), &key).unwrap().set_until(30);
        }
        for _ in 0..100 {
            assert_eq!(rows.quiet_until(), Some(10));
            assert!(matches!(rows.step(20), Step::Requeued));
        }
        assert_eq!(rows.quiet_until(), Some(30));
        assert!(matches!(rows.step(20), Step::Quiet));
        assert!(matches!(rows.step(30), Step::Expired(..)));
        assert_eq!(rows.len(), 99);
    }

    #[test]
    fn a_deadline_that_moves_to_and_fro_fills_no_queue() {
        let mut rows = Rows::default();
        let key = StickKey::new("room").unwrap();
        let hash = hash("room");
        add(&mut rows, &key, 10);
        for _ in 0..1_000 {
            rows.set_until(hash, &key, 20, ());
            rows.set_until(hash, &key, 10, ());
        }
        assert!(rows.queue.len() <= 2 + SLACK);
        assert_eq!(rows.nearest(), Some((10, hash)));
    }
}
