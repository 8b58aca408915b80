//! The lessons of the morning: begun, joined, begun again; and the check that none is on two servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use adapter_bbb::testing::FakeBbb;
use tokio::task::JoinSet;

use super::browser::Browser;
use super::failed;
use console::Failure;

/// Calls at once.
const AT_ONCE: usize = 32;

pub(super) struct School {
    browser: Browser,
    fakes: Vec<Arc<FakeBbb>>,
    /// Every lesson and the port of its server.
    homes: Mutex<BTreeMap<String, u16>>,
}

impl School {
    pub(super) fn new(browser: Browser, fakes: Vec<Arc<FakeBbb>>) -> Self {
        Self { browser, fakes, homes: Mutex::default() }
    }

    pub(super) fn browser(&self) -> &Browser {
        &self.browser
    }

    fn name(&self, port: u16) -> String {
        self.fakes.iter().find(|f| f.port() == port).map_or_else(|| port.to_string(), |f| f.name().to_owned())
    }

    fn homes(&self) -> BTreeMap<String, u16> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lessons on the server with this port.
    pub(super) fn on(&self, port: u16) -> Vec<String> {
        self.homes().into_iter().filter(|(_, p)| *p == port).map(|(lesson, _)| lesson).collect()
    }

    fn summary(&self, lessons: &[String]) -> String {
        let homes = self.homes();
        let mut text = String::new();
        for fake in &self.fakes {
            let n = lessons.iter().filter(|l| homes.get(*l) == Some(&fake.port())).count();
            // Writing to a text cannot fail.
            let _ = write!(text, "{}{} {n}", if text.is_empty() { "" } else { ", " }, fake.name());
        }
        text
    }

    /// Creates one lesson and finds out where it is, as a browser does: by joining.
    pub(super) async fn create(&self, lesson: &str) -> Result<String, Failure> {
        let port = create(&self.browser, lesson).await?;
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).insert(lesson.to_owned(), port);
        Ok(self.name(port))
    }

    async fn create_all(&self, lessons: &[String]) -> Result<Duration, Failure> {
        let began = Instant::now();
        for part in lessons.chunks(AT_ONCE) {
            let mut calls = JoinSet::new();
            for lesson in part {
                let (browser, lesson) = (self.browser.clone(), lesson.clone());
                calls.spawn(async move { create(&browser, &lesson).await.map(|port| (lesson, port)) });
            }
            while let Some(done) = calls.join_next().await {
                let (lesson, port) = done.map_err(|e| failed("a create", e))??;
                self.homes.lock().unwrap_or_else(PoisonError::into_inner).insert(lesson, port);
            }
        }
        Ok(began.elapsed())
    }

    /// Begins so many lessons at once.
    pub(super) async fn begin(&self, name: &str, count: usize) -> Result<(String, Duration), Failure> {
        let lessons: Vec<String> = (1..=count).map(|n| format!("{name}-{n}")).collect();
        let took = self.create_all(&lessons).await?;
        Ok((self.summary(&lessons), took))
    }

    /// So many people join every lesson, through the balancer to its server.
    pub(super) async fn join_all(&self, each: usize) -> Result<usize, Failure> {
        let mut joined = 0;
        for (lesson, port) in self.homes() {
            let mut calls = JoinSet::new();
            for n in 0..each {
                let (browser, lesson) = (self.browser.clone(), lesson.clone());
                calls.spawn(async move { join(&browser, &lesson, &format!("person {n}"), true).await });
            }
            while let Some(done) = calls.join_next().await {
                let at = done.map_err(|e| failed("a join", e))??;
                if at != port {
                    return Err(Failure::failed(format!(
                        "{lesson} is split: {} and {}",
                        self.name(port),
                        self.name(at)
                    )));
                }
                joined += 1;
            }
        }
        Ok(joined)
    }

    /// Creates the lessons of a lost server again, and has two people join each.
    pub(super) async fn move_all(&self, lessons: &[String]) -> Result<String, Failure> {
        self.create_all(lessons).await?;
        self.check_homes().await?;
        Ok(self.summary(lessons))
    }

    /// Every lesson answers at the server where it was last seen. The answer is how many.
    pub(super) async fn check_homes(&self) -> Result<usize, Failure> {
        let homes = self.homes();
        for (lesson, port) in &homes {
            let at = join(&self.browser, lesson, "late", true).await?;
            if at != *port {
                return Err(Failure::failed(format!("{lesson} moved to {} by itself", self.name(at))));
            }
        }
        Ok(homes.len())
    }

    /// Waits until the status says offline.
    pub(super) async fn until_offline(&self, id: &str, at_most: Duration) -> Result<Duration, Failure> {
        let began = Instant::now();
        while began.elapsed() < at_most {
            let status = self.browser.operate("status").await?;
            let rows = status["servers"].as_array().cloned().unwrap_or_default();
            if rows.iter().any(|r| r["id"] == id && r["online"] == false) {
                return Ok(began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Failure::failed(format!("a dead server is still online after {} s", at_most.as_secs())))
    }

    /// A lesson that two running servers have, if there is one.
    pub(super) fn splits(&self) -> Option<String> {
        let mut seen = BTreeMap::new();
        for fake in &self.fakes {
            for m in fake.meetings() {
                if let Some(first) = seen.insert(m.id.clone(), fake.name().to_owned()) {
                    return Some(format!("{} on {first} and {}", m.id, fake.name()));
                }
            }
        }
        None
    }
}

async fn create(browser: &Browser, lesson: &str) -> Result<u16, Failure> {
    let answer = browser.call("create", &[("meetingID", lesson), ("name", lesson), ("moderatorPW", "mp")]).await?;
    if !answer.body.contains("SUCCESS") {
        return Err(Failure::failed(format!("{lesson} was not created")).cause(answer.body));
    }
    join(browser, lesson, "teacher", false).await
}

/// Joins, following the redirect only if somebody really goes there. The answer is the port of the server.
async fn join(browser: &Browser, lesson: &str, who: &str, really: bool) -> Result<u16, Failure> {
    let answer = browser.call("join", &[("meetingID", lesson), ("fullName", who)]).await?;
    let Some(url) = answer.location else {
        return Err(Failure::failed(format!("{lesson} cannot be joined")).cause(answer.body));
    };
    if really {
        browser.follow(&url).await?;
    }
    let host = url.split('/').nth(2).unwrap_or_default();
    host.rsplit(':').next().and_then(|p| p.parse().ok()).ok_or_else(|| Failure::failed("a redirect has no port"))
}
