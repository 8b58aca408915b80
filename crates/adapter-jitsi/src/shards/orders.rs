//! Orders of operators, and what pickers do every second: take over each other's orders, declare shards dead, move
//! their rooms.

use std::time::Duration;

use balancer_core::{Admin, Backend, BackendId, Health, Outcome, RouteError, StickKey};
use tokio::time::Instant;

use super::desk::holds;
use super::side::{ABREAST, all};
use super::{ShardError, Shards};

/// What [`Shards::sync`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardEvent {
    /// An order given at another picker was taken over.
    Ordered {
        /// The shard.
        shard: BackendId,
        /// Its state now.
        to: Admin,
    },
    /// Nobody has seen a shard up for so long: its rooms move.
    Died {
        /// The shard.
        shard: BackendId,
        /// How long it has been down here.
        down: Duration,
    },
    /// Rooms moved away from a shard that is dead or in maintenance.
    Moved {
        /// The shard they lived on.
        shard: BackendId,
        /// How many moved.
        rooms: u64,
        /// How many stay for now: bound too recently, or there is no other shard.
        left: u64,
    },
}

/// Rooms on a shard, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardRooms {
    /// How many there are.
    pub count: u64,
    /// Their keys, sorted; of many only the first that were met.
    pub names: Vec<StickKey>,
}

impl Shards {
    /// Orders a shard into a state, here at once and at every picker with its next [`sync`](Self::sync).
    ///
    /// `Drain` keeps the rooms it has and takes no new ones, which the stick table enforces for every picker from this
    /// moment. `Maint` moves its rooms away. `Ready` takes new rooms again.
    ///
    /// # Errors
    ///
    /// [`ShardError::Unknown`], or [`ShardError::Store`]: then it may hold or not, and should be repeated.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the order half given; repeat it.
    pub async fn order(&self, id: &BackendId, to: Admin) -> Result<(), ShardError> {
        self.known(id)?;
        let _turn = self.turn.lock().await;
        // The note comes first, lest a look at the one before undo what was carried out.
        self.notes.order(id, to).await?;
        self.carry_out(id, to).await
    }

    /// Orders a shard in this process and its fence in the table.
    async fn carry_out(&self, id: &BackendId, to: Admin) -> Result<(), ShardError> {
        match to {
            Admin::Ready => self.balancer.ready(id).await?,
            Admin::Drain => self.balancer.drain(id).await?,
            Admin::Maint => {
                self.balancer.drain(id).await?;
                self.pool().set_admin(id, Admin::Maint)?;
            }
        }
        Ok(())
    }

    /// The rooms that are bound to a shard, at most `most` of them by name.
    ///
    /// # Errors
    ///
    /// [`ShardError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn rooms_on(&self, id: &BackendId, most: usize) -> Result<ShardRooms, ShardError> {
        let count = self.balancer.store().count(id).await?;
        let mut rooms = ShardRooms { count, names: Vec::new() };
        let mut from = None;
        while rooms.names.len() < most {
            let (entries, next) = self.bound(id, from.as_deref()).await?;
            rooms.names.extend(entries.into_iter().map(|(key, _)| key));
            from = next;
            if from.is_none() {
                break;
            }
        }
        rooms.names.sort_unstable();
        rooms.names.truncate(most);
        Ok(rooms)
    }

    /// Lets go of the rooms of a shard that is gone for good, and of the order it had; the answer is how many rooms.
    /// Take it out of the definitions of every picker first.
    ///
    /// # Errors
    ///
    /// [`ShardError::Route`].
    ///
    /// # Cancel safety
    ///
    /// Repeat it.
    pub async fn forget(&self, id: &BackendId) -> Result<u64, ShardError> {
        let rooms = self.balancer.remove(id).await?;
        self.notes.order(id, Admin::Ready).await?;
        Ok(rooms)
    }

    /// To be called about every second. Takes over orders given elsewhere, says whom we see up, counts the pickers,
    /// declares dead whom nobody has seen up for [`dead_after`](super::ShardOptions::dead_after) and merely down who is
    /// dead here and seen up elsewhere, and moves the rooms of shards that hold none any more.
    ///
    /// # Errors
    ///
    /// [`ShardError::Store`] when the table cannot be asked: then nobody is declared dead.
    ///
    /// # Cancel safety
    ///
    /// What is left out is done the next time.
    pub async fn sync(&self) -> Result<Vec<ShardEvent>, ShardError> {
        self.doubt();
        let mut events = Vec::new();
        let pickers = self.notes.alive().await?;
        self.pool().set_processes(pickers);
        for member in self.pool().members() {
            let id = member.backend().id();
            if let Some(to) = self.take_over(id, || member.admin()).await? {
                events.push(ShardEvent::Ordered { shard: id.clone(), to });
            }
            self.judge(id, member.health(), &mut events).await?;
            if !holds(member.admin(), member.health()) {
                self.evacuate(id, member.backend().region(), &mut events).await?;
            }
        }
        Ok(events)
    }

    /// Forgets where rooms lived on shards that hold none, or are up again after they were down: others may have moved
    /// them, and where the table cannot be asked nobody would know.
    fn doubt(&self) {
        for member in self.pool().members() {
            let (id, health) = (member.backend().id(), member.health());
            let was_down = health != Health::Down && self.down().remove(id).is_some();
            if was_down || !holds(member.admin(), health) {
                self.balancer.forget_known(id);
            }
        }
    }

    /// Carries out what was ordered elsewhere; what that is, if it is something else than here.
    async fn take_over(&self, id: &BackendId, here: impl Fn() -> Admin) -> Result<Option<Admin>, ShardError> {
        let _turn = self.turn.lock().await;
        let (ordered, now) = (self.notes.admin(id).await?, here());
        match ordered {
            Some(to) if to != now => self.carry_out(id, to).await.map(|()| Some(to)),
            // The table lost it.
            None if now != Admin::Ready => {
                self.notes.restore(id, now).await?;
                self.carry_out(id, now).await.map(|()| None)
            }
            _ => Ok(None),
        }
    }

    /// Takes this picker off the count of those that are alive.
    ///
    /// # Errors
    ///
    /// [`ShardError::Store`]; it is forgotten by itself after 15 s.
    ///
    /// # Cancel safety
    ///
    /// As when it fails.
    pub async fn farewell(&self) -> Result<(), ShardError> {
        Ok(self.notes.farewell().await?)
    }

    async fn judge(&self, id: &BackendId, health: Health, events: &mut Vec<ShardEvent>) -> Result<(), ShardError> {
        match health {
            // Signs are given now and then: half as long again, lest a shard be dead too early.
            Health::Up => self.notes.saw_up(id, self.options.dead_after.saturating_mul(3) / 2).await?,
            Health::Down => {
                let down = self.down().entry(id.clone()).or_insert_with(Instant::now).elapsed();
                if down >= self.options.dead_after && !self.notes.anybody_saw_up(id).await? {
                    self.pool().declare(id, Health::Dead, "no picker has seen it up for too long")?;
                    events.push(ShardEvent::Died { shard: id.clone(), down });
                }
            }
            // It is back, and only our own way to it is not: its rooms are not ours to move.
            Health::Dead if self.notes.anybody_saw_up(id).await? => {
                self.pool().declare(id, Health::Down, "another picker sees it up")?;
            }
            Health::Unknown | Health::Suspect | Health::Dead => {}
        }
        Ok(())
    }

    /// Moves all rooms of a shard that holds none any more. Each is moved once: whichever picker is first binds it
    /// anew, and the others obey.
    async fn evacuate(
        &self,
        id: &BackendId,
        region: Option<&str>,
        events: &mut Vec<ShardEvent>,
    ) -> Result<(), ShardError> {
        let (mut rooms, mut left) = (0, 0);
        let mut from = None;
        loop {
            let (entries, next) = self.bound(id, from.as_deref()).await?;
            for some in entries.chunks(ABREAST) {
                for placed in all(some.iter().map(|(room, _)| self.place(room, region))).await {
                    match placed {
                        Ok(choice) => rooms += u64::from(choice.outcome == Outcome::Moved),
                        Err(ShardError::Route(RouteError::Store(e))) => return Err(e.into()),
                        Err(_) => left += 1,
                    }
                }
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        if rooms > 0 {
            events.push(ShardEvent::Moved { shard: id.clone(), rooms, left });
        }
        Ok(())
    }
}
