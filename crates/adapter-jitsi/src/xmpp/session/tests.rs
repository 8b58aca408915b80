use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Action, Channel, LoginOptions, Session, Signal};
use crate::xmpp::{BareJid, LeaveReason, Password, SaslError, XmppError};

const HEAD: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='auth.meet' id='1' version='1.0'>";
const PLAIN: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const BIND: &str = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";
const BOUND: &str =
    "<iq id='bind' type='result'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>b@auth.meet/1</jid></bind></iq>";
const ME: &str = "<presence from='brewery@internal.meet/me'><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>";
const SECOND: Duration = Duration::from_secs(1);

struct Stage {
    session: Session,
    now: Instant,
}

impl Stage {
    fn new(channel: Channel) -> Self {
        let (account, room) = (BareJid::new("b@auth.meet").unwrap(), BareJid::new("Brewery@internal.meet").unwrap());
        let mut options = LoginOptions::new(account, Password::new("pw"), room, "me");
        options.nicks = 3;
        let now = Instant::now();
        Self { session: Session::new(options, channel, [7; 18], "<stats/>", now), now }
    }

    fn joined() -> Self {
        let mut stage = Self::new(Channel::Loopback);
        for text in [HEAD, PLAIN, SUCCESS, HEAD, BIND, BOUND, ME] {
            stage.hear(text);
        }
        assert!(stage.session.is_joined());
        stage
    }

    fn hear(&mut self, text: &str) -> Vec<String> {
        self.session.receive(text.as_bytes(), self.now);
        self.actions()
    }

    fn pass(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.session.tick(self.now);
        self.actions()
    }

    /// What is to be done, in short.
    fn actions(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll())
            .map(|action| match action {
                Action::Send(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Action::StartTls => "(tls)".to_owned(),
                Action::Signal(Signal::Joined { me, created }) => format!("(joined {} {created})", me.nick()),
                Action::Signal(Signal::Seen { occupant, stats, .. }) => format!("(seen {} {stats})", occupant.nick()),
                Action::Signal(Signal::Left { occupant, reason }) => format!("({} {reason})", occupant.nick()),
                Action::Signal(Signal::Cut { occupant, bytes }) => {
                    format!("(cut {:?} {bytes})", occupant.map(|occupant| occupant.nick().to_owned()))
                }
                Action::End(error) => format!("(end {error})"),
            })
            .collect()
    }
}

fn presence(nick: &str, kind: &str, inner: &str) -> String {
    format!("<presence from='brewery@internal.meet/{nick}'{kind}>{inner}</presence>")
}

fn user(inner: &str) -> String {
    format!("<x xmlns='http://jabber.org/protocol/muc#user'>{inner}</x>")
}

#[test]
fn limits_may_be_endless() {
    let mut stage = Stage::joined();
    let options = &mut stage.session.options;
    (options.ping_after, options.ping_timeout) = (Duration::MAX, Duration::MAX);
    (options.step_timeout, options.leave_timeout) = (Duration::MAX, Duration::MAX);
    assert!(stage.pass(3600 * SECOND).is_empty() && stage.session.deadline().is_some_and(|due| due > stage.now));
    stage.session.leave(stage.now);
    assert_eq!(stage.actions().len(), 1);
    assert!(stage.pass(3600 * SECOND).is_empty());
    let opened = Session::new(stage.session.options.clone(), Channel::Loopback, [7; 18], "", stage.now);
    assert!(opened.deadline().is_some_and(|due| due > stage.now));
}

#[test]
fn from_the_head_to_the_room() {
    let mut stage = Stage::new(Channel::Loopback);
    let open = "<?xml version='1.0'?><stream:stream to='auth.meet' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    assert_eq!(stage.actions(), [open]);
    assert!(stage.hear(HEAD).is_empty());
    assert_eq!(stage.hear(PLAIN), ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGIAcHc=</auth>"]);
    assert_eq!(stage.hear(SUCCESS), [open]);
    let bind = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'></bind></iq>";
    assert_eq!(stage.hear(&format!("{HEAD}{BIND}")), [bind]);
    let join = "<presence to='brewery@internal.meet/me' id='join'><x xmlns='http://jabber.org/protocol/muc'/><stats/></presence>";
    assert_eq!(stage.hear(BOUND), [join]);
    assert_eq!(
        stage.hear(&presence("jvb1", "", "<stats xmlns='http://jitsi.org/protocol/colibri'/>")),
        ["(seen jvb1 true)"]
    );
    assert_eq!(stage.hear(&presence("focus", "", "")), ["(seen focus false)"]);
    assert_eq!(stage.hear(ME), ["(joined me false)"]);
    assert!(stage.hear("<message type='groupchat' from='brewery@internal.meet'><subject/></message> \n").is_empty());
    assert_eq!(stage.hear(&presence("jvb1", " type='unavailable'", "")), ["(jvb1 left)"]);
    stage.session.publish("<stats a='1'/>");
    assert_eq!(stage.actions(), ["<presence to='brewery@internal.meet/me' id='p1'><stats a='1'/></presence>"]);
    stage.session.leave(stage.now);
    assert_eq!(stage.actions(), ["<presence to='brewery@internal.meet/me' type='unavailable'/>"]);
    assert_eq!(stage.hear(&presence("me", " type='unavailable'", "")), ["</stream:stream>", "(end left as told)"]);
    assert_eq!(stage.session.deadline(), None);
}

#[test]
fn no_output_holds_the_password() {
    let mut stage = Stage::new(Channel::Loopback);
    stage.session.receive(format!("{HEAD}{PLAIN}").as_bytes(), stage.now);
    let text = format!("{:?}", stage.session);
    assert!(!text.contains("\"pw\"") && !text.contains("AGIAcHc"), "{text}");
    assert!(text.contains("***"), "{text}");
}

#[test]
fn tls_comes_before_anything_secret() {
    let tls = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>";
    let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let mut stage = Stage::new(Channel::StartTls);
    stage.actions();
    assert_eq!(stage.hear(&format!("{HEAD}{tls}")), ["<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"]);
    assert_eq!(stage.hear(proceed), ["(tls)"]);
    stage.session.secured(stage.now);
    assert!(stage.actions()[0].contains("<stream:stream"));
    assert!(stage.hear(&format!("{HEAD}{PLAIN}"))[0].contains("<auth"));
    // A server without TLS is refused, and so is whoever adds something in clear.
    let mut stage = Stage::new(Channel::StartTls);
    stage.actions();
    assert_eq!(stage.hear(&format!("{HEAD}{PLAIN}")), ["(end the server offers no starttls; switch it on there)"]);
    let mut stage = Stage::new(Channel::StartTls);
    stage.hear(&format!("{HEAD}{tls}"));
    let actions = stage.hear(&format!("{proceed}{HEAD}"));
    assert!(actions.last().unwrap().contains("bytes in clear"), "{actions:?}");
}

#[test]
fn a_refused_login_and_a_refused_room_are_named() {
    let mut stage = Stage::new(Channel::Loopback);
    stage.hear(&format!("{HEAD}{PLAIN}"));
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>no</text></failure>";
    stage.session.receive(failure.as_bytes(), stage.now);
    let error = std::iter::from_fn(|| stage.session.poll()).last().unwrap();
    let refused = SaslError::Refused { condition: "not-authorized (no)".to_owned() };
    assert_eq!(error, Action::End(XmppError::Login(refused)));

    let error = |condition: &str| {
        format!("<error type='cancel'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
    };
    let mut stage = Stage::new(Channel::Loopback);
    for text in [HEAD, PLAIN, SUCCESS, HEAD, BIND, BOUND] {
        stage.hear(text);
    }
    let conflict = |nick| presence(nick, " type='error'", &error("conflict"));
    assert!(stage.hear(&conflict("me"))[0].contains("to='brewery@internal.meet/me-2'"));
    assert!(stage.hear(&conflict("me-2"))[0].contains("to='brewery@internal.meet/me-3'"));
    let end = stage.hear(&conflict("me-3"));
    assert!(end[0].starts_with("(end cannot join brewery@internal.meet: conflict"), "{end:?}");

    let mut stage = Stage::new(Channel::Loopback);
    for text in [HEAD, PLAIN, SUCCESS, HEAD, BIND, BOUND] {
        stage.hear(text);
    }
    let end = stage.hear(&presence("me", " type='error'", &error("not-allowed")));
    assert!(end[0].contains("not-allowed (the room does not exist"), "{end:?}");
}

#[test]
fn pings_go_both_ways() {
    let mut stage = Stage::joined();
    let answer = stage.hear("<iq type='get' id='x&lt;' from='auth.meet'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(answer, ["<iq type='result' id='x&lt;' to='auth.meet'/>"]);
    let answer = stage.hear("<iq type='get' id='2'><query xmlns='jabber:iq:version'/></iq>");
    assert!(answer[0].contains("service-unavailable"));
    assert!(stage.pass(9 * SECOND).is_empty());
    let ping = "<iq type='get' id='ping1' to='brewery@internal.meet/me'><ping xmlns='urn:xmpp:ping'/></iq>";
    assert_eq!(stage.pass(SECOND), [ping]);
    assert!(stage.hear("<iq type='result' id='ping1' from='brewery@internal.meet/me'/>").is_empty());
    assert!(stage.pass(9 * SECOND).is_empty());
    assert_eq!(stage.pass(SECOND).len(), 1);
    assert_eq!(stage.pass(10 * SECOND), ["(end no answer while waiting for the answer to a ping)"]);
}

#[test]
fn a_room_that_has_forgotten_us_says_so() {
    let mut stage = Stage::joined();
    stage.pass(10 * SECOND);
    let end = stage.hear("<iq type='error' id='ping1'><error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
    assert_eq!(end, ["(end removed from brewery@internal.meet: left)"]);
    // Another error means that the room passed the ping on.
    let mut stage = Stage::joined();
    stage.pass(10 * SECOND);
    assert!(stage.hear("<iq type='error' id='ping1'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>").is_empty());
    assert!(stage.session.is_joined());
}

#[test]
fn health_checks_are_answered_as_told() {
    let check = "<iq type='get' id='h' from='brewery@internal.meet/focus'><healthcheck xmlns='http://jitsi.org/protocol/healthcheck'/></iq>";
    let mut stage = Stage::joined();
    assert!(stage.hear(check)[0].contains("service-unavailable"));
    stage.session.set_health(Some(true));
    assert!(stage.hear(check)[0].contains("type='result'"));
    stage.session.set_health(Some(false));
    assert!(stage.hear(check)[0].contains("internal-server-error"));
}

#[test]
fn whoever_leaves_has_a_reason() {
    let mut stage = Stage::joined();
    let gone = " type='unavailable'";
    let status = |code: &str| user(&format!("<item/><status code='{code}'/>"));
    for (code, reason) in [
        ("307", LeaveReason::Kicked),
        ("301", LeaveReason::Banned),
        ("321", LeaveReason::NotMember),
        ("332", LeaveReason::ServiceStops),
        ("999", LeaveReason::Left),
    ] {
        assert_eq!(stage.hear(&presence("j", gone, &status(code))), [format!("(j {reason})")]);
    }
    assert_eq!(stage.hear(&presence("j", gone, &user("<destroy/>"))), ["(j the room was destroyed)"]);
    let renamed = user("<item nick='k'/><status code='303'/>");
    stage.session.receive(presence("j", gone, &renamed).as_bytes(), stage.now);
    let expect = LeaveReason::Renamed { to: Some("k".to_owned()) };
    assert!(matches!(stage.session.poll(), Some(Action::Signal(Signal::Left { reason, .. })) if reason == expect));
    let elsewhere = "<presence from='other@internal.meet/j' type='unavailable'/><presence from='not an address'/>";
    assert!(stage.hear(elsewhere).is_empty());
    assert_eq!(stage.hear(&presence("me", gone, &status("307"))), ["(end removed from brewery@internal.meet: kicked)"]);
    let mut stage = Stage::joined();
    assert_eq!(
        stage.hear(&presence("me", gone, &user("<destroy/>"))),
        ["(end removed from brewery@internal.meet: the room was destroyed)"]
    );
    // Renamed by the server: still here.
    let mut stage = Stage::joined();
    assert!(stage.hear(&presence("me", gone, &renamed)).is_empty());
    assert!(stage.pass(10 * SECOND)[0].contains("to='brewery@internal.meet/k'"));
}

#[test]
fn what_is_too_large_is_cut_and_what_is_malformed_ends() {
    let mut stage = Stage::joined();
    let huge = presence("jvb1", "", &format!("<a b='{}'/>", "c".repeat(600_000)));
    let length = huge.len();
    assert_eq!(
        stage.hear(&format!("{huge}{}", presence("jvb2", "", ""))),
        [format!("(cut Some(\"jvb1\") {length})"), "(seen jvb2 false)".to_owned()]
    );
    let wide: String = (0..100).map(|number| format!(" a{number}='1'")).collect();
    let wide = presence("jvb1", "", &format!("<a{wide}/>"));
    assert_eq!(stage.hear(&wide), [format!("(cut Some(\"jvb1\") {})", wide.len())]);
    assert!(stage.session.is_joined());
    let end = stage.hear("<presence><a></presence></a>");
    assert!(end[0].starts_with("(end malformed stanza"), "{end:?}");
    let end = Stage::joined().hear("<presence>&bomb;</presence>");
    assert!(end[0].starts_with("(end malformed stanza"), "{end:?}");
    let end = Stage::joined().hear("<!DOCTYPE a>");
    assert_eq!(end, ["(end the stream holds a document type, which xmpp forbids)"]);
}

#[test]
fn the_server_may_close_and_no_step_lasts_for_ever() {
    let shutdown =
        "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
    assert_eq!(Stage::joined().hear(shutdown), ["(end the server closed the stream: system-shutdown)"]);
    assert_eq!(Stage::joined().hear("</stream:stream>").last().unwrap(), "(end the server closed the stream: closed)");
    let mut stage = Stage::new(Channel::Loopback);
    stage.actions();
    for (heard, step) in [("", "opening the stream"), (PLAIN, "logging in")] {
        if !heard.is_empty() {
            stage.hear(HEAD);
            stage.hear(heard);
        }
        assert!(stage.pass(14 * SECOND).is_empty());
        let mut other = Stage { session: Stage::new(Channel::Loopback).session, now: stage.now };
        other.actions();
        assert_eq!(stage.session.deadline().map(|due| due.duration_since(stage.now)), Some(SECOND), "{step}");
    }
    assert_eq!(stage.pass(SECOND), ["(end no answer while logging in)"]);
    let error = SaslError::NoMechanism { offered: "X".to_owned() };
    assert!(XmppError::Login(error).is_lasting() && !XmppError::Timeout { step: "x" }.is_lasting());
}

proptest! {
    #[test]
    fn no_bytes_panic(joined: bool, texts in prop::collection::vec(prop_oneof![
        any::<String>(),
        Just(HEAD.to_owned()), Just(PLAIN.to_owned()), Just(SUCCESS.to_owned()), Just(BIND.to_owned()),
        Just(BOUND.to_owned()), Just(ME.to_owned()),
        "<(iq|presence|message)( type='(get|set|result|error|unavailable)')?( id='ping1')?( from='[a-z@/]{0,8}')?>(<a/>|x)?</(iq|presence|message)>",
    ], 0..30), seconds in 0u64..40) {
        let mut stage = if joined { Stage::joined() } else { Stage::new(Channel::Loopback) };
        for text in &texts {
            stage.hear(text);
            stage.pass(Duration::from_secs(seconds));
        }
        stage.session.leave(stage.now);
        stage.pass(Duration::from_secs(60));
        stage.pass(Duration::from_secs(60));
        prop_assert!(stage.session.deadline().is_none());
    }
}
