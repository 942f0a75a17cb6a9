//! The tree of this parser is that of html5ever, wherever content depends on it: on cases of our own, one for each rule of
//! tree construction that moves text or elements, and on any folder of pages.
//!
//! Both trees are written as an outline of the body and compared line by line. Left out of both: white space between elements,
//! comments, what is never shown (scripts, styles, selects, drawings, templates) and `noscript`, which html5ever takes for
//! text as a browser with scripts does, and this parser for elements. Known to differ: formatting elements between one that is
//! closed and the block it is closed in are not opened once more in that block; and a page without doctype, in which
//! html5ever lets a table stand in a paragraph.

use html5ever::{ParseOpts, parse_document, tendril::TendrilSink};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

use super::{BODY, Dom, NodeId, Tag, parse};
use crate::budget::Budget;

const LEFT_OUT: [&str; 13] = [
    "script", "style", "noscript", "template", "svg", "math", "iframe", "select", "col", "colgroup", "noembed",
    "noframes", "textarea",
];

/// An outline in the making.
#[derive(Default)]
struct Outline {
    lines: Vec<String>,
    /// Text that goes on.
    text: String,
}

impl Outline {
    fn element(&mut self, depth: usize, name: &str) {
        self.end_text(depth);
        self.lines.push(format!("{:depth$}<{name}>", ""));
    }

    fn end_text(&mut self, depth: usize) {
        let text: Vec<&str> = self.text.split_whitespace().collect();
        if !text.is_empty() {
            self.lines.push(format!("{:depth$}{}", "", text.join(" ")));
        }
        self.text.clear();
    }
}

fn ours(source: &str) -> Vec<String> {
    fn walk(dom: &Dom<'_>, id: NodeId, depth: usize, outline: &mut Outline) {
        for child in dom.children(id) {
            if dom.tag(child) == Tag::Text {
                outline.text.push_str(dom.text(child));
            } else if !LEFT_OUT.contains(&dom.name(child)) {
                outline.element(depth, dom.name(child));
                walk(dom, child, depth + 1, outline);
                outline.end_text(depth + 1);
            } else {
                outline.end_text(depth);
            }
        }
    }
    let dom = parse(source, &Budget::new(&|| false)).expect("nothing stops it");
    let mut outline = Outline::default();
    walk(&dom, BODY, 0, &mut outline);
    outline.end_text(0);
    outline.lines
}

fn theirs(source: &str) -> Vec<String> {
    fn walk(node: &Handle, depth: usize, outline: &mut Outline) {
        for child in node.children.borrow().iter() {
            match &child.data {
                NodeData::Text { contents } => outline.text.push_str(&contents.borrow()),
                NodeData::Element { name, .. } if !LEFT_OUT.contains(&&*name.local) => {
                    outline.element(depth, &name.local);
                    walk(child, depth + 1, outline);
                    outline.end_text(depth + 1);
                }
                NodeData::Element { .. } => outline.end_text(depth),
                _ => {}
            }
        }
    }
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(source);
    let mut outline = Outline::default();
    let html = dom.document.children.borrow().iter().find(|node| is_named(node, "html")).cloned();
    for child in html.iter().flat_map(|html| html.children.borrow().clone()) {
        if is_named(&child, "body") {
            walk(&child, 0, &mut outline);
        }
    }
    outline.end_text(0);
    outline.lines
}

fn is_named(node: &Handle, wanted: &str) -> bool {
    matches!(&node.data, NodeData::Element { name, .. } if &*name.local == wanted)
}

/// Every page of a folder; `CORPUS=FOLDER cargo test --release -p datasonar-extract --lib agreement -- --ignored --nocapture`.
#[test]
#[ignore = "needs a folder of pages"]
fn pages() {
    use std::{env, fs, io::Read, path::PathBuf};
    let folder = PathBuf::from(env::var("CORPUS").expect("CORPUS names a folder")).join("html");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut same, mut lines, mut differing) = (0, 0, 0);
    for path in &paths {
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut body).unwrap();
        let source = String::from_utf8_lossy(&body).replace('\0', "").replace("\r\n", "\n").replace('\r', "\n");
        let (ours, theirs) = (ours(&source), theirs(&source));
        lines += theirs.len();
        if ours == theirs {
            same += 1;
            continue;
        }
        let at = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        let after = ours.iter().rev().zip(theirs.iter().rev()).take_while(|(one, other)| one == other).count();
        let apart = (ours.len().max(theirs.len()) - at).saturating_sub(after);
        differing += apart;
        let show = |lines: &[String]| {
            lines.iter().skip(at.saturating_sub(2)).take(5).cloned().collect::<Vec<_>>().join("\n    ")
        };
        println!("{} {apart} lines\n  ours\n    {}\n  theirs\n    {}", path.display(), show(&ours), show(&theirs));
    }
    println!(
        "{same} of {} pages have the same tree; {differing} of {lines} lines stand in parts that differ",
        paths.len()
    );
    assert!(same * 100 >= paths.len() * 98, "trees differ");
}

#[track_caller]
fn agrees(cases: &[&str]) {
    let differs = |case: &&String| ours(case) != theirs(case);
    // Without it a table would not end a paragraph.
    let cases: Vec<String> = cases.iter().map(|case| format!("<!doctype html>{case}")).collect();
    let wrong: Vec<String> = cases
        .iter()
        .filter(differs)
        .map(|case| format!("{case}\n  ours   {:?}\n  theirs {:?}", ours(case), theirs(case)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paragraphs_and_headings_end_where_they_must() {
    agrees(&[
        "<p>a<p>b",
        "<p>a<div>b</div>c",
        "<p>a</div>b",
        "a</p>b",
        "<p>a<ul><li>b</ul>c",
        "<p>a<table><tr><td>b</table>c",
        "<p>a<h1>b<h2>c</h3>d",
        "<h1>a<div>b</h2>c",
        "<p><button>a<p>b</button>c",
        "<p>a<hr>b<pre>\n\nc</pre>d",
        "<button>a<button>b</button>c",
        "<div>a</section>b</div>c",
        "<address>a<p>b</address>c",
        "<form>a<form>b</form>c</form>d",
        "<p>a<form>b</p>c</form>d",
        "<div><form><div>a</form>b</div>c</div>d",
        "<form><form>a</form><form>b</form>c",
        "<details><summary>a<p>b</details>c",
        "<main>a</article>b</main>c",
    ]);
}

#[test]
fn items_of_lists_end_each_other() {
    agrees(&[
        "<ul><li>a<li>b<ul><li>c</ul><li>d</ul>e",
        "<ul><li><div>a<li>b</ul>",
        "<ul><li><p>a<li>b</ul>",
        "<li>a<li>b",
        "<dl><dt>a<dd>b<dt>c<dd><dl><dt>d</dl>e</dl>f",
        "<dl><dd><section>a<dd>b</dl>",
        "<ul>a</li>b<li>c</ul></li>d",
        "<ol><li>a</ul>b</ol>c",
        "<select><option>a<option>b</select>c",
        "<ruby>a<rt>b<rp>c</ruby>d",
    ]);
}

#[test]
fn formatting_is_closed_out_of_order_and_opened_again() {
    agrees(&[
        "<b>a<i>b</b>c</i>d",
        "<b>a<p>b</b>c</p>d",
        "<p><b>a<p>b</b>c",
        "<a>a<a>b</a>c",
        "<a>a<div>b<a>c</div>d",
        "<a><p>a</a>b</p>c",
        "<b><div><i>a</b>b</i>c</div>d",
        "<b>a<div>b<div>c</b>d</div>e</div>f",
        "<font><p>a</font>b<font>c",
        "<i>a<b>b<u>c</i>d</u>e</b>f",
        "<b>1<b>2<b>3<b>4<p>5</b></b></b></b>6",
        "<nobr>a<nobr>b</nobr>c",
        "<span>a<p>b</span>c</p>d",
        "<b>a</b><table><tr><td><b>b</table>c</b>d",
        "<strong>a<ul><li>b</strong>c</ul>d",
        "<a href=1>a<table><tr><td><a href=2>b</table>c</a>d",
        "<code>a<pre>b</code>c</pre>d",
    ]);
}

#[test]
fn tables_keep_their_parts_and_put_out_the_rest() {
    agrees(&[
        "<table><tr><td>a<td>b<tr><th>c</table>d",
        "<table><td>a</table>b",
        "<table>a<tr><td>b</table>c",
        "<table><tr>a<td>b</tr>c</table>d",
        "<table><div>a<tr><td>b</div>c</table>d",
        "<table><caption>a<tr><td>b</caption>c</table>",
        "<table><caption>a<p>b</caption><tr><td>c</table>d",
        "<table><thead><tr><th>a<tbody><tr><td>b<tfoot><tr><td>c</table>d",
        "<table><tr><td>a<table><tr><td>b</table>c</table>d",
        "<table><tr><td>a</tr></td>b</table>c",
        "<table><tr><td><p>a</table>b",
        "<table><tr><td>a</table></td>b",
        "<table><table><tr><td>a</table>b</table>c",
        "<table><b>a<tr><td>b</table>c",
        "<table><a>a</a><tr><td>b</table>c",
        "<table><p>a</p>b<tr><td>c</table>d",
        "<tr><td>a</td></tr>b",
        "<div><td>a</div>b",
        "<table><tbody><div>a</div><tr><td>b</table>",
        "<table><tr><td>a<tr>b<td>c</table>d",
        "<table><tr><td><div>a<td>b</div>c</table>d",
        "<table><tr><td>a</th>b</table>c",
        "<table><input type=hidden><tr><td>a</table>",
        "<table><form><tr><td>a</form>b</table>c",
        "<p><table><tr><td>a</table>b",
        "<table><colgroup><col><tr><td>a</table>b",
        "<table><tr><td><select><option>a<td>b</table>c",
        "<table><li>a<li>b<tr><td>c</table>",
    ]);
}

#[test]
fn head_and_body_begin_by_themselves() {
    agrees(&[
        "a",
        "<!doctype html><title>t</title>a",
        "<html><head><title>t</title></head><body>a</body></html>b",
        "<head><div>a</div></head>b",
        "<head></head> <p>a",
        "<body>a<body>b",
        "</head>a<title>t</title>b",
        "<body>a</body>b</html>c",
        "<html>a<head>b</head>c",
        "<meta charset=utf-8><link><p>a",
        "</p>a",
        "</br>a",
        "<br/>a</br>b",
        "<body><div>a</body></div>b",
    ]);
}

#[test]
fn raw_text_and_references_are_read_as_written() {
    agrees(&[
        "a<textarea><b>x</textarea>b",
        "<title>a<b></title>b",
        "<script>if (a<b) '</p>'</script>c",
        "<script><!-- <script> </script> --></script>a",
        "<style><p>a</style>b",
        "<xmp><b>a</xmp>b",
        "<plaintext>a</plaintext>b",
        "a&amp;b&lt;c&copy;d&copyright;e&#65;&#x42;&notit;&notin;&bogus;&#0;&#128;&#xD800;",
        "a < b <3 <",
        "a<!-- b -->c<!--> d --><!---> e",
        "<!-- a --!>b<!-- - -- ->c--> d",
        "<?php a ?>b<!x>c</ d>e</>f",
        "<p a=1 b='2>3' c=\"4>5\" d>e",
        "<p a='b>c",
        "a<b",
        "<DIV>a<P>b</DIV>c",
        "<div/>a<br/>b<p/>c",
        "<custom-tag>a<p>b</custom-tag>c",
    ]);
}

#[test]
fn foreign_content_ends_where_html_begins() {
    agrees(&[
        "a<svg><path/><text>x</text></svg>b",
        "a<svg><div>b</div>c",
        "a<svg><foreignObject><p>x</foreignObject></svg>b",
        "a<math><mi>x</mi><p>b",
        "<p>a<svg/>b</p>c",
        "a<svg><![CDATA[<p>]]></svg>b<![CDATA[c]]>d",
        "<table><tr><td><svg><td>a</svg>b</table>c",
    ]);
}
