//! A real balancer keeps recordings in a real Postgres: the commands about them, a database that goes and comes, a
//! balancer that is killed.

use std::path::Path;
use std::process::Command;

use real_servers::{Folder, PostgresServer};

use crate::processes::{Balancer, SECRET, until};
use crate::{Ran, run};

/// A balancer whose recordings are in this folder and this database.
struct Keeper<'a> {
    folder: &'a Folder,
    balancer: Balancer,
}

impl<'a> Keeper<'a> {
    fn start(folder: &'a Folder, url: &str) -> Self {
        let dir = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (spool, work) = (dir("spool"), dir("work"));
        let (published, unpublished) = (dir("published"), dir("unpublished"));
        let env = [
            ("DATABASE_URL", url),
            ("RECORDING_SPOOL_DIR", &spool),
            ("RECORDING_WORK_DIR", &work),
            ("RECORDING_PUBLISH_DIR", &published),
            ("RECORDING_UNPUBLISH_DIR", &unpublished),
        ];
        Self { folder, balancer: Balancer::with(&env, &["--memory"]) }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let url = format!("http://127.0.0.1:{}", self.balancer.port);
        run(args, &[("BALANCER_URL", &url), ("BALANCER_SECRET", SECRET)])
    }

    /// Imports what waits, once nobody else does: the importer at work looks at what arrives as well.
    fn import(&self) -> Ran {
        until("no import is under way", || {
            let ran = self.run(&["recordings", "import"]);
            (!ran.err.contains("still under way")).then_some(ran)
        })
    }

    /// An archive arrives, as rsync brings it.
    fn arrives(&self, id: &str) {
        let from = self.folder.join("made").join(id);
        let format = from.join("video").join(id);
        std::fs::create_dir_all(&format).unwrap();
        let about = format!(
            "<recording><id>{id}</id><state>published</state><published>true</published><start_time>1700000000000</start_time>\
             <end_time>1700003600000</end_time><meta><meetingId>m-{id}</meetingId><meetingName>Lesson</meetingName></meta>\
             <playback><format>video</format><link>https://b/video/{id}/</link><duration>60000</duration></playback></recording>"
        );
        std::fs::write(format.join("metadata.xml"), about).unwrap();
        std::fs::write(format.join("video.webm"), id.repeat(50_000)).unwrap();
        let hidden = self.folder.join("spool").join(format!(".{id}.tar.x"));
        let packed = Command::new("tar").arg("-cf").arg(&hidden).arg("-C").arg(&from).arg("video").status().unwrap();
        assert!(packed.success());
        std::fs::rename(&hidden, self.folder.join("spool").join(format!("{id}.tar"))).unwrap();
    }

    fn spool_is_empty(&self) -> bool {
        std::fs::read_dir(self.folder.join("spool")).unwrap().next().is_none()
    }

    /// Until the index has so many recordings.
    fn has(&self, many: usize) {
        until("the recordings come in", || {
            let listed = self.run(&["recordings", "--limit", "1000"]).out;
            (listed.lines().count() == many + 1).then_some(())
        });
    }
}

fn is_there(path: &Path) -> bool {
    path.join("video.webm").is_file()
}

#[test]
fn recordings_are_kept_in_postgres_whatever_is_stopped() {
    let Some(mut server) = PostgresServer::start() else { return };
    let folder = Folder::new("kept");
    std::fs::create_dir_all(folder.join("spool")).unwrap();
    let url = server.url("scalelite");
    let mut keeper = Keeper::start(&folder, &url);
    let ran = keeper.run(&["recordings"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "No recordings are known\n"), "{ran:?}");

    // By itself, and by order.
    keeper.arrives("rec-1");
    keeper.has(1);
    let listed = keeper.run(&["recordings", "list"]);
    assert!(listed.out.contains("rec-1") && listed.out.contains("published") && listed.out.contains("video"));
    let json = keeper.run(&["recordings", "--record", "rec-", "-o", "json"]).out;
    assert!(json.contains("\"meeting_id\": \"m-rec-1\""), "{json}");
    std::fs::write(folder.join("spool/cut.tar"), [1; 700]).unwrap();
    let ran = keeper.import();
    assert!(ran.code == 1 && ran.out.starts_with("cut.tar: KEPT in the spool: "), "{ran:?}");
    assert!(ran.out.contains("mend or remove it"), "{ran:?}");
    std::fs::remove_file(folder.join("spool/cut.tar")).unwrap();

    // What somebody has moved is found and moved back.
    let (place, wrong) = (folder.join("published/video/rec-1"), folder.join("unpublished/video/rec-1"));
    let ran = keeper.run(&["recordings", "check"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "1 recording in the index, 1 on disk: they agree\n"));
    std::fs::create_dir_all(folder.join("unpublished/video")).unwrap();
    std::fs::rename(&place, &wrong).unwrap();
    let ran = keeper.run(&["recordings", "check"]);
    assert!(ran.code == 1 && ran.out.starts_with("misplaced rec-1 video: "), "{ran:?}");
    assert!(is_there(&wrong), "a check changes nothing");
    assert_eq!(keeper.run(&["recordings", "update"]).code, 0);
    assert!(is_there(&place) && keeper.run(&["recordings", "check"]).code == 0);
    let ran = keeper.run(&["recordings", "add-to-tenant", "ten-1"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "OK\n1 recording added\n"), "{ran:?}");
    assert!(keeper.run(&["recordings", "--tenant", "ten-1"]).out.contains("rec-1"));

    // Without the database it says so, and goes on with the rest; archives wait.
    server.kill();
    for command in [&["recordings"][..], &["recordings", "check"], &["recordings", "update"]] {
        let ran = keeper.run(command);
        let target = format!("postgres 127.0.0.1:{}/scalelite cannot be reached", server.port());
        assert!(ran.code == 1 && ran.err.contains(&target), "{command:?}: {ran:?}");
    }
    keeper.arrives("rec-2");
    let ran = keeper.import();
    assert!(ran.code == 1 && ran.out.contains("cannot be reached") && ran.out.contains("by itself"), "{ran:?}");
    assert_eq!(keeper.run(&["status"]).code, 0, "meetings go on");
    assert!(keeper.balancer.end("nothing").contains("notFound"));
    server.resume();
    assert_eq!(keeper.import().code, 0);
    keeper.has(2);

    // Killed in the middle of it, again and again; the next one ends what it had begun.
    for round in 0..6 {
        for n in 0..3 {
            keeper.arrives(&format!("rec-{round}-{n}"));
        }
        if round % 2 == 1 {
            until("some came in", || (!folder.join(format!("spool/rec-{round}-0.tar")).exists()).then_some(()));
        }
        drop(keeper);
        keeper = Keeper::start(&folder, &url);
    }
    keeper.has(20);
    until("the spool is empty", || keeper.spool_is_empty().then_some(()));
    assert_eq!(keeper.import().code, 0, "the last one is at its end");
    let ran = keeper.run(&["recordings", "check"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "20 recordings in the index, 20 on disk: they agree\n"), "{ran:?}");

    // One that starts while the database is away finds it later.
    drop(keeper);
    server.stop();
    let keeper = Keeper::start(&folder, &url);
    assert!(keeper.run(&["recordings"]).err.contains("cannot be reached"));
    server.resume();
    keeper.has(20);
}

#[test]
fn what_is_wrong_with_tls_to_the_database_is_told_before_anything_starts() {
    let serve = |url: &str| {
        let env = [("LOADBALANCER_SECRET", SECRET), ("DATABASE_URL", url), ("BIND", "127.0.0.1:0")];
        run(&["serve", "--memory"], &env)
    };
    let ran = serve("postgresql://u:geheim@127.0.0.1/x?sslmode=verify-full&sslrootcert=/nowhere/ca.pem");
    assert!(ran.code != 0 && ran.err.contains("sslrootcert /nowhere/ca.pem cannot be read"), "{ran:?}");
    let odd = serve("postgresql://u:geheim@127.0.0.1/x?sslmode=always");
    assert!(odd.code != 0 && odd.err.contains("sslmode must be disable, allow, prefer, require"), "{odd:?}");
    assert!(!format!("{ran:?} {odd:?}").contains("geheim"));
}
