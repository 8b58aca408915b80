//! Every index does the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter_bbb::{
    LocalRecordings, Recording, RecordingChange, RecordingIndex, RecordingQuery, RecordingState, StateFilter,
    TENANT_KEY, Thumbnail,
};
use real_servers::{Folder, PostgresServer};

use super::world::{every_index, index, recording, strings};

async fn ids(index: &dyn RecordingIndex, query: &RecordingQuery) -> Vec<String> {
    index.list(query).await.unwrap().recordings.into_iter().map(|r| r.record_id).collect()
}

fn any() -> RecordingQuery {
    let mut q = RecordingQuery::default();
    q.states = StateFilter::Any;
    q
}

#[tokio::test]
async fn what_is_imported_is_read_back_whole() {
    let (folder, server) = (Folder::new("index"), PostgresServer::start());
    for index in every_index(&folder, server.as_ref()).await {
        let name = index.describe();
        let mut r = recording("r-1", "m ☃", 0, true);
        r.set_meta("gl-listed", "true");
        r.set_meta("empty", "");
        (r.participants, r.protected) = (Some(7), true);
        r.formats[0].processing_time = Some(12);
        (r.formats[0].thumbnails[0].width, r.formats[0].thumbnails[0].alt) = (Some(176), "A \"picture\"".into());
        assert_eq!(index.import(&r).await.unwrap(), r, "{name}");
        assert_eq!(index.get("r-1").await.unwrap(), Some(r.clone()), "{name}");
        assert_eq!(index.import(&r).await.unwrap(), r, "{name}: the same again changes nothing");
        let mut bare = Recording::new("r-2");
        bare.state = None;
        assert_eq!(index.import(&bare).await.unwrap(), bare, "{name}");
        assert_eq!(index.get("none").await.unwrap(), None);
        index.check().await.unwrap();
        assert_eq!(index.ids("", 10).await.unwrap(), [("r-1".into(), true), ("r-2".into(), false)]);
        assert_eq!(index.ids("r-1", 1).await.unwrap(), [("r-2".into(), false)]);
        assert_eq!(index.link_callbacks(&r).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_second_import_keeps_what_somebody_chose_and_what_it_does_not_name() {
    let (folder, server) = (Folder::new("index"), PostgresServer::start());
    for index in every_index(&folder, server.as_ref()).await {
        let name = index.describe();
        let mut r = recording("r", "m", 0, true);
        r.set_meta("old", "1");
        r.set_meta("both", "1");
        r.formats[0].thumbnails.push(Thumbnail::new("/old.png", 1));
        index.import(&r).await.unwrap();
        assert!(index.set_published("r", false).await.unwrap());
        let mut again = recording("r", "m2", 5, true);
        again.set_meta("both", "2");
        again.formats[0].thumbnails = vec![Thumbnail::new("/new.png", 0)];
        let stored = index.import(&again).await.unwrap();
        assert!(!stored.published && stored.publish_updated, "{name}");
        assert_eq!((stored.state, stored.meeting_id.as_str()), (Some(RecordingState::Unpublished), "m2"), "{name}");
        assert_eq!((stored.meta("old"), stored.meta("both")), (Some("1"), Some("2")), "{name}");
        let pictures: Vec<&str> = stored.formats[0].thumbnails.iter().map(|t| t.url.as_str()).collect();
        assert_eq!(pictures, ["/new.png", "/old.png"], "{name}");
        // One that had been deleted comes back as it came in.
        assert!(index.mark_deleted("r").await.unwrap());
        let gone = index.get("r").await.unwrap().unwrap();
        assert_eq!((gone.state, gone.published), (Some(RecordingState::Deleted), false), "{name}");
        assert!(gone.deleted_ms.is_some() && gone.metadata.is_empty() && gone.formats.is_empty(), "{name}");
        assert!(!index.set_published("r", true).await.unwrap(), "{name}: what is deleted is not published");
        assert_eq!(index.ids("", 10).await.unwrap(), [], "{name}");
        let back = index.import(&again).await.unwrap();
        assert!(back.published && !back.publish_updated && back.deleted_ms.is_none(), "{name}");
        assert!(!index.set_published("none", true).await.unwrap() && !index.mark_deleted("none").await.unwrap());
    }
}

#[tokio::test]
async fn updates_are_made_to_all_or_to_none() {
    let (folder, server) = (Folder::new("index"), PostgresServer::start());
    for index in every_index(&folder, server.as_ref()).await {
        let name = index.describe();
        for id in ["a", "b"] {
            let mut r = recording(id, "m", 0, true);
            r.set_meta("gone", "x");
            index.import(&r).await.unwrap();
        }
        let mut change = RecordingChange::default();
        change.meta = BTreeMap::from([("gone".into(), None), ("new".into(), Some("y".into()))]);
        change.protected = Some(true);
        assert!(!index.update(&strings(&["a", "none"]), None, &change).await.unwrap(), "{name}");
        assert!(!index.update(&strings(&["a"]), Some("t"), &change).await.unwrap(), "{name}: another tenant's");
        assert_eq!(index.get("a").await.unwrap().unwrap().meta("gone"), Some("x"), "{name}");
        assert!(index.update(&strings(&["a", "b", "a"]), None, &change).await.unwrap(), "{name}");
        for id in ["a", "b"] {
            let r = index.get(id).await.unwrap().unwrap();
            assert_eq!((r.meta("gone"), r.meta("new"), r.protected), (None, Some("y"), true), "{name}");
        }
        let mut owned = recording("c", "m", 0, true);
        owned.set_meta(TENANT_KEY, "other");
        index.import(&owned).await.unwrap();
        // Nobody knows whose a deleted one was: it is shown to no other tenant.
        owned.record_id = "deleted".to_owned();
        index.import(&owned).await.unwrap();
        assert!(index.mark_deleted("deleted").await.unwrap(), "{name}");
        assert_eq!(index.add_to_tenant("t").await.unwrap(), 2, "{name}");
        let mut q = any();
        q.tenant = Some("t".to_owned());
        assert_eq!(ids(&*index, &q).await, ["b", "a"], "{name}");
        assert_eq!(index.add_to_tenant("t").await.unwrap(), 0, "{name}");
        assert!(index.update(&strings(&["a"]), Some("t"), &change).await.unwrap(), "{name}");
        assert!(!index.update(&strings(&["a", "c"]), Some("t"), &change).await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn pages_begin_with_the_newest() {
    let (folder, server) = (Folder::new("index"), PostgresServer::start());
    for index in every_index(&folder, server.as_ref()).await {
        for (id, second) in [("old", 0), ("newest", 9), ("new", 5), ("twin", 5)] {
            index.import(&recording(id, "m", second, true)).await.unwrap();
        }
        let mut timeless = recording("timeless", "m", 0, true);
        timeless.start_ms = None;
        index.import(&timeless).await.unwrap();
        let all = ["newest", "twin", "new", "old", "timeless"];
        assert_eq!(ids(&*index, &any()).await, all, "{}", index.describe());
        let mut q = any();
        (q.offset, q.limit) = (1, Some(2));
        assert_eq!(ids(&*index, &q).await, all[1..3], "{}", index.describe());
        q.offset = u64::MAX;
        assert!(ids(&*index, &q).await.is_empty());
    }
}

/// A small generator: the same numbers every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn some(&mut self, words: &[&str]) -> Vec<String> {
        (0..self.below(3)).map(|_| self.of(words).to_owned()).collect()
    }
}

/// Whatever is asked, Postgres finds what a search through all of them finds, in the same order.
#[tokio::test]
async fn filters_find_in_postgres_what_they_find_in_memory() {
    let Some(server) = PostgresServer::start() else { return };
    let (there, here) = (Arc::new(index(&server, "scalelite")), LocalRecordings::memory());
    let mut dice = Dice(7);
    let states = [
        Some(RecordingState::Processing),
        Some(RecordingState::Processed),
        Some(RecordingState::Published),
        Some(RecordingState::Unpublished),
        Some(RecordingState::Deleted),
        None,
    ];
    let prefixes = ["a", "ab", "a%", "a_", "A", "a\\", "", "b-1", "ä", "a%b"];
    let (meetings, keys, values) = (["m1", "M1", "m'2", "m%"], ["k", "K", "tenant-id", "k%"], ["", "x", "X", "x'"]);
    for n in 0..200 {
        let id = format!("{}-{n}", dice.of(&prefixes));
        let second = i64::try_from(dice.below(50)).unwrap();
        let mut r = recording(&id, dice.of(&meetings), second, false);
        r.state = states[dice.below(states.len())];
        r.published = r.state == Some(RecordingState::Published);
        for _ in 0..dice.below(4) {
            r.set_meta(dice.of(&keys), dice.of(&values));
        }
        assert_eq!(there.import(&r).await.unwrap(), here.import(&r).await.unwrap());
    }
    let mut found = 0;
    for _ in 0..400 {
        let mut q = RecordingQuery::default();
        q.prefixes = dice.some(&prefixes);
        q.meeting_ids = dice.some(&meetings);
        q.states = match dice.below(4) {
            0 => StateFilter::default(),
            1 => StateFilter::Of((0..dice.below(3)).filter_map(|_| states[dice.below(states.len())]).collect()),
            _ => StateFilter::Any,
        };
        q.meta = (0..dice.below(3)).map(|_| (dice.of(&keys).to_owned(), dice.some(&values))).collect();
        q.tenant = (dice.below(3) == 0).then(|| dice.of(&values).to_owned());
        q.offset = u64::try_from(dice.below(4)).unwrap();
        q.limit = (dice.below(2) == 0).then(|| u64::try_from(dice.below(20)).unwrap());
        let (a, b) = (there.list(&q).await.unwrap(), here.list(&q).await.unwrap());
        found += a.recordings.len();
        assert_eq!(a, b, "{q:?}");
    }
    assert!(found > 1000, "{found} only");
    println!("400 queries found {found} recordings");
}

#[tokio::test]
async fn the_file_keeps_what_was_acknowledged() {
    let folder = Folder::new("index");
    let path = folder.join("recordings.redb");
    let one = LocalRecordings::open(&path).await.unwrap();
    for (id, second) in [("a", 1), ("b", 1), ("c", 0)] {
        one.import(&recording(id, "m", second, true)).await.unwrap();
    }
    one.set_published("a", false).await.unwrap();
    let before = one.list(&any()).await.unwrap();
    let said = LocalRecordings::open(&path).await.unwrap_err().to_string();
    assert!(said.contains("recordings.redb"), "{said}");
    drop(one);
    let two = LocalRecordings::open(&path).await.unwrap();
    assert_eq!(two.list(&any()).await.unwrap(), before);
    assert_eq!(ids(&two, &any()).await, ["b", "a", "c"]);
}
