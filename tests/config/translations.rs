//! The Russian pages say what the English ones say: the same sections, tables, examples, names and numbers. The words between them nobody compares but people.

use super::page::*;

/// Words for types and defaults in the tables of keys, in English and in Russian; by the beginning of the word.
const WORDS: [(&str, &[&str]); 23] = [
    ("address", &["адрес"]),
    ("block", &["блок"]),
    ("day", &["день", "дня", "дней"]),
    ("domain", &["домен"]),
    ("duration", &["длительност"]),
    ("everything", &["всё"]),
    ("expression", &["выражени"]),
    ("folder", &["папк"]),
    ("glob", &["шаблон"]),
    ("host", &["хост"]),
    ("interval", &["интервал"]),
    ("list", &["спис", "рассылк"]),
    ("name", &["имя", "имён", "имени", "именем"]),
    ("none", &["нет"]),
    ("number", &["номер"]),
    ("path", &["путь"]),
    ("port", &["порт"]),
    ("range", &["диапазон"]),
    ("required", &["обязател"]),
    ("secret", &["секрет"]),
    ("size", &["размер"]),
    ("special", &["специальн"]),
    ("text", &["текст"]),
];

fn pairs() -> Vec<(String, String)> {
    pages_of("docs/ru").into_iter().map(|russian| (russian.replace("docs/ru/", "docs/"), russian)).collect()
}

/// A line of an example without its comment, which is translated. `# mailgather …` is a prompt and a command.
fn without_comment(line: &str) -> &str {
    match line.find("# ") {
        Some(at) if !line[at..].starts_with("# mailgather") => line[..at].trim_end(),
        _ => line.trim_end(),
    }
}

#[test]
fn a_russian_page_has_the_sections_tables_and_examples_of_the_english_one() {
    let mut wrong = Vec::new();
    for (english, russian) in pairs() {
        let (english, translated) = (sections(&read_page(&english)), sections(&read_page(&russian)));
        // What the program writes itself stands on the English page only: the Russian one says so in its last section.
        let generated = russian == "docs/ru/providers.md";
        let levels = |of: &[Section]| of.iter().map(|section| section.level).take(translated.len()).collect::<Vec<_>>();
        if levels(&english) != levels(&translated) || (!generated && english.len() != translated.len()) {
            wrong.push(format!("{russian}: other headings"));
        }
        let compared = translated.len() - usize::from(generated);
        for (from, to) in english.iter().zip(&translated).take(compared) {
            let place = format!("{russian}: {}", to.heading);
            if !from.code.iter().map(|line| without_comment(line)).eq(to.code.iter().map(|line| without_comment(line))) {
                wrong.push(format!("{place}: other examples"));
            }
            let (names, translated) = (spans(&from.text), spans(&to.text));
            if names != translated {
                wrong.push(format!("{place}: other names in the text: {names:?}, {translated:?}"));
            }
            let (figures, translated) = (numbers(&from.text), numbers(&to.text));
            if figures != translated {
                wrong.push(format!("{place}: other numbers in the text: {figures:?}, {translated:?}"));
            }
            if from.rows.len() != to.rows.len() {
                wrong.push(format!("{place}: {} rows, {} in English", to.rows.len(), from.rows.len()));
            }
            for (from, to) in from.rows.iter().zip(&to.rows) {
                let same = from.len() == to.len()
                    && from.iter().zip(to).all(|(from, to)| spans(from) == spans(to))
                    && numbers(&from.join(" | ")) == numbers(&to.join(" | "));
                if !same {
                    wrong.push(format!("{place}: {from:?} is {to:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The tables whose columns are not prose: the page, the head of the table's first column, and how many columns stay as they are.
const AS_THEY_ARE: [(&str, &str, usize); 2] = [("docs/logs.md", "Event", 3), ("docs/monitoring.md", "metric", 2)];

#[test]
fn the_russian_tables_of_events_and_metrics_have_the_same_levels_fields_types_and_labels() {
    for (page, head, columns) in AS_THEY_ARE {
        let (english, russian) = (sections(&read_page(page)), sections(&read_page(&page.replace("docs/", "docs/ru/"))));
        let section = english.iter().position(|section| section.rows.first().is_some_and(|row| row[0] == head)).expect("the table");
        let (from, to) = (&english[section].rows[1..], &russian[section].rows[1..]);
        assert!(from.len() > 30, "{page}");
        for (from, to) in from.iter().zip(to) {
            assert_eq!(from[..columns], to[..columns], "{page}");
        }
    }
}

#[test]
fn the_russian_tables_of_keys_have_the_types_ranges_defaults_and_examples_of_the_english_ones() {
    let (english, russian) = (sections(&read_page("docs/configuration.md")), sections(&read_page("docs/ru/configuration.md")));
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (from, to) in english.iter().zip(&russian) {
        for (from, to) in from.rows.iter().zip(&to.rows).filter(|(from, to)| from.len() == 5 && to.len() == 5) {
            // A row of a key begins with one; the others are the heads of tables, and the codes.
            if !from[0].starts_with('`') {
                continue;
            }
            compared += 1;
            let values = spans(&from[1]);
            let same = from[0] == to[0] && from[3] == to[3] && same_terms(&from[1], &to[1], &[]) && same_terms(&from[2], &to[2], &values);
            if !same {
                wrong.push(format!("{}: {} | {} | {} is {} | {} | {}", from[0], from[1], from[2], from[3], to[1], to[2], to[3]));
            }
        }
    }
    assert!(compared > 150, "{compared}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same code, numbers, values and words for types, in whatever order.
fn same_terms(english: &str, russian: &str, values: &[String]) -> bool {
    let (plain, translated) = (without_spans(english), without_spans(russian));
    let terms = |text: &str| {
        let mut terms: Vec<String> = words(text).into_iter().filter(|word| word.contains(|c: char| c.is_ascii_digit())).collect();
        terms.sort();
        terms
    };
    let latin = |text: &str| words(text).into_iter().filter(|word| word.chars().all(|c| c.is_ascii_alphabetic())).collect::<Vec<_>>();
    let (from, to) = (latin(&plain), latin(&translated));
    // A default that is one word is a value, but for these.
    let alone = from.first().is_some_and(|word| {
        english == word && !["all", "below", "empty"].contains(&english) && !WORDS.iter().any(|(stem, _)| word.starts_with(stem))
    });
    let is_value = |word: &str| values.iter().any(|value| value == word) || ["true", "false"].contains(&word) || alone;
    let typed = |(word, stems): &(&str, &[&str])| {
        let in_russian = words(&translated).iter().any(|word| stems.iter().any(|stem| word.starts_with(stem)));
        from.iter().any(|found| found.starts_with(word)) == in_russian
    };
    spans(english) == spans(russian)
        && terms(&plain) == terms(&translated)
        && to.iter().all(|word| from.contains(word))
        && from.iter().filter(|word| is_value(word)).all(|word| to.contains(word) || ["from", "none"].contains(&word.as_str()))
        && WORDS.iter().all(typed)
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric() && c != '.')
        .map(|word| word.trim_matches('.').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn the_pages_of_both_languages_lead_to_each_other() {
    for (english, russian) in pairs() {
        let name = english.trim_start_matches("docs/");
        let head = |page: &str| read_page(page).lines().nth(2).unwrap_or_default().to_owned();
        assert_eq!(head(&english), format!("[По-русски](ru/{name})"), "{english}");
        assert_eq!(head(&russian), format!("[In English](../{name})"), "{russian}");
        // From a Russian page one stays among Russian pages where they exist.
        for link in sections(&read_page(&russian)).iter().flat_map(Section::links) {
            let file = link.split('#').next().unwrap();
            let leaves = file.strip_prefix("../").is_some_and(|other| other != name && root().join("docs/ru").join(other).is_file());
            assert!(!leaves, "{russian} leads to the English {link}");
        }
    }
}
