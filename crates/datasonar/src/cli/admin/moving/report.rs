//! What a move says at its end: what was moved, and what servers there must be given. Passwords and keys are not repeated.

use std::path::Path;

use datasonar_store::{MoveBegin, TableDigest};
use serde_json::{Value, json};

use super::blobs::Copied;
use crate::{
    cli::{paint, say},
    config::BlobUrl,
};

/// What was moved, and where.
pub(super) struct Report {
    place: String,
    blobs_at: BlobUrl,
    /// The file with the encryption key, unless the key was given.
    key_file: Option<String>,
    data_dir: String,
    begin: MoveBegin,
    /// `None` if blobs stay where they are.
    pub(super) blobs: Option<Copied>,
    pub(super) tables: Vec<TableDigest>,
    pub(super) owed: u64,
    pub(super) violations: u64,
}

/// What is told of, by table.
const TOLD: [&str; 9] =
    ["jobs", "tasks", "segments", "deliveries", "attempts", "accounts", "keys", "secrets", "schedules"];

impl Report {
    pub(super) fn new(
        place: &str,
        blobs_at: &BlobUrl,
        key_file: Option<String>,
        data_dir: &Path,
        begin: MoveBegin,
    ) -> Self {
        Self {
            place: place.to_owned(),
            blobs_at: blobs_at.clone(),
            key_file,
            data_dir: data_dir.display().to_string(),
            begin,
            blobs: None,
            tables: Vec::new(),
            owed: 0,
            violations: 0,
        }
    }

    /// Tells it on standard output.
    pub(super) fn tell(&self, json: bool) {
        say(&if json { self.json().to_string() } else { self.text() });
    }

    fn rows(&self, table: &str) -> u64 {
        self.tables.iter().find(|digest| digest.table == table).map_or(0, |digest| digest.rows)
    }

    fn json(&self) -> Value {
        let begin = match self.begin {
            MoveBegin::First => "first",
            MoveBegin::Again => "again",
            MoveBegin::Ended => "ended_before",
        };
        let mut told = json!({
            "to": self.place, "blobs_at": self.blobs_at.to_string(), "begin": begin, "encryption_key_file": self.key_file,
        });
        if self.begin != MoveBegin::Ended {
            let mut moved: serde_json::Map<String, Value> =
                TOLD.iter().map(|table| ((*table).to_owned(), self.rows(table).into())).collect();
            moved.insert("deliveries_owed".to_owned(), self.owed.into());
            told["moved"] = Value::Object(moved);
            told["blobs"] = self.blobs.map_or(Value::Null, |Copied { count, bytes, sent, sent_bytes, damaged }| {
                json!({"count": count, "bytes": bytes, "sent": sent, "sent_bytes": sent_bytes, "damaged": damaged})
            });
            told["violations"] = self.violations.into();
        }
        told
    }

    fn text(&self) -> String {
        let Self { place, blobs_at, data_dir, owed, .. } = self;
        let mut text = if self.begin == MoveBegin::Ended {
            format!("The store was moved to {place} before: there is nothing left to do.\n")
        } else {
            let mut text = format!("The store was moved to {place}:\n\n");
            for table in TOLD {
                let owed = if table == "deliveries" { format!("  ({owed} owed)") } else { String::new() };
                text.push_str(&format!("  {:<11} {}{owed}\n", table, self.rows(table)));
            }
            text.push_str(&match self.blobs {
                None => format!("  {:<11} stay in {blobs_at}\n", "blobs"),
                Some(Copied { count, bytes, sent, .. }) => {
                    format!("  {:<11} {count} with {bytes} bytes  ({sent} sent by this run)\n", "blobs")
                }
            });
            if self.violations > 0 {
                let violations = paint::count(self.violations, "violation");
                text.push_str(&format!("\nIt has {violations} of what must be true, as listed, as it had before.\n"));
            }
            text
        };
        let key = match &self.key_file {
            Some(file) => format!("the key that webhook secrets are encrypted with: `cat '{file}'` prints it"),
            None => "the key that was given to this command".to_owned(),
        };
        text.push_str(&format!(
            "\nGive all servers the same:\n\n  DATASONAR_DATABASE_URL    the URL of {place}\n  \
             DATASONAR_BLOB_URL        {blobs_at}\n  DATASONAR_ENCRYPTION_KEY  {key}\n\n\
             The store in {data_dir} is kept as it was, but for leases that were given back. It is marked as moved: a server \
             refuses\nit, since both would deliver. `datasonar admin move --undo` takes the mark off. Delete it when you need it no more."
        ));
        text
    }
}
