//! The shared store as one process sees it: every operation is a step of its own.

use std::sync::Arc;
use std::time::Duration;

use adapter_bbb::{
    CallbackStore, Claimed, Doubt, Fence, Look, MeetingClaim, MeetingRecord, MeetingStore, Peer, PollRecord, Registry,
    ServerPatch, ServerRecord, TenantStore,
};
use async_trait::async_trait;
use balancer_core::{BackendId, Binding, Claim, StickError, StickKey, StickPage, StickStore, Want};

use super::world::World;

pub(crate) struct HeldStore {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
    pub(crate) shared: bool,
}

impl HeldStore {
    async fn step(&self, what: String) {
        self.world.step(&format!("P{}", self.process), what).await;
    }
}

#[async_trait]
impl StickStore for HeldStore {
    async fn get(&self, key: &StickKey, extend: Option<Duration>) -> Result<Option<Binding>, StickError> {
        self.step(format!("get {key}")).await;
        self.world.store.get(key, extend).await
    }

    async fn claim(&self, key: &StickKey, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.step(format!("claim {key} for {}", want.backend)).await;
        self.world.store.claim(key, want, ttl).await
    }

    async fn rebind(&self, key: &StickKey, seen: &Binding, want: &Want, ttl: Duration) -> Result<Claim, StickError> {
        self.step(format!("rebind {key} to {}", want.backend)).await;
        self.world.store.rebind(key, seen, want, ttl).await
    }

    async fn renew(&self, key: &StickKey, seen: &Binding, ttl: Duration) -> Result<bool, StickError> {
        self.step(format!("renew {key}")).await;
        self.world.store.renew(key, seen, ttl).await
    }

    async fn release(&self, key: &StickKey, seen: &Binding) -> Result<bool, StickError> {
        self.step(format!("release {key} from {}", seen.backend)).await;
        self.world.store.release(key, seen).await
    }

    async fn close(&self, backend: &BackendId, closed: bool) -> Result<(), StickError> {
        self.step(format!("close {backend}: {closed}")).await;
        self.world.store.close(backend, closed).await
    }

    async fn list(&self, backend: &BackendId, from: Option<&str>) -> Result<StickPage, StickError> {
        self.step(format!("list {backend}")).await;
        self.world.store.list(backend, from).await
    }

    async fn count(&self, backend: &BackendId) -> Result<u64, StickError> {
        self.step(format!("count {backend}")).await;
        self.world.store.count(backend).await
    }
}

#[async_trait]
impl MeetingStore for HeldStore {
    async fn look(&self, id: &str) -> Result<Look, StickError> {
        self.step(format!("look at {id}")).await;
        self.world.store.look(id).await
    }

    async fn claim_meeting(&self, claim: &MeetingClaim<'_>) -> Result<Claimed, StickError> {
        let over = claim.over.map_or("nothing", |b| b.backend.as_str());
        self.step(format!("claim {} for {} over {over}", claim.id, claim.want.backend)).await;
        self.world.store.claim_meeting(claim).await
    }

    async fn begin_end(&self, id: &str, seen: &Binding, at_most: Duration) -> Result<bool, StickError> {
        self.step(format!("begin the end of {id}")).await;
        self.world.store.begin_end(id, seen, at_most).await
    }

    async fn meetings(&self, server: Option<&BackendId>) -> Result<Vec<MeetingRecord>, StickError> {
        self.step("read the meetings".to_owned()).await;
        self.world.store.meetings(server).await
    }

    async fn servers(&self) -> Result<Registry, StickError> {
        self.step("read the servers".to_owned()).await;
        self.world.store.servers().await
    }

    async fn add_server(&self, record: &ServerRecord) -> Result<bool, StickError> {
        self.step(format!("add {}", record.id)).await;
        self.world.store.add_server(record).await
    }

    async fn update_server(&self, id: &BackendId, patch: &ServerPatch) -> Result<bool, StickError> {
        self.step(format!("update {id}")).await;
        self.world.store.update_server(id, patch).await
    }

    async fn remove_server(&self, id: &BackendId) -> Result<bool, StickError> {
        self.step(format!("remove {id}")).await;
        self.world.store.remove_server(id).await
    }

    async fn record_poll(&self, id: &BackendId, poll: &PollRecord) -> Result<bool, StickError> {
        let verdict = poll.online.map_or("", |online| if online { ": online" } else { ": offline" });
        self.step(format!("record the poll of {id}{verdict}")).await;
        if let Some(fence) = poll.fence {
            match self.world.leases.store(id, fence, poll.began_ms) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => self.world.fault(why),
            }
        }
        self.world.store.record_poll(id, poll).await
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    async fn take_leases(
        &self,
        process: u64,
        wanted: &[BackendId],
        release: &[BackendId],
        _ttl: Duration,
        _force: bool,
    ) -> Result<Vec<Option<Fence>>, StickError> {
        self.step(format!("take {} leases, give {} back", wanted.len(), release.len())).await;
        release.iter().for_each(|server| self.world.leases.give_back(server, process));
        Ok(wanted.iter().map(|server| Some(self.world.leases.take(server, process))).collect())
    }

    async fn doubt(&self, server: &BackendId, process: u64, _ttl: Duration) -> Result<Doubt, StickError> {
        self.step(format!("doubt {server}")).await;
        Ok(Doubt::Agreed(self.shared.then(|| self.world.leases.take(server, process))))
    }

    async fn renew_seen(&self, server: &BackendId, seen: &[String], ttl: Duration) -> Result<(), StickError> {
        self.world.store.renew_seen(server, seen, ttl).await
    }

    async fn add_loads(&self, loads: &[(BackendId, f64)]) -> Result<(), StickError> {
        self.world.store.add_loads(loads).await
    }

    async fn announce(&self, process: u64, ttl: Duration) -> Result<Vec<Peer>, StickError> {
        self.world.store.announce(process, ttl).await
    }

    fn callback_store(&self) -> &dyn CallbackStore {
        self.world.store.callback_store()
    }

    fn tenant_store(&self) -> &dyn TenantStore {
        self.world.store.tenant_store()
    }

    async fn check(&self) -> Result<(), StickError> {
        self.world.store.check().await
    }

    fn describe(&self) -> String {
        self.world.store.describe()
    }
}
