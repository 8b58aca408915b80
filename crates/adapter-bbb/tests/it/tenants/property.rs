//! Whatever one tenant does, another one is answered as if it were alone.

mod shelf;

use std::collections::BTreeSet;

use adapter_bbb::BbbService;
use proptest::prelude::*;

use super::dial_in::{fsapi, typed};
use super::{A, B, Tenant, ask, both, operate, served};
use crate::stage::{Answer, Process, Stage};
use shelf::Shelf;

/// Recordings that calls name: two of each tenant, one of nobody, the beginning of all, several at once.
const RECORDINGS: [&str; 7] = [
    "rec-alpha-1",
    "rec-alpha-2",
    "rec-beta-1",
    "rec-beta-2",
    "rec-nobody-1",
    "rec-",
    "rec-beta-1,rec-alpha-1,rec-nobody-1",
];
/// What `getRecordings` is asked for.
const FILTERS: [&str; 8] = [
    "",
    "state=any",
    "meetingID=m1",
    "meetingID=m1,m2&state=any",
    "meta_course=7",
    "meta_tenant-id=ten-alpha&state=any",
    "meta_Tenant-Id=ten-alpha,ten-beta&meta_course=7",
    "recordID=rec-&offset=0&limit=50",
];
/// What becomes of recordings.
const CHANGES: [(&str, &str); 7] = [
    ("publishRecordings", "publish=true"),
    ("publishRecordings", "publish=false"),
    ("updateRecordings", "meta_note=x&protect=true"),
    ("updateRecordings", "meta_tenant-id=ten-beta&meta_Tenant-Id=ten-beta"),
    ("updateRecordings", "meta_tenant-id=&protect=false"),
    ("deleteRecordings", ""),
    ("getRecordingTextTracks", ""),
];

const IDS: [&str; 5] = ["m1", "m2", "room", "~ten-beta~m1", "~ten-alpha~m2"];
const URLS: [&str; 2] = ["http://127.0.0.1:9/x", "http://127.0.0.1:9/y"];

/// One call of a front-end; numbers choose among ids.
#[derive(Clone, Debug)]
enum Op {
    Create(usize),
    Room(usize, usize),
    Join(usize),
    End(usize),
    About(&'static str, usize),
    All(&'static str),
    Document(usize),
    Chat(usize),
    Hook(usize, usize),
    Hooks(Option<usize>),
    /// One of its own, or a number that may be anybody's.
    Unhook(usize, bool),
    List(usize, Option<usize>),
    Change(usize, usize),
    Track(usize),
    /// With a token that was listed for this tenant, for the other one, or none.
    Play(usize, Option<bool>),
    File(usize),
    /// A telephone that dials the number of this tenant's meeting, or of the other one's.
    Dial(usize, bool, bool),
    Session(&'static str),
}

fn op() -> impl Strategy<Value = Op> {
    let id = || 0..IDS.len();
    let recording = || 0..RECORDINGS.len();
    prop_oneof![
        4 => id().prop_map(Op::Create),
        1 => (id(), id()).prop_map(|(a, b)| Op::Room(a, b)),
        3 => id().prop_map(Op::Join),
        2 => id().prop_map(Op::End),
        3 => (prop::sample::select(vec!["isMeetingRunning", "getMeetingInfo"]), id()).prop_map(|(c, n)| Op::About(c, n)),
        2 => Just(Op::All("getMeetings")),
        1 => id().prop_map(Op::Document),
        1 => id().prop_map(Op::Chat),
        2 => (id(), 0..URLS.len()).prop_map(|(n, u)| Op::Hook(n, u)),
        1 => prop::option::of(id()).prop_map(Op::Hooks),
        1 => (0..4_usize, any::<bool>()).prop_map(|(n, own)| Op::Unhook(n, own)),
        3 => (0..FILTERS.len(), prop::option::of(recording())).prop_map(|(f, r)| Op::List(f, r)),
        3 => (recording(), 0..CHANGES.len()).prop_map(|(r, c)| Op::Change(r, c)),
        1 => recording().prop_map(Op::Track),
        2 => (recording(), prop::option::of(any::<bool>())).prop_map(|(r, t)| Op::Play(r, t)),
        1 => recording().prop_map(Op::File),
        2 => (id(), any::<bool>(), any::<bool>()).prop_map(|(n, own, room)| Op::Dial(n, own, room)),
        1 => prop::sample::select(vec!["getJoinUrl", "feedback"]).prop_map(Op::Session),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    By(Tenant, Op),
    /// Every server is polled, and what ended is forgotten.
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => op().prop_map(|op| Step::By(A, op)),
        5 => op().prop_map(|op| Step::By(B, op)),
        1 => Just(Step::Poll),
    ];
    prop::collection::vec(step, 1..40)
}

fn form(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// An answer without what differs between two equal worlds: numbers of servers, times and tokens.
fn comparable(tenant: Tenant, a: &Answer) -> String {
    if a.body.contains("<meetings>") {
        // There is no order in it.
        let of = |part: &str, name: &str| {
            part.split_once(&format!("<{name}>")).map(|(_, r)| r.split('<').next().unwrap_or("").to_owned())
        };
        let all: BTreeSet<_> = a
            .body
            .split("<meeting>")
            .skip(1)
            .map(|part| {
                ["meetingID", "meetingName", "participantCount", "isBreakout", "moderatorPW"].map(|name| of(part, name))
            })
            .collect();
        return format!("{all:?}");
    }
    let mut text = a.body.clone();
    for name in ["internalMeetingID", "createTime", "createDate", "startTime", "voiceBridge", "hookID", "userID"] {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(&open) {
            out.push_str(before);
            rest = after.split_once(&close).map_or("", |(_, rest)| rest);
        }
        text = out + rest;
    }
    let led = a.location.as_deref().map(|l| {
        let query = l.split_once('?').map_or("", |(_, q)| q);
        let query = query.replace(&format!("%7E{}%7E", tenant.id()), "");
        query.split('&').filter(|p| !p.starts_with("checksum=")).collect::<Vec<_>>().join("&")
    });
    format!("{} {led:?} {}", a.status, shelf::without_tokens(&text))
}

struct World {
    stage: Stage,
    process: Process,
    /// With recordings.
    service: BbbService,
    shelf: Shelf,
    /// Numbers of hooks, by tenant.
    hooks: Vec<(Tenant, String)>,
}

impl World {
    /// A world with recordings of these tenants, and of nobody.
    async fn new(owners: &[Tenant]) -> Self {
        let stage = Stage::memory(2).await;
        let process = both(&stage).await;
        let shelf = Shelf::new(owners).await;
        let service = shelf.served_by(process.service.clone(), stage.store.clone());
        Self { stage, process, service, shelf, hooks: Vec::new() }
    }

    /// The number of a tenant's meeting, as its servers know it.
    fn number(&self, tenant: Tenant, id: &str) -> Option<String> {
        let of = |id: &str| {
            let at = *self.stage.having(id).first()?;
            self.stage.fakes[at].meeting(id).filter(|m| m.param("meta_tenant-id") == Some(&tenant.id()))
        };
        // An id that looks like a longer one is never a server's as it is: that is another meeting.
        let plain = if id.starts_with('~') { None } else { of(id) };
        Some(plain.or_else(|| of(&format!("~{}~{id}", tenant.id())))?.voice_bridge)
    }

    /// What a telephone is told that was called at the tenant's host name.
    async fn dial(&self, tenant: Tenant, n: usize, own: bool, room: bool) -> Answer {
        let of = if own == (tenant == A) { A } else { B };
        // Numbers of telephones are nobody's secret: they may be tried.
        let number = self.number(of, IDS[n]).unwrap_or_else(|| "111111111".to_owned()) + if room { "1" } else { "" };
        let login = tenant.secret();
        let mut told = fsapi(&self.service, &tenant.host(), Some(("fsapi", &login)), &typed(&number)).await;
        told.body = told.body.replace(&number, "NUMBER");
        told
    }

    async fn run(&mut self, tenant: Tenant, op: &Op) -> Answer {
        let id = |n: &usize| format!("meetingID={}", form(IDS[*n]));
        let pw = "moderatorPW=mp&attendeePW=ap";
        let (name, query) = match op {
            Op::Create(n) => ("create", format!("{}&name={}&{pw}", id(n), tenant.0)),
            Op::Room(n, p) => ("create", format!("{}&isBreakout=true&parentMeetingID={}&{pw}", id(n), form(IDS[*p]))),
            Op::Join(n) => ("join", format!("{}&fullName=Ann&password=ap", id(n))),
            Op::End(n) => ("end", format!("{}&password=mp", id(n))),
            Op::About(call, n) => (*call, id(n)),
            Op::All(call) => (*call, String::new()),
            Op::Document(n) => {
                let body = Some(("application/xml", "<modules><module name=\"presentation\"/></modules>"));
                return ask(&self.service, &tenant.host(), "insertDocument", &id(n), &tenant.secret(), body).await;
            }
            Op::Chat(n) => ("sendChatMessage", format!("{}&message=hello", id(n))),
            Op::Hook(n, u) => ("hooks/create", format!("{}&callbackURL={}", id(n), form(URLS[*u]))),
            Op::Hooks(n) => ("hooks/list", n.as_ref().map(id).unwrap_or_default()),
            Op::Unhook(n, own) => {
                let all: Vec<&String> = self.hooks.iter().filter(|(t, _)| *t == tenant).map(|(_, id)| id).collect();
                let hook = match (own, all.get(*n)) {
                    (true, Some(id)) => (*id).clone(),
                    (true, None) => "none".to_owned(),
                    // A number that is another tenant's at best.
                    (false, _) => {
                        let foreign = self.hooks.iter().find(|(t, _)| *t != tenant).map(|(_, id)| id.clone());
                        foreign.unwrap_or_else(|| "none".to_owned())
                    }
                };
                ("hooks/destroy", format!("hookID={hook}"))
            }
            Op::List(f, r) => {
                let more = r.map(|r| format!("&recordID={}", RECORDINGS[r])).unwrap_or_default();
                ("getRecordings", format!("{}{more}", FILTERS[*f]))
            }
            Op::Change(r, c) => {
                let (call, what) = CHANGES[*c];
                (call, format!("recordID={}&{what}", RECORDINGS[*r]))
            }
            Op::Track(r) => {
                let query = format!("recordID={}&kind=subtitles&lang=en&label=of+{}", RECORDINGS[*r], tenant.0);
                let (host, secret) = (tenant.host(), tenant.secret());
                return ask(&self.service, &host, "putRecordingTextTrack", &query, &secret, Some(shelf::TRACK)).await;
            }
            Op::Play(r, whose) => {
                let token = whose.map(|own| if own == (tenant == A) { A } else { B });
                let token = token.and_then(|of| self.shelf.token(of, RECORDINGS[*r]));
                let query = token.map(|token| format!("token={token}")).unwrap_or_default();
                return served(&self.service, tenant, &format!("/recording/{}/video", RECORDINGS[*r]), &query).await;
            }
            Op::File(r) => {
                return served(&self.service, tenant, &format!("/video/{}/a.webm", RECORDINGS[*r]), "").await;
            }
            Op::Dial(n, own, room) => return self.dial(tenant, *n, *own, *room).await,
            Op::Session(call) => (*call, "sessionToken=guessed".to_owned()),
        };
        let answer = ask(&self.service, &tenant.host(), name, &query, &tenant.secret(), None).await;
        self.shelf.note_tokens(tenant, &answer.body);
        if let Op::Hook(..) = op
            && answer.ok()
            && answer.text("messageKey").is_empty()
        {
            self.hooks.push((tenant, answer.text("hookID").to_owned()));
        }
        if let Some(led) = &answer.location {
            let at = self.stage.led_to(&answer).expect("a server of the pool");
            self.stage.fakes[at].perform(led, b"").unwrap();
        }
        answer
    }

    /// What an operator sees of one tenant.
    async fn listed(&self, tenant: Tenant) -> String {
        let list = operate(&self.process, "meetings", &format!("tenant={}", tenant.0), None).await;
        let list: serde_json::Value = serde_json::from_str(&list.body).unwrap();
        let mark = format!("~{}~", tenant.id());
        let ids: BTreeSet<String> = list["meetings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["id"].as_str().unwrap().replacen(&mark, "", 1))
            .collect();
        format!("{ids:?}")
    }
}

async fn two_worlds(steps: &[Step]) -> Result<u64, TestCaseError> {
    let (mut shared, mut alone) = (World::new(&[A, B]).await, World::new(&[B]).await);
    let mut compared = 0;
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Poll => {
                shared.process.poll().await;
                alone.process.poll().await;
            }
            Step::By(tenant, op) => {
                let seen = shared.run(*tenant, op).await;
                let other = if *tenant == A { B } else { A };
                for foreign in [format!("<meetingName>{}<", other.0), shelf::lesson(other), format!("of {}", other.0)] {
                    prop_assert!(!seen.body.contains(&foreign), "{n}: {op:?}: {seen:?}");
                }
                prop_assert!(!seen.body.contains("of nobody"), "{n}: {op:?}: {seen:?}");
                if *tenant == B {
                    let expected = alone.run(B, op).await;
                    prop_assert_eq!(comparable(B, &seen), comparable(B, &expected), "step {}: {:?}", n, op);
                    compared += 1;
                }
            }
        }
    }
    for op in IDS.iter().enumerate().map(|(n, _)| Op::About("getMeetingInfo", n)).chain([
        Op::All("getMeetings"),
        Op::Hooks(None),
        Op::List(1, None),
    ]) {
        let (seen, expected) = (shared.run(B, &op).await, alone.run(B, &op).await);
        prop_assert_eq!(comparable(B, &seen), comparable(B, &expected), "at the end: {:?}", op);
        compared += 1;
    }
    prop_assert_eq!(shared.listed(B).await, alone.listed(B).await);
    prop_assert_eq!(shared.shelf.files(B), alone.shelf.files(B));
    Ok(compared)
}

/// A listed breakout room was found by the id that only its server knows it by.
#[tokio::test]
async fn a_room_has_no_name_but_its_own() {
    let steps = [
        Step::By(B, Op::Create(4)),
        Step::By(A, Op::Hook(0, 0)),
        Step::By(B, Op::Room(0, 4)),
        Step::Poll,
        Step::By(B, Op::About("getMeetingInfo", 3)),
        Step::By(B, Op::About("getMeetingInfo", 0)),
    ];
    two_worlds(&steps).await.unwrap();
}

#[test]
fn a_tenant_is_answered_as_if_it_were_alone() {
    let cases = std::env::var("TENANT_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let compared = std::cell::Cell::new(0);
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }, |(steps in steps())| {
        compared.set(compared.get() + runtime.block_on(two_worlds(&steps))?);
    });
    println!("{cases} schedules, {} answers compared", compared.get());
    assert!(compared.get() > u64::from(cases) * 8);
}
