//! The servers that the rows of one shard name, each by a small number instead of its id.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::rows::hash;
use crate::backend::BackendId;

/// How many bits a number takes.
pub(super) const NUMBER_BITS: u32 = 22;

/// A server of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) u32);

struct Place {
    id: BackendId,
    rows: usize,
    closed: bool,
}

/// Servers that have rows, or are closed.
#[derive(Default)]
pub(super) struct Servers {
    places: Vec<Place>,
    /// Places that may be given anew.
    free: Vec<u32>,
    numbers: HashTable<u32>,
}

impl Servers {
    /// The number of a server that has one.
    #[inline]
    pub(super) fn find(&self, id: &BackendId) -> Option<Number> {
        let is = |number: &u32| self.at(Number(*number)).id.is(id);
        self.numbers.find(hash(id.as_str()), is).map(|number| Number(*number))
    }

    /// The same, given now if it has none; `None` when there are as many servers as there are numbers.
    pub(super) fn number(&mut self, id: &BackendId) -> Option<Number> {
        let places = &mut self.places;
        let is = |number: &u32| places[*number as usize].id.is(id);
        let rehash = |number: &u32| hash(places[*number as usize].id.as_str());
        let vacant = match self.numbers.entry(hash(id.as_str()), is, rehash) {
            Entry::Occupied(found) => return Some(Number(*found.get())),
            Entry::Vacant(vacant) => vacant,
        };
        let place = Place { id: id.clone(), rows: 0, closed: false };
        let number = match self.free.pop() {
            Some(number) => {
                places[number as usize] = place;
                number
            }
            None => {
                let number = u32::try_from(places.len()).ok().filter(|number| number >> NUMBER_BITS == 0)?;
                places.push(place);
                number
            }
        };
        vacant.insert(number);
        Some(Number(number))
    }

    fn at(&self, number: Number) -> &Place {
        &self.places[number.0 as usize]
    }

    /// The id of a server that has rows.
    #[inline]
    pub(super) fn id(&self, number: Number) -> &BackendId {
        &self.at(number).id
    }

    pub(super) fn is_closed(&self, number: Number) -> bool {
        self.at(number).closed
    }

    /// How many rows name this server.
    pub(super) fn rows(&self, number: Number) -> usize {
        self.at(number).rows
    }

    /// One row more.
    #[inline]
    pub(super) fn add_row(&mut self, number: Number) {
        self.places[number.0 as usize].rows += 1;
    }

    /// One row less.
    #[inline]
    pub(super) fn remove_row(&mut self, number: Number) {
        let place = &mut self.places[number.0 as usize];
        place.rows = place.rows.saturating_sub(1);
        if place.rows == 0 {
            self.forget_idle(number);
        }
    }

    /// Closes or opens. A server without a number takes no rows while there is none left to give.
    pub(super) fn close(&mut self, id: &BackendId, closed: bool) {
        let number = if closed { self.number(id) } else { self.find(id) };
        let Some(number) = number else { return };
        self.places[number.0 as usize].closed = closed;
        self.forget_idle(number);
    }

    /// Lets the number of a server that is open and has no rows be given anew.
    fn forget_idle(&mut self, number: Number) {
        let place = self.at(number);
        if place.rows > 0 || place.closed {
            return;
        }
        let found = self.numbers.find_entry(hash(place.id.as_str()), |other| *other == number.0);
        if let Ok(found) = found {
            found.remove();
            self.free.push(number.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_idle_servers_are_given_anew() {
        let mut servers = Servers::default();
        let [one, two] = ["one", "two"].map(|id| servers.number(&id.into()).unwrap());
        servers.add_row(one);
        servers.add_row(two);
        servers.add_row(two);
        assert_eq!((servers.find(&"two".into()), servers.rows(two)), (Some(two), 2));
        servers.remove_row(one);
        assert_eq!(servers.find(&"one".into()), None);
        assert_eq!(servers.number(&"three".into()), Some(one));
        assert_eq!((servers.id(one).as_str(), servers.rows(one)), ("three", 0));
        for n in 0..10_000 {
            let number = servers.number(&format!("server {n}").into()).unwrap();
            servers.add_row(number);
            servers.remove_row(number);
        }
        assert!(servers.places.len() <= 3, "{}", servers.places.len());
    }

    #[test]
    fn a_closed_server_keeps_its_number_without_rows() {
        let mut servers = Servers::default();
        servers.close(&"one".into(), true);
        let one = servers.find(&"one".into()).unwrap();
        servers.add_row(one);
        servers.remove_row(one);
        assert!(servers.is_closed(one));
        servers.close(&"one".into(), false);
        servers.close(&"never seen".into(), false);
        assert_eq!((servers.find(&"one".into()), servers.find(&"never seen".into())), (None, None));
    }
}
