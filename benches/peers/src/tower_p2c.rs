//! tower's balancer over services that are always ready.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::future::FutureExt as _;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};

/// Answers at once with its number.
#[derive(Debug)]
struct Answer(u64);

impl Service<()> for Answer {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.0))
    }
}

type Inner = Balance<ServiceList<Vec<PendingRequests<Answer>>>, ()>;

/// tower's balancer is exclusive, so sharing it takes a lock; on one thread that lock is never waited for.
pub(crate) struct Tower(Mutex<Inner>);

impl Tower {
    pub(crate) fn new(count: usize) -> Self {
        let services = (0..count as u64).map(|n| PendingRequests::new(Answer(n), CompleteOnResponse::default()));
        let tower = Self(Mutex::new(Balance::new(ServiceList::new(services.collect()))));
        // The first call takes in all services.
        tower.call();
        tower
    }

    /// One request: readiness, choice, call and answer.
    pub(crate) fn call(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = inner.poll_ready(&mut context) {
            std::hint::black_box(inner.call(()).now_or_never().and_then(Result::ok));
        }
    }
}
