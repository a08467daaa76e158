//! Answers of Graph: no link leads to anywhere but where we ask.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailgather::proto::graph::{Link, Origin, Problem, folder_page, message, message_page};

fuzz_target!(|input: &[u8]| {
    let origin = Origin { secure: true, host: "graph.microsoft.com".into(), port: 443, base: "/v1.0".into() };
    let mut links: Vec<Link> = std::str::from_utf8(input).ok().and_then(|text| Link::follow(text, &origin)).into_iter().collect();
    if let Ok(page) = message_page(input, &origin) {
        links.extend(page.next);
        links.extend(page.delta);
    }
    let _ = (folder_page(input, &origin), message(input), Problem::of(500, input).meaning());
    for link in links {
        assert!(link.target().starts_with("/v1.0/") && link.target().bytes().all(|octet| octet.is_ascii_graphic()), "{link:?}");
    }
});
