//! What a peer told of keys that nobody knew, many at a time, for the store to say.

use std::collections::BTreeMap;
use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use balancer_core::{Claim, StickError, StickKey, StickStore, Token, Want};
use tokio::task::yield_now;

use super::judge::{Teller, Told};
use super::mirror::Pin;
use super::node::Inner;
use super::shelf::Shelf;
use super::status::count;

/// How many of them the store is asked about at once.
const TOGETHER: usize = 64;
/// How many of them are one job.
const MOST: usize = 512;

/// Keys that a peer told first.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) shelf: Arc<Shelf>,
    /// Who told them.
    pub(super) peer: Teller,
    /// Their slots, and the servers they were told with.
    pub(super) rows: Vec<(u32, u32)>,
}

impl Fresh {
    /// Whether one more of this table has room.
    pub(super) fn takes(&self, shelf: &Shelf) -> bool {
        self.shelf.at == shelf.at && self.rows.len() < MOST
    }

    /// The store is told of them when the table is gone through.
    pub(super) fn postpone(&self) {
        let mirror = &mut self.shelf.known().mirror;
        self.rows.iter().for_each(|(row, _)| mirror.postpone(*row));
    }
}

/// What the store is to be asked.
#[derive(Debug)]
pub(super) enum Job {
    /// About one key that differs from what is known, or of which the store should hear.
    Told(Told),
    /// About keys that nobody knew.
    Fresh(Fresh),
}

/// A key that is judged by itself, unless the store is known not to answer.
type Other = (Told, Option<StickError>);

/// One key to be asked about.
#[derive(Debug)]
struct Question {
    row: u32,
    server: u32,
    until: u64,
    ttl: Duration,
    key: StickKey,
    want: Want,
}

impl Inner {
    pub(super) async fn do_job(&self, job: Job) {
        match job {
            Job::Told(told) => {
                self.told.fetch_sub(1, Ordering::Relaxed);
                self.judge(told).await;
            }
            Job::Fresh(fresh) => {
                for rows in fresh.rows.chunks(TOGETHER) {
                    let mut others = Vec::new();
                    let questions = self.questions(&fresh, rows, &mut others);
                    self.ask_all(&fresh, questions, &mut others).await;
                    for (told, error) in others {
                        match error {
                            Some(error) => self.unanswered(&told, &error),
                            None => self.judge(told).await,
                        }
                    }
                    // A store that answers at once would keep everybody else waiting.
                    yield_now().await;
                }
            }
        }
    }

    /// What to ask of these slots. Of some something else became known meanwhile: they are judged one by one.
    fn questions(&self, fresh: &Fresh, rows: &[(u32, u32)], others: &mut Vec<Other>) -> Vec<Question> {
        let (shelf, now) = (&fresh.shelf, self.now());
        let mut questions = Vec::with_capacity(rows.len());
        let mut known = shelf.known();
        for (row, server) in rows.iter().copied() {
            let Some((key, until, asked)) = known.mirror.held(row) else { continue };
            let ttl = until.saturating_sub(now);
            if !asked {
                others.push((told(fresh, key.into(), server, ttl), None));
                known.mirror.give_up(row);
                continue;
            }
            let echo = known.is_echo(key, server, now);
            match (shelf.stick_key(key), known.names.backend(server)) {
                (Some(key), Some(backend)) if !echo => {
                    let want = Want { backend, token: Token(self.token()) };
                    let ttl = Duration::from_millis(ttl.max(1));
                    questions.push(Question { row, server, until, ttl, key, want });
                }
                (named, _) => {
                    if named.is_none() {
                        count(&shelf.counts.untaught);
                    }
                    known.mirror.give_up(row);
                }
            }
        }
        questions
    }

    /// Asks, and keeps what the store agrees with; the rest is judged one by one.
    async fn ask_all(&self, fresh: &Fresh, questions: Vec<Question>, others: &mut Vec<Other>) {
        let store: &dyn StickStore = &*fresh.shelf.store;
        let claims = all(questions.iter().map(|q| store.claim(&q.key, &q.want, q.ttl)).collect()).await;
        let mut kept = Vec::with_capacity(questions.len());
        let (mut again, mut errors) = (Vec::new(), BTreeMap::new());
        for (question, claim) in questions.iter().zip(claims) {
            match claim {
                Ok(Claim::Won(binding)) => kept.push((question, binding.stamp, true)),
                Ok(Claim::Held(binding)) if binding.backend == question.want.backend => {
                    again.push(store.get(&question.key, Some(question.ttl)));
                    kept.push((question, binding.stamp, false));
                }
                Err(error) => drop(errors.insert(question.row, error)),
                Ok(_) => {}
            }
        }
        // It lives as long as it does at the peers; whoever does not answer is asked again when it is used.
        drop(all(again).await);
        self.settle(fresh, &questions, &kept, |row, told| others.push((told, errors.remove(&row))));
    }

    fn settle(
        &self,
        fresh: &Fresh,
        questions: &[Question],
        kept: &[(&Question, u64, bool)],
        mut other: impl FnMut(u32, Told),
    ) {
        let (shelf, now) = (&fresh.shelf, self.now());
        let mut news = Vec::new();
        let mut known = shelf.known();
        // A connection that is made meanwhile forgets it afterwards.
        let knows = self.heard_from(fresh.peer);
        for (question, stamp, _) in kept {
            let Question { row, server, until, .. } = **question;
            let pin = Pin { server, stamp: *stamp, until, knows, stored: true };
            if let Some(knows) = known.mirror.settle(row, pin, now) {
                news.push((row, knows));
            }
        }
        let mut agreed = kept.iter().map(|(question, ..)| question.row).peekable();
        for question in questions {
            if agreed.next_if_eq(&question.row).is_none() {
                if let Some((key, until, _)) = known.mirror.held(question.row) {
                    other(question.row, told(fresh, key.into(), question.server, until.saturating_sub(now)));
                }
                known.mirror.give_up(question.row);
            }
        }
        drop(known);
        let learned = kept.iter().filter(|(.., first)| *first).count();
        shelf.counts.learned.fetch_add(learned as u64, Ordering::Relaxed);
        for line in &self.lines {
            line.tell_all(news.iter().filter(|(_, knows)| line.bit & knows == 0).map(|(row, _)| (shelf.at, *row)));
        }
    }
}

fn told(fresh: &Fresh, key: Box<[u8]>, server: u32, ttl: u64) -> Told {
    Told { shelf: fresh.shelf.clone(), key, server, peer: fresh.peer, ttl, renewal: false }
}

type Asking<'a, T> = Pinned<Box<dyn Future<Output = T> + Send + 'a>>;

/// All answers, in order, of questions asked at once.
async fn all<T>(mut asking: Vec<Asking<'_, T>>) -> Vec<T> {
    let mut answers: Vec<Option<T>> = asking.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (asked, answer) in asking.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            match asked.as_mut().poll(cx) {
                Poll::Ready(said) => *answer = Some(said),
                Poll::Pending => waiting = true,
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    answers.into_iter().flatten().collect()
}
