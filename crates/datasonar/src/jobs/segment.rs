//! Segments: what a task found, gathered in order, compressed and hashed once.
//!
//! The raw bytes of a segment are the JSON of its page results joined by `,\n`. JSON as we write it holds no bare line
//! feed, so that a line feed always ends a page result: a segment can be put into an array as it is, or split into
//! lines, without being parsed again.

use std::cell::RefCell;

use bytes::Bytes;
use datasonar_store::{Segment, SegmentData, TaskLease};
use zstd::bulk::Decompressor;

use crate::{
    blobs::{Blobs, BlobsError, segment_key},
    cpu,
    crypto::sha256,
};

/// What joins two page results, within a segment and between two.
pub const JOINT: &[u8] = b",\n";
/// Segments up to this size, compressed, stay in their task's row.
const INLINE_BYTES: usize = 32 * 1024;
/// zstd's level for page results.
const LEVEL: i32 = 3;

/// The page results of a task, taken in any order.
#[derive(Debug)]
pub struct Gathering {
    first: u64,
    slots: Vec<Slot>,
    held_bytes: usize,
}

#[derive(Debug)]
enum Slot {
    Waiting,
    Held(Bytes),
    Written,
    /// Has no result.
    Dropped,
}

/// A run of page results that is to become a segment.
#[derive(Debug)]
pub struct Run {
    first: u64,
    results: Vec<Bytes>,
}

impl Gathering {
    /// Waits for `urls` page results, the first of which has the position `first` in its job.
    pub fn new(first: u64, urls: u32) -> Self {
        Self { first, slots: (0..urls).map(|_| Slot::Waiting).collect(), held_bytes: 0 }
    }

    /// Takes the page result of the URL at `index` of the task.
    ///
    /// # Panics
    /// When it was taken before, or the task has no such URL.
    pub fn take(&mut self, index: usize, json: Bytes) {
        debug_assert!(memchr::memchr(b'\n', &json).is_none(), "a line feed ends a page result");
        assert!(matches!(self.slots[index], Slot::Waiting), "a URL has one page result");
        self.held_bytes += json.len();
        self.slots[index] = Slot::Held(json);
    }

    /// The URL at `index` of the task has no page result.
    pub fn drop_page(&mut self, index: usize) {
        self.slots[index] = Slot::Dropped;
    }

    /// The page result of the URL at `index` of the task is in a segment already.
    pub fn written(&mut self, index: usize) {
        self.slots[index] = Slot::Written;
    }

    /// How many bytes of page results are held in memory.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Hands out all page results held, as the fewest gapless runs.
    pub fn drain(&mut self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut follows = false;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let json = match slot {
                Slot::Held(json) => std::mem::take(json),
                Slot::Dropped => continue,
                Slot::Waiting | Slot::Written => {
                    follows = false;
                    continue;
                }
            };
            *slot = Slot::Written;
            match runs.last_mut() {
                Some(run) if follows => run.results.push(json),
                _ => runs.push(Run { first: self.first + index as u64, results: vec![json] }),
            }
            follows = true;
        }
        self.held_bytes = 0;
        runs
    }
}

/// A run compressed and hashed.
struct Packed {
    bytes: Vec<u8>,
    sha256: [u8; 32],
    raw_bytes: u64,
    first: u64,
    count: u32,
}

impl Run {
    /// A run of one page result, by its position in its job.
    pub fn of_one(position: u64, json: Bytes) -> Self {
        Self { first: position, results: vec![json] }
    }

    fn pack(self) -> Packed {
        let raw = self.results.join(JOINT);
        let bytes = zstd::bulk::compress(&raw, LEVEL).expect("zstd compresses what fits in memory");
        Packed {
            sha256: sha256(&bytes),
            bytes,
            raw_bytes: raw.len() as u64,
            first: self.first,
            count: u32::try_from(self.results.len()).expect("a task has few URLs"),
        }
    }

    /// Makes the run durable: as a blob, unless it is small enough for its task's row.
    ///
    /// # Errors
    /// When the blob storage fails.
    pub async fn write(self, blobs: &Blobs, lease: TaskLease) -> Result<Segment, BlobsError> {
        let packed = cpu::run_sound(|| self.pack()).await;
        let data = if packed.bytes.len() <= INLINE_BYTES {
            SegmentData::Inline(packed.bytes)
        } else {
            let key = segment_key(lease.job, lease.seq, lease.epoch, packed.first);
            blobs.put(&key, packed.bytes).await?;
            SegmentData::Blob(key)
        };
        Ok(Segment {
            first: packed.first,
            count: packed.count,
            raw_bytes: packed.raw_bytes,
            sha256: packed.sha256,
            data,
        })
    }
}

/// Checks a segment's stored bytes against its row and decompresses them. `None` when they are damaged.
pub fn unpack(segment: &Segment, stored: &[u8]) -> Option<Vec<u8>> {
    if sha256(stored) != segment.sha256 {
        return None;
    }
    let length = usize::try_from(segment.raw_bytes).ok()?;
    // Making a decompressor costs more than a small segment.
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Decompressor::new().ok();
        }
        kept.as_mut()?.decompress(stored, length).ok().filter(|raw| raw.len() == length)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datasonar_store::JobId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn json(n: usize) -> Bytes {
        Bytes::from(format!("{{\"n\":{n}}}"))
    }

    proptest! {
        #[test]
        fn however_results_arrive_and_spill_they_are_in_order(
            order in Just((0..60_usize).collect::<Vec<_>>()).prop_shuffle(),
            spills in proptest::collection::vec(0..60_usize, 0..5),
        ) {
            let mut gathering = Gathering::new(1_000, 60);
            let mut runs = Vec::new();
            for (step, &index) in order.iter().enumerate() {
                gathering.take(index, json(index));
                if spills.contains(&step) {
                    runs.extend(gathering.drain());
                    prop_assert_eq!(gathering.held_bytes(), 0);
                }
            }
            runs.extend(gathering.drain());
            runs.sort_by_key(|run| run.first);
            let mut next = 1_000;
            let mut all = Vec::new();
            for run in runs {
                prop_assert_eq!(run.first, next);
                next += run.results.len() as u64;
                all.extend(run.results);
            }
            prop_assert_eq!(all, (0..60).map(json).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_damaged_segment_does_not_open() {
        let blobs = Blobs::over(Arc::new(object_store::memory::InMemory::new()));
        let lease = TaskLease { job: JobId(Uuid::nil()), seq: 0, epoch: 1 };
        let mut gathering = Gathering::new(0, 3);
        for n in 0..3 {
            gathering.take(n, json(n));
        }
        let run = gathering.drain().pop().unwrap();
        let segment = run.write(&blobs, lease).await.unwrap();
        let SegmentData::Inline(mut stored) = segment.data.clone() else { panic!("it is small") };
        assert_eq!(unpack(&segment, &stored).unwrap(), b"{\"n\":0},\n{\"n\":1},\n{\"n\":2}");
        *stored.last_mut().unwrap() ^= 1;
        assert_eq!(unpack(&segment, &stored), None);
    }
}
