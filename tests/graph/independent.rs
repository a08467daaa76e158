//! The fake is what the world takes for Graph: Microsoft's own client for Python works with it.

use crate::kit::{BOX, letter};
use crate::support::graph::{Graph, TOKEN};
use crate::support::python;

#[test]
fn microsofts_own_client_takes_it_for_graph() {
    let graph = Graph::start();
    ["one", "two", "three", "four", "five"].into_iter().for_each(|subject| drop(graph.put(BOX, "inbox", letter(subject))));
    let said = python::run("graph/independent_client.py", &[&graph.url(), TOKEN, BOX]);
    let wanted = "folders: Входящие, Нежелательная почта, Удаленные, Отправленные, Черновики, Архив\n\
        inbox: 5\nsubjects: one, two, three, four, five\ndelta: the same\nmime: Subject: one\nmoved: the same id\nmade: Made\n\
        changed: 0 read True\nchanged: 1 removed\nchanged: 2 removed\ngone: 404 ErrorItemNotFound\nnobody: 404 ErrorInvalidUser\ntoken: 401 InvalidAuthenticationToken\n";
    assert_eq!(said, wanted);
    assert_eq!((graph.ids(BOX, "inbox").len(), graph.ids(BOX, "archive").len(), graph.ids(BOX, "recoverableitemsdeletions").len()), (3, 1, 1));
}
