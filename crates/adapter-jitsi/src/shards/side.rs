//! Many questions to the stick table side by side.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// How many are under way at a time: over one connection they share its round trips.
pub(super) const ABREAST: usize = 64;

/// Does all of it side by side; the results in order.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut under_way: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = under_way.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in under_way.iter_mut().zip(&mut done).filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(cx) {
                *output = Some(ready);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::all;

    #[tokio::test(start_paused = true)]
    async fn all_go_on_at_once_and_stay_in_order() {
        let began = tokio::time::Instant::now();
        let done = all((0..50u64).rev().map(async |n| {
            tokio::time::sleep(Duration::from_secs(n)).await;
            n
        }))
        .await;
        assert_eq!(done, (0..50).rev().collect::<Vec<_>>());
        assert_eq!(began.elapsed().as_secs(), 49);
    }
}
