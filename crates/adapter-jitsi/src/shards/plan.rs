//! What a change of shards would do to the rooms there are.

use std::sync::Arc;

use balancer_core::{Backend, BackendId, Plan, PlanOptions, Room, Step, StickKey, Weight};
use tokio::time::Instant;

use super::desk::ask;
use super::{Shard, ShardError, Shards};

/// A change to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardStep {
    /// One more shard.
    Add(Shard),
    /// This one is gone.
    Remove(BackendId),
    /// It keeps its rooms and takes no new ones.
    Drain(BackendId),
    /// It takes nothing, its rooms move.
    Maint(BackendId),
    /// It takes new rooms.
    Ready(BackendId),
    /// Another weight.
    Weight(BackendId, Weight),
}

impl Shards {
    /// What these changes would do to the rooms that are bound now and to further ones, in the regions given with them.
    /// Nothing is changed.
    ///
    /// # Errors
    ///
    /// [`ShardError::Plan`] for a change that cannot be made, [`ShardError::Store`], [`ShardError::Group`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn plan(
        &self,
        steps: &[ShardStep],
        further: &[(StickKey, Option<String>)],
        seed: u64,
    ) -> Result<Plan, ShardError> {
        let now = Instant::now();
        let mut all = Vec::new();
        for member in self.pool().members() {
            let (id, region) = (member.backend().id(), member.backend().region());
            let mut from = None;
            loop {
                let (entries, next) = self.bound(id, from.as_deref()).await?;
                // Who came first is not known any more; the region that was chosen is the best guess.
                all.extend(entries.into_iter().map(|(key, _)| (key, Some(id.clone()), region.map(str::to_owned))));
                from = next;
                if from.is_none() {
                    break;
                }
            }
        }
        all.extend(further.iter().map(|(key, region)| (key.clone(), None, region.clone())));
        all.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let filters: Vec<_> =
            all.iter().map(|(_, _, region)| self.ladder(region.as_deref())).collect::<Result<_, _>>()?;
        let rooms: Vec<Room<'_>> = all
            .iter()
            .zip(&filters)
            .map(|((key, home, _), filter)| {
                let room = Room::new(ask(key, filter.as_ref()));
                home.iter().fold(room, |room, home| room.on(home.clone()))
            })
            .collect();
        let mut changes = Vec::new();
        for step in steps {
            match step {
                ShardStep::Add(shard) => changes.push(Step::Add(Arc::new(shard.clone()))),
                ShardStep::Remove(id) => changes.push(Step::Remove(id.clone())),
                ShardStep::Drain(id) => changes.push(Step::Drain(id.clone())),
                ShardStep::Maint(id) => changes.push(Step::Maint(id.clone())),
                ShardStep::Ready(id) => changes.push(Step::Ready(id.clone())),
                ShardStep::Weight(id, weight) => changes.extend(self.weigh(id, *weight, now)?),
            }
        }
        Ok(self.pool().plan(&changes, &rooms, &PlanOptions::new(now).seed(seed).without_cap())?)
    }

    /// A weight is part of the load, so the last figures count anew under it.
    fn weigh(&self, id: &BackendId, weight: Weight, now: Instant) -> Result<Vec<Step<Shard>>, ShardError> {
        self.known(id)?;
        let view = self.pool().view(now).into_iter().find(|view| view.backend.id() == id);
        let Some(view) = view else { return Err(ShardError::Unknown { id: id.clone() }) };
        let shard = (*view.backend).clone().with_weight(weight);
        let mut steps = vec![Step::Define(Arc::new(shard))];
        steps.extend(view.report.map(|report| Step::Report(id.clone(), report)));
        Ok(steps)
    }
}
