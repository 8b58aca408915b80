//! What was found, and how it is told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::settings::masked;
use crate::table::{Column, load, render};
use console::{Cell, counted, printable};
use console::{Exit, Outcome};

/// Left-overs that are named; more are counted.
const NAMED: usize = 20;

const COLUMNS: [Column; 9] = [
    Column::new("ID"),
    Column::new("URL"),
    Column::new("SECRET"),
    Column::new("STATE"),
    Column::new("STATUS"),
    Column::new("MEETINGS"),
    Column::new("LOAD"),
    Column::new("MULTIPLIER"),
    Column::new("TAG"),
];

/// One server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) state: String,
    pub(super) online: bool,
    pub(super) load: Option<String>,
    pub(super) multiplier: String,
    pub(super) tag: String,
    pub(super) meetings: usize,
}

/// A deployment.
#[derive(Clone, Default)]
pub(super) struct Found {
    pub(super) place: String,
    pub(super) namespace: String,
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) meetings: usize,
    pub(super) bridges: usize,
    pub(super) tenants: usize,
    /// Whether `serve` would tell tenants apart.
    pub(super) serves_tenants: bool,
    /// What Scalelite has forgotten to tidy up.
    pub(super) left_over: Vec<String>,
    /// Name, value without secrets, source.
    pub(super) settings: Vec<(&'static str, String, String)>,
    /// Names that change nothing here, with the reason.
    pub(super) idle: Vec<String>,
    /// Warnings.
    pub(super) weak: Vec<String>,
    /// Why `serve` would not start.
    pub(super) refused: Vec<String>,
}

impl Found {
    /// As it is printed: exit code 0 when `serve` would take over as things are, else 1.
    pub(super) fn outcome(&self, as_json: bool) -> Outcome {
        let out = if as_json { format!("{:#}\n", self.json()) } else { self.text() };
        let exit = if self.obstacles().is_empty() { Exit::Done } else { Exit::Failed };
        Outcome { out, notes: Vec::new(), exit }
    }

    /// What keeps us from taking over.
    fn obstacles(&self) -> Vec<String> {
        let mut all = self.refused.clone();
        // Without them their calls are refused; the setting alone may not say so.
        if self.tenants > 0 && !self.serves_tenants {
            all.push(format!(
                "{} tenants are kept: set MULTITENANCY_ENABLED to true, else their calls are refused",
                self.tenants
            ));
        }
        all
    }

    fn json(&self) -> Value {
        let servers: Vec<Value> = self
            .servers
            .iter()
            .map(|(id, s)| {
                json!({
                    "id": id, "url": s.url, "secret": masked(&s.secret), "state": s.state, "online": s.online,
                    "load": s.load, "load_multiplier": s.multiplier, "tag": s.tag, "meetings": s.meetings,
                })
            })
            .collect();
        let settings: Vec<Value> = self
            .settings
            .iter()
            .map(|(name, value, source)| json!({ "name": name, "value": value, "source": source }))
            .collect();
        json!({
            "redis": self.place, "namespace": self.namespace, "servers": servers, "meetings": self.meetings,
            "voice_bridges": self.bridges, "tenants": self.tenants, "left_over": self.left_over,
            "settings": settings, "without_effect": self.idle, "warnings": self.weak, "obstacles": self.obstacles(),
        })
    }

    fn text(&self) -> String {
        let mut out =
            format!("Scalelite at {}, keys begin with {}:\n\n", printable(&self.place), printable(&self.namespace));
        if self.servers.is_empty() {
            out.push_str("No servers were found: is REDIS_NAMESPACE right?\n");
        } else {
            let row = |(id, s): (&String, &Server)| {
                vec![
                    Cell::text(id),
                    Cell::text(&s.url),
                    Cell::text(&masked(&s.secret)),
                    Cell::text(&s.state),
                    Cell::text(if s.online { "online" } else { "offline" }),
                    Cell::Number(s.meetings.to_string()),
                    load(s.load.as_ref().and_then(|load| load.parse().ok())),
                    Cell::Number(printable(&s.multiplier)),
                    Cell::text(&s.tag),
                ]
            };
            out.push_str(&render(&COLUMNS, &self.servers.iter().map(row).collect::<Vec<_>>()));
        }
        out.push_str(&format!(
            "\n{}, {}, {}, {}\n",
            counted(self.servers.len(), "server"),
            counted(self.meetings, "meeting"),
            counted(self.bridges, "voice bridge"),
            counted(self.tenants, "tenant")
        ));
        let settings: Vec<String> =
            self.settings.iter().map(|(name, value, source)| format!("{name} = {value} ({source})")).collect();
        list(&mut out, "Settings that are taken over", &settings);
        list(&mut out, "Settings without effect", &self.idle);
        list(&mut out, "Left over, and harmless", &self.left_over);
        list(&mut out, "Warnings", &self.weak);
        let obstacles = self.obstacles();
        list(&mut out, "In the way", &obstacles);
        if obstacles.is_empty() {
            out.push_str(
                "\nTo take over: stop Scalelite's api and poller, then run `bbb-balancer serve` with this environment.\n\
                 The servers and meetings above are in Redis and need no import; to go back, do it the other way round.\n",
            );
        } else {
            out.push_str("\n`bbb-balancer serve` cannot take over as it is: mend what is in the way.\n");
        }
        out.push_str("Nothing was changed.\n");
        out
    }
}

fn list(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    out.push_str(&format!("\n{title}\n"));
    for line in lines.iter().take(NAMED) {
        out.push_str(&format!("  {}\n", printable(line)));
    }
    if lines.len() > NAMED {
        out.push_str(&format!("  and {} more\n", lines.len() - NAMED));
    }
}
