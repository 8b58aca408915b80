//! The bridges of one brewery as they are known: events in, the table of bridges and what happened out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adapter_jitsi::{
    BreweryEvent, BridgeReport, BridgeTable, BridgeView, Evacuation, FocusSettings, OccupantJid, Presence, Seen,
    read_presence,
};

use console::Failure;

/// A pause between two checks that is longer says that we stood still, not the bridges.
const STALLED: Duration = Duration::from_secs(10);

/// How our own connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It has never been in the room.
    Connecting,
    /// In the room.
    Up,
    /// Nothing is heard since then. All bridges stay as they were known.
    Lost {
        /// When something was heard last.
        since: Instant,
        /// Why.
        why: String,
    },
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bridge is new.
    Joined,
    /// A bridge left the room, announced.
    Left,
    /// A bridge left the room without having said so.
    Lost,
    /// A bridge is in another state.
    State,
    /// A bridge publishes nothing.
    Silent,
    /// We are in the room.
    Connected,
    /// We are not.
    Disconnected,
    /// A try to connect failed.
    Refused,
    /// A stanza was not read.
    Unreadable,
    /// The focus wrote something into its log.
    Log,
    /// The log itself is another one, or cannot be read.
    LogFile,
}

impl Kind {
    /// Whether somebody should look.
    pub(crate) fn is_warning(self) -> bool {
        !matches!(self, Self::Joined | Self::Left | Self::State | Self::Connected | Self::Log)
    }

    /// A name that stays.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Lost => "lost",
            Self::State => "state",
            Self::Silent => "silent",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Log => "log",
            Self::LogFile => "log-file",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    /// What.
    pub(crate) kind: Kind,
    /// To which bridge, by JID.
    pub(crate) bridge: Option<String>,
    /// In words.
    pub(crate) text: String,
    /// All conferences are to leave that bridge.
    pub(crate) evacuate: bool,
}

impl Happening {
    /// Nothing leaves a bridge because of it.
    pub(crate) fn of(kind: Kind, bridge: Option<&str>, text: impl Into<String>) -> Self {
        Self { kind, bridge: bridge.map(str::to_owned), text: text.into(), evacuate: false }
    }

    fn evacuating(mut self, evacuate: bool) -> Self {
        self.evacuate = evacuate;
        self
    }
}

/// What a bridge says that a focus does not read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Conferences on it.
    pub(crate) conferences: Option<u64>,
    /// Endpoints on it.
    pub(crate) endpoints: Option<u64>,
}

impl Figures {
    fn of(report: &BridgeReport) -> Self {
        // Casts of floats saturate; what is not a number becomes 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = |name: &str| report.number(name).map(|value| value as u64);
        Self { conferences: whole("conferences"), endpoints: whole("endpoints").or_else(|| whole("participants")) }
    }
}

/// The bridges of one brewery.
#[derive(Debug)]
pub(crate) struct Pool {
    room: String,
    /// When its clock began; the clock of what was recorded stands still.
    began: Option<Instant>,
    checked: Instant,
    /// What a focus would know.
    pub(crate) table: BridgeTable,
    /// How our own connection is.
    pub(crate) link: Link,
    figures: BTreeMap<String, Figures>,
    states: BTreeMap<String, &'static str>,
}

/// The state of a bridge in one word: the gravest that holds.
pub(crate) fn state(view: &BridgeView) -> &'static str {
    if !view.operational {
        "failed"
    } else if view.missing {
        "missing"
    } else if view.shutting_down {
        "shutting-down"
    } else if view.graceful_shutdown {
        "graceful"
    } else if view.drain {
        "drain"
    } else if view.overloaded {
        "overloaded"
    } else {
        "ready"
    }
}

impl Pool {
    /// No bridges yet.
    pub(crate) fn new(room: &str, settings: FocusSettings) -> Result<Self, Failure> {
        let table = BridgeTable::try_new(settings)
            .map_err(|e| Failure::usage("the focus cannot be mirrored with these settings").cause(e))?;
        let began = Instant::now();
        Ok(Self {
            room: room.to_lowercase(),
            began: Some(began),
            checked: began,
            table,
            link: Link::Connecting,
            figures: BTreeMap::new(),
            states: BTreeMap::new(),
        })
    }

    /// No bridges yet; whatever is taken in counts as just heard, so that the same records give the same answers.
    pub(crate) fn recorded(room: &str, settings: FocusSettings) -> Result<Self, Failure> {
        Ok(Self { began: None, link: Link::Up, ..Self::new(room, settings)? })
    }

    /// The time on the clock of the table.
    pub(crate) fn now(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// The bridges in the order of the focus, each with what it says besides.
    pub(crate) fn ranking(&mut self) -> Vec<(BridgeView, Figures)> {
        let views = self.table.ranking(self.now());
        let figures = |view: &BridgeView| self.figures.get(view.id.as_str()).copied().unwrap_or_default();
        views
            .into_iter()
            .map(|view| {
                let figures = figures(&view);
                (view, figures)
            })
            .collect()
    }

    /// The full JID of a bridge that is named by it or by its nick alone.
    pub(crate) fn resolve(&self, name: &str) -> Option<String> {
        let (room, nick) = name.split_once('/').unwrap_or((&self.room, name));
        let whole = format!("{}/{nick}", room.to_lowercase());
        // A nick may have slashes of its own.
        [whole, format!("{}/{name}", self.room)].into_iter().find(|jid| self.figures.contains_key(jid))
    }

    /// Takes in what the brewery tells.
    pub(crate) fn take(&mut self, event: &BreweryEvent) -> Vec<Happening> {
        match event {
            BreweryEvent::BridgeSeen { stanza, .. } => self.seen(stanza),
            BreweryEvent::BridgeLeft { occupant, reason } => self.gone(occupant.as_str(), &reason.to_string()),
            BreweryEvent::BridgeSilent { occupant, quiet } => {
                let text = format!("publishes nothing for {:.0} s", quiet.as_secs_f64());
                vec![Happening::of(Kind::Silent, Some(occupant.as_str()), text)]
            }
            BreweryEvent::Disconnected { since, why } => {
                self.link = Link::Lost { since: *since, why: why.to_string() };
                vec![Happening::of(Kind::Disconnected, None, format!("{why}; bridges stay as they were known"))]
            }
            BreweryEvent::Resynced { away, present, missing, .. } => {
                self.link = Link::Up;
                self.checked = Instant::now();
                let mut happened = vec![Happening::of(Kind::Connected, None, resynced(*away, present, missing))];
                let now = self.now();
                for bridge in missing.iter().map(OccupantJid::as_str) {
                    self.table.missing(bridge, now);
                    happened.extend(self.changed(bridge));
                }
                happened
            }
            BreweryEvent::Refused { why, retry } => {
                let text = format!("{why}; next try in {:.1} s", retry.as_secs_f64());
                vec![Happening::of(Kind::Refused, None, text)]
            }
            BreweryEvent::Cut { occupant, bytes } => {
                let text = format!("a stanza of {bytes} bytes is above a limit and not read");
                vec![Happening::of(Kind::Unreadable, occupant.as_ref().map(OccupantJid::as_str), text)]
            }
            _ => Vec::new(),
        }
    }

    /// Takes in one presence.
    pub(crate) fn seen(&mut self, stanza: &[u8]) -> Vec<Happening> {
        let presence = match read_presence(stanza, &self.room) {
            Ok(presence) => presence,
            Err(e) => return vec![Happening::of(Kind::Unreadable, None, e.to_string())],
        };
        let now = self.now();
        match &presence {
            Presence::Update { from, report } => {
                let id = from.to_string();
                let update = match self.table.apply(&presence, now) {
                    Ok(Seen::Updated(update)) => update,
                    Ok(_) => return Vec::new(),
                    Err(e) => return vec![Happening::of(Kind::Unreadable, Some(&id), e.to_string())],
                };
                self.figures.insert(id.clone(), Figures::of(report));
                let mut happened = Vec::new();
                if update.added {
                    let view = self.table.view(&id, now);
                    let word = view.as_ref().map_or("ready", state);
                    self.states.insert(id.clone(), word);
                    happened.push(Happening::of(Kind::Joined, Some(&id), format!("is new: {word}")));
                }
                let evacuate = update.evacuate.is_some();
                happened.extend(self.changed(&id).map(|it| it.evacuating(evacuate)));
                happened
            }
            Presence::Leave { from } => self.gone(&from.to_string(), "left"),
            _ => Vec::new(),
        }
    }

    fn gone(&mut self, id: &str, how: &str) -> Vec<Happening> {
        self.figures.remove(id);
        self.states.remove(id);
        let Some(lost) = self.table.remove(id, self.now()) else { return Vec::new() };
        let (kind, text) = match lost {
            true => (Kind::Lost, format!("is gone without having said so: {how}")),
            false => (Kind::Left, format!("is gone as announced: {how}")),
        };
        vec![Happening::of(kind, Some(id), text).evacuating(true)]
    }

    fn changed(&mut self, id: &str) -> Option<Happening> {
        let view = self.table.view(id, self.now()).filter(|view| view.known)?;
        let word = state(&view);
        let old = self.states.insert(id.to_owned(), word)?;
        let text = format!("{old} -> {word} (stress {:.2}, corrected {:.2})", view.stress, view.corrected_stress);
        (old != word).then(|| Happening::of(Kind::State, Some(id), text))
    }

    /// Checks every bridge by its presences, and says which are in another state now. To be called about every second.
    ///
    /// Without a connection nothing is checked: that nothing is heard is our fault then.
    pub(crate) fn check(&mut self) -> Vec<Happening> {
        let pause = self.checked.elapsed();
        self.checked = Instant::now();
        let now = self.now();
        let mut happened = Vec::new();
        for id in self.figures.keys().cloned().collect::<Vec<_>>() {
            let mut evacuate = false;
            if self.link == Link::Up && pause < STALLED {
                let verdict = self.table.check_presence(&id, now);
                evacuate = matches!(verdict, Some((_, Some(Evacuation::FailedCheck | Evacuation::ShuttingDown))));
            }
            happened.extend(self.changed(&id).map(|it| it.evacuating(evacuate)));
        }
        happened
    }
}

fn resynced(away: Option<Duration>, present: &[OccupantJid], missing: &[OccupantJid]) -> String {
    let mut text = match away {
        None => format!("in the room with {}", console::counted(present.len(), "bridge")),
        Some(away) => format!(
            "back in the room after {:.1} s with {}",
            away.as_secs_f64(),
            console::counted(present.len(), "bridge")
        ),
    };
    if !missing.is_empty() {
        let nicks: Vec<&str> = missing.iter().map(OccupantJid::nick).collect();
        text.push_str(&format!("; missing: {}", nicks.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests;
