//! Recordings on the command line.

use crate::canned::{Canned, Reply};

const LIST: Reply = (
    "/balancer/api/recordings",
    200,
    r#"{"recordings":[{"record_id":"rec-1","meeting_id":"m1","name":"Lesson","state":"published","published":true,
    "protected":true,"start_ms":1700000000000,"end_ms":1700003600000,"participants":4,"tenant":"t1",
    "formats":["presentation","video"]}],"more":true}"#,
);
const FINDINGS: &str = r#"{"recordings":3,"on_disk":4,"waiting":["b.tar"],"findings":[
    {"kind":"misplaced","record_id":"rec-1","format":"video","folder":"/u/video/rec-1","remedy":"update it","mended":false},
    {"kind":"leftover","record_id":"","format":"","folder":"/p/video/.x.1-1.incoming","remedy":"update it","mended":true}]}"#;

#[test]
fn recordings_are_listed() {
    let lb = Canned::start(&[LIST]);
    let ran = lb.run(&["recordings", "--state", "any", "--meeting", "m1,m2", "--limit", "1"]);
    let rows = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let want = "RECORD ID MEETING ID NAME STATE PROTECTED FORMATS\nrec-1 m1 Lesson published yes presentation,video";
    assert_eq!(
        (ran.code, rows(&ran.out), ran.err.as_str()),
        (0, rows(want), "There are more; see --limit and --offset 1\n")
    );
    let asked = lb.asked();
    assert!(
        asked[0].starts_with("GET /balancer/api/recordings?state=any&meetingID=m1%2Cm2&limit=1&offset=0"),
        "{asked:?}"
    );
    let wide = lb.run(&["recordings", "list", "-o", "wide"]);
    assert!(wide.out.contains("PARTICIPANTS") && wide.out.contains("t1"), "{wide:?}");
    assert!(lb.run(&["recordings", "-o", "yaml"]).out.contains("record_id: rec-1\n"));
    for args in [&["recordings", "import", "--state", "any"][..], &["recordings", "--limit", "5", "check"]] {
        let ran = lb.run(args);
        assert!(ran.code == 2 && ran.err.contains("choose what is listed"), "{ran:?}");
    }
    let none = Canned::start(&[("/balancer/api/recordings", 200, r#"{"recordings":[],"more":false}"#)]);
    let ran = none.run(&["recordings"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", "No recordings are known\n"));
}

#[test]
fn imports_say_what_stayed_and_why() {
    let import = |answer| Canned::start(&[("/balancer/api/importRecordings", 200, answer)]);
    let some = r#"{"running":false,"archives":[
        {"archive":"a.tar","imported":true,"error":null,"lasting":false,"recordings":[{"record_id":"a","formats":["video"]}]},
        {"archive":"b.tar","imported":false,"error":"the archive is damaged","lasting":true,"recordings":[]}]}"#;
    let lb = import(some);
    let ran = lb.run(&["recordings", "import"]);
    let want = "a.tar: imported a (video)\nb.tar: KEPT in the spool: the archive is damaged; mend or remove it\n";
    assert_eq!((ran.code, ran.out.as_str()), (4, want));
    assert_eq!(lb.asked(), [r#"POST /balancer/api/importRecordings {"again":true}"#]);
    assert_eq!(lb.run(&["recordings", "import", "-o", "json"]).code, 4);
    let ran = import(r#"{"running":false,"archives":[]}"#).run(&["recordings", "import"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "No archives wait in the spool\n"));
    let ran = import(r#"{"running":true,"archives":[]}"#).run(&["recordings", "import"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "An import is still under way; the log tells how it ends\n"));
}

#[test]
fn checks_end_with_what_is_left() {
    let lb = Canned::start(&[
        ("/balancer/api/checkRecordings", 200, FINDINGS),
        ("/balancer/api/settleRecordings", 200, r#"{"recordings":3,"on_disk":3,"waiting":[],"findings":[]}"#),
        ("/balancer/api/addRecordingsToTenant", 200, r#"{"tenant":"t1","added":7}"#),
    ]);
    let ran = lb.run(&["recordings", "check"]);
    let want = "misplaced rec-1 video: /u/video/rec-1\n\tupdate it\nleftover: /p/video/.x.1-1.incoming\n\tdone\n\
                3 recordings in the index, 4 on disk: 1 finding\n1 archive waits in the spool: b.tar\n";
    assert_eq!((ran.code, ran.out.as_str()), (1, want));
    assert_eq!(lb.run(&["recordings", "update", "--dry-run"]).out, want);
    assert_eq!(lb.run(&["recordings", "check", "-o", "json"]).code, 1);
    assert!(lb.asked().iter().all(|asked| asked.starts_with("GET ")), "a check changes nothing");
    let ran = lb.run(&["recordings", "update"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "3 recordings in the index, 3 on disk: they agree\n"));
    let ran = lb.run(&["recordings", "add-to-tenant", "t1"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "OK\n7 recordings added\n"));
    assert_eq!(lb.run(&["recordings:addToTenant[t1]"]).out, ran.out);
    let asked = lb.asked();
    assert_eq!(asked[1], r#"POST /balancer/api/addRecordingsToTenant {"tenant":"t1"}"#);
}
