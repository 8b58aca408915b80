//! `demo`: three pretended BigBlueButton servers and a balancer in one process, and a school morning through real HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_bbb::testing::{FakeBbb, FakeOptions, Meetings};
use adapter_bbb::{
    Algorithm, Algorithms, BbbOptions, BbbService, Bind, Checksums, Cluster, HttpLimits, HttpServer, LocalStore,
    Params, signed_url,
};

use crate::action::Action;
use crate::cli::{DemoOptions, Output};
use crate::client::Client;
use crate::commands::{self, View};
use console::Failure;

mod browser;
mod lesson;

use browser::Browser;
use lesson::School;

const SECRET: &str = "demo-secret-of-the-balancer";
const SERVERS: usize = 3;
/// How long the pollers may take to agree on a verdict, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn failed(what: &str, e: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the demo cannot go on: {what}")).cause(e.to_string())
}

/// Plays the morning; with `--keep` the cluster stays until it is interrupted.
pub(crate) async fn run(options: DemoOptions) -> Result<(), Failure> {
    let began = Instant::now();
    let say = |text: &str| println!("{:>6.1} s  {text}", began.elapsed().as_secs_f64());
    let poll = Duration::from_secs(if options.fast { 1 } else { 2 });

    say("starting three pretended BigBlueButton servers and a balancer on this machine");
    let mut fakes = Vec::new();
    for n in 1..=SERVERS {
        let fake = FakeBbb::start(FakeOptions::new(format!("secret-of-bbb{n}")).name(format!("bbb{n}")))
            .await
            .map_err(|e| failed("a pretended server does not start", e))?;
        fakes.push(Arc::new(fake));
    }
    let mut settings = BbbOptions::new(Checksums::new([SECRET.to_owned()], Algorithms::default()));
    settings.poll_interval = poll;
    settings.calls.connect = Duration::from_secs(1);
    settings.calls.response = Duration::from_secs(2);
    let cluster = Cluster::start(settings, Arc::new(LocalStore::memory()))
        .await
        .map_err(|e| failed("the balancer does not start", e))?;
    let any = Bind::Tcp(([127, 0, 0, 1], 0).into());
    let server = HttpServer::bind(&any, BbbService::new(cluster.clone()), HttpLimits::default())
        .await
        .map_err(|e| failed("the balancer cannot listen", e))?;
    let Some(Bind::Tcp(addr)) = server.local() else {
        return Err(Failure::failed("the demo cannot go on: the balancer has no address"));
    };
    tokio::spawn(server.serve(std::future::pending(), Duration::from_secs(1)));
    tokio::spawn(cluster.run(std::future::pending()));
    let browser = Browser::new(addr);
    say(&format!("the balancer answers at http://{addr}/bigbluebutton/api, its secret is {SECRET}"));

    let mut ids = BTreeMap::new();
    for fake in &fakes {
        let body = serde_json::json!({ "server": { "url": fake.base(), "secret": fake.secret() } });
        let added = browser.admin("addServer", &body).await?;
        let id = added["id"].as_str().unwrap_or_default().to_owned();
        browser.admin("updateServer", &serde_json::json!({ "id": id, "server": { "state": "enable" } })).await?;
        ids.insert(fake.port(), id);
    }
    browser.operate("poll").await?;
    let named: Vec<String> = fakes.iter().map(|f| format!("{} is 127.0.0.1:{}", f.name(), f.port())).collect();
    say(&format!("three servers are added, enabled and polled: {}", named.join(", ")));

    let school = School::new(browser, fakes.clone());
    let lessons = if options.fast { 24 } else { 60 };

    say(&format!("08:00  {lessons} lessons begin within a second"));
    let (placed, took) = school.begin("lesson", lessons).await?;
    say(&format!("       all created in {:.0} ms: {placed}", took.as_secs_f64() * 1000.0));
    let people = school.join_all(5).await?;
    say(&format!("       {people} people joined, each on the server of the lesson"));
    school.browser().operate("poll").await?;

    let victim = &fakes[0];
    let lost = school.on(victim.port());
    say(&format!("08:20  bbb1 dies with {} lessons", lost.len()));
    victim.stop().await;
    let mut first = None;
    if let Some(lesson) = lost.first() {
        let at = Instant::now();
        let home = school.create(lesson).await?;
        first = Some(lesson.clone());
        say(&format!(
            "       {lesson} is created again at once: it is on {home} after {:.0} ms",
            at.elapsed().as_secs_f64() * 1000.0
        ));
    }
    let waited = school.until_offline(&ids[&victim.port()], PATIENCE).await?;
    say(&format!("       the pollers agree that bbb1 is offline after {:.1} s", waited.as_secs_f64()));
    let moved = school.move_all(&lost).await?;
    say(&format!("       its lessons go on: {moved}, and everybody of one lesson meets on one server"));

    say("09:00  bbb2 is drained: it keeps its lessons and gets no new ones");
    let second = &ids[&fakes[1].port()];
    let cordon = serde_json::json!({ "id": second, "server": { "state": "cordon" } });
    school.browser().admin("updateServer", &cordon).await?;
    let (placed, _) = school.begin("second", lessons / 4).await?;
    say(&format!("       {} more lessons begin: {placed}", lessons / 4));

    say("09:30  bbb1 returns: nothing moves back");
    victim.revive(Meetings::Lose).await.map_err(|e| failed("bbb1 cannot be revived", e))?;
    school.browser().operate("poll").await?;
    let stayed = school.check_homes().await?;
    say(&format!("       {stayed} lessons are where they were; bbb1 takes new ones"));
    let (placed, _) = school.begin("third", lessons / 4).await?;
    say(&format!("       {} more lessons begin: {placed}", lessons / 4));
    school.browser().operate("poll").await?;
    if let Some(split) = school.splits() {
        return Err(Failure::failed(format!("a lesson is on two servers: {split}")));
    }

    println!();
    let url = format!("http://{addr}");
    print!("{}", table(&url).await?);
    println!();
    let room = first.unwrap_or_else(|| "lesson-1".to_owned());
    println!("$ bbb-balancer explain {room}");
    print!("{}", school.browser().explain(&room).await?);
    println!("$ bbb-balancer explain a-new-lesson");
    print!("{}", school.browser().explain("a-new-lesson").await?);
    println!();
    say("done: no lesson was on two servers at any time");
    if options.keep {
        println!("\nThe cluster stays until Ctrl-C. In another terminal:\n");
        println!("  export BALANCER_URL={url} BALANCER_SECRET={SECRET}\n  bbb-balancer status --watch");
        tokio::signal::ctrl_c().await.map_err(|e| failed("no signal can be waited for", e))?;
    }
    Ok(())
}

/// What `bbb-balancer status` prints.
async fn table(url: &str) -> Result<String, Failure> {
    let client = Client::new(url, SECRET, Algorithm::Sha256, Duration::from_secs(10))?;
    let view = View { output: Output::Table, terminal: false };
    Ok(commands::run(&client, Action::Status, view).await?.out)
}

/// A signed path of the balancer's API.
fn signed(base: &str, call: &str, pairs: &[(&str, &str)]) -> String {
    let mut params = Params::new();
    for (name, value) in pairs {
        params.push(*name, *value);
    }
    signed_url(base, call, &params, SECRET, Algorithm::Sha256)
}
