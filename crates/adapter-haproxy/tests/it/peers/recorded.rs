//! What a HAProxy and a node say, in a trace.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use adapter_haproxy::trace::{Recorder, RecorderOptions, Replay, ReplayCounts, TraceReader};
use balancer_core::MemoryStore;
use real_servers::Folder;

use super::mesh::{Node, Plan};
use crate::haproxy::until;
use crate::runtime::live::binaries;

/// What the trace says so far, and whether all of it can be read.
fn told(path: &Path) -> (Vec<String>, ReplayCounts, bool) {
    let file = std::fs::read(path).unwrap();
    let (mut replay, mut lines) = (Replay::new(), Vec::new());
    let Ok(mut reader) = TraceReader::new(BufReader::new(&*file)) else {
        return (lines, replay.counts(), false);
    };
    while let Ok(Some(record)) = reader.next_record() {
        replay.play(&record, &mut |line| lines.push(line.to_string()));
    }
    (lines, replay.counts(), reader.cut().is_none())
}

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
        let by_haproxy = format!("server_key=\"{home}\"");
        for (side, frame, more) in [
            ("haproxy", "define table=\"rooms\"", "store=server_id,server_key"),
            ("haproxy", "update table=\"rooms\"", "key=\"algebra\""),
            ("haproxy", "update table=\"rooms\"", &*by_haproxy),
            ("haproxy", "update table=\"visits\"", "key=\"******\""),
            ("us", "update table=\"rooms\"", "key=\"physics\""),
            ("haproxy", "ack table=\"rooms\"", "update="),
        ] {
            let said = format!(" peers {side}: {frame}");
            until(&format!("{said} {more}"), || {
                told(&path).0.iter().any(|line| line.contains(&said) && line.contains(more))
            });
        }
        node.stop();
        let counts = recorder.finish();
        assert!(counts.fault.is_none() && counts.lost == 0 && counts.bytes > 0, "{counts:?}");

        let file = std::fs::read(&path).unwrap();
        assert!(!file.windows(6).any(|bytes| bytes == b"geheim"), "a key of another table is in clear");
        let (lines, counts, whole) = told(&path);
        println!("{}: {} frames of {} connections", binary.display(), counts.frames, counts.connections);
        assert_eq!((counts.faults, counts.unread, whole), (0, 0, true), "{lines:#?}");
    }
}
