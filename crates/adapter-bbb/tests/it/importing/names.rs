//! Names of what is put into the spool.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::*;

/// Whoever asks for an import is told of what will never come in under its name.
#[tokio::test]
async fn what_looks_like_an_archive_and_is_none_is_told_of() {
    let shelf = Shelf::new();
    let bytes = packed(&both_formats("rec-1", 1));
    for name in ["rec-1.tar.gz", "rec-2.TAR", "notes.txt", ".rec-3.tar.Xy12", "name with blanks \u{e4}.tar"] {
        shelf.folder.put(&format!("spool/{name}"), &bytes);
    }
    std::fs::write(shelf.folder.join("spool").join(OsStr::from_bytes(b"rec-\xff.tar")), &bytes).unwrap();
    std::fs::create_dir(shelf.spool("folder.tar")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", shelf.spool("link.tar")).unwrap();
    let reports = shelf.import().await;
    let why = |report: &ImportReport| match &report.outcome {
        ImportOutcome::Kept { why, lasting: true } => why.clone(),
        other => format!("{other:?}"),
    };
    let told: Vec<(String, String)> = reports.iter().map(|r| (r.archive.clone(), why(r))).collect();
    let is = |name: &str, word: &str| told.iter().any(|(archive, why)| archive == name && why.contains(word));
    assert!(is("name with blanks \u{e4}.tar", "Imported"), "{told:?}");
    assert!(is("rec-1.tar.gz", "end with .tar") && is("rec-2.TAR", "end with .tar"), "{told:?}");
    assert!(is("rec-\u{fffd}.tar", "not UTF-8"), "{told:?}");
    assert!(is("folder.tar", "a link or a folder") && is("link.tar", "a link or a folder"), "{told:?}");
    assert_eq!(told.len(), 6, "{told:?}");
    // By itself it looks at archives only.
    assert!(shelf.importer.import_now(false).await.unwrap().is_empty());
}
