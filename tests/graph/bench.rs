//! How much four requests at once are worth: a benchmark, which measures and asserts nothing about time.
//!
//! `cargo test --release --test graph -- --ignored --nocapture bench`; `MAILGATHER_BENCH_MESSAGES` is 5000 if not set.

use crate::kit::{BOX, kit_of, letter, server, want, wanted};
use crate::support::graph::Graph;
use mailgather::source::{Fetched, Source};
use std::time::{Duration, Instant};

const ROUND_TRIP: Duration = Duration::from_millis(50);
/// As many as a pass asks for at once.
const BATCH: usize = 500;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and shows a figure"]
async fn bench_messages_at_a_round_trip_of_50_ms() {
    let count: usize = std::env::var("MAILGATHER_BENCH_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let graph = Graph::start();
    (0..count).for_each(|n| drop(graph.put(BOX, "inbox", letter(&n.to_string()))));
    graph.set_latency(ROUND_TRIP);
    let mut seconds = Vec::new();
    for at_once in [1, 4] {
        let kit = kit_of(server(&graph), None);
        let source = kit.source.at_once(at_once);
        let start = Instant::now();
        let mut session = source.open().await.unwrap();
        session.select(&mailgather::mail::FolderName::inbox()).await.unwrap();
        let listing = session.list(want()).await.unwrap();
        let ids: Vec<String> = listing.messages.iter().map(|message| message.uid.to_string()).collect();
        let mut came = 0;
        for batch in ids.chunks(BATCH) {
            session.fetch(wanted(batch)).await.unwrap();
            while let Some(fetched) = session.next_message().await.unwrap() {
                came += usize::from(matches!(fetched, Fetched::Message(_)));
            }
        }
        assert_eq!((came, graph.refused_at_once()), (count, 0));
        seconds.push(start.elapsed().as_secs_f64());
        println!("{count} messages, {} ms, {at_once} at once: {:.1} s", ROUND_TRIP.as_millis(), start.elapsed().as_secs_f64());
    }
    println!("4 at once are {:.2} times as fast", seconds[0] / seconds[1]);
}
