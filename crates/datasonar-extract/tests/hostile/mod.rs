//! Pages that are made to take much memory, of every kind that is read; and large ones that are not.

use std::fmt::Write as _;

/// A page, and what it says that it is.
pub(crate) struct Page {
    pub(crate) name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

/// How many pages are drawn, unless `MEMORY_PAGES` says otherwise.
pub(crate) fn drawn_count() -> u64 {
    std::env::var("MEMORY_PAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(60)
}

fn page(name: &'static str, content_type: &'static str, before: &str, piece: &str, after: &str, bytes: usize) -> Page {
    let times = bytes.saturating_sub(before.len() + after.len()) / piece.len();
    let body = format!("{before}{}{after}", piece.repeat(times)).into_bytes();
    Page { name, content_type, body }
}

const HTML: &str = "text/html; charset=utf-8";
const MARKDOWN: &str = "text/markdown";
const JSON: &str = "application/json";
const XML: &str = "application/xml";
const RSS: &str = "application/rss+xml";
const CSV: &str = "text/csv";
const TEXT: &str = "text/plain";

/// One page of each hostile kind, of about so many bytes.
#[expect(clippy::too_many_lines, reason = "it is a list")]
pub(crate) fn pages(bytes: usize) -> Vec<Page> {
    let base = format!("<base href='https://example.com/{}/'>", "b".repeat(8000));
    let deep_lists = format!("{}<li>x", "<ul><li>".repeat(20));
    let deep_quotes = "<blockquote>".repeat(20);
    let long_url = format!("<a href='/{}'>", "\u{e9}".repeat(2000));
    let class = format!("<p class='{}'>a</p>", "post ".repeat(20));
    let wide_row = format!("<tr>{}</tr>", "<td>1".repeat(1000));
    let spans = format!("<table><tr>{}</tr>", "<td>a<td>b".repeat(50));
    let jsonld = format!("<script type='application/ld+json'>[{}0]</script>", "{\"a\":0},".repeat(60_000));
    let jsonld_lists = format!("<script type='application/ld+json'>[{}0]</script>", "[0],".repeat(120_000));
    let jsonfeed = "{\"version\":\"https://jsonfeed.org/version/1\",\"items\":[";
    let cdata = format!("<rss><channel><item><description><![CDATA[{}", "<b>".repeat(100));
    let nested_json = "[".repeat(100);
    let unnested = "]".repeat(100);
    let notes: String = (0..20_000).fold(String::new(), |mut notes, at| {
        let _ = write!(notes, "<sup><a href=#n{at}>{at}</a></sup><li id=n{at}>x</li>");
        notes
    });
    let metas: String = (0..20_000).fold(String::new(), |mut metas, at| {
        let _ = write!(metas, "<meta property=og:title content='w{at} x{at} y{at} z{at}'>");
        metas
    });
    let links: String = (0..60_000).fold(String::new(), |mut links, at| {
        let _ = write!(links, "<a href=/{at}>{at}</a> ");
        links
    });
    let definitions: String = (0..60_000).fold(String::new(), |mut text, at| {
        let _ = write!(text, "[{at}]: /{at}\n[{at}]\n");
        text
    });
    let footnotes: String = (0..60_000).fold(String::new(), |mut text, at| {
        let _ = write!(text, "[^{at}]: x\n\n[^{at}]\n");
        text
    });
    let keys: String = (0..60_000).fold(String::new(), |mut text, at| {
        let _ = write!(text, "\"k{at}\":{{\"a\":[0]}},");
        text
    });
    let of = |name, content_type, before: &str, piece: &str, after: &str| {
        page(name, content_type, before, piece, after, bytes)
    };
    vec![
        of("elements", HTML, "", "<b>", ""),
        of("paragraphs", HTML, "", "<p>a", ""),
        of("divisions", HTML, "", "<div>a</div>", ""),
        of("reopened formatting", HTML, "<b><i><u><s><em><strong>", "<p>a</p>", ""),
        of("adoption", HTML, "", "<a><b><div></a>", ""),
        of("foster", HTML, "<table>", "<b>a", ""),
        of("entities", HTML, "", "&amp;", ""),
        of("long entities", HTML, "", "&nGt;", ""),
        of("nul entities", HTML, "<p>", "&#0;", ""),
        of("attributes", HTML, "", "<p a b c d e f g h>", ""),
        of("attribute values", HTML, "", "<p title='&lt;&lt;&lt;&lt;&lt;&lt;&lt;&lt;'>", ""),
        of("class names", HTML, "", &class, ""),
        of("upper case", HTML, "", "<UNKNOWN NAME=X>", ""),
        of("line breaks in lists", HTML, &deep_lists, "x<br>", ""),
        of("line breaks in quotes", HTML, &deep_quotes, "x<br>", ""),
        of("items in lists", HTML, &deep_lists, "<li>x", ""),
        of("deep lists", HTML, "", "<ul><li>x", ""),
        of("code in lists", HTML, &format!("{deep_lists}<pre>"), "\nx", ""),
        of("code lines in lists", HTML, &format!("{deep_lists}<pre>"), "<br>", ""),
        of("code in a line", HTML, "", "<code>`</code>a ", ""),
        of("long code in a line", HTML, "<code>", "`|", ""),
        of("base", HTML, &base, "<a href=x>y</a> ", ""),
        of("images with a base", HTML, &base, "<img src=x alt=y>", ""),
        of("distinct links", HTML, &format!("{base}{links}"), "<p>x", ""),
        of("links", HTML, &links, "<p>x", ""),
        of("long links", HTML, "", &format!("{long_url}x</a> "), ""),
        of("wide table", HTML, "<table>", &wide_row, "</table>"),
        of("spans", HTML, "<table>", "<tr><td colspan=20>a<td rowspan=1000 colspan=20>b", ""),
        of("empty rows", HTML, &spans, "<tr><td>a", ""),
        of("tables", HTML, "", "<table><tr><td>a<td>b</table>", ""),
        of("nested tables", HTML, "", "<table><tr><td>a<td>b", ""),
        of("captions", HTML, "<table>", "<caption>a</caption><tr><td>a<td>b", ""),
        of("metadata", HTML, &metas, "<p>x", ""),
        of("structured data", HTML, &jsonld, "<p>x", ""),
        of("lists of structured data", HTML, &jsonld_lists, "<p>x", ""),
        of("footnotes", HTML, &notes, "<p>x", ""),
        of("formulas", HTML, "", "<math><annotation encoding=tex>$$$$$$$$</annotation></math>", ""),
        of("long formula", HTML, "<script type=math/tex>", "$", "</script>"),
        of("pictures", HTML, "", "<img src=a alt='[[[[[[[[[[[[[[[['>", ""),
        of("long picture", HTML, "<img src=a alt='", "[", "'>"),
        of("one word", HTML, "<p>", "*", ""),
        of("control characters", HTML, "<p>", "\u{1}", ""),
        of("words", HTML, "<p>", "_ ", ""),
        of("line feeds", HTML, "<pre>", "\r\n", ""),
        of("frames", HTML, "", "<iframe src=a></iframe>", ""),
        of("shell", HTML, "<meta name=description content='", "a & b ", "'>"),
        of("windows-1252", "text/html; charset=windows-1252", "<p>", "\u{80}", ""),
        of("broken utf-16", "text/html; charset=utf-16le", "<p>", "\u{d0}", ""),
        Page { name: "broken utf-8", content_type: HTML, body: vec![0xFF; bytes] },
        of("utf-16", "text/html; charset=utf-16le", "", "\u{4e}\u{4e}", ""),
        of("quotes", MARKDOWN, "", ">", ""),
        of("quoted lines", MARKDOWN, "", ">>>>>>>>\n", ""),
        of("markdown lists", MARKDOWN, "", "- ", ""),
        of("markdown items", MARKDOWN, "", "- a\n", ""),
        of("numbered", MARKDOWN, "", "1) ", ""),
        of("stars", MARKDOWN, "", "*", ""),
        of("emphasis", MARKDOWN, "", "*a ", ""),
        of("emphasis both", MARKDOWN, "", "*a*", ""),
        of("underscores", MARKDOWN, "a", "_a ", ""),
        of("brackets", MARKDOWN, "", "[", ""),
        of("closed brackets", MARKDOWN, "", "[]", ""),
        of("markdown links", MARKDOWN, "", "[a](b)", ""),
        of("markdown images", MARKDOWN, "", "![a](b)", ""),
        of("references", MARKDOWN, &definitions, "[1]", ""),
        of("markdown footnotes", MARKDOWN, &footnotes, "[^1]", ""),
        of("autolinks", MARKDOWN, "", "<a:b>", ""),
        of("backticks", MARKDOWN, "", "`", ""),
        of("code spans", MARKDOWN, "", "`a`", ""),
        of("fences", MARKDOWN, "", "```\n\n", ""),
        of("markdown html", MARKDOWN, "", "<b>", ""),
        of("markdown entities", MARKDOWN, "", "&lt;", ""),
        of("markdown escapes", MARKDOWN, "", "\\<", ""),
        of("markdown table", MARKDOWN, "|a|b|\n|-|-|\n", "|a\n", ""),
        of("markdown cells", MARKDOWN, "|a|b|\n|-|-|\n", "|", ""),
        of("markdown columns", MARKDOWN, &format!("{}\n{}\n", "|a".repeat(900), "|-".repeat(900)), "|\n", ""),
        of("headings", MARKDOWN, "", "#\n", ""),
        of("heading words", MARKDOWN, "", "# a\n", ""),
        of("rules", MARKDOWN, "", "---\n", ""),
        of("hard breaks", MARKDOWN, "", "a\\\n", ""),
        of("markdown lines", MARKDOWN, "", "a\n", ""),
        of("blank lines", MARKDOWN, "", "a\n\n", ""),
        of("indented code", MARKDOWN, "", "    a\n", ""),
        of("tabs", MARKDOWN, "", "\t", ""),
        of("strikes", MARKDOWN, "", "~~a~~", ""),
        of("tasks", MARKDOWN, "", "- [ ] a\n", ""),
        of("numbers", JSON, "[", "0,", "0]"),
        of("empty lists", JSON, "[", "[],", "0]"),
        of("lists of one", JSON, "[", "[0],", "0]"),
        of("empty objects", JSON, "[", "{},", "0]"),
        of("small objects", JSON, "[", "{\"a\":0},", "0]"),
        of("strings", JSON, "[", "\"\",", "0]"),
        of("escaped strings", JSON, "[\"", "\\u0001", "\"]"),
        of("angles", JSON, "[\"", "&", "\"]"),
        of("nested", JSON, &nested_json, "[0],", &format!("0{unnested}")),
        of("keys", JSON, &format!("{{{keys}"), "\"x\":{},", "\"y\":0}"),
        of("long title", JSON, "{\"title\":\"", "\\n", "\"}"),
        of("feed of lists", JSON, jsonfeed, "[],", "0]}"),
        of("feed of objects", JSON, jsonfeed, "{\"a\":0},", "{}]}"),
        of("feed of html", JSON, &format!("{jsonfeed}{{\"content_html\":\""), "<b>", "\"}]}"),
        of("feed of text", JSON, &format!("{jsonfeed}{{\"content_text\":\""), "a\\n\\n", "\"}]}"),
        of("xml elements", XML, "<a>", "<b/>", "</a>"),
        of("xml nested", XML, "", "<a>", ""),
        of("xml data", XML, "<a>", "<b c='d'>&lt;</b>", "</a>"),
        of("xml attributes", XML, "<a>", "<b a='' b='' c='' d='' e=''/>", "</a>"),
        of("xml text", XML, "<a>x", "<b>y</b>z", "</a>"),
        of("xml entities", XML, "<a>", "&lt;", "</a>"),
        of("sitemap", XML, "<urlset>", "<url><loc>&quot;&quot;</loc></url>", "</urlset>"),
        of("rss items", RSS, "<rss><channel>", "<item/>", "</channel></rss>"),
        of("rss links", RSS, "<rss><channel>", "<link>a</link>", "</channel></rss>"),
        of("rss html", RSS, &cdata, "<p>&lt;", "]]></description></item></channel></rss>"),
        of("rss entries", RSS, "<rss><channel>", "<item><description>&lt;b&gt;x</description></item>", ""),
        of("rss markup", RSS, "<rss><channel><item><description>", "<b a='&quot;'/>", ""),
        of("atom", "application/atom+xml", "<feed>", "<entry><content type='html'>&lt;p&gt;</content></entry>", ""),
        of("atom text", "application/atom+xml", "<feed><entry><content>", "a\n\n", ""),
        of("columns", CSV, "", ",", ""),
        of("cells", CSV, "", "a,", ""),
        of("rows", CSV, "a,b\n", "1,2\n", ""),
        of("short rows", CSV, "", "a\n", ""),
        of("quoted cell", CSV, "\"", "\"\"", ""),
        of("escaped cells", CSV, "", "<,", ""),
        of("tab cells", "text/tab-separated-values", "", "a\t", ""),
        of("text lines", TEXT, "", "a\n", ""),
        of("text paragraphs", TEXT, "", "a\n\n", ""),
        of("laid out", TEXT, "", "  a\n\n", ""),
        of("addresses", TEXT, "", "http://a.b/ ", ""),
        of("escaped addresses", TEXT, "", "http://a.b/&&&&&& ", ""),
        of("angles in text", TEXT, "", "<", ""),
        of("code", "text/x-python", "", "<\n", ""),
        of("pdf numbers", "application/pdf", "%PDF-1.4\n1 0 obj [", "0 ", "] endobj\ntrailer << /Root 1 0 R >>"),
        of("pdf lists", "application/pdf", "%PDF-1.4\n1 0 obj [", "[]", "] endobj\ntrailer << /Root 1 0 R >>"),
        of("pdf names", "application/pdf", "%PDF-1.4\n1 0 obj [", "/A", "] endobj\ntrailer << /Root 1 0 R >>"),
        of(
            "pdf dictionaries",
            "application/pdf",
            "%PDF-1.4\n1 0 obj [",
            "<</A 0>>",
            "] endobj\ntrailer << /Root 1 0 R >>",
        ),
        of("pdf strings", "application/pdf", "%PDF-1.4\n1 0 obj [", "()", "] endobj\ntrailer << /Root 1 0 R >>"),
        of("pdf objects", "application/pdf", "%PDF-1.4\n", "1 0 obj 0 endobj\n", "trailer << /Root 1 0 R >>"),
    ]
}

/// A generator of numbers, the same for the same seed (SplitMix64's steps).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % (end as u64)) as usize
    }
}

/// A page drawn by a seed: pieces of hostile pages of one kind, each repeated, one after the other.
pub(crate) fn drawn(seed: u64) -> Page {
    let mut numbers = Numbers(seed);
    let bytes = 1 << (12 + numbers.below(10));
    let kinds = [HTML, HTML, HTML, MARKDOWN, MARKDOWN, JSON, XML, RSS, CSV, TEXT];
    let content_type = kinds[numbers.below(kinds.len())];
    let pieces: Vec<Page> = pages(4096).into_iter().filter(|page| page.content_type == content_type).collect();
    let mut body = Vec::new();
    while body.len() < bytes {
        let piece = &pieces[numbers.below(pieces.len())].body;
        let from = numbers.below(piece.len());
        let to = (from + 1 + numbers.below(64)).min(piece.len());
        let most = 1 << numbers.below(14);
        body.extend(piece[from..to].repeat(1 + numbers.below(most)));
    }
    body.truncate(bytes);
    Page { name: "drawn", content_type, body }
}

/// Large pages of kinds that are no attack.
pub(crate) fn ordinary(bytes: usize) -> Vec<Page> {
    let words = "Words of a sentence that goes on for about as long as sentences do, and then ends. ";
    let article = format!(
        "<div class=\"post\"><h2 id=\"a\">A heading</h2>\r\n<p>{words}{words}<a href=\"/link\">a link</a> {words}</p>\r\n\
         <ul><li>{words}</li><li>{words}</li></ul></div>\r\n"
    );
    let row =
        "<tr><td class=\"name\">A name of something</td><td>2026-03-05</td><td class=\"number\">1,234.56</td></tr>\n";
    let record = "{\"id\":1234,\"name\":\"A name\",\"address\":{\"street\":\"A street 12\",\"city\":\"A city\"},\"tags\":[\"a\",\"b\"]},\n";
    vec![
        page("article", HTML, "<html><body>", &article, "</body></html>", bytes),
        page("table", HTML, "<table>", row, "</table>", bytes),
        page("data", JSON, "[", record, "0]", bytes),
        page(
            "markdown",
            MARKDOWN,
            "# A title\n\n",
            &format!("{words}{words}[a link](/b)\n\n- an item, {words}\n"),
            "",
            bytes,
        ),
        page(
            "rows",
            CSV,
            "id,name,date,description\n",
            &format!("1234,A name of something,2026-03-05,{words}{words}\n"),
            "",
            bytes,
        ),
        page("text", TEXT, "", &format!("{words}{words}\n{words}{words}\n\n"), "", bytes),
        page(
            "feed",
            RSS,
            "<rss><channel>",
            &format!(
                "<item><title>A title</title><link>https://e.org/a</link><description>&lt;p&gt;{}&lt;/p&gt;</description></item>",
                words.repeat(30)
            ),
            "</channel></rss>",
            bytes,
        ),
    ]
}
