//! What a check finds, and what an update makes of it.

use adapter_bbb::{PlaybackFormat, RecordingFiles as _, RecordingState};

use super::*;

/// Shelves on every kind of index, each with these recordings.
async fn shelves_with(ids: &[&str]) -> Vec<Shelf> {
    let all = Shelf::each().await;
    for shelf in &all {
        for id in ids {
            shelf.arrives(&format!("{id}.tar"), &packed(&both_formats(id, 1)));
        }
        assert!(shelf.import().await.iter().all(|r| r.outcome == ImportOutcome::Imported));
    }
    all
}

fn moved(shelf: &Shelf, from: &str, to: &str) {
    let to = shelf.folder.join(to);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::rename(shelf.folder.join(from), to).unwrap();
}

#[tokio::test]
async fn each_disagreement_is_found_and_what_can_be_is_set_right() {
    for shelf in shelves_with(&["a", "b", "c", "d", "e"]).await {
        assert_eq!(shelf.findings().await, []);
        // In the wrong tree.
        moved(&shelf, "published/video/a", "unpublished/video/a");
        // In both, equal and not.
        let put = |path: &str, content: &[u8]| {
            let path = shelf.folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        for (path, content) in format_files("b", "video", 1) {
            put(&format!("unpublished/{path}"), &content);
        }
        for (path, content) in format_files("c", "video", 2) {
            put(&format!("unpublished/{path}"), &content);
        }
        // Nowhere.
        std::fs::remove_dir_all(shelf.folder.join("published/video/d")).unwrap();
        // Deleted by one that died before its files were gone.
        assert!(shelf.index.mark_deleted("e").await.unwrap());
        // Never heard of, as a recording and as a format of one.
        put("published/video/stranger/index.html", b"x");
        put("published/podcast/a/audio.ogg", b"x");
        // Left by somebody who was killed.
        put("published/video/.x.1-1.incoming/half", b"x");
        put("published/video/.a.1-2.outgoing/half", b"x");
        let report = shelf.keeper.check().await.unwrap();
        let found = |report: &adapter_bbb::CheckReport| {
            let mut all: Vec<_> = report
                .findings
                .iter()
                .map(|f| (f.record_id.clone(), f.format.clone(), f.kind, f.mended, f.kind.is_mendable()))
                .map(|(id, format, kind, mended, mendable)| (id, format, kind.as_str(), mended, mendable))
                .collect();
            all.sort();
            all
        };
        let row =
            |id: &str, format: &str, kind, mended, mendable| (id.to_owned(), format.to_owned(), kind, mended, mendable);
        let expected = |mended| {
            vec![
                row("", "", "leftover", mended, true),
                row("", "", "leftover", mended, true),
                row("a", "podcast", "unknown", false, false),
                row("a", "video", "misplaced", mended, true),
                row("b", "video", "doubled", mended, true),
                row("c", "video", "conflict", false, false),
                row("d", "video", "missing", false, false),
                row("e", "presentation", "deleted", mended, true),
                row("e", "video", "deleted", mended, true),
                row("stranger", "video", "unknown", false, false),
            ]
        };
        assert_eq!(found(&report), expected(false));
        assert_eq!((report.recordings, report.on_disk), (4, 6));
        assert!(report.findings.iter().all(|f| !f.remedy.is_empty()));
        // A check changes nothing.
        assert_eq!(shelf.keeper.check().await.unwrap(), report);
        let updated = shelf.keeper.update().await.unwrap();
        assert_eq!(found(&updated), expected(true));
        let left: Vec<_> = shelf.findings().await.into_iter().map(FindingKind::as_str).collect();
        assert_eq!(left, ["unknown", "conflict", "missing", "unknown"]);
        // What is missing comes back from its archive.
        shelf.arrives("d.tar", &packed(&both_formats("d", 1)));
        assert_eq!(shelf.import_one().await, None);
        assert!(!shelf.findings().await.contains(&FindingKind::Missing));
    }
}

/// A folder on its way out when its replacement never came is put back.
#[tokio::test]
async fn what_was_to_be_replaced_comes_back() {
    for shelf in shelves_with(&["a"]).await {
        moved(&shelf, "published/video/a", "published/video/.a.77-3.replaced");
        assert_eq!(shelf.findings().await, [FindingKind::Leftover, FindingKind::Missing]);
        assert!(shelf.keeper.update().await.unwrap().agrees());
        assert!(files_below(&shelf.folder.join("published")) == both_formats("a", 1));
    }
}

/// There: only the published tree is looked at when a recording is deleted.
#[tokio::test]
async fn a_deleted_recording_is_gone_from_both_trees() {
    for shelf in shelves_with(&["a", "b"]).await {
        assert!(shelf.keeper.publish("a", false).await.unwrap());
        // Also a format that the index does not know.
        std::fs::create_dir_all(shelf.folder.join("published/notes/a")).unwrap();
        assert!(shelf.keeper.delete("a").await.unwrap());
        let row = shelf.row("a").await;
        assert_eq!((row.state, row.formats.len()), (Some(RecordingState::Deleted), 0));
        for tree in ["published", "unpublished"] {
            for format in ["presentation", "video", "notes"] {
                assert!(!shelf.folder.join(tree).join(format).join("a").exists());
            }
        }
        assert!(!shelf.keeper.delete("nobody").await.unwrap());
        assert!(files_below(&shelf.folder.join("published")) == both_formats("b", 1));
        assert!(shelf.keeper.check().await.unwrap().agrees());
    }
}

#[tokio::test]
async fn publishing_moves_all_formats_or_none() {
    for shelf in shelves_with(&["a"]).await {
        // There already is fine; in both the source goes when nothing is lost by that, and else stays.
        assert!(shelf.keeper.publish("a", true).await.unwrap());
        let (there, other) = (shelf.folder.join("published/video/a"), shelf.folder.join("unpublished/video/a"));
        std::fs::create_dir_all(other.join("media")).unwrap();
        std::fs::copy(there.join("media/1.webm"), other.join("media/1.webm")).unwrap();
        shelf.trees.publish(&shelf.row("a").await, true).await.unwrap();
        assert!(!other.exists());
        for name in ["media/1.webm", "more"] {
            std::fs::create_dir_all(other.join("media")).unwrap();
            std::fs::write(other.join(name), "something else").unwrap();
            let e = shelf.trees.publish(&shelf.row("a").await, true).await.unwrap_err().to_string();
            assert!(e.contains("it differs from") && e.contains("`recordings check` tells more"), "{e}");
            assert_eq!(std::fs::read_to_string(other.join(name)).unwrap(), "something else");
            std::fs::remove_dir_all(&other).unwrap();
        }
        assert!(files_below(&shelf.folder.join("published")) == both_formats("a", 1));
        // In neither is an error, and nothing moves.
        std::fs::rename(shelf.folder.join("published/video"), shelf.folder.join("elsewhere")).unwrap();
        let e = shelf.keeper.publish("a", false).await.unwrap_err();
        assert_eq!(
            e.to_string(),
            "the format video of recording a is neither among the published nor the unpublished files"
        );
        assert!(shelf.row("a").await.published);
        assert!(shelf.folder.join("published/presentation/a").is_dir());
        assert!(!shelf.keeper.publish("nobody", true).await.unwrap());
        // Names from elsewhere lead nowhere.
        let mut odd = Recording::new("../../etc");
        odd.formats.push(PlaybackFormat::new("..", "/x"));
        assert!(shelf.trees.publish(&odd, true).await.is_err());
        assert!(!shelf.trees.has("..", "video").await.unwrap() && !shelf.trees.has("a", "../video").await.unwrap());
        assert_eq!(shelf.trees.read("a", "presentation", "../a/metadata.xml", 1 << 20).await.unwrap(), None);
        assert!(shelf.trees.write("a", "presentation", "..", Vec::new()).await.is_err());
        shelf.trees.delete("..").await.unwrap();
        assert!(shelf.folder.join("published").is_dir());
    }
}
