use super::*;

fn params(raw: &str) -> Params<'_> {
    Params::parse(raw.as_bytes()).unwrap()
}

fn rules(defaults: &str, overrides: &str, exclude: &str) -> ParamRules {
    ParamRules::parse(defaults, overrides, exclude).unwrap()
}

fn create(raw: &str, context: &CreateContext<'_>, rules: &ParamRules) -> String {
    create_params(&params(raw), context, rules).encode()
}

const BRIDGE: CreateContext<'_> = CreateContext {
    voice_bridge: "123",
    moderator_pw: None,
    server_tag: None,
    max_duration_minutes: 0,
    tenant: None,
    lrs_payload: None,
};

#[test]
fn rules_are_read_strictly() {
    let read = rules("a=1=2, b=,,a=3", "c= x", " d , ,e");
    assert_eq!(read.defaults, [("a".into(), "3".into()), ("b".into(), String::new())]);
    assert_eq!(read.overrides, [("c".into(), " x".into())]);
    assert_eq!(read.exclude, ["d", "e"]);
    assert_eq!(ParamRules::parse("", "", ""), Ok(ParamRules::default()));
    assert_eq!(ParamRules::parse("a=1,b", "", ""), Err(RuleError::NotAPair { list: "defaults", at: 2 }));
    assert_eq!(ParamRules::parse("", "=1", ""), Err(RuleError::NotAPair { list: "overrides", at: 1 }));
    assert_eq!(
        ParamRules::parse("", "meetingID=x", ""),
        Err(RuleError::Fixed { list: "overrides", name: "meetingID" })
    );
    assert_eq!(ParamRules::parse("", "", "meetingID"), Err(RuleError::Fixed { list: "exclusions", name: "meetingID" }));
    assert!(!format!("{:?}", rules("moderatorPW=hush", "", "")).contains("hush"));
}

#[test]
fn a_create_keeps_the_order_of_the_client() {
    let none = ParamRules::default();
    let raw = "meetingID=m&checksum=x&name=a&name=b&moderatorPW=mp&voiceBridge=7&meta_server-tag=t";
    assert_eq!(create(raw, &BRIDGE, &none), "meetingID=m&name=b&moderatorPW=mp&voiceBridge=123");
    let claimed = CreateContext { moderator_pw: Some("new"), server_tag: Some("u"), ..BRIDGE };
    let want = "meetingID=m&name=b&moderatorPW=new&voiceBridge=123&meta_server-tag=u";
    assert_eq!(create(raw, &claimed, &none), want);
    assert_eq!(create("meetingID=m", &claimed, &none), "meetingID=m&voiceBridge=123&moderatorPW=new&meta_server-tag=u");
}

#[test]
fn defaults_come_first_and_overrides_win() {
    let rules =
        rules("record=true,name=D,meta_server-tag=d", "name=O,new=1,meta_server-tag=o,muted=x", "secret,welcome");
    let raw = "meetingID=m&welcome=w&muted=a&record=false&secret[]=1";
    assert_eq!(create(raw, &BRIDGE, &rules), "record=false&name=O&meetingID=m&muted=x&voiceBridge=123&new=1");
    let got = join_params(&params("meetingID=m&checksum=c&fullName=a&fullName=b&record[]=z"), &rules).encode();
    assert_eq!(got, "record=true&name=O&meetingID=m&fullName=b&new=1&muted=x");
}

#[test]
fn an_array_cannot_smuggle_a_value_past_the_rules() {
    let rules = rules("", "record=false", "");
    let got = create("record[]=true&meetingID[]=other&meetingID=m&checksum[]=1", &BRIDGE, &rules);
    assert_eq!(got, "record=false&meetingID=m&voiceBridge=123");
}

#[test]
fn durations_are_clamped() {
    let context = CreateContext { max_duration_minutes: 90, ..BRIDGE };
    for (sent, want) in [
        ("", "90"),
        ("&duration", "90"),
        ("&duration=", "90"),
        ("&duration=0", "90"),
        ("&duration=60", "60"),
        ("&duration=90", "90"),
        ("&duration=91", "90"),
        ("&duration=-5", "90"),
        ("&duration=%2B5", "90"),
        ("&duration=soon", "90"),
        ("&duration=60x", "90"),
        ("&duration=99999999999999999999", "90"),
    ] {
        let raw = format!("meetingID=m{sent}");
        let client = params(&raw);
        let none = ParamRules::default();
        let got = create_params(&client, &context, &none);
        assert_eq!(got.get("duration"), Some(want), "{sent}");
    }
    assert_eq!(
        create("meetingID=m&duration=500", &BRIDGE, &ParamRules::default()),
        "meetingID=m&duration=500&voiceBridge=123"
    );
}

#[test]
fn tags() {
    for text in ["", " ", "!", ";", ";!"] {
        assert_eq!(TagWish::parse(text), None, "{text:?}");
    }
    let wish = TagWish::parse("a;none!").unwrap();
    assert!(wish.required && wish.text() == "a;none");
    assert!(wish.fits(Some("a")) && wish.fits(None) && wish.fits(Some("")) && !wish.fits(Some("b")));
    assert!(!TagWish::parse("a;b").unwrap().required);

    let (sent, plain) = (params("meta_server-tag=c"), params("x=1"));
    let both = rules("meta_server-tag=d", "meta_server-tag=o", "");
    let default = rules("meta_server-tag=d", "", "");
    assert_eq!(effective_tag(&sent, &both), Some("o"));
    assert_eq!(effective_tag(&sent, &default), Some("c"));
    assert_eq!(effective_tag(&plain, &default), Some("d"));
    assert_eq!(effective_tag(&plain, &ParamRules::default()), None);
}

#[test]
fn passwords_stay_out_of_debug() {
    let context = CreateContext { moderator_pw: Some("hush"), ..CreateContext::new("1") };
    assert!(!format!("{context:?} {:?}", params("moderatorPW=hush")).contains("hush"));
}
