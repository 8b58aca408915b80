//! What arrives comes in whole, once, and is told of.

use std::task::Poll;
use std::time::Duration;

use adapter_bbb::{
    CallbackUrls, ImportOutcome, LocalStore, MeetingStore as _, Payload, RecordingDesk, RecordingState, Recordings,
    RequestHead,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::stage::{PATIENCE, Process, options, until};

#[tokio::test]
async fn an_archive_comes_in_whole_and_is_then_removed() {
    for shelf in Shelf::each().await {
        let files = both_formats("rec-1", 1);
        shelf.arrives("rec-1.tar", &packed(&files));
        let reports = shelf.import().await;
        let formats = vec!["presentation".to_owned(), "video".to_owned()];
        assert_eq!(reports[0].recordings, [("rec-1".to_owned(), formats)]);
        assert_eq!(reports[0].outcome, ImportOutcome::Imported);
        assert!(files_below(&shelf.folder.join("published")) == files);
        assert!(files_below(&shelf.folder.join("spool")).is_empty());
        let row = shelf.row("rec-1").await;
        assert_eq!((row.meeting_id.as_str(), row.name.as_str()), ("meeting-rec-1", "Lesson"));
        assert_eq!((row.published, row.state), (true, Some(RecordingState::Published)));
        assert_eq!(row.meta("course"), Some("math"));
        let formats: Vec<_> = row.formats.iter().map(|f| (f.format.as_str(), f.url.as_str(), f.length)).collect();
        let expected = [("presentation", "/playback/presentation/rec-1"), ("video", "/playback/video/rec-1")];
        assert_eq!(formats, expected.map(|(format, url)| (format, url, Some(60))));
        assert_eq!(shelf.told(), ["rec-1"]);
        assert!(shelf.keeper.check().await.unwrap().agrees());
        // Only locks are left to work with.
        let left: Vec<_> = files_below(&shelf.folder.join("work")).into_keys().collect();
        assert_eq!(left, ["import.lock", "trees.lock"]);
    }
}

#[tokio::test]
async fn the_same_archive_again_changes_nothing() {
    for shelf in Shelf::each().await {
        let bytes = packed(&both_formats("rec-1", 1));
        shelf.arrives("rec-1.tar", &bytes);
        assert_eq!(shelf.import_one().await, None);
        let before = (shelf.row("rec-1").await, files_below(&shelf.folder.join("published")));
        shelf.arrives("rec-1.tar", &bytes);
        assert_eq!(shelf.import_one().await, None);
        assert_eq!((shelf.row("rec-1").await, files_below(&shelf.folder.join("published"))), before);
        // A recording that was made anew takes the place of the old one, without anything of it.
        shelf.arrives("rec-1.tar", &packed(&format_files("rec-1", "video", 2)));
        assert_eq!(shelf.import_one().await, None);
        let mut now = format_files("rec-1", "presentation", 1);
        now.extend(format_files("rec-1", "video", 2));
        assert!(files_below(&shelf.folder.join("published")) == now);
        assert_eq!(shelf.row("rec-1").await.formats.len(), 2);
        assert!(shelf.keeper.check().await.unwrap().agrees());
    }
}

#[tokio::test]
async fn a_choice_to_publish_or_not_outlives_an_import() {
    for shelf in Shelf::each().await {
        let bytes = packed(&both_formats("rec-1", 1));
        shelf.arrives("rec-1.tar", &bytes);
        shelf.import().await;
        assert!(shelf.keeper.publish("rec-1", false).await.unwrap());
        assert!(files_below(&shelf.folder.join("published")).is_empty());
        shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 2)));
        assert_eq!(shelf.import_one().await, None);
        let row = shelf.row("rec-1").await;
        assert_eq!((row.published, row.state), (false, Some(RecordingState::Unpublished)));
        assert!(files_below(&shelf.folder.join("published")).is_empty());
        assert!(files_below(&shelf.folder.join("unpublished")) == both_formats("rec-1", 2));
        // A deleted one that is made again is new.
        assert!(shelf.keeper.delete("rec-1").await.unwrap());
        assert!(files_below(&shelf.folder.join("unpublished")).is_empty());
        shelf.arrives("rec-1.tar", &bytes);
        assert_eq!(shelf.import_one().await, None);
        assert!(shelf.row("rec-1").await.published);
        assert!(shelf.keeper.check().await.unwrap().agrees());
    }
}

#[tokio::test]
async fn settings_say_what_a_new_one_is() {
    let unpublished = |o: &mut ImportOptions| (o.unpublished, o.protected) = (true, true);
    for shelf in Shelf::each_with(unpublished).await {
        shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
        assert_eq!(shelf.import_one().await, None);
        let row = shelf.row("rec-1").await;
        assert_eq!((row.published, row.protected, row.state), (false, true, Some(RecordingState::Unpublished)));
        assert!(files_below(&shelf.folder.join("published")).is_empty());
        assert_eq!(files_below(&shelf.folder.join("unpublished")).len(), 8);
    }
}

/// There: only what the cron job or a forced poll sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrivals_are_noticed_without_a_poll_and_polls_go_on() {
    for events in [true, false] {
        let watchful = |o: &mut ImportOptions| {
            o.events = events;
            o.poll = if events { Duration::from_secs(3600) } else { Duration::from_millis(20) };
        };
        for shelf in Shelf::each_with(watchful).await {
            shelf.arrives("rec-0.tar", &packed(&both_formats("rec-0", 1)));
            let (stop, stopped) = oneshot::channel::<()>();
            let run = tokio::spawn(shelf.importer.clone().run(async move {
                let _ = stopped.await;
            }));
            for n in 0..3 {
                let id = format!("rec-{n}");
                if n > 0 {
                    shelf.arrives(&format!("{id}.tar"), &packed(&both_formats(&id, 1)));
                }
                until("it came in", async || shelf.index.get(&id).await.unwrap().is_some()).await;
                until("its archive is gone", async || !shelf.spool(&format!("{id}.tar")).exists()).await;
            }
            drop(stop);
            timeout(PATIENCE, run).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_stop_lets_the_current_archive_come_in() {
    for shelf in Shelf::each().await {
        for n in 0..5 {
            shelf.arrives(&format!("rec-{n}.tar"), &packed(&both_formats(&format!("rec-{n}"), 1)));
        }
        let held = shelf.news.gate.lock().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut run = std::pin::pin!(shelf.importer.clone().run(async move {
            let _ = stopped.await;
        }));
        tokio::select! {
            () = &mut run => panic!("nobody stopped it"),
            () = until("the first is under way", async || shelf.index.get("rec-0").await.unwrap().is_some()) => {}
        }
        drop(stop);
        // It hears of the order before the archive has come in.
        let over = std::future::poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_ready())).await;
        assert!(!over);
        drop(held);
        timeout(PATIENCE, run).await.unwrap();
        assert!(!shelf.spool("rec-0.tar").exists());
        assert_eq!(shelf.told(), ["rec-0"]);
        assert!(shelf.spool("rec-1.tar").exists(), "the next one waits");
        assert!(shelf.keeper.check().await.unwrap().agrees());
    }
}

/// The queue has the news before the archive is gone, and it goes where the `create` said.
#[tokio::test]
async fn the_front_end_is_told_that_a_recording_is_ready() {
    for shelf in Shelf::each().await {
        let store = Arc::new(LocalStore::memory());
        let process = Process::start(options(), store.clone(), false).await;
        let mut urls = CallbackUrls::default();
        urls.recording_ready = Some("https://moodle.example.com/ready".to_owned());
        store.callback_store().keep_urls("meeting-rec-1", &urls, Duration::from_secs(60)).await.unwrap();
        let importer = Importer::new(
            ImportOptions::new(shelf.folder.join("spool")),
            shelf.trees.clone(),
            shelf.index.clone(),
            process.service.cluster().clone(),
        );
        for id in ["rec-1", "rec-2"] {
            shelf.arrives(&format!("{id}.tar"), &packed(&both_formats(id, 1)));
        }
        let reports = Arc::new(importer).import_now(false).await.unwrap();
        assert!(reports.iter().all(|r| r.outcome == ImportOutcome::Imported), "{reports:?}");
        let due = store.callback_store().take_due(10, Duration::from_secs(1)).await.unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].url, "https://moodle.example.com/ready");
        assert_eq!(due[0].body, r#"{"meeting_id":"meeting-rec-1","record_id":"rec-1"}"#);
    }
}

/// News that cannot be handed on keeps the archive: nobody would be told after it is gone.
#[tokio::test]
async fn an_archive_stays_until_the_news_is_handed_on() {
    for shelf in Shelf::each().await {
        shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
        *shelf.news.fails.lock().unwrap() = Some("the store cannot be asked".to_owned());
        let (why, lasting) = shelf.import_one().await.unwrap();
        assert!(why.contains("the store cannot be asked") && !lasting, "{why}");
        assert!(shelf.spool("rec-1.tar").exists());
        *shelf.news.fails.lock().unwrap() = None;
        assert_eq!(shelf.import_one().await, None);
        assert_eq!(shelf.told(), ["rec-1"]);
    }
}

/// An archive that is replaced while the old one comes in is not taken for the old one.
#[tokio::test]
async fn an_archive_that_changes_meanwhile_stays() {
    for shelf in Shelf::each().await {
        shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
        let folder = shelf.folder.to_owned();
        let deed = move || arrives(&folder, "rec-1.tar", &packed(&both_formats("rec-1", 2)));
        *shelf.news.meanwhile.lock().unwrap() = Some(Box::new(deed));
        let (why, lasting) = shelf.import_one().await.unwrap();
        assert!(why.contains("replaced while it was being imported") && !lasting, "{why}");
        assert_eq!(shelf.import_one().await, None);
        assert!(files_below(&shelf.folder.join("published")) == both_formats("rec-1", 2));
    }
}

#[tokio::test]
async fn one_importer_at_a_time_and_what_is_still_copied_waits() {
    let shelf = Shelf::new();
    std::fs::write(shelf.spool(".rec-1.tar.Xq71"), b"half").unwrap();
    std::fs::write(shelf.spool("readme.txt"), b"not an archive").unwrap();
    std::fs::create_dir(shelf.spool("folder.tar")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", shelf.spool("link.tar")).unwrap();
    assert!(shelf.importer.import_now(false).await.unwrap().is_empty());
    std::fs::create_dir_all(shelf.folder.join("work")).unwrap();
    let lock = std::fs::File::create(shelf.folder.join("work/import.lock")).unwrap();
    lock.lock().unwrap();
    let e = shelf.importer.import_now(true).await.unwrap_err();
    assert_eq!(e.to_string(), "another process is importing from this spool");
}

/// What operators see of it.
#[tokio::test]
async fn figures_tell_what_imports_came_to() {
    for shelf in Shelf::each().await {
        let process = Process::start(options(), Arc::new(LocalStore::memory()), false).await;
        let desk = RecordingDesk::new(shelf.index.clone(), shelf.keeper.clone(), Some(shelf.importer.clone()));
        let recordings = Recordings::new(shelf.index.clone());
        let service = process.service.clone().with_recordings(Arc::new(recordings)).with_recording_desk(desk);
        let page = async || {
            let head = RequestHead { method: "GET", path: "/metrics", host: Some("any"), ..RequestHead::default() };
            let answer = service.handle(head, Payload::Whole(bytes::Bytes::new())).await;
            String::from_utf8_lossy(answer.body()).into_owned()
        };
        let value = |page: &str, sample: &str| -> Option<f64> {
            page.lines().find_map(|l| l.strip_prefix(sample)).and_then(|rest| rest.trim().parse().ok())
        };
        let before = page().await;
        assert_eq!(value(&before, "balancer_recording_imports_total{result=\"done\"}"), Some(0.0));
        assert!(!before.contains("balancer_recording_import_last_success_timestamp_seconds"), "never yet");
        let good = packed(&both_formats("rec-1", 1));
        shelf.arrives("rec-1.tar", &good);
        shelf.arrives("bad.tar", b"not an archive");
        shelf.import().await;
        shelf.arrives("rec-2.tar", &packed(&both_formats("rec-2", 1)));
        *shelf.news.fails.lock().unwrap() = Some("nobody listens".to_owned());
        shelf.importer.import_now(false).await.unwrap();
        // The page waits for the index for a second only.
        let up = "balancer_recordings_index_up";
        until("the index answers", async || value(&page().await, up) == Some(1.0)).await;
        let page = page().await;
        for (sample, want) in [
            ("balancer_recording_imports_total{result=\"done\"}", 1.0),
            ("balancer_recording_imports_total{result=\"refused\"}", 1.0),
            ("balancer_recording_imports_total{result=\"failed\"}", 1.0),
            ("balancer_recording_import_duration_seconds_count{result=\"done\"}", 1.0),
            ("balancer_recording_import_bytes_total", good.len() as f64),
            ("balancer_recordings_imported_total", 2.0),
            // The bad one, and the one that is tried again.
            ("balancer_recording_spool_archives", 2.0),
        ] {
            assert_eq!(value(&page, sample), Some(want), "{}: {sample}", shelf.name());
        }
        let last = value(&page, "balancer_recording_import_last_success_timestamp_seconds").unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 600.0..=now).contains(&last), "{last}");
        assert!(!page.contains("rec-1") && !page.contains("meeting-rec"), "no recording in a label");
    }
}
