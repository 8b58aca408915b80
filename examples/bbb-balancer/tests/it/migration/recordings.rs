//! Recordings of a Scalelite: its database, its folders, and an archive that waits in its spool.

use std::process::{Command, Stdio};

use real_servers::{Folder, PostgresServer};

/// `metadata.xml` of the recording in the archive.
const METADATA: &str = "<?xml version=\"1.0\"?>\n<recording><id>new-1</id><state>published</state>\
    <published>true</published><start_time>1780000000000</start_time><end_time>1780003600000</end_time>\
    <participants>4</participants><meta><meetingId>lesson-1</meetingId><meetingName>Of today</meetingName></meta>\
    <playback><format>presentation</format><link>https://bbb1.example.com/playback/presentation/2.3/new-1</link>\
    <duration>3600000</duration></playback></recording>";

pub(super) struct Recordings {
    server: PostgresServer,
    folder: Folder,
}

impl Recordings {
    /// As a Scalelite leaves them; `None` without a Postgres.
    pub(super) fn of_scalelite() -> Option<Self> {
        let all = Self { server: PostgresServer::start()?, folder: Folder::new("recordings") };
        all.sql(include_str!("scalelite.sql"));
        let old = "published/presentation/old-1";
        for folder in ["spool", "unpublished", "work", old, "packed/presentation/new-1"] {
            std::fs::create_dir_all(all.folder.join(folder)).unwrap();
        }
        all.folder.put(&format!("{old}/metadata.xml"), "<recording/>");
        all.folder.put("packed/presentation/new-1/metadata.xml", METADATA);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(all.folder.join("packed")).arg("-cf").arg(all.folder.join("spool/new-1.tar"));
        assert!(tar.arg("presentation/new-1").status().unwrap().success());
        all.folder.put("spool/bad-1.tar", "cut off");
        Some(all)
    }

    /// The lines of the environment that name them.
    pub(super) fn environment(&self) -> String {
        let at = |name: &str| self.folder.join(name).display().to_string();
        format!(
            "DATABASE_URL={}\nRECORDING_SPOOL_DIR={}\nRECORDING_PUBLISH_DIR={}\nRECORDING_UNPUBLISH_DIR={}\n\
             RECORDING_WORK_DIR={}\nRECORDING_IMPORT_POLL_INTERVAL=86400\n",
            self.server.url("scalelite"),
            at("spool"),
            at("published"),
            at("unpublished"),
            at("work"),
        )
    }

    /// What a query answers, without any alignment.
    pub(super) fn sql(&self, text: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.server.url("scalelite"), "-c", text]);
        let ran = psql.stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    /// Whether there is something at this path below their folders.
    pub(super) fn has(&self, path: &str) -> bool {
        self.folder.join(path).exists()
    }

    /// Takes out of the spool what cannot be imported, as the guide says.
    pub(super) fn take_out(&self, archive: &str) {
        std::fs::remove_file(self.folder.join("spool").join(archive)).unwrap();
    }
}
