//! Markdown means what it was made from: read by a CommonMark parser it has the same words and the same structure as the other formats,
//! and made into Markdown again, it is the same.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod reread;

use datasonar_extract::{Content, Document, Format, Options, extract};
use proptest::prelude::*;
use pulldown_cmark::Parser;
use url::Url;

fn markdown(html: &str) -> String {
    let url: Url = "https://example.com/a/".parse().unwrap();
    let options = Options::new(vec![Format::Markdown], false, &[], &[]).unwrap();
    let body = format!("<!doctype html><body>{html}</body>");
    let document = Document { url: &url, content_type: Some("text/html; charset=utf-8"), body: body.as_bytes() };
    match extract(&document, &options, &|| false).unwrap().contents.pop().unwrap().1 {
        Content::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

fn html(markdown: &str) -> String {
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, Parser::new_ext(markdown, reread::extensions(false)));
    html
}

/// Words that look like markup, or like nothing.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z]{1,8}",
        1 => "[-+*_#>=`~|!\\[\\]()&;:.0-9a-z\\\\]{1,6}",
        1 => prop_oneof![
            Just("1."), Just("2)"), Just("-"), Just("+"), Just("*"), Just("#"), Just("###"), Just("==="), Just("---"),
            Just("***"), Just("~~~"), Just("```"), Just(">"), Just("&amp;amp;"), Just("&lt;b>"), Just("&lt;!--"),
            Just("|"), Just("a|b"), Just("\\"), Just("snake_case"), Just("_init_"), Just("2*3*4"), Just("[x]"),
            Just("![x]"), Just("[a](b)"), Just("مرحبا"), Just("日本語。"), Just("https://example.com/x"), Just("$5"),
        ].prop_map(str::to_owned),
    ]
    .prop_map(|word| word.replace('<', "&lt;"))
}

fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 1..6).prop_map(|words| words.join(" "))
}

fn line() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => words(),
        1 => words().prop_map(|text| format!("<strong>{text}</strong>")),
        1 => words().prop_map(|text| format!("<em>{text}</em>")),
        1 => words().prop_map(|text| format!("<code>{text}</code>")),
        1 => words().prop_map(|text| format!("<a href=\"/x?a=(b)&amp;c=[d]\">{text}</a>")),
        1 => words().prop_map(|text| format!("<del>{text}</del>")),
        1 => (words(), words()).prop_map(|(one, other)| format!("<b>{one}</b>{other}")),
        1 => (words(), words()).prop_map(|(one, other)| format!("{one}<i><b>{other}</b></i>")),
        1 => (words(), words()).prop_map(|(one, other)| format!("<b>{one}</b><b>{other}</b><em>{one}</em>")),
        1 => words().prop_map(|text| format!("<a href=https://e.org/a_b>https://e.org/a_b</a><code>{text}</code>")),
        1 => Just("x<sup>2</sup> <ruby>字<rt>じ</rt></ruby> <q>said</q>".to_owned()),
        1 => Just("<br>".to_owned()),
        1 => Just("<img src=/i.png alt='a [b] *c*'>".to_owned()),
    ];
    prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.join(" "))
}

fn block() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => line().prop_map(|text| format!("<p>{text}</p>")),
        1 => (1..7, line()).prop_map(|(level, text)| format!("<h{level}>{text}</h{level}>")),
        1 => prop::collection::vec(words(), 1..4)
            .prop_map(|lines| format!("<pre><code class=language-c>{}</code></pre>", lines.join("\n  "))),
        1 => Just("<hr>".to_owned()),
        1 => prop::collection::vec(prop::collection::vec(line(), 2..4), 1..4).prop_map(|rows| {
            let rows: String = rows
                .iter()
                .map(|row| format!("<tr>{}</tr>", row.iter().map(|cell| format!("<td>{cell}</td>")).collect::<String>()))
                .collect();
            format!("<table>{rows}</table>")
        }),
        1 => (words(), line()).prop_map(|(term, text)| format!("<dl><dt>{term}</dt><dd>{text}</dd></dl>")),
        1 => (words(), line()).prop_map(|(title, text)| format!(
            "<div class='admonition note'><p class=admonition-title>{title}</p><p>{text}</p></div>"
        )),
        1 => prop::collection::vec(line(), 1..4).prop_map(|items| items.iter().fold("<ul class=task-list>".to_owned(), |list, item| {
            list + "<li><input type=checkbox disabled> " + item + "</li>"
        }) + "</ul>"),
        1 => (words(), words(), line()).prop_map(|(one, two, long)| format!(
            "<table><caption>{one}</caption><tr><th rowspan=2>{one}</th><th colspan=2>{two}</th></tr><tr><td>{long}</td></tr></table>"
        )),
        1 => words().prop_map(|text| format!("<figure><img src=/f.png alt='{}'><figcaption>{text}</figcaption></figure>", "pic")),
        1 => (words(), line()).prop_map(|(term, text)| format!("<details><summary>{term}</summary>{text}</details>")),
        1 => line(),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let some = prop::collection::vec(inner, 1..4);
        prop_oneof![
            some.clone().prop_map(|items| format!(
                "<ul>{}</ul>",
                items.iter().map(|item| format!("<li>{item}</li>")).collect::<String>()
            )),
            some.clone().prop_map(|items| format!(
                "<ol start=3>{}</ol>",
                items.iter().map(|item| format!("<li>{item}</li>")).collect::<String>()
            )),
            some.clone().prop_map(|blocks| format!("<blockquote>{}</blockquote>", blocks.concat())),
            some.prop_map(|blocks| format!("<div>{}</div>", blocks.concat())),
        ]
    })
}

#[test]
fn backticks_side_by_side_stay_what_they_are() {
    let made = |html: &str| markdown(html).trim_end().to_owned();
    assert_eq!(made("<p><code>`</code><code>a</code></p>"), "`` `a ``");
    assert_eq!(made("<p><code>a</code><code>`b`</code><code>c</code></p>"), "``a`b`c``");
    assert_eq!(made("<p>x`<code>a</code></p>"), "x&#96;`a`");
    assert_eq!(made("<p><code>a</code>`x</p>"), "`a`\\`x");
    assert_eq!(
        made("<table><tr><td><code>`|</code><code>a|</code></td><td>b</td></tr></table>").lines().next(),
        Some("| `` `\\|a\\| `` | b |")
    );
    // However many there are: two hundred thousand would take minutes if each wrote all of those before it anew.
    let many = made(&format!("<p>{}</p>", "<code>`</code><code>a</code>".repeat(100_000)));
    assert_eq!(html(&many).matches('a').count(), 100_000);
}

#[test]
fn tables_without_a_word_are_none() {
    assert_eq!(markdown("<table><tr><td><br></td><td> </td></tr></table><p>after"), "after\n");
    assert_eq!(markdown("<table><caption>said</caption><tr><td></td><td></td></tr></table>"), "said\n");
    assert_eq!(
        markdown("<table><tr><td><img src=/a.png alt=a></td><td><img src=/b.png alt=b></td></tr></table>"),
        "![a](https://example.com/a.png)\n\n![b](https://example.com/b.png)\n"
    );
}

#[test]
fn a_footnote_without_a_word_is_none() {
    // Found by libFuzzer: the list had counted no item that could be taken back.
    assert_eq!(markdown("<sup><a href=#n2><ol><li id=n2><a>"), "");
    let list = "<p>x<sup><a href=#n>1</a></sup></p><ol start=3><li>three</li><li id=n></li><li>four</li></ol>";
    assert_eq!(markdown(list), "x1\n\n3. three\n4. four\n");
}

#[test]
fn what_stands_between_items_is_part_of_the_list() {
    let nested = "<ol><li>one</li><ol start=2><li>two</li></ol><li>three</li></ol>";
    assert_eq!(markdown(nested), "1. one\n\n   2. two\n2. three\n");
    assert_eq!(markdown("<ul><li>a</li><ul><li>b</li></ul><li>c</li></ul>"), "- a\n  - b\n- c\n");
    assert_eq!(
        markdown("<ul>a <b>b</b> c<li>d</li><p>e</p><h2>f</h2><li>g</li></ul>"),
        "- a **b** c\n- d\n- e\n\n## f\n- g\n"
    );
}

#[test]
fn columns_below_a_cell_that_spans_rows_are_counted() {
    let table = "<table><tr><th rowspan=2>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table>";
    assert_eq!(markdown(table), "| a | b | |\n| --- | --- | --- |\n| | c | d |\n");
    let caption = "<table><caption><h3>Title</h3><p>More</p></caption><tr><td>a</td><td>b</td></tr></table>";
    assert_eq!(markdown(caption), "Title More\n\n| a | b |\n| --- | --- |\n");
}

#[test]
fn a_formula_that_nobody_could_read_is_none() {
    assert_eq!(
        markdown("<p>x <img class=tex alt='\\frac{1' src=/f.png>"),
        "x ![\\frac{1](https://example.com/f.png)\n"
    );
    assert_eq!(markdown("<p>x <img class=tex alt='\\frac{1}{2}' src=/f.png>"), "x $\\frac{1}{2}$\n");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_again_is_the_same(blocks in prop::collection::vec(block(), 1..4)) {
        let once = markdown(&blocks.concat());
        let read = html(&once);
        let twice = markdown(&read);
        // Backslashes may be more than are needed; that they are enough is for the other property to say.
        prop_assert_eq!(once.replace('\\', ""), twice.replace('\\', ""), "by way of {}", read);
    }

    #[test]
    fn formats_agree(blocks in prop::collection::vec(block(), 1..4)) {
        let url: Url = "https://example.com/a/".parse().unwrap();
        let body = format!("<!doctype html><body>{}</body>", blocks.concat());
        let document = Document { url: &url, content_type: Some("text/html; charset=utf-8"), body: body.as_bytes() };
        if let Err(difference) = reread::check(&document, false) {
            prop_assert!(false, "{}\nin {}\nof {}", difference, markdown(&blocks.concat()), body);
        }
    }
}
