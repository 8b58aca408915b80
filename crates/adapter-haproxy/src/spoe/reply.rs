//! What an agent says to one question.

use super::codec::Value;
use super::frame::{Action, Scope, put_set};
use crate::wire::Reader;
#[cfg(feature = "agents")]
use crate::wire::put_bytes;

/// How many bytes of room are kept from one answer to the next.
const KEPT: usize = 4 << 10;

/// What an agent says to one question: actions, written as they are sent. None at first, which means no opinion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    bytes: Vec<u8>,
    count: usize,
}

impl Reply {
    /// No opinion, so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has HAProxy set a variable to a text as well.
    #[must_use]
    pub fn with_text(mut self, scope: Scope, name: &str, text: &str) -> Self {
        self.push_text(scope, name, text);
        self
    }

    /// [`with_text`](Self::with_text) where it stands.
    pub fn push_text(&mut self, scope: Scope, name: &str, text: &str) {
        if self.bytes.capacity() == 0 {
            // Enough for a server and a number, as a rule.
            self.bytes.reserve(96);
        }
        put_set(&mut self.bytes, scope, name.as_bytes(), &Value::String(text.as_bytes()));
        self.count += 1;
    }

    /// [`push_text`](Self::push_text) to a variable [named before](super::frame::set_text).
    #[cfg(feature = "agents")]
    pub(super) fn push_set(&mut self, named: &[u8], text: &[u8]) {
        self.bytes.reserve(named.len() + text.len() + 10);
        self.bytes.extend_from_slice(named);
        put_bytes(&mut self.bytes, text);
        self.count += 1;
    }

    /// Has HAProxy do this as well.
    #[must_use]
    pub fn with(mut self, action: &Action) -> Self {
        action.put(&mut self.bytes);
        self.count += 1;
        self
    }

    /// No opinion, again; the memory is kept, unless it is much.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.count = 0;
    }

    /// Whether it is no opinion.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many actions it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The actions, one by one.
    pub fn to_actions(&self) -> Vec<Action> {
        let mut reader = Reader::new(&self.bytes);
        (0..self.count).map_while(|_| Action::read(&mut reader).ok()).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Vec<Action>> for Reply {
    fn from(actions: Vec<Action>) -> Self {
        Self::from(&*actions)
    }
}

impl From<&[Action]> for Reply {
    fn from(actions: &[Action]) -> Self {
        actions.iter().fold(Self::new(), Self::with)
    }
}

/// A number as text, where it is.
#[cfg(any(feature = "agents", test))]
#[derive(Debug)]
pub(super) struct Decimal {
    digits: [u8; 20],
    from: usize,
}

#[cfg(any(feature = "agents", test))]
impl Decimal {
    pub(super) fn of(mut n: u64) -> Self {
        let mut decimal = Self { digits: [b'0'; 20], from: 20 };
        for (at, digit) in decimal.digits.iter_mut().enumerate().rev() {
            *digit += (n % 10).to_le_bytes()[0];
            n /= 10;
            if n == 0 {
                decimal.from = at;
                break;
            }
        }
        decimal
    }

    pub(super) fn digits(&self) -> &[u8] {
        self.digits.get(self.from..).unwrap_or_default()
    }
}
