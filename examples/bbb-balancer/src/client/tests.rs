use super::*;

fn client(url: &str) -> Client {
    Client::new(url, "s3cret", Algorithm::Sha256, Duration::from_secs(5)).unwrap()
}

#[test]
fn signs_the_name_the_query_and_the_secret() {
    let path = client("http://lb.example.com:3000/").path(Api::Own, "explain", &[("meetingID", "a b&c")]);
    let (front, checksum) = path.split_once("&checksum=").unwrap();
    assert_eq!(front, "http://lb.example.com:3000/balancer/api/explain?meetingID=a+b%26c");
    assert_eq!(checksum, sign(Algorithm::Sha256, "explain", "meetingID=a+b%26c", "s3cret"));
    let bare = client("http://lb/").path(Api::Scalelite, "getServers", &[]);
    assert!(bare.starts_with("http://lb/scalelite/api/getServers?checksum="));
}

#[test]
fn urls_of_front_ends_are_understood() {
    for url in ["https://lb/bigbluebutton/api/", "https://lb/bigbluebutton", "https://lb/scalelite/api", "https://lb"] {
        assert_eq!(client(url).base, "https://lb");
    }
    assert_eq!(client("https://lb/behind/a/proxy/").base, "https://lb/behind/a/proxy");
    for url in ["lb:3000", "ftp://lb", "http://", "http://user@lb", "http://lb?x", ""] {
        assert!(base(url).is_err_and(|e| e.exit == Exit::Usage), "{url}");
    }
}

#[test]
fn xml_answers_are_explained() {
    let said = |status, body: &str| client("http://lb").understand(status, body.as_bytes()).map_err(|e| e.what);
    let refused = "<response><returncode>FAILED</returncode><messageKey>checksumError</messageKey>\
                   <message>You did not pass the checksum security check</message></response>";
    let want = "the balancer did not accept the secret: You did not pass the checksum security check";
    assert_eq!(said(StatusCode::OK, refused), Err(want.to_owned()));
    let want = "the balancer refused the call: unsupportedContentType";
    let body = "<messageKey>unsupportedContentType</messageKey>";
    assert_eq!(said(StatusCode::OK, body), Err(want.to_owned()));
    assert!(said(StatusCode::OK, "<html>").is_err_and(|e| e.contains("does not answer like a balancer")));
    assert!(said(StatusCode::FORBIDDEN, "").is_err_and(|e| e.contains("host name")));
    assert!(said(StatusCode::OK, "<messageKey>\u{1b}</messageKey>").is_err_and(|e| !e.contains('\u{1b}')));
    assert!(said(StatusCode::NOT_FOUND, "{\"error\":\"x\"}").is_ok_and(|a| a.error() == "x"));
}

#[test]
fn debug_hides_the_secret() {
    assert!(!format!("{:?}", client("http://lb")).contains("s3cret"));
}
