//! The store in a file, after reopening.

use adapter_bbb::{LocalStore, MeetingStore, Secret, ServerState};
use balancer_core::{Claim, StickKey, StickStore, Token, Want};
use tokio::time::Instant;

use super::{DAY, Folder, bind, order, polled, record};
use crate::stage::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_file_acknowledged_is_there_after_reopening() {
    let folder = Folder::new();
    let path = folder.0.join("data.redb");
    let store = LocalStore::open(&path).await.unwrap();
    assert!(store.describe().contains("data.redb"), "{}", store.describe());
    for id in ["a", "b", "c"] {
        assert!(store.add_server(&record(id)).await.unwrap());
        store.update_server(&id.into(), &order(ServerState::Enabled)).await.unwrap();
    }
    store.record_poll(&"a".into(), &polled(5.0)).await.unwrap();
    let kept = bind(&*store, "kept", "a", 1.0).await;
    let gone = bind(&*store, "gone", "a", 1.0).await;
    bind(&*store, "on-c", "c", 1.0).await;
    assert!(store.release(&StickKey::new("gone").unwrap(), &gone).await.unwrap());
    store.close(&"b".into(), true).await.unwrap();
    store.update_server(&"b".into(), &order(ServerState::Cordoned)).await.unwrap();
    assert!(store.remove_server(&"c".into()).await.unwrap());
    let before = store.look("kept").await.unwrap().meeting.unwrap();
    assert!(store.begin_end("kept", &kept, PATIENCE).await.unwrap());
    assert!(store.meetings(None).await.unwrap()[0].ending);
    assert!(LocalStore::open(&path).await.is_err(), "two processes must not share a file");
    drop(store);

    let until = Instant::now() + PATIENCE;
    let store = loop {
        // The last writer closes the file by itself.
        match LocalStore::open(&path).await {
            Ok(store) => break store,
            Err(e) => assert!(Instant::now() < until, "{e}"),
        }
    };
    let servers = store.servers().await.unwrap().servers;
    let told: Vec<_> = servers.iter().map(|r| (r.id.as_str(), r.state, r.online)).collect();
    assert_eq!(told, [("a", ServerState::Enabled, true), ("b", ServerState::Cordoned, false)]);
    assert_eq!(servers[0].secret, Secret::new("s3"));
    assert_eq!((servers[0].tag.as_deref(), servers[0].bbb_version.as_deref()), (Some("gpu"), Some("3.0.1")));
    let meetings = store.meetings(None).await.unwrap();
    assert_eq!(meetings, [before]);
    assert_eq!(meetings[0].binding, kept);
    assert_eq!(meetings[0].voice_bridge, "715622307");
    // The number is still taken, a closed server still closed, and stamps go on growing.
    store.update_server(&"b".into(), &order(ServerState::Enabled)).await.unwrap();
    let key = StickKey::new("new").unwrap();
    let want = Want { backend: "b".into(), token: Token(1) };
    assert!(matches!(store.claim(&key, &want, DAY).await.unwrap(), Claim::Closed));
    let newer = bind(&*store, "newer", "a", 1.0).await;
    assert!(newer.stamp > kept.stamp);
    assert_eq!(store.look("newer").await.unwrap().meeting.unwrap().voice_bridge, "");
}
