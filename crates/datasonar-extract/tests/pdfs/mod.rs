//! PDF files made by hand: objects, a table of where they are, a trailer.

use std::fmt::Write as _;

/// A file of these objects, numbered from one; the first is the catalog, `info` the number of what it says of itself.
pub(crate) fn file(objects: &[String], info: Option<usize>) -> Vec<u8> {
    let mut out = String::from("%PDF-1.7\n");
    let mut places = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        places.push(out.len());
        let _ = write!(out, "{} 0 obj\n{object}\nendobj\n", at + 1);
    }
    let table = out.len();
    let _ = write!(out, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for place in &places {
        let _ = writeln!(out, "{place:010} 00000 n ");
    }
    let info = info.map_or(String::new(), |info| format!(" /Info {info} 0 R"));
    let _ = write!(out, "trailer\n<< /Size {} /Root 1 0 R{info} >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    out.into_bytes()
}

/// A stream object.
pub(crate) fn stream(dictionary: &str, content: &str) -> String {
    format!("<< {dictionary} /Length {} >>\nstream\n{content}\nendstream", content.len())
}

/// A document of pages, each of these lines: size, indent and text. Fonts are `F1`, and `F2`, which is bold.
pub(crate) fn document(pages: &[&[(f32, f32, &str)]], info: &str) -> Vec<u8> {
    let count = pages.len();
    let kids: String = (0..count).map(|page| format!("{} 0 R ", 6 + page * 2)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R /Lang (en) >>".to_owned(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {count} >>"),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>".to_owned(),
        info.to_owned(),
    ];
    for (at, lines) in pages.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {} 0 R /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>",
            7 + at * 2
        ));
        let mut content = String::new();
        let mut y = 760.0;
        for (size, indent, text) in *lines {
            y -= size * 1.3;
            let text = text.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
            let _ = writeln!(content, "BT /F1 {size} Tf {} {y} Td ({text}) Tj ET", 50.0 + indent);
        }
        objects.push(stream("", &content));
    }
    file(&objects, Some(5))
}

/// Files to begin with.
#[allow(dead_code, reason = "each test has its own use for this module")]
pub(crate) fn all() -> Vec<Vec<u8>> {
    let lines: &[(f32, f32, &str)] = &[
        (24.0, 0.0, "A title of its own"),
        (10.0, 0.0, "Some words that are set in the size of the text, and go on for a while,"),
        (10.0, 0.0, "so that there are two lines of them."),
        (14.0, 0.0, "A section"),
        (10.0, 0.0, "More words."),
    ];
    vec![document(&[lines, lines], "<< /Title (Made by hand) /CreationDate (D:20260305101500Z) >>")]
}
