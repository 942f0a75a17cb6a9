//! Segments: the finished page results of a task, written once.

/// A run of page results, in order, as one piece of bytes.
///
/// The raw bytes are the JSON of each page result, joined by `,\n`: put between the brackets of an array as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The position in the job of its first page result.
    pub first: u64,
    /// How many page results it holds.
    pub count: u32,
    /// The length of its raw bytes.
    pub raw_bytes: u64,
    /// SHA-256 of the bytes as stored (compressed).
    pub sha256: [u8; 32],
    /// Where these are.
    pub data: SegmentData,
}

/// Where a segment's stored bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentData {
    /// In the row: small ones.
    Inline(Vec<u8>),
    /// In the blob store, under this key.
    Blob(String),
}
