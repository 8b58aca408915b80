//! From options to bridges: out of a live brewery, or out of recorded presences.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use adapter_jitsi::{
    BareJid, BreweryClient, BreweryEvent, BreweryFeed, BridgeLogin, ClientOptions, Element, FileError, FileKind,
    FocusSettings, JitsiFile, LoginOptions, Password, PlainStrategy, RegionGroups, Scope, SelectionStrategy,
    StreamItem, StreamLimits, StreamReader, TlsRoots,
};
use tokio::time::{Instant, timeout_at};

use crate::cli::{BreweryArgs, FocusArgs};
use crate::pool::{Kind, Link, Pool};
use console::Failure;

/// The most bytes of a file of presences.
const MAX_FILE: u64 = 64 << 20;
/// The head of a stream, for presences that were recorded without it.
const HEAD: &[u8] = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

impl FocusArgs {
    /// The settings of the focus to mirror.
    pub(crate) fn settings(&self) -> Result<FocusSettings, Failure> {
        if !self.stress_threshold.is_finite() {
            return Err(Failure::usage(format!("--stress-threshold {} is no stress", self.stress_threshold))
                .hint("1 is all a bridge can bear; jicofo has 0.8"));
        }
        let strategy =
            |text: &str| text.parse::<PlainStrategy>().map_err(|e| Failure::usage("no such strategy").cause(e));
        let participants = strategy(&self.strategy)?;
        let mut settings = FocusSettings::default();
        settings.strategy = match &self.visitor_strategy {
            Some(visitors) => SelectionStrategy::Visitor { participants, visitors: strategy(visitors)? },
            None => participants.into(),
        };
        settings.octo = self.octo;
        settings.mixed_versions = self.mixed_versions;
        settings.local_region = self.local_region.as_deref().map(Into::into);
        let groups = self.region_group.iter().map(|group| group.split(',').map(|region| region.trim().to_owned()));
        settings.region_groups = RegionGroups::new(groups);
        settings.stress_threshold = self.stress_threshold;
        settings.max_participants = u32::try_from(self.max_participants).ok();
        settings.extras.flat_after = self.flat_after.map(Duration::from_secs);
        settings.extras.count_unseen = self.count_unseen;
        settings.extras.empty_conference = self.empty_conference;
        Ok(settings)
    }
}

impl BreweryArgs {
    /// Whether anything of a brewery was named.
    pub(crate) fn is_named(&self) -> bool {
        self.server.is_some() || self.account.is_some() || self.room.is_some() || self.bridge_file.is_some()
    }

    /// How to log in.
    fn options(&self) -> Result<ClientOptions, Failure> {
        let missing = |option: &str, variable: &str| {
            Failure::usage(format!("--{option} is not given"))
                .hint(format!("give it, or set {variable}; --presences FILE works without any brewery"))
        };
        let bridge = self.bridge_file.as_deref().map(bridge_login).transpose()?;
        let known = |own: &Option<String>, of_bridge: fn(&BridgeLogin) -> &String| {
            own.clone().or_else(|| bridge.as_ref().map(|bridge| of_bridge(bridge).clone()))
        };
        let server = known(&self.server, |bridge| &bridge.server);
        let account =
            known(&self.account, |bridge| &bridge.account).ok_or_else(|| missing("account", "JITSI_PICKER_ACCOUNT"))?;
        let room = known(&self.room, |bridge| &bridge.room).ok_or_else(|| missing("room", "JITSI_PICKER_ROOM"))?;
        let jid = |what: &str, text: &str| {
            BareJid::new(text).map_err(|e| Failure::usage(format!("the {what} is no address")).cause(e))
        };
        let login =
            LoginOptions::new(jid("account", &account)?, self.password(bridge)?, jid("room", &room)?, &self.nick);
        let mut options = ClientOptions::new(login);
        if let Some(server) = server {
            let port = if server.rsplit(']').next().is_some_and(|rest| rest.contains(':')) { "" } else { ":5222" };
            options.server = format!("{server}{port}");
        }
        if let Some(path) = &self.roots {
            let roots = read(path).and_then(|pem| {
                TlsRoots::from_pem(&pem)
                    .map_err(|e| Failure::failed(format!("{} holds no roots", path.display())).cause(e))
            });
            options.roots = Some(roots?);
        }
        Ok(options)
    }

    fn password(&self, bridge: Option<BridgeLogin>) -> Result<Password, Failure> {
        if let Some(path) = &self.password_file {
            let text = String::from_utf8(read(path)?)
                .map_err(|_| Failure::failed(format!("the password in {} is not UTF-8", path.display())))?;
            return Ok(Password::new(text.trim_end_matches(['\r', '\n'])));
        }
        let given = std::env::var("JITSI_PICKER_PASSWORD").ok().map(Password::new);
        given.or(bridge.map(|bridge| bridge.password)).ok_or_else(|| {
            Failure::usage("there is no password").hint(
                "set JITSI_PICKER_PASSWORD or name a file by --password-file; it has no option, since any user of the \
                 machine can read a command line",
            )
        })
    }

    /// Starts watching. The feed ends with the client, the client with the feed.
    pub(crate) fn watch(&self, settings: FocusSettings) -> Result<(Pool, BreweryFeed, BreweryClient), Failure> {
        let options = self.options()?;
        let pool = Pool::new(options.login.room.as_str(), settings)?;
        let (client, feed) = BreweryClient::new(options);
        Ok((pool, feed, client))
    }

    /// The bridges as they are now: out of files if some are named, else out of the brewery.
    pub(crate) async fn look(&self, settings: FocusSettings) -> Result<Pool, Failure> {
        let mut pool = if self.presences.is_empty() {
            self.look_live(settings).await?
        } else {
            recorded(&self.presences, self.room.as_deref(), settings)?
        };
        pool.check();
        Ok(pool)
    }

    async fn look_live(&self, settings: FocusSettings) -> Result<Pool, Failure> {
        let (mut pool, mut feed, client) = self.watch(settings)?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(client.run(async move {
            // An error means that nobody is interested any more.
            let _ = stopped.await;
        }));
        let deadline = Instant::now() + Duration::from_secs(self.wait);
        while pool.link != Link::Up {
            let event = timeout_at(deadline, feed.next()).await.map_err(|_| {
                Failure::timed_out(format!("not in the room after {} s", self.wait)).hint("--wait SECONDS waits longer")
            })?;
            let event = event.ok_or_else(|| Failure::failed("the connection ended"))?;
            pool.take(&event);
            if let BreweryEvent::Refused { why, .. } = &event {
                return Err(Failure::failed("the brewery cannot be watched").cause(why));
            }
        }
        drop((stop, feed));
        let _ = running.await;
        Ok(pool)
    }
}

/// The first login of a bridge's file.
fn bridge_login(path: &Path) -> Result<BridgeLogin, Failure> {
    let name = path.display().to_string();
    let kind = FileKind::of(&name).filter(|kind| matches!(kind, FileKind::Properties | FileKind::Hocon));
    let kind = kind.ok_or_else(|| {
        Failure::usage(format!("{name} is no file of a bridge"))
            .hint("name its sip-communicator.properties or its jvb.conf")
    })?;
    let broken = |e: FileError| Failure::failed(format!("{name} cannot be read")).cause(e);
    let file = JitsiFile::read(&*name, kind, &read(path)?).map_err(broken)?;
    file.logins().into_iter().next().ok_or_else(|| {
        Failure::failed(format!("{name} has no login of a bridge")).hint("`jitsi-picker check` says what it lacks")
    })
}

/// Bridges out of recorded stanzas, which stand in the files one after another, or as a captured stream.
fn recorded(files: &[std::path::PathBuf], room: Option<&str>, settings: FocusSettings) -> Result<Pool, Failure> {
    let mut stanzas = Vec::new();
    for path in files {
        let bytes = read(path)?;
        let broken = |number: usize, why: &dyn std::fmt::Display| {
            Failure::failed(format!("stanza {number} in {} cannot be read", path.display())).cause(why)
        };
        let mut reader = StreamReader::new(StreamLimits::default());
        let text = undeclared(&bytes);
        if !text.starts_with(b"<stream:stream") {
            reader.push(HEAD);
        }
        reader.push(text);
        let mut number = 0;
        loop {
            match reader.take().map_err(|e| broken(number + 1, &e))? {
                Some(StreamItem::Stanza(stanza)) => {
                    number += 1;
                    let element = Element::parse(&stanza, &Scope::default()).map_err(|e| broken(number, &e))?;
                    if element.name() == "presence" {
                        stanzas.push((element.attribute("from").unwrap_or_default().to_owned(), stanza));
                    }
                }
                Some(StreamItem::Skipped { bytes, .. }) => {
                    number += 1;
                    return Err(broken(number, &format!("{bytes} bytes are too many")));
                }
                Some(StreamItem::Head(_) | StreamItem::Close) => {}
                None => break,
            }
        }
        if !reader.is_between() {
            return Err(broken(number + 1, &"it has no end"));
        }
    }
    let bridge = stanzas.iter().find(|(_, stanza)| stanza.windows(6).any(|it| it == b"<stats"));
    let own = bridge.and_then(|(from, _)| from.split_once('/')).map(|(room, _)| room.to_owned());
    let room = room.map(str::to_owned).or(own).ok_or_else(|| {
        Failure::failed("there is no presence of a bridge in the files").hint("record what the room sends, as it comes")
    })?;
    let mut pool = Pool::recorded(&room, settings)?;
    for (number, (_, stanza)) in stanzas.iter().enumerate() {
        if let Some(bad) = pool.seen(stanza).into_iter().find(|it| it.kind == Kind::Unreadable) {
            return Err(Failure::failed(format!("presence {} cannot be read", number + 1)).cause(bad.text));
        }
    }
    Ok(pool)
}

/// Without the XML declaration and the blanks around it.
fn undeclared(bytes: &[u8]) -> &[u8] {
    let text = bytes.trim_ascii();
    let end = text.windows(2).position(|it| it == b"?>").filter(|_| text.starts_with(b"<?xml"));
    end.and_then(|end| text.get(end + 2..)).map_or(text, <[u8]>::trim_ascii)
}

/// That a file cannot be read.
pub(crate) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |e| Failure::failed(format!("{} cannot be read", path.display())).cause(e)
}

/// A file, or standard input for `-`.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    Ok(if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(unreadable(path))?)
    })
}

/// The whole of it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let length = open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable(path))?;
    if length as u64 > MAX_FILE {
        return Err(Failure::failed(format!("{} is longer than {MAX_FILE} bytes", path.display())));
    }
    Ok(bytes)
}
