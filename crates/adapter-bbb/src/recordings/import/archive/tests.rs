use proptest::prelude::*;
use real_servers::Folder;
use tar::Builder;

use super::*;

const ENOUGH: ArchiveLimits = ArchiveLimits { entries: 20, bytes: 100_000 };

fn header(kind: EntryType, size: u64) -> Header {
    let mut h = Header::new_gnu();
    h.set_entry_type(kind);
    h.set_size(size);
    h.set_mode(0o4777);
    h.set_mtime(1_700_000_000);
    h
}

/// Sets a name as it is, which the writer itself would refuse.
fn named(mut h: Header, name: &[u8]) -> Header {
    let field = &mut h.as_mut_bytes()[..100];
    field.fill(0);
    field[..name.len()].copy_from_slice(name);
    h.set_cksum();
    h
}

fn add(tar: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) {
    tar.append(&named(header(EntryType::Regular, content.len() as u64), name.as_bytes()), content).unwrap();
}

fn small() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    tar.append(&named(header(EntryType::Directory, 0), b"./presentation/rec-1/"), &[][..]).unwrap();
    add(&mut tar, "presentation/rec-1/metadata.xml", b"<recording/>");
    add(&mut tar, "presentation/rec-1/empty", b"");
    add(&mut tar, "presentation/rec-1/deep/video.webm", &[7; 1300]);
    // A name longer than a header holds.
    let long = format!("presentation/rec-1/{}.svg", "x".repeat(150));
    let mut h = header(EntryType::Regular, 3);
    tar.append_data(&mut h, long, &b"svg"[..]).unwrap();
    tar.into_inner().unwrap()
}

fn run(bytes: &[u8], limits: ArchiveLimits) -> (Folder, Result<Manifest, ArchiveError>) {
    let folder = Folder::new("unpack");
    let done = unpack(bytes, &folder, limits, &AtomicBool::new(false));
    (folder, done)
}

#[test]
fn what_was_packed_is_unpacked() {
    let (folder, done) = run(&small(), ENOUGH);
    let files = done.unwrap();
    assert_eq!(files.len(), 4);
    for (path, file) in &files {
        let content = fs::read(folder.join(path)).unwrap();
        assert_eq!(content.len() as u64, file.size);
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&content)), file.digest);
        let about = fs::metadata(folder.join(path)).unwrap();
        // No set-uid bit or the like comes in, and the web server can read it.
        assert_eq!(about.permissions().mode() & 0o7777, 0o644);
        assert_eq!(about.modified().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    }
    assert_eq!(folder.get("presentation/rec-1/deep/video.webm").len(), 1300);
}

#[test]
fn names_and_sizes_in_the_way_of_pax_are_read() {
    let mut records = Vec::new();
    for (key, value) in [("path", "presentation/rec-1/ü.svg"), ("size", "5")] {
        let rest = format!(" {key}={value}\n");
        let length = rest.len() + 2;
        records.extend_from_slice(format!("{length}{rest}").as_bytes());
    }
    let mut tar = Builder::new(Vec::new());
    tar.append(&named(header(EntryType::XHeader, records.len() as u64), b"x"), &records[..]).unwrap();
    // The header itself says nothing of the size.
    let mut bytes = tar.get_ref().clone();
    bytes.extend_from_slice(named(header(EntryType::Regular, 0), b"short").as_bytes());
    bytes.extend_from_slice(b"12345");
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    let (folder, done) = run(&bytes, ENOUGH);
    assert_eq!(done.unwrap().len(), 1);
    assert_eq!(folder.get("presentation/rec-1/ü.svg"), "12345");
}

#[test]
fn an_archive_cut_anywhere_is_told_from_a_whole_one() {
    let whole = small();
    // At each boundary, and one byte before and behind it.
    for length in (0..whole.len()).filter(|length| matches!(length % 512, 0 | 1 | 511)) {
        let (_, done) = run(&whole[..length], ENOUGH);
        let e = done.expect_err("it was cut");
        assert!(matches!(e, ArchiveError::Truncated { .. }) && e.is_lasting(), "{length}: {e}");
    }
    let mut two = whole.clone();
    two.extend_from_slice(&whole);
    assert!(matches!(run(&two, ENOUGH).1, Err(ArchiveError::Malformed { .. })), "a second one would be lost");
}

#[test]
fn nothing_leaves_its_folder_and_only_files_and_folders_come_in() {
    let refused = |h: &Header, content: &[u8]| {
        let mut tar = Builder::new(Vec::new());
        add(&mut tar, "presentation/rec-1/first", b"x");
        tar.append(h, content).unwrap();
        let around = Folder::new("around");
        fs::create_dir(around.join("in")).unwrap();
        let bytes = tar.into_inner().unwrap();
        let done = unpack(&bytes[..], &around.join("in"), ENOUGH, &AtomicBool::new(false));
        let e = done.expect_err("it is refused");
        assert!(matches!(e, ArchiveError::Refused { .. }) && e.is_lasting(), "{e}");
        assert_eq!(fs::read_dir(&*around).unwrap().count(), 1, "something was written outside");
        e.to_string()
    };
    for name in ["../x", "a/../../x", "a/b/..", "..", "/etc/cron.d/x", "//x", "./../x"] {
        let said = refused(&named(header(EntryType::Regular, 1), name.as_bytes()), b"x");
        assert!(said.contains("upwards") || said.contains("absolute"), "{name}: {said}");
        refused(&named(header(EntryType::Directory, 0), name.as_bytes()), b"");
    }
    for (kind, word) in [
        (EntryType::Symlink, "a link"),
        (EntryType::Link, "a link"),
        (EntryType::Char, "a device"),
        (EntryType::Block, "a device"),
        (EntryType::Fifo, "a pipe"),
        (EntryType::GNUSparse, "sparse"),
        (EntryType::new(b'V'), "neither"),
    ] {
        let mut h = header(kind, 0);
        h.set_link_name("/etc/passwd").unwrap();
        assert!(refused(&named(h, b"presentation/rec-1/x"), b"").contains(word));
    }
    for (name, word) in [
        ("presentation/rec-1/first", "twice"),
        ("presentation/rec-1/first/x", "this name"),
        ("presentation/rec-1", "twice"),
        ("./", "content"),
    ] {
        assert!(refused(&named(header(EntryType::Regular, 1), name.as_bytes()), b"x").contains(word), "{name}");
    }
    let deep = "d/".repeat(MAX_DEPTH) + "x";
    assert!(refused(&named(header(EntryType::Regular, 1), deep.as_bytes()), b"x").contains("deeply"));
}

#[test]
fn sizes_and_counts_are_limited_before_anything_is_written() {
    let mut tar = Builder::new(Vec::new());
    for n in 0..20 {
        add(&mut tar, &format!("f{n}"), b"x");
    }
    assert_eq!(
        run(tar.get_ref(), ENOUGH).1.unwrap_err().to_string(),
        "the archive ends at byte 20480, before its end \
        mark: was it copied as a whole? Copy it again"
    );
    add(&mut tar, "one-too-many", b"x");
    let bytes = tar.into_inner().unwrap();
    assert!(matches!(run(&bytes, ENOUGH).1, Err(ArchiveError::TooMany { limit: 20 })));
    // One that claims more than there is, and one that claims all there can be.
    for size in [100_001, 1 << 40, u64::MAX >> 1] {
        let mut h = header(EntryType::Regular, 0);
        h.set_size(size);
        let (folder, done) = run(named(h, b"large").as_bytes(), ENOUGH);
        assert!(matches!(done, Err(ArchiveError::TooLarge { limit: 100_000 })), "{size}");
        assert_eq!(fs::read_dir(&*folder).unwrap().count(), 0);
    }
    // Folders that no entry names.
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, &("d/".repeat(21) + "x"), b"x");
    assert!(matches!(run(&tar.into_inner().unwrap(), ENOUGH).1, Err(ArchiveError::TooMany { .. })));
    // A long name is no way to fill the memory.
    let mut bytes = named(header(EntryType::GNULongName, 1 << 30), b"long").as_bytes().to_vec();
    bytes.resize(4096, b'x');
    assert!(matches!(run(&bytes, ENOUGH).1, Err(ArchiveError::Malformed { .. })));
    assert_eq!(ArchiveLimits::default(), ArchiveLimits { entries: 10_000, bytes: 20 * 1024 * 1024 * 1024 });
}

#[test]
fn it_can_be_broken_off() {
    let folder = Folder::new("unpack");
    let done = unpack(&small()[..], &folder, ENOUGH, &AtomicBool::new(true));
    assert!(matches!(&done, Err(e @ ArchiveError::Stopped) if !e.is_lasting()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = run(&bytes, ENOUGH);
    }

    #[test]
    fn a_changed_byte_never_leads_outside(at in 0_usize..4096, to in any::<u8>()) {
        let mut bytes = small();
        let at = at % bytes.len();
        bytes[at] = to;
        let around = Folder::new("around");
        fs::create_dir(around.join("in")).unwrap();
        let _ = unpack(&bytes[..], &around.join("in"), ENOUGH, &AtomicBool::new(false));
        prop_assert_eq!(fs::read_dir(&*around).unwrap().count(), 1);
    }
}
