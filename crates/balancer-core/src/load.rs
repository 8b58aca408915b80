//! What a server reports of itself and what that costs.

use std::sync::Arc;

use tokio::time::Instant;

/// The largest cost a model may give; larger values are held there.
pub const MAX_COST: u64 = 1 << 48;

/// Figures measured at a server, polled or pushed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// When the measuring began. A monitor sets it before the probe; a pushed report subtracts its lag.
    ///
    /// Rooms that landed before this moment are covered by the figures, later ones are not.
    pub began: Instant,
    /// Rooms on the server.
    pub rooms: Option<u64>,
    /// People on the server.
    pub users: Option<u64>,
    /// A cost the adapter computed itself, in the unit of its load model.
    pub cost: Option<u64>,
    /// Anything else worth showing, by name.
    pub facts: Vec<(Arc<str>, f64)>,
    /// The figures are old or frozen although the server answered: they cover nothing that was placed meanwhile.
    pub frozen: bool,
}

impl Report {
    /// An empty report whose measuring began at this moment.
    pub fn new(began: Instant) -> Self {
        Self { began, rooms: None, users: None, cost: None, facts: Vec::new(), frozen: false }
    }

    /// With a number of rooms.
    #[must_use]
    pub fn with_rooms(mut self, rooms: u64) -> Self {
        self.rooms = Some(rooms);
        self
    }

    /// With a number of people.
    #[must_use]
    pub fn with_users(mut self, users: u64) -> Self {
        self.users = Some(users);
        self
    }

    /// With a cost in the unit of the load model.
    #[must_use]
    pub fn with_cost(mut self, cost: u64) -> Self {
        self.cost = Some(cost);
        self
    }

    /// With one more named figure.
    #[must_use]
    pub fn with_fact(mut self, name: &str, value: f64) -> Self {
        self.facts.push((name.into(), value));
        self
    }

    /// Marks figures that stand still: they cover nothing.
    #[must_use]
    pub fn frozen(mut self) -> Self {
        self.frozen = true;
        self
    }
}

/// Turns a report into one number; lower is better.
///
/// `cost` runs when a report arrives, never during a pick. Costs and sizes share one unit, of the model's choice.
pub trait LoadModel<B: ?Sized>: Send + Sync {
    /// The load of this server by this report; values above [`MAX_COST`] are held there.
    fn cost(&self, of: &B, report: &Report) -> u64;

    /// Whether the report has what the model counts. One that has not, such as a mere connect's, says nothing of the
    /// load: the last figures stay, and age. Default: it has.
    fn knows(&self, _report: &Report) -> bool {
        true
    }

    /// The cost that one new room is expected to add there.
    fn size(&self, of: &B) -> u64;

    /// The unit of the numbers, for explanations.
    fn unit(&self) -> &'static str {
        "points"
    }

    /// How many of the model's numbers make one unit: 1000 for a model that counts in thousandths. Default 1.
    fn per_unit(&self) -> u32 {
        1
    }
}

/// Load is the number of people; a new room is expected to bring `room` of them.
#[derive(Clone, Copy, Debug)]
pub struct ByUsers {
    /// People expected in a new room.
    pub room: u64,
}

impl<B: ?Sized> LoadModel<B> for ByUsers {
    fn cost(&self, _of: &B, report: &Report) -> u64 {
        report.users.unwrap_or(0)
    }

    fn knows(&self, report: &Report) -> bool {
        report.users.is_some()
    }

    fn size(&self, _of: &B) -> u64 {
        self.room
    }

    fn unit(&self) -> &'static str {
        "users"
    }
}

/// Load is the number of rooms.
#[derive(Clone, Copy, Debug)]
pub struct ByRooms;

impl<B: ?Sized> LoadModel<B> for ByRooms {
    fn cost(&self, _of: &B, report: &Report) -> u64 {
        report.rooms.unwrap_or(0)
    }

    fn knows(&self, report: &Report) -> bool {
        report.rooms.is_some()
    }

    fn size(&self, _of: &B) -> u64 {
        1
    }

    fn unit(&self) -> &'static str {
        "rooms"
    }
}
