//! Listings: deltas, filters, and what becomes of cursors.

use crate::kit::{BOX, ids, kit, known, letter, uid, want};
use crate::support::graph::{FIRST_ARRIVAL, Fault, Graph, Mime};
use mailgather::mail::Present;
use mailgather::source::{SourceErrorKind, Want};

fn filled(count: usize) -> (Graph, Vec<String>) {
    let graph = Graph::start();
    let all = (0..count).map(|n| graph.put(BOX, "inbox", letter(&n.to_string()))).collect();
    (graph, all)
}

#[tokio::test]
async fn a_delta_tells_what_changed_since() {
    let (graph, all) = filled(25);
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    let first = session.list(want()).await.unwrap();
    assert_eq!((ids(&first), first.more, first.vanished.len()), (all.clone(), false, 0));
    assert!(matches!(first.present, Some(Present::Met(_))) && first.cursor.is_some());

    graph.remove(BOX, &all[3]);
    graph.move_to(BOX, &all[4], "archive");
    graph.remove(BOX, &all[5]);
    graph.set_read(BOX, &all[6], true);
    let fresh = graph.put(BOX, "inbox", letter("new"));
    // 5 is neither known nor wanted: nobody has to hear of it.
    let known = known(&all.iter().filter(|id| **id != all[5] && **id != all[4]).collect::<Vec<_>>());
    let next = Want { cursor: first.cursor.clone(), known, also: vec![uid(&all[4])], ..want() };
    let second = session.list(next.clone()).await.unwrap();
    let mut vanished: Vec<String> = second.vanished.iter().map(ToString::to_string).collect();
    vanished.sort();
    assert_eq!((ids(&second), vanished), (vec![fresh.clone()], vec![all[3].clone(), all[4].clone()]));
    assert!(second.present.is_none() && second.cursor.is_some() && second.cursor != first.cursor);

    // From a session of its own, and nothing new.
    let third = kit.inbox().await.list(Want { cursor: second.cursor, ..want() }).await.unwrap();
    assert_eq!((ids(&third).len(), third.vanished.len()), (0, 0));
    // The first cursor is good once more: a crash may lie between.
    let again = kit.inbox().await.list(next).await.unwrap();
    assert_eq!(ids(&again), [fresh]);
}

#[tokio::test]
async fn pages_are_read_to_the_limit_and_go_on() {
    let (graph, all) = filled(1_300);
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    let first = session.list(Want { limit: 1_100, ..want() }).await.unwrap();
    assert_eq!((ids(&first), first.more), (all[..1_000].to_vec(), true));
    let rest = session.list(Want { limit: 1_100, cursor: first.cursor, ..want() }).await.unwrap();
    assert_eq!((ids(&rest), rest.more), (all[1_000..].to_vec(), false));
    assert!(rest.cursor.is_some());
    // What the first pages have of what is known tells whether the messages have other ids than before.
    for (known, met_nothing) in [(known(&[&all[0], &all[1_299]]), false), (known(&[&"x".to_owned(), &"y".to_owned()]), true)] {
        let cut = session.list(Want { limit: 1_100, known, ..want() }).await.unwrap();
        assert_eq!((cut.more, cut.met_nothing, cut.present.is_some()), (true, met_nothing, false));
    }
}

/// Over so many messages at once the server fails: one of them is broken, or all are slow.
#[tokio::test]
async fn a_server_that_fails_over_large_pages_is_asked_for_small_ones() {
    let (graph, all) = filled(120);
    for (fault, size) in [(Fault::Error(500, "InternalServerError", None), 50), (Fault::Error(504, "UnknownError", None), 5)] {
        graph.fault("isRead odata.maxpagesize=500", 9, fault.clone());
        if size == 5 {
            graph.fault("isRead odata.maxpagesize=50", 9, fault.clone());
        }
        graph.web.forget();
        let listing = kit(&graph).inbox().await.list(want()).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!((ids(&listing), listing.more, listing.cursor.is_some()), (all.clone(), false, true), "{fault:?}");
        assert!(graph.requests("delta") >= 120 / size, "what it could do is asked for from there on");
        graph.no_more_faults();
    }
    graph.fault("delta", 99, Fault::Error(500, "InternalServerError", None));
    let error = kit(&graph).inbox().await.list(want()).await.unwrap_err();
    assert!(error.kind == SourceErrorKind::Throttled && error.hint.as_ref().unwrap().contains("first_run"), "{error:?}");
}

/// A cursor that is refused in other words than it should be is not asked with for ever.
#[tokio::test]
async fn a_cursor_that_is_refused_is_given_up() {
    let (graph, all) = filled(12);
    let kit = kit(&graph);
    let first = kit.inbox().await.list(want()).await.unwrap();
    let known = known(&all[1..].iter().collect::<Vec<_>>());
    for (fault, times) in [
        (Fault::Error(400, "BadRequest", None), 1),
        (Fault::Error(404, "", None), 3),
        (Fault::Error(500, "ErrorInternalServerError", None), 3),
        (Fault::Error(404, "ErrorItemNotFound", None), 1),
    ] {
        graph.fault("deltatoken", times, fault.clone());
        let next = Want { cursor: first.cursor.clone(), known: known.clone(), ..want() };
        let again = kit.inbox().await.list(next).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!((ids(&again), again.present.is_some()), (all[..1].to_vec(), true), "{fault:?}");
    }
    // Who may not, or has no time, says nothing of the cursor.
    for fault in [Fault::Error(403, "ErrorAccessDenied", None), Fault::Error(503, "ServiceUnavailable", Some(90))] {
        graph.fault("deltatoken", 1, fault.clone());
        let next = Want { cursor: first.cursor.clone(), known: known.clone(), ..want() };
        assert!(kit.inbox().await.list(next).await.is_err(), "{fault:?}");
    }
}

#[tokio::test]
async fn messages_come_in_the_order_of_their_arrival() {
    let graph = Graph::start();
    let times = [30, 10, 20, 10];
    let all: Vec<String> = times.iter().map(|at| graph.put_as(BOX, "inbox", Mime::Octets(letter("x").into()), Some(FIRST_ARRIVAL + at))).collect();
    let mut session = kit(&graph).inbox().await;
    let sorted = vec![all[1].clone(), all[3].clone(), all[2].clone(), all[0].clone()];
    assert_eq!(ids(&session.list(want()).await.unwrap()), sorted);
    let since = session.list(Want { since: Some(FIRST_ARRIVAL + 20), ..want() }).await.unwrap();
    assert_eq!(ids(&since), [all[2].clone(), all[0].clone()]);
    assert_eq!(since.older.iter().map(ToString::to_string).collect::<Vec<_>>(), [all[1].clone(), all[3].clone()]);
}

#[tokio::test]
async fn filters_work_at_the_server() {
    let (graph, all) = filled(30);
    (0..30).filter(|n| n % 3 == 0).for_each(|n| graph.set_read(BOX, &all[n], true));
    let kit = kit(&graph);
    let mut session = kit.inbox().await;
    graph.web.forget();
    let unseen = session.list(Want { unseen: true, ..want() }).await.unwrap();
    let wanted: Vec<String> = (0..30).filter(|n| n % 3 != 0).map(|n| all[n].clone()).collect();
    assert_eq!((ids(&unseen), &unseen.cursor, unseen.present.is_none()), (wanted, &None, true));
    assert_eq!(graph.requests("delta"), 0);

    // What is due comes, read or not; what is gone is told.
    graph.remove(BOX, &all[1]);
    graph.move_to(BOX, &all[2], "archive");
    let also = vec![uid(&all[0]), uid(&all[1]), uid(&all[2])];
    let known = known(&all[1..].iter().collect::<Vec<_>>());
    let due = session.list(Want { unseen: true, also: also.clone(), known: known.clone(), ..want() }).await.unwrap();
    assert_eq!((ids(&due), due.vanished.len()), (vec![all[0].clone()], 2));
    // Nothing but these.
    let only = session.list(Want { above: u32::MAX, also: also.clone(), ..want() }).await.unwrap();
    assert_eq!((ids(&only), only.vanished.len()), (vec![all[0].clone()], 2));

    let limit = FIRST_ARRIVAL + 28;
    let late = session.list(Want { not_before: Some(limit), also, ..want() }).await.unwrap();
    assert_eq!(ids(&late), all[27..]);
    // Everything was to be looked at: the same, and what is there.
    let whole = session.list(Want { unseen: true, complete: true, known, ..want() }).await.unwrap();
    assert!(matches!(whole.present, Some(Present::Met(_))) && whole.cursor.is_none() && whole.messages.is_empty());
}

#[tokio::test]
async fn f68_a_cursor_that_is_gone_costs_a_listing_and_no_second_delivery() {
    let (graph, all) = filled(12);
    let kit = kit(&graph);
    let first = kit.inbox().await.list(want()).await.unwrap();
    graph.expire_delta_tokens();
    graph.remove(BOX, &all[0]);
    let fresh = graph.put(BOX, "inbox", letter("new"));
    let known = known(&all.iter().collect::<Vec<_>>());
    let next = Want { cursor: first.cursor, known: known.clone(), also: vec![], ..want() };
    let again = kit.inbox().await.list(next).await.unwrap();
    assert_eq!(ids(&again), [fresh]);
    let Some(Present::Met(met)) = again.present else { panic!("the whole folder was listed") };
    assert_eq!((met.unmet(), met.has_met(&uid(&all[0])), met.has_met(&uid(&all[1]))), (1, false, true));
    // A server that does so each time is told.
    graph.fault("delta", 10, Fault::Error(410, "resyncRequired", None));
    let error = kit.inbox().await.list(want()).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Protocol, "{error}");
    graph.no_more_faults();
    // Another folder's cursor, and what is none, are not sent.
    for odd in ["", "x", "AAMkFolder+0001/=\n/v1.0/elsewhere", "AAMkFolder+0000/=\nhttps://evil.example/v1.0/", "AAMkFolder+0000/=\n/beta/x"] {
        graph.web.forget();
        let listing = kit.inbox().await.list(Want { cursor: Some(odd.into()), known: known.clone(), ..want() }).await.unwrap();
        assert!(matches!(listing.present, Some(Present::Met(_))), "{odd}");
        assert_eq!(graph.requests("elsewhere") + graph.requests("beta"), 0);
    }
}

#[tokio::test]
async fn numbers_that_do_not_fit_end_in_a_whole_listing() {
    let (graph, all) = filled(5);
    let kit = kit(&graph);
    let first = kit.inbox().await.list(want()).await.unwrap();
    // Something is remembered that no delta ever tells of.
    let mut known = known(&all.iter().collect::<Vec<_>>());
    known.insert(&uid("AAkALg/of-old="));
    let next = Want { cursor: first.cursor, known, complete: true, ..want() };
    let whole = kit.inbox().await.list(next.clone()).await.unwrap();
    let Some(Present::Met(met)) = whole.present else { panic!("the whole folder was listed") };
    assert_eq!(met.unmet(), 1);
    // With one message more on the server than is remembered the delta is enough.
    graph.put(BOX, "inbox", letter("new"));
    let fits = kit.inbox().await.list(next).await.unwrap();
    assert_eq!((fits.messages.len(), fits.present.is_none()), (1, true));
}

#[tokio::test]
async fn a_token_goes_nowhere_else() {
    let (graph, _) = filled(600);
    let kit = kit(&graph);
    graph.fault("delta", 1, Fault::ForeignLink);
    let error = kit.inbox().await.list(want()).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Protocol);
    assert!(error.text.contains("evil.example") && error.text.contains("must not") && !error.text.contains("skiptoken"), "{error}");
}

#[tokio::test]
async fn pages_that_break_off_are_asked_for_again_and_odd_ones_are_errors() {
    let (graph, all) = filled(30);
    let kit = kit(&graph);
    for fault in [Fault::BreakOff(200), Fault::ShortLength(200), Fault::HangUp] {
        graph.fault("delta", 2, fault);
        assert_eq!(ids(&kit.inbox().await.list(want()).await.unwrap()), all);
        graph.no_more_faults();
    }
    for fault in [Fault::Html(200), Fault::BreakOff(100)] {
        graph.fault("delta", 10, fault.clone());
        let error = kit.inbox().await.list(want()).await.unwrap_err();
        assert!(matches!(error.kind, SourceErrorKind::Protocol | SourceErrorKind::Closed), "{fault:?}: {error}");
        graph.no_more_faults();
    }
}

fn told(uids: &[mailgather::mail::RemoteUid]) -> Vec<String> {
    let mut all: Vec<String> = uids.iter().map(ToString::to_string).collect();
    all.sort();
    all
}

/// An item that is due and that the server does not show keeps no other one from being listed.
#[tokio::test]
async fn what_is_due_and_cannot_be_looked_at_is_taken_to_be_there() {
    let (graph, all) = filled(4);
    graph.remove(BOX, &all[3]);
    let kit = kit(&graph);
    for fault in [
        Fault::Error(500, "InternalServerError", None),
        Fault::Error(400, "ErrorInvalidRequest", None),
        Fault::Error(403, "ErrorAccessDenied", None),
        Fault::Error(404, "", None),
        Fault::Html(404),
        Fault::Says("{\"id\": 7}"),
        Fault::Says("{\"id\": "),
    ] {
        graph.fault("00000002%2Bfixed%3D", 1, fault.clone());
        let only = Want { above: u32::MAX, also: all.iter().map(|id| uid(id)).collect(), ..want() };
        let listing = kit.inbox().await.list(only).await.unwrap();
        let mut there = ids(&listing);
        there.sort();
        assert_eq!((there, told(&listing.vanished)), (all[..3].to_vec(), vec![all[3].clone()]), "{fault:?}");
    }
}

#[tokio::test]
async fn as_many_are_looked_at_as_are_due() {
    let (graph, all) = filled(230);
    let (gone, moved) = (all[150].clone(), all[220].clone());
    graph.remove(BOX, &gone);
    graph.move_to(BOX, &moved, "archive");
    let there: Vec<String> = all.iter().filter(|id| **id != gone && **id != moved).cloned().collect();
    let also: Vec<_> = all.iter().map(|id| uid(id)).collect();
    let kit = kit(&graph);
    graph.put(BOX, "inbox", letter("new"));
    let only = kit.inbox().await.list(Want { above: u32::MAX, also: also.clone(), limit: 230, ..want() }).await.unwrap();
    assert_eq!((ids(&only), told(&only.vanished)), (there.clone(), vec![gone.clone(), moved.clone()]));
    // Of what is older than is wanted, too, it is told what is gone.
    let late = Want { not_before: Some(FIRST_ARRIVAL + 226), also: also.clone(), known: known(&all.iter().collect::<Vec<_>>()), ..want() };
    let late = kit.inbox().await.list(late).await.unwrap();
    assert_eq!((late.messages.len(), told(&late.vanished)), (6, vec![gone.clone(), moved.clone()]));
    graph.web.forget();
    let purge = Want { above: u32::MAX, not_before: Some(FIRST_ARRIVAL + 200), also, ..want() };
    let purge = kit.inbox().await.list(purge).await.unwrap();
    assert_eq!((ids(&purge), told(&purge.vanished)), (there[198..].to_vec(), vec![gone, moved]));
    assert_eq!((graph.requests("delta") + graph.requests("filter"), graph.refused_at_once()), (0, 0));
}

/// Ids stay what they are when somebody moves a message: what was moved away is neither fetched nor deleted, whatever the server finds where.
#[tokio::test]
async fn what_was_moved_away_is_not_in_the_folder() {
    let (graph, all) = filled(3);
    graph.find_in_any_folder();
    let kit = kit(&graph);
    let first = kit.inbox().await.list(want()).await.unwrap();
    graph.move_to(BOX, &all[0], "archive");
    let also = vec![uid(&all[0]), uid(&all[1])];
    // Whatever id a folder is told by: what counts is which one that leads to.
    for other_ids in [false, true] {
        if other_ids {
            graph.tell_folders_by_other_ids(BOX);
        }
        let only = kit.inbox().await.list(Want { above: u32::MAX, also: also.clone(), ..want() }).await.unwrap();
        assert_eq!((ids(&only), told(&only.vanished)), (all[1..2].to_vec(), vec![all[0].clone()]), "{other_ids}");
    }
    for (want, found) in [
        (Want { above: u32::MAX, also: also.clone(), ..want() }, 1),
        (Want { unseen: true, also: also.clone(), ..want() }, 2),
        (Want { cursor: first.cursor, also: also.clone(), ..want() }, 1),
        (Want { also, ..want() }, 2),
    ] {
        let mut session = kit.inbox().await;
        let listing = session.list(want).await.unwrap();
        assert_eq!((ids(&listing), told(&listing.vanished)), (all[1..=found].to_vec(), vec![all[0].clone()]));
    }
}

/// What is due is not forgotten because a whole listing leaves it out.
#[tokio::test]
async fn a_whole_listing_is_not_believed_what_it_says_nothing_of() {
    let (graph, all) = filled(5);
    graph.hide_from_deltas(BOX, &all[1]);
    graph.remove(BOX, &all[2]);
    let also = vec![uid(&all[1]), uid(&all[2]), uid(&all[3])];
    let listing = kit(&graph).inbox().await.list(Want { also, ..want() }).await.unwrap();
    let there: Vec<String> = [0, 1, 3, 4].into_iter().map(|n| all[n].clone()).collect();
    assert_eq!((ids(&listing), told(&listing.vanished)), (there, vec![all[2].clone()]));
    assert!(matches!(listing.present, Some(Present::Met(_))));
}
