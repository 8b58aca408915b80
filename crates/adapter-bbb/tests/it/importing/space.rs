//! Full disks, and folders on several file systems.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use super::*;

/// A file system of a few bytes, gone when dropped.
pub(crate) struct Small(PathBuf);

impl Small {
    /// `None` where nobody may mount; said aloud.
    pub(crate) fn mount(at: &Path, kib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={kib}k");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        let done = done.ok().filter(|done| done.status.success());
        if done.is_none() {
            println!("skipped: this machine does not let us mount a small file system");
        }
        done.map(|_| Self(at.to_owned()))
    }

    pub(crate) fn grow(&self, kib: u32) {
        let size = format!("remount,size={kib}k");
        let done = Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn large(id: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = both_formats(id, 1);
    files.insert(format!("video/{id}/large.webm"), vec![7; 300 << 10]);
    files
}

/// There: recordings are lost.
#[tokio::test]
async fn a_full_disk_keeps_the_archive_wherever_it_is_full() {
    for small in ["work", "published", "unpublished"] {
        for on in each_index().await {
            let folder = Folder::new("space");
            let Some(disk) = Small::mount(&folder.join(small), 200) else { return };
            let shelf = Shelf::with(folder, on.index.clone(), |o| o.unpublished = small == "unpublished");
            let bytes = packed(&large("rec-1"));
            shelf.arrives("rec-1.tar", &bytes);
            let (why, lasting) = shelf.import_one().await.unwrap();
            assert!(why.contains("No space left on device") && !lasting, "{small}: {why}");
            assert_eq!(std::fs::read(shelf.spool("rec-1.tar")).unwrap(), bytes);
            assert!(shelf.told().is_empty());
            disk.grow(4096);
            // By itself, at the next look.
            let done = shelf.importer.import_now(false).await.unwrap();
            assert_eq!(done[0].outcome, ImportOutcome::Imported, "{small}");
            let tree = if small == "unpublished" { "unpublished" } else { "published" };
            assert!(files_below(&shelf.folder.join(tree)) == large("rec-1"));
            assert!(shelf.keeper.check().await.unwrap().agrees());
            drop(disk);
        }
    }
}

/// A replacement that finds no room leaves what was there.
#[tokio::test]
async fn a_full_disk_keeps_what_was_to_be_replaced() {
    for on in each_index().await {
        let folder = Folder::new("space");
        let Some(_disk) = Small::mount(&folder.join("published"), 200) else { return };
        let shelf = Shelf::with(folder, on.index.clone(), |_| {});
        shelf.arrives("rec-1.tar", &packed(&both_formats("rec-1", 1)));
        assert_eq!(shelf.import_one().await, None);
        shelf.arrives("rec-1.tar", &packed(&large("rec-1")));
        let (why, _) = shelf.import_one().await.unwrap();
        assert!(why.contains("No space left"), "{why}");
        let now = files_below(&shelf.folder.join("published"));
        assert!(both_formats("rec-1", 1).iter().all(|(path, content)| now.get(path) == Some(content)));
        assert!(shelf.keeper.check().await.unwrap().agrees());
    }
}

#[tokio::test]
async fn trees_on_several_file_systems_are_kept_by_compared_copies() {
    for on in each_index().await {
        let folder = Folder::new("space");
        let Some(disk) = Small::mount(&folder.join("unpublished"), 4096) else { return };
        let device = |name: &str| std::fs::metadata(folder.join(name)).unwrap().dev();
        std::fs::create_dir_all(folder.join("published")).unwrap();
        assert_ne!(device("published"), device("unpublished"));
        let shelf = Shelf::with(folder, on.index.clone(), |_| {});
        shelf.arrives("rec-1.tar", &packed(&large("rec-1")));
        assert_eq!(shelf.import_one().await, None);
        for published in [false, true, false] {
            assert!(shelf.keeper.publish("rec-1", published).await.unwrap());
            let (to, from) = if published { ("published", "unpublished") } else { ("unpublished", "published") };
            assert!(files_below(&shelf.folder.join(to)) == large("rec-1"));
            assert!(files_below(&shelf.folder.join(from)).is_empty());
            assert!(shelf.keeper.check().await.unwrap().agrees());
        }
        // Without room it stays where it is, and cannot be played.
        assert!(shelf.keeper.publish("rec-1", true).await.unwrap());
        disk.grow(100);
        assert!(shelf.keeper.publish("rec-1", false).await.is_err());
        let mut video = large("rec-1");
        video.retain(|path, _| path.starts_with("video/"));
        assert!(files_below(&shelf.folder.join("published")) == video, "what found no room is whole where it was");
        assert!(!shelf.row("rec-1").await.published);
        assert_eq!(shelf.findings().await, [FindingKind::Misplaced]);
        disk.grow(4096);
        assert!(shelf.keeper.update().await.unwrap().agrees());
        assert!(files_below(&shelf.folder.join("unpublished")) == large("rec-1"));
        assert!(shelf.keeper.delete("rec-1").await.unwrap());
        assert!(files_below(&shelf.folder.join("unpublished")).is_empty());
    }
}
