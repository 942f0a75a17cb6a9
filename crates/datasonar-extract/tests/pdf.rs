//! PDF: what its sizes, places and names tell; and files that were made to do harm.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

mod pdfs;

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, sync::Arc, thread};

use datasonar_extract::{Content, Document, ExtractError, Extracted, Format, Options, extract};
use flate2::{Compression, write::ZlibEncoder};
use lopdf::{
    EncryptionState, EncryptionVersion, Object, Permissions, StringFormat,
    encryption::crypt_filters::{Aes128CryptFilter, Aes256CryptFilter, CryptFilter},
};
use url::Url;

fn extracted(body: &[u8], format: Format) -> Result<Extracted, ExtractError> {
    let url: Url = "https://example.com/paper.pdf".parse().unwrap();
    let options = Options::new(vec![format], true, &[], &[]).unwrap();
    extract(&Document { url: &url, content_type: Some("application/pdf"), body }, &options, &|| false)
}

fn content(body: &[u8], format: Format) -> String {
    match extracted(body, format).unwrap().contents.pop().unwrap().1 {
        Content::Text(text) => text,
        other => serde_json::to_string(&other).unwrap(),
    }
}

const LINE: &str = "Words that are set in the size of the text, and go on until the line is full and";

fn paper() -> Vec<u8> {
    let first: &[(f32, f32, &str)] = &[
        (8.0, 0.0, "Proceedings of the harbour, volume 7"),
        (24.0, 0.0, "On soundings"),
        (10.0, 0.0, LINE),
        (10.0, 0.0, "the hyphen that parts a word is taken back where it was only there to parti-"),
        (10.0, 0.0, "tion it. Here it ends."),
        (14.0, 0.0, "Instruments (old)"),
        (10.0, 0.0, "\u{95} a lead"),
        (10.0, 0.0, "\u{95} a line, see https://example.org/line"),
        (8.0, 0.0, "1"),
    ];
    let other: &[(f32, f32, &str)] = &[
        (8.0, 0.0, "Proceedings of the harbour, volume 7"),
        (14.0, 0.0, "Results"),
        (10.0, 0.0, "What was found is written here, in two lines that belong together, the first of them being"),
        (10.0, 0.0, "as long as this."),
        (8.0, 0.0, "2"),
    ];
    let last: &[(f32, f32, &str)] =
        &[(8.0, 0.0, "Proceedings of the harbour, volume 7"), (10.0, 0.0, "Nothing else was found."), (8.0, 0.0, "3")];
    let info = "<< /Title (On soundings, a paper) /Author (Ada Pilot) /Subject (Depths) /CreationDate (D:20260305101500+01'00') >>";
    let mut body = pdfs::document(&[first, other, last], info);
    // The bullet is one byte in the encoding of the font.
    while let Some(at) = body.windows(2).position(|pair| pair == "\u{95}".as_bytes()) {
        body.splice(at..at + 2, *b"\x95 ");
    }
    body
}

#[test]
fn a_paper_reads_as_one() {
    let markdown = content(&paper(), Format::Markdown);
    let expected = format!(
        "# On soundings\n\n{LINE} the hyphen that parts a word is taken back where it was only there to partition it. Here it ends.\n\n\
         ## Instruments (old)\n\n- a lead\n- a line, see <https://example.org/line>\n\n\
         ## Results\n\nWhat was found is written here, in two lines that belong together, the first of them being as long as this.\n\n\
         Nothing else was found.\n"
    );
    assert_eq!(markdown, expected);
    assert!(content(&paper(), Format::Links).contains("https://example.org/line"));
    assert!(content(&paper(), Format::Json).contains("{\"type\":\"heading\",\"level\":1,\"text\":\"On soundings\"}"));
    assert!(content(&paper(), Format::Html).contains("<h1>On soundings</h1>"));
}

#[test]
fn metadata_is_what_the_file_says() {
    let metadata = extracted(&paper(), Format::Text).unwrap().metadata;
    assert_eq!(metadata.title.as_deref(), Some("On soundings, a paper"));
    assert_eq!(metadata.author.as_deref(), Some("Ada Pilot"));
    assert_eq!(metadata.description.as_deref(), Some("Depths"));
    assert_eq!(metadata.published_at.as_deref(), Some("2026-03-05T10:15:00+01:00"));
    assert_eq!(metadata.language.as_deref(), Some("en"));
    assert_eq!(metadata.content_type.as_deref(), Some("application/pdf"));
    let untitled = pdfs::document(&[&[(24.0, 0.0, "A heading"), (10.0, 0.0, LINE)]], "<< /Title (untitled.tex) >>");
    assert_eq!(extracted(&untitled, Format::Text).unwrap().metadata.title.as_deref(), Some("A heading"));
}

#[test]
fn what_is_no_pdf_or_has_no_text_says_so() {
    let code = |body: &[u8]| extracted(body, Format::Markdown).unwrap_err().code();
    assert_eq!(code(b"%PDF-1.7 and nothing that follows"), "decode_error");
    assert_eq!(code(&paper()[..40]), "decode_error");
    assert_eq!(code(&pdfs::document(&[&[]], "<< >>")), "unsupported_content");
    assert!(extracted(b"<html><p>Please log in to read this paper.</p>", Format::Text).is_ok());
}

/// The file, locked in the ways that the standard knows; whoever opens it needs `password`.
fn locked(password: &str) -> Vec<(&'static str, Vec<u8>)> {
    let document = || {
        let mut document = lopdf::Document::load_mem(&paper()).unwrap();
        let id = || Object::String(vec![7; 16], StringFormat::Hexadecimal);
        document.trailer.set("ID", vec![id(), id()]);
        document
    };
    let plain = document();
    let filters = |filter: Arc<dyn CryptFilter>| BTreeMap::from([(b"StdCF".to_vec(), filter)]);
    let (owner_password, permissions) = ("whoever locked it", Permissions::PRINTABLE);
    let (stream_filter, string_filter) = (b"StdCF".to_vec(), b"StdCF".to_vec());
    let ways = [
        (
            "RC4 of 128 bits",
            EncryptionVersion::V2 {
                document: &plain,
                owner_password,
                user_password: password,
                key_length: 128,
                permissions,
            },
        ),
        (
            "AES of 128 bits",
            EncryptionVersion::V4 {
                document: &plain,
                encrypt_metadata: true,
                crypt_filters: filters(Arc::new(Aes128CryptFilter)),
                stream_filter: stream_filter.clone(),
                string_filter: string_filter.clone(),
                owner_password,
                user_password: password,
                permissions,
            },
        ),
        (
            "AES of 256 bits",
            EncryptionVersion::V5 {
                encrypt_metadata: true,
                crypt_filters: filters(Arc::new(Aes256CryptFilter)),
                file_encryption_key: &[5; 32],
                stream_filter,
                string_filter,
                owner_password,
                user_password: password,
                permissions,
            },
        ),
    ];
    ways.into_iter()
        .map(|(name, way)| {
            let mut document = document();
            document.encrypt(&EncryptionState::try_from(way).unwrap()).unwrap();
            let mut body = Vec::new();
            document.save_to(&mut body).unwrap();
            assert!(!body.windows(9).any(|part| part == b"soundings"), "{name}");
            (name, body)
        })
        .collect()
}

#[test]
fn a_file_that_is_locked_against_changes_is_read_and_one_with_a_password_is_not() {
    for (name, body) in locked("") {
        assert_eq!(content(&body, Format::Markdown), content(&paper(), Format::Markdown), "{name}");
        assert_eq!(extracted(&body, Format::Text).unwrap().metadata.author.as_deref(), Some("Ada Pilot"), "{name}");
    }
    for (name, body) in locked("a secret") {
        assert_eq!(extracted(&body, Format::Markdown).unwrap_err().code(), "decode_error", "{name}");
    }
}

/// Reads a file on a small stack: an error or content, but no panic, and no more memory than there is.
fn survives(name: &str, body: Vec<u8>) {
    let read =
        thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || extracted(&body, Format::Markdown).is_ok());
    assert!(read.unwrap().join().is_ok(), "{name}");
}

fn deflated(byte: u8, len: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let block = vec![byte; 1024 * 1024];
    for _ in 0..len / block.len() {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

/// A file whose third object is a stream of these bytes.
fn with_stream(dictionary: &str, data: &[u8], page: &str) -> Vec<u8> {
    let mut body = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [4 0 R] /Count 1 >>\nendobj\n".to_vec();
    let at = body.len();
    body.extend(format!("3 0 obj\n<< {dictionary} /Length {} >>\nstream\n", data.len()).bytes());
    body.extend(data);
    body.extend(b"\nendstream\nendobj\n");
    let page_at = body.len();
    body.extend(format!("4 0 obj\n<< /Type /Page /Parent 2 0 R /Contents 3 0 R {page} >>\nendobj\n").bytes());
    let table = body.len();
    let mut tail = String::from("xref\n0 5\n0000000000 65535 f \n");
    for place in [9, 58, at, page_at] {
        let _ = writeln!(tail, "{place:010} 00000 n ");
    }
    let _ = write!(tail, "trailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
    body.extend(tail.bytes());
    body
}

#[test]
fn small_files_do_not_become_large_ones() {
    let bomb = deflated(b' ', 512 * 1024 * 1024);
    survives("content that inflates", with_stream("/Filter /FlateDecode", &bomb, ""));
    let objects = with_stream("/Type /ObjStm /N 1 /First 10 /Filter /FlateDecode", &bomb, "");
    let refused = extracted(&objects, Format::Text).unwrap_err();
    assert!(refused.to_string().contains("too large"), "{refused}");
    survives("objects packed twice", with_stream("/Type /ObjStm /Filter [/FlateDecode /FlateDecode]", &bomb, ""));
}

#[test]
fn nesting_and_circles_come_to_an_end() {
    survives("arrays in arrays", with_stream("", "[".repeat(1_000_000).as_bytes(), ""));
    survives("saved states", with_stream("", "q ".repeat(1_000_000).as_bytes(), ""));
    survives("a string without an end", with_stream("", "(".repeat(1_000_000).as_bytes(), ""));
    let form = "/Type /XObject /Subtype /Form /Resources << /XObject << /A 3 0 R /B 3 0 R >> >>";
    let page = "/Resources << /XObject << /A 3 0 R >> >>";
    let stopped = with_stream(form, b"/A Do /B Do /A Do /B Do /A Do /B Do", page);
    let url: Url = "https://example.com/".parse().unwrap();
    let options = Options::new(vec![Format::Text], true, &[], &[]).unwrap();
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 1000
    };
    let document = Document { url: &url, content_type: Some("application/pdf"), body: &stopped };
    assert!(
        matches!(extract(&document, &options, &stop), Err(ExtractError::Stopped)),
        "forms within forms end in time"
    );
    let circle = "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [2 0 R 2 0 R] /Parent 2 0 R /Count 9 >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF";
    survives("pages that are their own", circle.as_bytes().to_vec());
}
