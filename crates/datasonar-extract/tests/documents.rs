//! How documentation reads: headings, tables, code, lists of links.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

use datasonar_extract::{Content, Document, Format, Options, extract};
use url::Url;

fn markdown(body: &str) -> String {
    let url: Url = "https://docs.example/guide/page.html".parse().unwrap();
    let options = Options::new(vec![Format::Markdown], true, &[], &[]).unwrap();
    let document = Document { url: &url, content_type: Some("text/html"), body: body.as_bytes() };
    match extract(&document, &options, &|| false).unwrap().contents.pop().unwrap().1 {
        Content::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// A page whose main content is this, and text enough to be found.
fn page(content: &str) -> String {
    let filler = "A paragraph of prose that is long enough to be taken for what the page is about. ".repeat(4);
    format!("<nav><a href=/>Home</a></nav><main>{content}<p>{filler}</p></main>")
}

fn starts(content: &str, expected: &str) {
    let written = markdown(&page(content));
    assert!(written.starts_with(expected), "{written}");
}

#[test]
fn headings_keep_their_text_and_lose_the_sign_that_links_to_them() {
    starts("<h1>9. Classes<a class=headerlink href='#classes'>¶</a></h1>", "# 9. Classes\n");
    starts("<h2><a class=toc-backref href='#id2'>Coroutines</a><a href='page.html#c'>#</a></h2>", "## Coroutines\n");
    starts("<h2>C #</h2>", "## C \\#\n");
    starts(
        "<dl><dt><code>abs(x)</code><a href='#abs'>¶</a></dt><dd>The value.</dd></dl>",
        "**`abs(x)`**  \nThe value.",
    );
}

#[test]
fn the_parts_of_a_table_are_one_table() {
    let table = "<table><caption>Sizes</caption><thead><tr><th>Name</th><th>Size</th></tr></thead>
        <tbody><tr><td>small</td><td>2 bytes</td></tr></tbody><tbody><tr><td>large</td><td>4 bytes</td></tr></tbody>
        <tfoot><tr><td>all</td><td>6 bytes</td></tr></tfoot></table>";
    starts(
        table,
        "Sizes\n\n| Name | Size |\n| --- | --- |\n| small | 2 bytes |\n| large | 4 bytes |\n| all | 6 bytes |\n\n",
    );
}

#[test]
fn code_has_the_language_of_what_is_around_it() {
    let sphinx = |language: &str| {
        format!(
            "<div class='highlight-{language} notranslate'><div class=highlight><pre><span></span>x = 1\n</pre></div></div>"
        )
    };
    starts(&sphinx("python3"), "```python3\nx = 1\n```\n");
    starts(&sphinx("default"), "```\nx = 1\n```\n");
    starts("<pre><code class='language-rust'>fn f() {}</code></pre>", "```rust\nfn f() {}\n```\n");
}

#[test]
fn a_list_of_links_that_is_announced_is_content() {
    let links =
        "<ul><li><a href=/a>PEP 655</a></li><li><a href=/b>PEP 646</a></li><li><a href=/c>PEP 673</a></li></ul>";
    let expected = "New typing features:\n\n- [PEP 655](https://docs.example/a)\n";
    starts(&format!("<p>New typing features:</p>\n{links}"), expected);
    assert!(!markdown(&page(&format!("<p>Something else.</p>{links}"))).contains("PEP"));
}

#[test]
fn a_list_of_terms_without_explanations_is_a_list() {
    let list = "<dl><dt><a href=/abort>ABORT</a> — abort the transaction</dt><dt>ALTER — change a definition</dt></dl>";
    starts(list, "- [ABORT](https://docs.example/abort) — abort the transaction\n- ALTER — change a definition\n\n");
    starts("<dl><dt>a</dt><dt>b</dt><dd>Both.</dd></dl>", "**a**\n\n**b**  \nBoth.");
}

#[test]
fn a_page_that_is_a_table_keeps_its_title() {
    let rows = "<tr><td>oid</td><td>A number by which rows are told apart, in all of the tables.</td></tr>".repeat(20);
    let body = format!("<div><h2>The catalogue</h2><p>In short.</p><table><tbody>{rows}</tbody></table></div>");
    assert!(markdown(&body).starts_with("## The catalogue\n\nIn short.\n\n| oid | A number"), "{}", markdown(&body));
}

#[test]
fn the_way_to_the_next_page_is_no_content() {
    let header =
        "<div class=navheader><table><tr><td><a href=/a>Prev</a></td><td>Part VII. Internals</td></tr></table></div>";
    assert!(!markdown(&format!("{header}{}", page("<h1>Title</h1>"))).contains("Internals"));
}

#[test]
fn a_page_of_a_few_words_is_kept_whole_but_for_what_is_around_it() {
    let written = markdown(
        "<nav><a href=/>Home</a></nav><p>This is page 7.</p><a href=/p8>page 8</a> <a href=/p9>page 9</a>
        <footer>Imprint</footer>",
    );
    assert_eq!(
        written.trim(),
        "This is page 7.\n\n[page 8](https://docs.example/p8) [page 9](https://docs.example/p9)"
    );
}
