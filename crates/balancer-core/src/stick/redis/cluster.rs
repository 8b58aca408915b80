//! A Redis Cluster: each call goes to the node that serves its key.

mod map;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{Cmd, Pipeline};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::map::Map;
use super::link::{RedisScript, invoke, pack};
use super::node::{Node, Role, Said, Settings};
use super::options::Address;
use super::reply::RedisReply;
use super::slots::{Redirection, redirection, slot};
use super::trouble::{self, Kind, Trouble};

/// How often one call is sent elsewhere before the nodes are taken to disagree.
const MOST_REDIRECTIONS: u32 = 16;
/// The pauses while a slot is on its way: short, as it is soon there.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(25), Duration::from_millis(50)];

pub(super) struct Cluster {
    settings: Arc<Settings>,
    seeds: Vec<Arc<Node>>,
    map: ArcSwapOption<Map>,
    /// Held while the map is fetched; keeps when and why that failed last.
    fetching: Mutex<Option<(Instant, Trouble)>>,
    next: AtomicUsize,
}

/// One command of a call.
struct Job {
    command: Cmd,
    /// `None`: any node will do.
    slot: Option<u16>,
}

/// A job that has no answer yet.
struct Open {
    job: usize,
    /// Where it was sent to by a node, and whether only this once.
    to: Option<Arc<Node>>,
    asking: bool,
    /// The script is unknown there.
    load: bool,
}

/// The jobs for one node, in one pipeline.
struct Group {
    node: Arc<Node>,
    open: Vec<Open>,
}

/// How a call has fared so far.
struct Course {
    deadline: Instant,
    /// A broken connection is excused once.
    again: bool,
    failures: u32,
    redirections: u32,
    pauses: usize,
    /// What went wrong first, which says more than that the time is over.
    first: Option<Trouble>,
}

/// What is to be done before the next round.
#[derive(Default)]
struct Before {
    refresh: bool,
    hint: Option<Arc<Node>>,
    pause: Option<Duration>,
    /// What is said when the time is over.
    trouble: Option<Trouble>,
}

impl Cluster {
    pub(super) fn new(settings: Arc<Settings>, seeds: Vec<Address>) -> Self {
        let seeds = seeds.into_iter().map(|at| Arc::new(Node::new(Arc::clone(&settings), at, Role::Data))).collect();
        Self { settings, seeds, map: ArcSwapOption::empty(), fetching: Mutex::default(), next: AtomicUsize::new(0) }
    }

    pub(super) async fn call<A: AsRef<[u8]>>(&self, words: &[A], deadline: Instant) -> Result<RedisReply, Trouble> {
        let jobs = [Job { command: pack(words), slot: key(words).map(slot) }];
        single(self.run(&jobs, None, deadline).await?)
    }

    pub(super) async fn pipeline<A: AsRef<[u8]>>(
        &self,
        commands: &[Vec<A>],
        deadline: Instant,
    ) -> Result<Vec<RedisReply>, Trouble> {
        let job = |words: &Vec<A>| Job { command: pack(words), slot: key(words).map(slot) };
        let jobs: Vec<Job> = commands.iter().map(job).collect();
        self.run(&jobs, None, deadline).await
    }

    pub(super) async fn script<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        script: &RedisScript,
        keys: &[K],
        args: &[A],
        deadline: Instant,
    ) -> Result<RedisReply, Trouble> {
        single(self.run(&[run_of(script, keys, args)?], Some(script), deadline).await?)
    }

    pub(super) async fn scripts<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        script: &RedisScript,
        runs: &[(Vec<K>, Vec<A>)],
        deadline: Instant,
    ) -> Result<Vec<RedisReply>, Trouble> {
        let jobs: Vec<Job> = runs.iter().map(|(keys, args)| run_of(script, keys, args)).collect::<Result<_, _>>()?;
        self.run(&jobs, Some(script), deadline).await
    }

    /// Runs all jobs, one pipeline per node and round, and answers in their order.
    async fn run(
        &self,
        jobs: &[Job],
        script: Option<&RedisScript>,
        deadline: Instant,
    ) -> Result<Vec<RedisReply>, Trouble> {
        let mut replies: Vec<RedisReply> = vec![RedisReply::Nil; jobs.len()];
        let open = |job| Open { job, to: None, asking: false, load: false };
        let mut todo: Vec<Open> = (0..jobs.len()).map(open).collect();
        let mut course = Course { deadline, again: true, failures: 0, redirections: 0, pauses: 0, first: None };
        let mut before = Before::default();
        while !todo.is_empty() {
            if let Some(pause) = before.pause {
                let until = Instant::now() + pause;
                if until >= deadline {
                    return Err(before.trouble.unwrap_or_else(|| trouble::silence(pause)));
                }
                sleep_until(until).await;
            }
            let map = self.map(before.refresh, before.hint.as_ref(), deadline).await;
            let map = map.map_err(|trouble| course.telling(trouble))?;
            before = Before::default();
            let mut groups: Vec<Group> = Vec::new();
            for open in std::mem::take(&mut todo) {
                let node = match (&open.to, jobs[open.job].slot) {
                    (Some(node), _) => Some(Arc::clone(node)),
                    (None, Some(slot)) => map.node(slot).cloned(),
                    (None, None) => {
                        map.nodes.get(self.next.fetch_add(1, Ordering::Relaxed) % map.nodes.len().max(1)).cloned()
                    }
                };
                match (node, jobs[open.job].slot) {
                    (Some(node), _) => match groups.iter_mut().find(|group| Arc::ptr_eq(&group.node, &node)) {
                        Some(group) => group.open.push(open),
                        None => groups.push(Group { node, open: vec![open] }),
                    },
                    (None, slot) => {
                        let slot = slot.map_or_else(|| "any slot".to_owned(), |slot| format!("slot {slot}"));
                        let why = format!("no node serves {slot}; see `CLUSTER INFO` and `CLUSTER SLOTS` there");
                        course.failed(Trouble::new(Kind::Refused, why), &self.settings, &mut before)?;
                        todo.push(open);
                    }
                }
            }
            for (group, said) in send(groups, jobs, script, deadline).await {
                self.take(group, said, &mut course, &mut before, &mut replies, &mut todo)?;
            }
        }
        Ok(replies)
    }

    /// Takes the answers of one node; what it did not do stays open.
    fn take(
        &self,
        group: Group,
        said: Result<Vec<Said>, Trouble>,
        course: &mut Course,
        before: &mut Before,
        replies: &mut [RedisReply],
        todo: &mut Vec<Open>,
    ) -> Result<(), Trouble> {
        let Group { node, open } = group;
        let anew = |job| Open { job, to: None, asking: false, load: false };
        let said = match said {
            Ok(said) => said,
            Err(trouble) => {
                match trouble.kind {
                    Kind::Dropped if std::mem::take(&mut course.again) => before.refresh = true,
                    Kind::Dropped | Kind::Refused | Kind::NoScript | Kind::Corrupt => {
                        return Err(trouble.at(node.address()));
                    }
                    // Nothing was sent, unless the time is over.
                    _ => course.failed(trouble.at(node.address()), &self.settings, before)?,
                }
                todo.extend(open.into_iter().map(|open| anew(open.job)));
                return Ok(());
            }
        };
        let loaded = open.iter().any(|open| open.load);
        let mut said = said.into_iter().skip(usize::from(loaded));
        let mut redirected = false;
        for open in open {
            if open.asking {
                said.next();
            }
            let none = || Trouble::new(Kind::Corrupt, "no answer where one was announced").at(node.address());
            let words = match said.next().ok_or_else(none)? {
                Ok(reply) => {
                    if let Some(place) = replies.get_mut(open.job) {
                        *place = reply;
                    }
                    continue;
                }
                Err(words) => words,
            };
            if let Some(redirection) = redirection(&words, node.address()) {
                redirected = true;
                let (to, asking) = match redirection {
                    Redirection::Moved(to) => (self.known(&to), false),
                    Redirection::Ask(to) => (self.known(&to), true),
                };
                if !asking {
                    before.refresh = true;
                    before.hint = Some(Arc::clone(&to));
                }
                todo.push(Open { job: open.job, to: Some(to), asking, load: false });
                continue;
            }
            let trouble = trouble::said(&words).at(node.address());
            if words.starts_with("TRYAGAIN") {
                // The slot is half here and half there: soon it will be whole.
                before.pause = before.pause.max(Some(course.pause()));
                before.trouble = Some(trouble);
                todo.push(anew(open.job));
            } else if words.starts_with("CLUSTERDOWN") || trouble.kind == Kind::Elsewhere {
                course.failed(trouble, &self.settings, before)?;
                todo.push(anew(open.job));
            } else if trouble.kind == Kind::NoScript && !open.load {
                todo.push(Open { to: Some(Arc::clone(&node)), load: true, ..open });
            } else {
                return Err(trouble);
            }
        }
        course.redirections += u32::from(redirected);
        if course.redirections > MOST_REDIRECTIONS {
            let why = "its nodes send us to one another; see `CLUSTER NODES` on each of them";
            return Err(Trouble::new(Kind::Refused, why));
        }
        Ok(())
    }
}

impl Course {
    /// Nothing was done; allows a few more attempts, each after a pause and with a fresh map.
    fn failed(&mut self, trouble: Trouble, settings: &Settings, before: &mut Before) -> Result<(), Trouble> {
        if before.pause.is_none() || !before.refresh {
            self.failures += 1;
        }
        if self.failures >= settings.options.connect_tries.max(1) || Instant::now() >= self.deadline {
            return Err(self.telling(trouble));
        }
        self.first.get_or_insert_with(|| trouble.clone());
        before.refresh = true;
        before.pause = before.pause.max(Some(Duration::from_millis(100) * self.failures));
        before.trouble = Some(trouble);
        Ok(())
    }

    fn telling(&self, trouble: Trouble) -> Trouble {
        match &self.first {
            Some(first) if Instant::now() >= self.deadline => first.clone(),
            _ => trouble,
        }
    }

    fn pause(&mut self) -> Duration {
        let pause = PAUSES[self.pauses.min(PAUSES.len() - 1)];
        self.pauses += 1;
        pause
    }
}

/// Sends each group to its node, all at once.
async fn send(
    groups: Vec<Group>,
    jobs: &[Job],
    script: Option<&RedisScript>,
    deadline: Instant,
) -> Vec<(Group, Result<Vec<Said>, Trouble>)> {
    let packed = |group: &Group| {
        let mut pipeline = Pipeline::with_capacity(group.open.len());
        if let Some(script) = script.filter(|_| group.open.iter().any(|open| open.load)) {
            pipeline.add_command(pack(&["SCRIPT", "LOAD", &script.code]));
        }
        for open in &group.open {
            if open.asking {
                pipeline.add_command(pack(&["ASKING"]));
            }
            pipeline.add_command(jobs[open.job].command.clone());
        }
        pipeline
    };
    let mut done = Vec::with_capacity(groups.len());
    let mut sent = JoinSet::new();
    let alone = groups.len() == 1;
    for group in groups {
        let pipeline = packed(&group);
        if alone {
            let said = group.node.attempt(&pipeline, deadline).await;
            done.push((group, said));
        } else {
            sent.spawn(async move {
                let said = group.node.attempt(&pipeline, deadline).await;
                (group, said)
            });
        }
    }
    while let Some(joined) = sent.join_next().await {
        done.extend(joined.ok());
    }
    done
}

fn single(replies: Vec<RedisReply>) -> Result<RedisReply, Trouble> {
    let reply = replies.into_iter().next();
    reply.ok_or_else(|| Trouble::new(Kind::Corrupt, "no answer where one was announced"))
}

fn run_of<K: AsRef<[u8]>, A: AsRef<[u8]>>(script: &RedisScript, keys: &[K], args: &[A]) -> Result<Job, Trouble> {
    let Some(first) = keys.first() else {
        return Err(Trouble::new(
            Kind::Refused,
            "a script that names no key cannot be sent to a cluster, as no node is known to have what it touches; \
             use a single server, or one behind sentinels",
        ));
    };
    Ok(Job { command: invoke("EVALSHA", &script.sha, keys, args), slot: Some(slot(first.as_ref())) })
}

/// The key of a command; none for commands about the server itself.
fn key<A: AsRef<[u8]>>(words: &[A]) -> Option<&[u8]> {
    const WITHOUT: [&str; 20] = [
        "PING", "ECHO", "INFO", "TIME", "CONFIG", "CLIENT", "CLUSTER", "COMMAND", "SCRIPT", "ACL", "DBSIZE", "KEYS",
        "SCAN", "ROLE", "LASTSAVE", "SLOWLOG", "LATENCY", "DEBUG", "WAIT", "READONLY",
    ];
    let name = String::from_utf8_lossy(words.first()?.as_ref()).to_ascii_uppercase();
    let at = match name.as_str() {
        "EVAL" | "EVALSHA" => 3,
        name if WITHOUT.contains(&name) => return None,
        _ => 1,
    };
    words.get(at).map(AsRef::as_ref)
}
