//! `select`: the bridge that the focus would choose, and why.

use adapter_jitsi::{BridgeView, Choice, Conference, ConferenceBridge, NoBridge, RegionGroups};
use serde_json::{Value, json};

use crate::cli::{Output, SelectArgs};
use crate::pool::{Figures, Pool};
use crate::{complain, say, show};
use console::Cell;
use console::{Exit, Failure};

/// Prints the choice. Without one it ends with 1.
pub(crate) async fn run(args: &SelectArgs) -> Result<Exit, Failure> {
    let mut pool = args.look.brewery.look(args.look.focus.settings()?).await?;
    let conference = question(args, &pool)?;
    let now = pool.now();
    let choice = pool.table.place(&conference, now);
    let ranking = pool.ranking();
    let groups = &pool.table.settings().region_groups;
    let answer = Answer { args, conference, choice, ranking, groups };
    let text = match args.look.output {
        Output::Json => format!("{}\n", answer.json()),
        Output::Table => answer.plain(),
    };
    say(&text);
    match answer.choice {
        Ok(_) => Ok(Exit::Done),
        Err(why) => {
            let failure = Failure::failed(format!("there is no bridge for {}", console::printable(&args.conference)));
            complain(&failure.cause(why).to_string());
            Ok(Exit::Failed)
        }
    }
}

fn question(args: &SelectArgs, pool: &Pool) -> Result<Conference, Failure> {
    let mut conference = Conference::new();
    if let Some(region) = &args.region {
        conference = conference.in_region(region.as_str());
    }
    if args.visitor {
        conference = conference.for_visitor();
    }
    if let Some(version) = &args.pin {
        conference = conference.pinned_to(version.as_str());
    }
    for used in &args.on {
        let (name, count) = match used.rsplit_once('=') {
            Some((name, count)) => (name, count.parse().ok()),
            None => (used.as_str(), Some(1)),
        };
        let count = count.ok_or_else(|| {
            Failure::usage(format!("--on {} has no number behind the =", console::printable(used)))
                .hint("write BRIDGE or BRIDGE=PARTICIPANTS")
        })?;
        let jid = pool.resolve(name).ok_or_else(|| {
            Failure::failed(format!("there is no bridge {}", console::printable(name)))
                .hint("`jitsi-picker rank` lists the bridges")
        })?;
        conference = conference.on(ConferenceBridge::new(jid, count));
    }
    Ok(conference)
}

/// What is to be told.
struct Answer<'a> {
    args: &'a SelectArgs,
    conference: Conference,
    choice: Result<Choice, NoBridge>,
    ranking: Vec<(BridgeView, Figures)>,
    groups: &'a RegionGroups,
}

impl Answer<'_> {
    fn plain(&self) -> String {
        let mut text = match &self.choice {
            Ok(choice) => {
                format!("{}\nbecause: {}\n", console::printable(show::nick(choice.bridge.as_str())), choice.reason)
            }
            Err(_) => String::new(),
        };
        if self.args.explain {
            let row = |view: &BridgeView| {
                vec![
                    Cell::text(show::nick(view.id.as_str())),
                    Cell::number(Some(format!("{:.2}", view.stress))),
                    Cell::number(Some(format!("{:.2}", view.corrected_stress))),
                    Cell::text(view.region.as_deref().unwrap_or_default()),
                    Cell::text(&self.facts(view).join(", ")),
                ]
            };
            let rows: Vec<Vec<Cell>> = self.ranking.iter().map(|(view, _)| row(view)).collect();
            let headers = ["BRIDGE", "STRESS", "CORRECTED", "REGION", "WHAT COUNTS"];
            let blank = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{blank}{}", console::table(&headers, &rows)));
        }
        text
    }

    fn json(&self) -> Value {
        let args = self.args;
        let mut all = json!({ "conference": args.conference, "region": args.region, "visitor": args.visitor });
        match &self.choice {
            Ok(choice) => {
                all["bridge"] = show::nick(choice.bridge.as_str()).into();
                all["jid"] = choice.bridge.as_str().into();
                all["reason"] = choice.reason.code().into();
                all["because"] = choice.reason.text().into();
            }
            Err(why) => {
                all["bridge"] = Value::Null;
                all["reason"] = why.code().into();
                all["because"] = why.to_string().into();
            }
        }
        if args.explain {
            let considered = self.ranking.iter().map(|(view, figures)| {
                let mut one = show::json(view, figures);
                one["what_counts"] = self.facts(view).into();
                one
            });
            all["considered"] = considered.collect();
        }
        all
    }

    /// What speaks for or against a bridge, in the order of its weight.
    fn facts(&self, view: &BridgeView) -> Vec<String> {
        let conference = &self.conference;
        let mut facts = Vec::new();
        let mut note = |holds: bool, text: &str| {
            if holds {
                facts.push(text.to_owned());
            }
        };
        note(self.choice.as_ref().is_ok_and(|choice| choice.bridge == view.id), "chosen");
        note(conference.bridges.iter().any(|used| used.id == view.id), "has the conference");
        note(!view.operational, "failed: not used");
        note(view.missing, "missing since we came back: only when no other is left");
        note(view.shutting_down, "shutting down: not used");
        note(view.graceful_shutdown, "graceful shutdown: only when no other is left");
        note(view.drain, "drains: only when no other is left");
        note(view.overloaded, "overloaded");
        note(view.failing_ice, "its endpoints ask for restarts");
        if let Some(pinned) = conference.version.as_ref().filter(|pinned| view.full_version.as_ref() != Some(pinned)) {
            note(true, &format!("not of version {pinned}"));
        }
        if let Some(wanted) = conference.region.as_deref() {
            let place = match view.region.as_deref() {
                None => "of no region",
                Some(region) if region == wanted => "in the region",
                Some(region) if self.groups.group(Some(wanted)).contains(region) => "near the region",
                Some(_) => "in another region",
            };
            note(true, place);
        }
        note(view.relay_id.is_none(), "no relay id: alone in a conference");
        facts
    }
}
