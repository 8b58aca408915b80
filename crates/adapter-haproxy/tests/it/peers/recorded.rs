//! What a HAProxy and a node say, in a trace.

use std::io::BufReader;
use std::sync::Arc;

use adapter_haproxy::trace::{Recorder, RecorderOptions, Replay, TraceReader};
use balancer_core::MemoryStore;
use real_servers::Folder;

use super::mesh::{Node, Plan};
use crate::haproxy::until;
use crate::runtime::live::binaries;

#[test]
fn conversations_with_haproxy_are_recorded_and_replay() {
    for binary in binaries() {
        let mut plan = Plan::new(1, 1);
        // A table that the node does not keep.
        plan.more = "backend visits\n stick-table type string len 64 size 1k expire 1h store gpc0 peers mesh\n".into();
        let mut lb = plan.start(0, &binary);
        let home = lb.home("algebra");
        lb.haproxy.order("set table visits key geheim data.gpc0 1");
        let folder = Folder::new("recorded");
        let path = folder.join("a.trace");
        let recorder = Recorder::create(&path, RecorderOptions::default()).unwrap();
        let options = plan.options(0).with_recorder(recorder.clone());
        let node = Node::start(options, Plan::table(), Arc::new(MemoryStore::default()));
        node.connected();
        node.claim("physics", "mm2");
        until("it is taught", 20, || lb.pins().contains_key("physics"));
        node.stop();
        let counts = recorder.finish();
        assert!(counts.fault.is_none() && counts.lost == 0 && counts.bytes > 0, "{counts:?}");

        let file = std::fs::read(&path).unwrap();
        assert!(!file.windows(6).any(|bytes| bytes == b"geheim"), "a key of another table is in clear");
        let mut reader = TraceReader::new(BufReader::new(&*file)).unwrap();
        let (mut replay, mut lines) = (Replay::new(), Vec::new());
        while let Some(record) = reader.next_record().unwrap() {
            replay.play(&record, &mut |line| lines.push(line.to_string()));
        }
        let counts = replay.counts();
        println!("{}: {} frames of {} connections", binary.display(), counts.frames, counts.connections);
        assert_eq!((counts.faults, counts.unread, reader.cut()), (0, 0, None), "{lines:#?}");
        for (side, frame, more) in [
            ("haproxy", "define table=\"rooms\"", "store=server_id,server_key"),
            ("haproxy", "update table=\"rooms\"", "key=\"algebra\""),
            ("haproxy", "update table=\"rooms\"", &format!("server_key=\"{home}\"")),
            ("haproxy", "update table=\"visits\"", "key=\"******\""),
            ("us", "update table=\"rooms\"", "key=\"physics\""),
            ("haproxy", "ack table=\"rooms\"", "update="),
        ] {
            let said = format!(" peers {side}: {frame}");
            assert!(
                lines.iter().any(|line| line.contains(&said) && line.contains(more)),
                "no {said} {more}: {lines:#?}"
            );
        }
    }
}
