//! `advise`: whether to add or to remove bridges, why, and a command that does it.

use std::pin::Pin;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::{AdviseArgs, By, Output};
use crate::live::{Live, Moment};
use crate::pool::{Link, Pool};
use crate::{complain, say, show as shown};
use console::{Exit, Failure};

mod hook;
mod mind;
mod recorded;
mod show;

use hook::Ended;
use mind::{Advice, Mind, Sample, Steps, is_waiting};
use show::Later;

/// A command that failed is not run again before.
const AGAIN: Duration = Duration::from_secs(30);

/// Advises once, for a recording, or until it is interrupted.
pub(crate) async fn run(args: &AdviseArgs) -> Result<Exit, Failure> {
    if let Some(path) = &args.recorded {
        return played(args, recorded::read(path)?).await;
    }
    if args.watch && args.every > args.numbers.period {
        return Err(Failure::usage("--every is longer than --period: in some periods nothing would be seen"));
    }
    if args.watch {
        return Watching::new(args).run().await;
    }
    let mut pool = args.look.brewery.look(args.look.focus.settings()?).await?;
    let (samples, mut mind) = (samples(&mut pool), Mind::new(&args.numbers, true));
    let advice = mind.look(&samples, args.numbers.starting, Duration::ZERO);
    finish(args, &mind, &samples, &advice, Duration::ZERO, Some(shown::unix_ms())).await
}

fn samples(pool: &mut Pool) -> Vec<Sample> {
    pool.ranking().iter().map(|(view, figures)| Sample::of(view, figures)).collect()
}

/// What stands at the end: the table, and the command.
async fn finish(
    args: &AdviseArgs,
    mind: &Mind,
    samples: &[Sample],
    advice: &Advice,
    now: Duration,
    unix_ms: Option<u64>,
) -> Result<Exit, Failure> {
    let waits = is_waiting(&advice.ours);
    let later: Later =
        waits.then(|| mind.later(samples, args.numbers.starting, now)).flatten().map(|said| (mind.hold(), said));
    let json = show::json(advice, &later, unix_ms);
    match args.look.output {
        Output::Json => say(&format!("{json}\n")),
        Output::Table => say(&show::whole(advice, &later)),
    };
    let Some(call) = args.hook.call(advice.by(args.by), &json) else { return Ok(Exit::Done) };
    let ended = call.await;
    complain(&ended.text);
    Ok(ended.exit)
}

/// Every change of advice in a recording, then where it ends.
async fn played(args: &AdviseArgs, looks: Vec<recorded::Look>) -> Result<Exit, Failure> {
    let mut mind = Mind::new(&args.numbers, looks.len() == 1);
    let mut last: Option<Advice> = None;
    let Some(end) = looks.last() else {
        return Err(
            Failure::failed("there is no look at bridges in it").hint("record with `jitsi-picker watch -o json`")
        );
    };
    for look in &looks {
        let advice = mind.look(&look.samples, args.numbers.starting, look.at);
        if looks.len() > 1 && last.as_ref().is_none_or(|last| advice.differs(last)) {
            let time = look.unix_ms.map_or_else(|| format!("{} s", look.at.as_secs()), shown::time_of_day);
            tell(args, &advice, last.as_ref(), &time, look.unix_ms);
        }
        last = Some(advice);
    }
    let Some(advice) = last else { return Ok(Exit::Done) };
    if args.look.output == Output::Table && looks.len() > 1 {
        say("\n");
    }
    finish(args, &mind, &end.samples, &advice, end.at, end.unix_ms).await
}

/// Prints who says something else than before; whether somebody reads it.
fn tell(args: &AdviseArgs, advice: &Advice, before: Option<&Advice>, time: &str, unix_ms: Option<u64>) -> bool {
    if args.look.output == Output::Json {
        return say(&format!("{}\n", show::json(advice, &None, unix_ms)));
    }
    let changed = |by: By| {
        let said = advice.by(by);
        let same =
            before.map(|before| before.by(by)).is_some_and(|old| old.steps == said.steps && old.code == said.code);
        if same { String::new() } else { show::line(time, said) }
    };
    say(&format!("{}{}", changed(By::Ours), changed(By::Autoscaler)))
}

/// A command that runs.
type Call = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// Advice that goes on.
struct Watching<'a> {
    args: &'a AdviseArgs,
    mind: Mind,
    began: Instant,
    last: Option<Advice>,
    calling: Option<(Steps, Call)>,
    /// What the command was run for last, when it may be run for the same again.
    acted: Option<(Steps, Instant)>,
    /// Bridges that it has started, each until it is there or given up.
    starting: Vec<Instant>,
    /// How many bridges there were.
    count: usize,
}

impl<'a> Watching<'a> {
    fn new(args: &'a AdviseArgs) -> Self {
        Self {
            args,
            mind: Mind::new(&args.numbers, false),
            began: Instant::now(),
            last: None,
            calling: None,
            acted: None,
            starting: Vec::new(),
            count: 0,
        }
    }

    async fn run(mut self) -> Result<Exit, Failure> {
        let mut live = Live::start(&self.args.look, self.args.every, self.args.seconds)?;
        loop {
            let calling = async {
                match &mut self.calling {
                    Some((_, call)) => call.await,
                    None => std::future::pending().await,
                }
            };
            let moment = tokio::select! {
                moment = live.next() => moment?,
                ended = calling => {
                    self.ended(&ended);
                    continue;
                }
            };
            let reading = match moment {
                Moment::Over => break,
                Moment::Told(_, false) => true,
                Moment::Told(_, true) | Moment::Tick(_) => self.look(&mut live.pool),
            };
            if !reading {
                break;
            }
        }
        // Half a step may be worse than none or all of it; its deadline holds.
        if let Some((_, call)) = &mut self.calling {
            let ended = call.await;
            self.ended(&ended);
        }
        live.end().await
    }

    /// Looks at the bridges; without a connection there is nothing to go by. Whether somebody reads it.
    fn look(&mut self, pool: &mut Pool) -> bool {
        if pool.link != Link::Up {
            return true;
        }
        let (samples, now) = (samples(pool), Instant::now());
        self.starting.retain(|until| now < *until);
        let come = samples.len().saturating_sub(std::mem::replace(&mut self.count, samples.len()));
        if self.last.is_some() {
            self.starting.drain(..come.min(self.starting.len()));
        }
        let starting = u32::try_from(self.starting.len()).unwrap_or(u32::MAX);
        let starting = starting.saturating_add(self.args.numbers.starting);
        let advice = self.mind.look(&samples, starting, self.began.elapsed());
        let unix_ms = shown::unix_ms();
        let before = self.last.replace(advice.clone());
        let reading = before.as_ref().is_some_and(|before| !advice.differs(before))
            || tell(self.args, &advice, before.as_ref(), &shown::time_of_day(unix_ms), Some(unix_ms));
        self.act(&advice, now, unix_ms);
        reading
    }

    fn act(&mut self, advice: &Advice, now: Instant, unix_ms: u64) {
        let said = advice.by(self.args.by);
        let known = self.acted.as_ref().is_some_and(|(steps, again)| *steps == said.steps && now < *again);
        if self.calling.is_some() || known {
            return;
        }
        let json = show::json(advice, &None, Some(unix_ms));
        if let Some(call) = self.args.hook.call(said, &json) {
            self.calling = Some((said.steps.clone(), Box::pin(call)));
        }
    }

    fn ended(&mut self, ended: &Ended) {
        let Some((steps, _)) = self.calling.take() else { return };
        let start = Duration::from_secs(self.args.numbers.start);
        let now = Instant::now();
        let later = |wait: Duration| now.checked_add(wait).unwrap_or(now);
        let again = if ended.exit == Exit::Done {
            // Twice as long as a bridge takes: then it will not come any more.
            self.starting.extend((0..steps.add.min(1000)).map(|_| later(start.saturating_mul(2))));
            start.max(AGAIN)
        } else {
            AGAIN
        };
        self.acted = Some((steps, later(again)));
        if self.args.look.output == Output::Json {
            let (unix_ms, text) = (shown::unix_ms(), &ended.text);
            say(&format!("{}\n", json!({ "type": "command", "unix_ms": unix_ms, "code": ended.code, "text": text })));
        } else {
            complain(&ended.text);
        }
    }
}
