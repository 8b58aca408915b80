//! People who stay in their rooms, and come again when they are cut off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapter_haproxy::testing::{RoomServer, Visitor, ask};
use tokio::task::JoinSet;

use super::ledger::{Ledger, Totals};
use super::world::{HAPROXIES, World, until};

/// So soon somebody who could not come in tries again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the room servers are asked who is where.
const LOOKS: Duration = Duration::from_millis(25);

pub(super) fn room(n: usize) -> String {
    format!("class{n}")
}

/// What a client asks for to be in a room.
pub(super) fn target(room: &str, seat: usize) -> String {
    format!("/socket.io/?peerId=peer{seat}&roomId={room}&EIO=3&transport=websocket")
}

/// Two people of each room, one by each HAProxy, and who looks after them.
pub(super) struct Crowd {
    rooms: usize,
    ledger: Arc<Mutex<Ledger>>,
    tasks: JoinSet<()>,
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crowd {
    pub(super) fn come(world: &World, rooms: usize, polls: Duration) -> Self {
        let (ledger, mut tasks) = (Arc::<Mutex<Ledger>>::default(), JoinSet::new());
        for n in 0..2 * rooms {
            let person = Person { room: room(n / 2), seat: n % 2, polls, haproxies: world.addresses() };
            tasks.spawn(person.attend(ledger.clone(), polls.mul_f64(n as f64 / (2 * rooms) as f64)));
        }
        tasks.spawn(watch(ledger.clone(), world.servers.clone()));
        Self { rooms, ledger, tasks }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Waits until everybody is in a room.
    pub(super) async fn all_in(&self, world: &World, what: &str) {
        until(what, || world.servers.iter().map(|server| server.people()).sum::<usize>() == 2 * self.rooms).await;
    }

    /// All go home.
    pub(super) async fn end(&mut self) -> Totals {
        self.tasks.shutdown().await;
        self.ledger().totals()
    }
}

struct Person {
    room: String,
    seat: usize,
    polls: Duration,
    haproxies: [SocketAddr; 2],
}

impl Person {
    async fn attend(self, ledger: Arc<Mutex<Ledger>>, first: Duration) {
        let target = target(&self.room, self.seat);
        let mut wait = first;
        let mut by = self.seat;
        loop {
            let asked = Instant::now();
            match Visitor::join(self.haproxies[by], &target).await {
                Err(why) => {
                    lock(&ledger).failed(&self.room, HAPROXIES[by], asked, &why.to_string());
                    // Perhaps the other one is there.
                    by = 1 - by;
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(mut visitor) => {
                    lock(&ledger).met(&self.room, visitor.server(), asked);
                    loop {
                        tokio::select! {
                            () = visitor.cut() => break,
                            () = tokio::time::sleep(std::mem::replace(&mut wait, self.polls)) => {}
                        }
                        let asked = Instant::now();
                        match ask(self.haproxies[by], &target).await {
                            Ok(answer) => lock(&ledger).met(&self.room, &answer.server, asked),
                            Err(why) => lock(&ledger).failed(&self.room, HAPROXIES[by], asked, &why.to_string()),
                        }
                    }
                }
            }
        }
    }
}

/// Asks the room servers themselves, again and again.
async fn watch(ledger: Arc<Mutex<Ledger>>, servers: Vec<Arc<RoomServer>>) {
    loop {
        let people = |server: &Arc<RoomServer>| -> Vec<String> {
            server.rooms().into_iter().filter(|room| room.people > 0).map(|room| room.room).collect()
        };
        let now: Vec<(&str, Vec<String>)> = servers.iter().map(|server| (server.name(), people(server))).collect();
        lock(&ledger).look(&now);
        tokio::time::sleep(LOOKS).await;
    }
}
