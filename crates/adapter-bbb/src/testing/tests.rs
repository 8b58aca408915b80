//! The fake as a caller on a raw connection sees it.
use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;

mod outside;

const SOON: Duration = Duration::from_secs(30);

/// A client of a few lines over one connection.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn has(&self, text: &str) -> &Self {
        assert!(self.body.contains(text), "no {text} in {self:?}");
        self
    }

    fn key(&self) -> &str {
        let rest = self.body.split_once("<messageKey>").map_or("", |(_, rest)| rest);
        rest.split_once('<').map_or("", |(key, _)| key)
    }

    fn child(&self, name: &str) -> &str {
        let rest = self.body.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
        rest.split_once('<').map_or("", |(text, _)| text)
    }
}

impl Client {
    async fn open(fake: &FakeBbb) -> Self {
        Self { stream: TcpStream::connect(fake.addr()).await.unwrap(), bytes: Vec::new() }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next answer, or what kind of end came instead.
    async fn reply(&mut self) -> Result<Reply, ErrorKind> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(self.bytes[..end].to_vec()).unwrap();
                let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                if self.bytes.len() >= end + 4 + length {
                    let body = String::from_utf8_lossy(&self.bytes[end + 4..end + 4 + length]).into_owned();
                    self.bytes.drain(..end + 4 + length);
                    return Ok(Reply { status: head[9..12].parse().unwrap(), head, body });
                }
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) => return Err(ErrorKind::UnexpectedEof),
                Ok(_) => {}
                Err(error) => return Err(error.kind()),
            }
        }
    }

    async fn get(&mut self, path: &str) -> Result<Reply, ErrorKind> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        timeout(SOON, self.reply()).await.expect("an answer in time")
    }

    async fn call(&mut self, fake: &FakeBbb, call: &str, query: &str) -> Reply {
        self.get(&fake.signed_path(call, query)).await.unwrap()
    }
}

async fn fake() -> FakeBbb {
    FakeBbb::start(FakeOptions::new("s3cret").name("bbb1")).await.unwrap()
}

/// One on a port that no outgoing connection and no other test gets when the fake is gone.
async fn fake_apart() -> FakeBbb {
    let options = FakeOptions::new("s3cret").name("bbb1").port(real_servers::free_port());
    FakeBbb::start(options).await.unwrap()
}

/// One call on a connection of its own.
async fn once(fake: &FakeBbb, call: &str, query: &str) -> Result<Reply, ErrorKind> {
    Client::open(fake).await.get(&fake.signed_path(call, query)).await
}

#[tokio::test]
async fn a_meeting_lives_and_ends() {
    let fake = fake().await;
    let mut client = Client::open(&fake).await;
    let index = client.get("/bigbluebutton/api/").await.unwrap();
    index.has("<version>2.0</version>").has("<apiVersion>").has("<bbbVersion>");

    client.call(&fake, "getMeetings", "").await.has("<meetings/>").has("noMeetings");
    let query = "meetingID=a+b&name=Algebra&attendeePW=ap&moderatorPW=mp&meta_x=1";
    let first = client.call(&fake, "create", query).await;
    assert_eq!((first.child("returncode"), first.key()), ("SUCCESS", ""));
    let again = client.call(&fake, "create", "meetingID=a+b").await;
    assert_eq!(again.key(), "duplicateWarning");
    for name in ["internalMeetingID", "createTime", "voiceBridge"] {
        assert_eq!(first.child(name), again.child(name));
    }
    assert_eq!(client.call(&fake, "create", "meetingID=a+b&moderatorPW=other").await.key(), "idNotUnique");
    assert_eq!(fake.created_total(), 1);

    client.call(&fake, "isMeetingRunning", "meetingID=a+b").await.has("<running>false</running>");
    let joined = client.call(&fake, "join", "meetingID=a+b&fullName=Ann&password=mp").await;
    assert_eq!(joined.status, 302);
    assert!(joined.head.contains("Location: http://127.0.0.1:") && joined.head.contains("sessionToken="), "{joined:?}");
    let page = joined.head.split_once("Location: ").unwrap().1.split("\r\n").next().unwrap();
    assert_eq!(client.get(&page[page.find("/html5").unwrap()..]).await.unwrap().status, 200);
    for query in ["fullName=Bo&password=ap", "fullName=Cy&role=moderator&redirect=false"] {
        client.call(&fake, "join", &format!("meetingID=a+b&{query}")).await;
    }
    client.call(&fake, "isMeetingRunning", "meetingID=a+b").await.has("<running>true</running>");
    let info = client.call(&fake, "getMeetingInfo", "meetingID=a+b").await;
    info.has("<participantCount>3</participantCount>").has("<moderatorCount>2</moderatorCount>");
    info.has("<metadata><x>1</x></metadata>").has("<fullName>Ann</fullName>");
    client.call(&fake, "getMeetings", "").await.has(info.child("internalMeetingID"));
    let late = format!("meetingID=a+b&fullName=D&createTime={}1", info.child("createTime"));
    assert_eq!(client.call(&fake, "join", &late).await.key(), "mismatchCreateTimeParam");

    assert_eq!(client.call(&fake, "end", "meetingID=a+b").await.key(), "sentEndMeetingRequest");
    for call in ["end", "getMeetingInfo", "join", "insertDocument"] {
        assert_eq!(client.call(&fake, call, "meetingID=a+b").await.key(), "notFound");
    }
    assert_eq!(client.call(&fake, "end", "meetingID=+").await.key(), "missingParamMeetingID");
    assert_eq!(client.call(&fake, "getRecordings", "").await.key(), "noRecordings");
    assert_eq!(client.call(&fake, "setConfigXML", "").await.key(), "unsupportedRequest");
    assert_eq!(fake.inspect(|state| state.ended().to_vec()), ["a b"]);
    assert_eq!((fake.connections_accepted(), fake.bad_checksums()), (1, 0));
}

#[tokio::test]
async fn checksums_are_checked_and_the_first_of_a_repeat_counts() {
    use sha2::digest::Digest;
    let fake = fake().await;
    let mut client = Client::open(&fake).await;
    let text = b"isMeetingRunningmeetingID=ms3cret";
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for sum in [
        hex(&sha1::Sha1::digest(text)),
        hex(&sha2::Sha256::digest(text)),
        hex(&sha2::Sha384::digest(text)),
        hex(&sha2::Sha512::digest(text)),
    ] {
        let path = format!("/bigbluebutton/api/isMeetingRunning?checksum={sum}&meetingID=m");
        client.get(&path).await.unwrap().has("<running>false</running>");
        let wrong = client.get(&path.replace("=m", "=n")).await.unwrap();
        assert_eq!(wrong.key(), "checksumError");
    }
    assert_eq!((fake.bad_checksums(), fake.count("isMeetingRunning")), (4, 8));

    client.call(&fake, "create", "meetingID=one&meetingID=two&name=%C3%A9").await.has("<meetingID>one</meetingID>");
    let logged = fake.calls_of("create").pop().unwrap();
    assert_eq!((logged.param("meetingID"), logged.param("name")), (Some("one"), Some("\u{e9}")));
    assert_eq!(logged.params.iter().filter(|(name, _)| name == "meetingID").count(), 2);
    assert!(logged.checksum_ok && logged.header("host") == Some("x") && logged.query.contains("%C3%A9"));
}

#[tokio::test]
async fn bodies_come_in_every_form_and_requests_in_one_piece() {
    let fake = fake().await;
    let mut client = Client::open(&fake).await;
    let path = fake.signed_path("create", "");
    let checksum = path.split_once("checksum=").unwrap().1;
    let form = format!("meetingID=f&name=x&checksum={checksum}");
    let head = "POST /bigbluebutton/api/create HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    client.send(&format!("{head}Content-Length: {}\r\n\r\n{form}", form.len())).await;
    client.reply().await.unwrap().has("<meetingID>f</meetingID>");

    let path = fake.signed_path("create", "meetingID=c");
    client.send(&format!("POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")).await;
    assert_eq!(client.reply().await.unwrap().status, 100);
    client.send("4\r\n<mod\r\n").await;
    client.send("8\r\nules></m\r\n7\r\nodules>\r\n0\r\n\r\n").await;
    client.reply().await.unwrap().has("SUCCESS");
    assert_eq!(fake.meeting("c").unwrap().body, b"<modules></modules>");

    let document = fake.signed_path("insertDocument", "meetingID=c");
    let running = fake.signed_path("isMeetingRunning", "meetingID=c");
    client
        .send(&format!(
            "POST {document} HTTP/1.1\r\nContent-Type: application/xml\r\nContent-Length: 3\r\n\r\n<x>GET {running} HTTP/1.1\r\n\r\nGET {running} HTTP/1.1\r\nConnection: close\r\n\r\n"
        ))
        .await;
    client.reply().await.unwrap().has("Presentation is being uploaded");
    client.reply().await.unwrap().has("<running>");
    client.reply().await.unwrap().has("<running>");
    assert_eq!(client.reply().await.unwrap_err(), ErrorKind::UnexpectedEof);
    assert_eq!(fake.meeting("c").unwrap().documents, [b"<x>"]);
    assert_eq!(fake.connections_accepted(), 1);
}

#[tokio::test]
async fn what_is_not_the_api_is_refused() {
    let fake = fake().await;
    for (request, status) in [
        ("GET /elsewhere HTTP/1.1\r\n\r\n".to_owned(), 404),
        ("GET /bigbluebutton/apiary HTTP/1.1\r\n\r\n".to_owned(), 404),
        ("DELETE /bigbluebutton/api HTTP/1.1\r\n\r\n".to_owned(), 405),
        ("nonsense\r\n\r\n".to_owned(), 400),
        // Read to its end: what is left would end the connection before its answer is read.
        (format!("GET /{}", "x".repeat(65_531)), 431),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(), 400),
    ] {
        let mut client = Client::open(&fake).await;
        client.send(&request).await;
        assert_eq!(client.reply().await.unwrap().status, status, "{request:.40}");
    }
}

#[tokio::test]
async fn every_mode_shows_itself() {
    let fake = fake().await;
    fake.put_meeting(MeetingSpec::new("m").people(2, 1, 1).param("name", "x".repeat(500)));
    let ask = || once(&fake, "getMeetingInfo", "meetingID=m");
    let whole = ask().await.unwrap().body;
    for (mode, status, text) in [
        (Mode::Garbage, 200, "<<<not xml"),
        (Mode::Html502, 502, "Bad Gateway"),
        (Mode::Http500, 500, "boom"),
        (Mode::NoReturnCode, 200, "<hello>"),
        (Mode::failed("tooBusy", "a & b"), 200, "<messageKey>tooBusy</messageKey><message>a &amp; b</message>"),
        (Mode::FailedNoKey, 200, "<response><returncode>FAILED</returncode></response>"),
        (Mode::Empty, 200, ""),
        (Mode::Drip(Duration::ZERO), 200, &whole),
        (Mode::Truncated, 200, "<response><returncode>SUCCESS"),
        (Mode::Full, 200, &whole),
        (Mode::Huge(100_000), 200, "<pad>xxx"),
    ] {
        fake.set_mode(mode.clone()).await.unwrap();
        let reply = ask().await.unwrap();
        assert_eq!(reply.status, status, "{mode:?}");
        reply.has(text);
        match mode {
            Mode::Huge(_) => assert_eq!(reply.body.len(), whole.len() + 100_000 + "<pad></pad>".len()),
            Mode::Truncated => assert_eq!(reply.body.len(), whole.len() / 2),
            Mode::Empty => assert!(reply.body.is_empty()),
            _ => {}
        }
    }
    fake.set_mode(Mode::Reset).await.unwrap();
    assert_eq!(ask().await.unwrap_err(), ErrorKind::ConnectionReset);
    fake.set_mode(Mode::Cut).await.unwrap();
    assert_eq!(ask().await.unwrap_err(), ErrorKind::UnexpectedEof);
    assert_eq!(once(&fake, "join", "meetingID=m&fullName=A").await.unwrap_err(), ErrorKind::UnexpectedEof);
    assert_eq!(fake.meeting("m").unwrap().participants, 3);
    fake.set_mode(Mode::Full).await.unwrap();
    assert_eq!(once(&fake, "create", "meetingID=n").await.unwrap().key(), "tooManyMeetings");
    assert_eq!(once(&fake, "create", "meetingID=m").await.unwrap().key(), "duplicateWarning");
}

#[tokio::test]
async fn a_mode_of_one_call_leaves_the_others_alone() {
    let fake = fake().await;
    fake.set_mode_for(&["create", ""], Mode::Down);
    assert_eq!(once(&fake, "create", "meetingID=m").await.unwrap_err(), ErrorKind::UnexpectedEof);
    assert!(once(&fake, "", "").await.is_err());
    once(&fake, "getMeetings", "").await.unwrap().has("noMeetings");
    fake.ok().await.unwrap();
    once(&fake, "create", "meetingID=m").await.unwrap().has("SUCCESS");
}

#[tokio::test]
async fn slow_and_late_answers_are_right_ones() {
    let fake = fake().await;
    let pause = Duration::from_millis(200);
    let ask = |call: &'static str, query: &'static str| {
        let path = fake.signed_path(call, query);
        let fake = &fake;
        async move {
            let mut client = Client::open(fake).await;
            client.send(&format!("GET {path} HTTP/1.1\r\n\r\n")).await;
            client.reply().await.unwrap()
        }
    };
    let began = Instant::now();
    fake.set_mode(Mode::Slow(pause)).await.unwrap();
    ask("create", "meetingID=m").await.has("SUCCESS");
    assert!(began.elapsed() >= pause);
    fake.set_mode(Mode::Ok).await.unwrap();
    fake.set_delay("end", pause);
    fake.set_late("end", pause);
    let began = Instant::now();
    let ended = async {
        fake.wait_for(|state| !state.ended().is_empty(), SOON).await.unwrap();
        began.elapsed()
    };
    let (reply, ended) = tokio::join!(ask("end", "meetingID=m"), ended);
    reply.has("sentEndMeetingRequest");
    assert!(ended >= pause && began.elapsed() >= pause * 2, "{ended:?}");
}

#[tokio::test]
async fn a_hanging_call_ends_with_the_mode_or_the_caller() {
    let fake = fake().await;
    fake.set_mode_for(&["getMeetings"], Mode::Hang);
    let mut client = Client::open(&fake).await;
    client.send(&format!("GET {} HTTP/1.1\r\n\r\n", fake.signed_path("getMeetings", ""))).await;
    let mut leaver = Client::open(&fake).await;
    leaver.send(&format!("GET {} HTTP/1.1\r\n\r\n", fake.signed_path("getMeetings", ""))).await;
    fake.wait_for(|state| state.count("getMeetings") == 2, SOON).await.unwrap();
    drop(leaver);
    fake.wait_for(|state| state.connections_open() == 1, SOON).await.unwrap();
    fake.ok().await.unwrap();
    assert_eq!(client.reply().await.unwrap_err(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_held_call_lets_another_in_between() {
    let fake = fake().await;
    let (mut before, mut answer) = (fake.hold("create"), fake.hold_answer("end"));
    let create = once(&fake, "create", "meetingID=m&name=held");
    let between = async {
        let request = timeout(SOON, before.arrived()).await.unwrap().unwrap();
        assert_eq!(request.param("name"), Some("held"));
        assert!(fake.meeting("m").is_none() && before.arrived().await.is_none());
        once(&fake, "create", "meetingID=m&name=first").await.unwrap().has("SUCCESS");
        before.release();
    };
    let (reply, ()) = tokio::join!(create, between);
    assert_eq!(reply.unwrap().key(), "duplicateWarning");
    assert_eq!(fake.meeting("m").unwrap().name, "first");

    let end = once(&fake, "end", "meetingID=m");
    let between = async {
        timeout(SOON, answer.arrived()).await.unwrap().unwrap();
        assert!(fake.meeting("m").is_none());
        once(&fake, "create", "meetingID=m&name=second").await.unwrap().has("SUCCESS");
        answer.release();
    };
    let (reply, ()) = tokio::join!(end, between);
    assert_eq!(reply.unwrap().key(), "sentEndMeetingRequest");
    assert_eq!(fake.created_total(), 2);

    fake.hold("end").release();
    drop(fake.hold("end"));
    once(&fake, "end", "meetingID=m").await.unwrap().has("SUCCESS");
}

#[tokio::test]
async fn a_killed_server_comes_back_with_or_without_its_meetings() {
    let fake = fake_apart().await;
    let mut client = Client::open(&fake).await;
    client.call(&fake, "create", "meetingID=m").await.has("SUCCESS");
    fake.stop().await;
    assert!(client.reply().await.is_err());
    let refused = TcpStream::connect(fake.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    fake.revive(Meetings::Keep).await.unwrap();
    assert_eq!(once(&fake, "create", "meetingID=m").await.unwrap().key(), "duplicateWarning");

    fake.set_mode(Mode::Down).await.unwrap();
    assert!(TcpStream::connect(fake.addr()).await.is_err());
    fake.revive(Meetings::Lose).await.unwrap();
    assert_eq!(once(&fake, "create", "meetingID=m").await.unwrap().key(), "");

    let mut client = Client::open(&fake).await;
    client.call(&fake, "getMeetings", "").await.has("SUCCESS");
    fake.cut_connections();
    assert!(client.reply().await.is_err());
    once(&fake, "getMeetings", "").await.unwrap().has("SUCCESS");

    let addr = fake.addr();
    let mut client = Client::open(&fake).await;
    client.call(&fake, "getMeetings", "").await.has("SUCCESS");
    drop(fake);
    assert!(client.reply().await.is_err());
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn meetings_can_be_placed_changed_and_forgotten() {
    let fake = fake().await;
    fake.put_meeting(
        MeetingSpec::new("m").people(9, 2, 3).age(Duration::from_secs(60)).breakout().param("moderatorPW", "p"),
    );
    let old = fake.meeting("m").unwrap();
    assert!(
        old.is_running()
            && old.breakout
            && old.moderator_pw == "p"
            && old.create_time <= WallClock::system().now_ms() - 60_000
    );
    assert!(fake.set_people("m", 0, 0, 0) && !fake.set_people("n", 1, 1, 1));
    once(&fake, "getMeetings", "").await.unwrap().has("<running>false</running>");
    assert!(fake.age("m", Duration::from_secs(7_200)));
    let aged = fake.meeting("m").unwrap();
    assert!(aged.create_time < old.create_time && aged.internal_id == old.internal_id);
    assert!(fake.remove_meeting("m") && !fake.remove_meeting("m"));
    fake.limit_log(0);
    once(&fake, "getMeetings", "").await.unwrap();
    assert_eq!((fake.log().len(), fake.count("getMeetings"), fake.created_total()), (0, 2, 0));
    fake.reset().await.unwrap();
    assert_eq!(fake.count("getMeetings"), 0);
}

#[tokio::test]
async fn a_port_that_is_down_refuses_and_comes_back() {
    let fake = fake_apart().await;
    for _ in 0..3 {
        fake.set_mode(Mode::Down).await.unwrap();
        assert!(tokio::net::TcpStream::connect(fake.addr()).await.is_err());
        fake.ok().await.unwrap();
        once(&fake, "getMeetings", "").await.unwrap();
    }
    let port = fake.port();
    fake.stop().await;
    drop(fake);
    FakeBbb::start(FakeOptions::new("s").port(port)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_fails_says_what_was_seen_and_keeps_the_secret() {
    let fake = fake().await;
    let error = fake.wait_for(|state| state.count("create") == 1, SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "fake server bbb1 did not get there within 30s; it saw no request");
    assert!(!format!("{fake:?} {:?} {error:?}", FakeOptions::new("s3cret")).contains("s3cret"));
    let taken = FakeBbb::start(FakeOptions::new("s").port(fake.port())).await.unwrap_err();
    assert!(taken.to_string().starts_with("cannot listen on 127.0.0.1:"), "{taken}");
}
