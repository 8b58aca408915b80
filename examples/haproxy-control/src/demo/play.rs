//! What happens in the morning, and who looks at it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_haproxy::RoomRule;
use adapter_haproxy::reconcile::{ApplyOptions, Plan, Wanted, plan};
use adapter_haproxy::runtime::AdminState;
use adapter_haproxy::testing::RoomServer;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::farm::Farm;
use super::morning::{Lesson, MINUTES, clock, morning};
use super::people::{Coming, Stage, attend};
use super::report::{Report, ServerRow};
use super::steward::Steward;
use super::{Teller, failed};
use crate::cli::{DemoArgs, DemoKind, Output};
use crate::haproxy::Installed;
use console::{Exit, Failure, Outcome, counted};

/// What happens when, in minutes after eight.
const RELOAD: u32 = 40;
const DRAIN: u32 = 70;
const ADDED: u32 = 84;
const DEATH: u32 = 100;
const RETURN: u32 = 135;
const _: () = assert!(RELOAD < DRAIN && DRAIN < ADDED && ADDED < DEATH && DEATH < RETURN && RETURN < MINUTES);
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long rooms may be found on two servers at the end, and people where nobody is said to be.
const SETTLING: Duration = Duration::from_secs(15);

/// A room server, and what became of it.
struct Member {
    server: RoomServer,
    state: &'static str,
}

struct Play {
    // It ends before its HAProxy does.
    steward: Steward,
    farm: Farm,
    members: Vec<Member>,
    stage: Arc<Stage>,
    teller: Teller,
    lessons: Vec<Lesson>,
    /// Ends a lesson, by its place.
    ends: Vec<watch::Sender<bool>>,
    people: JoinSet<()>,
    step: Duration,
    minute: u32,
    drained: Option<usize>,
    /// Since when it is said to be empty and is not.
    doubted: Option<Instant>,
    dead: Option<usize>,
}

pub(super) async fn play(args: &DemoArgs, haproxy: Installed) -> Result<Outcome, Failure> {
    let teller = Teller { began: Instant::now(), output: args.output };
    let mut members = Vec::new();
    for n in 1..=3 {
        members.push(member(args.kind, n).await?);
    }
    let release = haproxy.full.clone();
    let farm = Farm::start(args.kind, haproxy, &addresses(&members)).await?;
    teller.tell(&format!("HAProxy {release} listens at {}, everything in a folder of its own", farm.address()));
    let steward = Steward::start(&farm).await?;
    teller.tell("the control loop has taken over");
    let step = Duration::from_millis(if args.fast { 30 } else { 80 });
    let stage = Arc::new(Stage::new(args.kind, farm.address(), step * 25));
    let lessons = morning(args.kind);
    let ends = lessons.iter().map(|_| watch::Sender::new(false)).collect();
    let (people, began) = (JoinSet::new(), teller.began);
    let mut play = Play {
        steward,
        farm,
        members,
        stage,
        teller,
        lessons,
        ends,
        people,
        step,
        minute: 0,
        drained: None,
        doubted: None,
        dead: None,
    };
    play.tell(&format!("{} rooms open until 11:00, on 3 servers", play.lessons.len()));
    while play.minute < MINUTES {
        play.happen().await?;
        play.come_and_go();
        tokio::time::sleep(play.step).await;
        play.all_in().await?;
        play.look();
        play.minute += 1;
    }
    play.until_drained().await;
    let splits = play.splits().await;
    let report = play.report(release, began.elapsed(), splits);
    let out = match args.output {
        Output::Table => format!("\n{}", report.text()),
        Output::Json => report.json(),
    };
    // The people leave before their servers do.
    play.people.shutdown().await;
    drop(play);
    let outcome = Outcome::done(out);
    if report.is_well() {
        return Ok(outcome);
    }
    Ok(outcome.ending(Exit::Failed).with_notes(report.wrong))
}

async fn member(kind: DemoKind, n: usize) -> Result<Member, Failure> {
    let (name, rule) = match kind {
        DemoKind::Edumeet => (format!("mm{n}"), RoomRule::Edumeet3),
        DemoKind::Shards => (format!("shard{n}"), RoomRule::Jitsi),
    };
    let server = RoomServer::start(name, rule).await.map_err(|e| failed("a room server cannot listen", e))?;
    Ok(Member { server, state: "ready" })
}

fn addresses(members: &[Member]) -> Vec<(String, SocketAddr)> {
    members.iter().map(|member| (member.server.name().to_owned(), member.server.address())).collect()
}

impl Play {
    fn tell(&self, text: &str) {
        self.teller.tell(&format!("{}  {text}", clock(self.minute)));
    }

    /// What is done to servers and HAProxy in this minute.
    async fn happen(&mut self) -> Result<(), Failure> {
        match self.minute {
            RELOAD => self.reload().await,
            DRAIN => self.drain().await,
            DEATH => self.kill().await,
            ADDED => self.add().await,
            RETURN => self.revive().await,
            _ => Ok(()),
        }
    }

    fn come_and_go(&mut self) {
        for (lesson, end) in self.lessons.iter().zip(&self.ends) {
            if lesson.end == self.minute {
                end.send_replace(true);
            }
            for (seat, _) in lesson.people.iter().enumerate().filter(|(_, at)| **at == self.minute) {
                let coming = Coming::new(Arc::clone(&self.stage));
                self.people.spawn(attend(coming, lesson.room.clone(), seat, end.subscribe()));
            }
        }
        while self.people.try_join_next().is_some() {}
    }

    /// The clock waits for whoever has not come in yet: on a busy host HAProxy may stand still for many of its minutes.
    async fn all_in(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while self.stage.coming() > 0 {
            if Instant::now() > end {
                return Err(Failure::timed_out("waited in vain for people to come in"));
            }
            tokio::time::sleep(self.step).await;
            self.look();
        }
        Ok(())
    }

    /// Waits until the server that is drained is empty, and no longer than for anything else.
    async fn until_drained(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.drained.is_some_and(|at| self.members[at].state == "draining") && Instant::now() < end {
            tokio::time::sleep(self.step).await;
            self.look();
        }
    }

    /// Looks who is where, on the servers themselves.
    fn look(&mut self) {
        let rooms = (0..self.members.len()).map(|at| (self.members[at].server.name(), self.live_rooms(at)));
        self.stage.ledger().look(rooms);
        for news in self.steward.news() {
            self.tell(&format!("control: {news}"));
        }
        let Some(member) = self.drained.and_then(|at| self.members.get_mut(at)) else { return };
        let name = member.server.name().to_owned();
        if member.state == "draining" && self.steward.is_empty(&name) {
            let people = member.server.people();
            // Their server may hear later than HAProxy that they have gone.
            if people > 0 && self.doubted.get_or_insert_with(Instant::now).elapsed() < SETTLING {
                return;
            }
            member.state = "drained";
            if people > 0 {
                self.stage.ledger().broken(format!("{name} is said to be empty, and {people} people are there"));
            }
            self.tell(&format!("{name} is empty: its lessons ended by themselves"));
        }
    }

    /// The server with the most people that is nothing but ready.
    fn busiest(&self) -> Option<usize> {
        let ready = (0..self.members.len()).filter(|at| self.members[*at].state == "ready");
        ready.max_by_key(|at| self.members[*at].server.people())
    }

    fn live_rooms(&self, at: usize) -> Vec<String> {
        let rooms = self.members[at].server.rooms().into_iter();
        rooms.filter(|room| room.people > 0).map(|room| room.room).collect()
    }

    fn load(&self, at: usize) -> (String, String) {
        let server = &self.members[at].server;
        let rooms = counted(self.live_rooms(at).len(), "room");
        (server.name().to_owned(), format!("{} people in {rooms}", server.people()))
    }

    async fn reload(&mut self) -> Result<(), Failure> {
        let text = self.farm.text(&addresses(&self.members))?;
        let done = self.farm.gate().reload(&text).await.map_err(|e| failed("the reload failed", e))?;
        self.tell(&format!(
            "reload: waited {:.1} s until no table would be lost, then a new process took over",
            done.waited.as_secs_f64()
        ));
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        let Some(at) = self.busiest() else { return Ok(()) };
        let (name, load) = self.load(at);
        self.steward.drain(&name).await?;
        // Whatever is new is refused there from now on, which would show.
        self.members[at].server.drain(true);
        self.members[at].state = "draining";
        self.drained = Some(at);
        self.tell(&format!("{name} is drained: {load} stay, nobody new comes"));
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), Failure> {
        let Some(at) = self.busiest() else { return Ok(()) };
        let (name, load) = self.load(at);
        let rooms: Vec<String> = self.live_rooms(at);
        {
            let mut ledger = self.stage.ledger();
            self.members[at].server.die();
            ledger.dies(&name);
        }
        self.members[at].state = "dead";
        self.dead = Some(at);
        self.tell(&format!("{name} dies with {load}"));
        // Its people come again at once, and the clock waits for them.
        let end = Instant::now() + PATIENCE;
        while !rooms.iter().all(|room| self.stage.ledger().has_left(room, &name)) {
            if Instant::now() > end {
                return Err(Failure::timed_out(format!("waited in vain for the rooms of {name} to move")));
            }
            tokio::time::sleep(self.step).await;
            self.look();
        }
        let within = self.stage.ledger().totals().moved_within_ms.unwrap_or(0);
        self.tell(&format!("its {} are elsewhere, the last {within} ms after its death", counted(rooms.len(), "room")));
        Ok(())
    }

    async fn add(&mut self) -> Result<(), Failure> {
        let member = member(self.stage.kind, self.members.len() + 1).await?;
        let name = member.server.name().to_owned();
        self.members.push(member);
        let servers = addresses(&self.members);
        let mut wanted = self.farm.wanted(&servers);
        if let Some(at) = self.drained {
            wanted = wanted.with_state(self.members[at].server.name(), AdminState::Drain);
        }
        let steps = self.apply(&wanted).await?;
        self.farm.keep(&servers)?;
        self.tell(&format!("{name} is added in {steps} steps, without a reload"));
        Ok(())
    }

    async fn apply(&self, wanted: &Wanted) -> Result<usize, Failure> {
        let client = self.farm.client();
        let running = client.running(wanted).await.map_err(|e| failed("haproxy does not answer", e))?;
        match plan(wanted, &running).map_err(|e| failed("there is no plan", e))? {
            Plan::Commands(commands) => {
                let done = client.apply(&commands, ApplyOptions::default()).await;
                Ok(done.map_err(|e| failed("haproxy refused a step", e))?.steps)
            }
            other => Err(failed("a reload is needed", other)),
        }
    }

    async fn revive(&mut self) -> Result<(), Failure> {
        let Some(at) = self.dead else { return Ok(()) };
        self.members[at].server.revive().await.map_err(|e| failed("a room server cannot listen again", e))?;
        self.members[at].state = "returned";
        let name = self.members[at].server.name().to_owned();
        self.tell(&format!("{name} is back, without its rooms: none that moved returns"));
        Ok(())
    }

    /// Rooms that the control loop finds on two servers at the end. A look may fall between a change and what HAProxy
    /// tells of it, so it is taken again for a while.
    async fn splits(&self) -> Vec<String> {
        let end = Instant::now() + SETTLING;
        loop {
            let found = self.splits_now().await;
            if found.is_empty() || Instant::now() >= end {
                return found;
            }
            tokio::time::sleep(self.step).await;
        }
    }

    async fn splits_now(&self) -> Vec<String> {
        let rooms = (0..self.members.len()).flat_map(|at| {
            let name = self.members[at].server.name().to_owned();
            self.live_rooms(at).into_iter().map(move |room| (name.clone(), room))
        });
        let key = |room: String| match self.stage.kind {
            DemoKind::Edumeet => room,
            // As HAProxy sees it in the path.
            DemoKind::Shards => format!("/{room}"),
        };
        self.steward.splits(rooms.map(|(name, room)| (name, key(room))).collect()).await
    }

    fn report(&self, haproxy: String, took: Duration, splits: Vec<String>) -> Report {
        let ledger = self.stage.ledger();
        let row = |member: &Member| {
            let rooms = member.server.rooms();
            let (opened, taken_over) = ledger.of(member.server.name());
            ServerRow {
                server: member.server.name().to_owned(),
                state: member.state,
                rooms: rooms.iter().filter(|room| room.people > 0).count(),
                people: rooms.iter().map(|room| room.people).sum(),
                opened,
                taken_over,
            }
        };
        Report {
            kind: self.stage.kind,
            haproxy,
            seconds: took.as_secs_f64(),
            servers: self.members.iter().map(row).collect(),
            totals: ledger.totals(),
            known: self.steward.rooms(),
            splits: splits.len(),
            wrong: ledger.words().iter().cloned().chain(splits).collect(),
        }
    }
}
