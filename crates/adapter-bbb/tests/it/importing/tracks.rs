//! Text tracks that are uploaded beside what imports bring.

use adapter_bbb::{BbbService, LocalStore, MeetingStore, Recordings};

use super::*;
use crate::recordings::tracks::{VTT, listed, sent};
use crate::stage::{Process, options};

/// A process of its own, with trees of its own in these folders.
async fn process(shelf: &Shelf, trees: RecordingTrees) -> (Process, BbbService) {
    let store: Arc<dyn MeetingStore> = Arc::new(LocalStore::memory());
    let process = Process::start(options(), store, false).await;
    let recordings = Recordings::new(shelf.index.clone()).with_files(Arc::new(trees));
    let service = process.service.clone().with_recordings(Arc::new(recordings));
    (process, service)
}

async fn languages(service: &BbbService) -> Vec<String> {
    let tracks = listed(service, "a").await;
    let all = tracks["tracks"].as_array().unwrap().iter();
    let mut all: Vec<String> = all.map(|t| t["lang"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

/// Each reads the list, adds to it and writes it: one at a time, whichever process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_track_between_them() {
    let shelf = Shelf::new();
    shelf.arrives("a.tar", &packed(&both_formats("a", 1)));
    assert_eq!(shelf.import_one().await, None);
    let (_one, first) = process(&shelf, trees(&shelf.folder)).await;
    let (_other, second) = process(&shelf, trees(&shelf.folder)).await;
    let mut under_way = Vec::new();
    let mut want = Vec::new();
    for n in 0..12 {
        let service = if n % 2 == 0 { first.clone() } else { second.clone() };
        let lang = format!("en-x{n:02}");
        want.push(lang.clone());
        let query = format!("recordID=a&kind=captions&lang={lang}");
        under_way.push(tokio::spawn(async move { sent(&service, &query, Some(VTT)).await }));
    }
    for one in under_way {
        assert_eq!(one.await.unwrap()["returncode"], "SUCCESS");
    }
    assert_eq!(languages(&first).await, want);
}

/// A recording that is processed anew replaces the files it came with, not what somebody has added to them.
#[tokio::test]
async fn what_was_uploaded_outlives_another_import() {
    for shelf in Shelf::each().await {
        shelf.arrives("a.tar", &packed(&both_formats("a", 1)));
        assert_eq!(shelf.import_one().await, None);
        let (_process, service) = process(&shelf, shelf.trees.clone()).await;
        let mine = VTT.replace("Hello", "Oi");
        let answer = sent(&service, "recordID=a&kind=subtitles&lang=pt-BR&label=Brasil", Some(&mine)).await;
        assert_eq!(answer["returncode"], "SUCCESS", "{answer}");
        // It comes again with tracks of its own, one of them in the same language.
        let mut files = both_formats("a", 2);
        let list = br#"[{"locale":"en","localeName":"English"},{"locale":"pt-BR","localeName":"live"}]"#;
        files.insert("presentation/a/captions.json".to_owned(), list.to_vec());
        for lang in ["en", "pt-BR"] {
            files.insert(format!("presentation/a/caption_{lang}.vtt"), VTT.as_bytes().to_vec());
        }
        shelf.arrives("a.tar", &packed(&files));
        assert_eq!(shelf.import_one().await, None);
        assert_eq!(languages(&service).await, ["en", "pt-BR"], "{}", shelf.name());
        assert_eq!(listed(&service, "a").await["tracks"][1]["label"], "Brasil");
        let published = files_below(&shelf.folder.join("published"));
        assert_eq!(published["presentation/a/caption_pt-BR.vtt"], mine.as_bytes());
        assert_eq!(published["presentation/a/caption_en.vtt"], VTT.as_bytes());
        assert_eq!(published["video/a/media/0.webm"], files["video/a/media/0.webm"]);
        assert!(shelf.findings().await.is_empty());
        // A deleted one is a new one when it comes again.
        assert!(shelf.keeper.delete("a").await.unwrap());
        shelf.arrives("a.tar", &packed(&both_formats("a", 3)));
        assert_eq!(shelf.import_one().await, None);
        assert!(files_below(&shelf.folder.join("published")) == both_formats("a", 3));
    }
}

/// What could not be read again is not taken.
#[tokio::test]
async fn a_list_that_would_be_too_long_is_refused_and_stays_readable() {
    let shelf = Shelf::new();
    shelf.arrives("a.tar", &packed(&both_formats("a", 1)));
    assert_eq!(shelf.import_one().await, None);
    let (_process, service) = process(&shelf, shelf.trees.clone()).await;
    let label = "x".repeat(300 << 10);
    let mut taken = 0;
    for lang in ["en", "de", "fr", "it"] {
        let answer = sent(&service, &format!("recordID=a&kind=captions&lang={lang}&label={label}"), Some(VTT)).await;
        taken += usize::from(answer["returncode"] == "SUCCESS");
    }
    assert_eq!(taken, 3);
    assert_eq!(languages(&service).await.len(), 3);
}
