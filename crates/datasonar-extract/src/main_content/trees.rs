//! Boosted tables: a score is the sum of what some hundred small tables say, each looked up by a few comparisons.
//!
//! A table asks the same questions of every row (is this column greater than that?), so that rows are answered side by side.

/// Rows that are answered at a time.
pub(super) const CHUNK: usize = 256;
/// From one column to the next: not a power of two, or all columns would want the same places of the processor's cache.
const STRIDE: usize = CHUNK + 16;
/// What one in a leaf stands for.
const LEAF_SCALE: f32 = 1.0 / 10_000.0;

/// `D` questions, and an answer for each of the 2^D ways to answer them.
pub(super) struct Tree<const D: usize, const L: usize> {
    /// Column, and what it must be greater than; the first is the lowest bit of the answer's place.
    pub(super) splits: [(u16, f32); D],
    pub(super) leaves: [i16; L],
}

/// Columns of up to [`CHUNK`] rows.
pub(super) struct Columns {
    values: Vec<f32>,
    pub(super) rows: usize,
}

impl Columns {
    pub(super) fn new(columns: usize) -> Self {
        Self { values: vec![0.0; columns * STRIDE], rows: 0 }
    }

    #[inline]
    pub(super) fn set(&mut self, column: usize, row: usize, value: f32) {
        self.values[column * STRIDE + row] = value;
    }

    #[inline]
    fn column(&self, column: usize) -> &[f32; CHUNK] {
        const EMPTY: &[f32; CHUNK] = &[0.0; CHUNK];
        self.values.get(column * STRIDE..).and_then(|column| column.first_chunk()).unwrap_or(EMPTY)
    }
}

/// Appends the probability of each row.
pub(super) fn score<const D: usize, const L: usize>(
    trees: &[Tree<D, L>],
    bias: f32,
    columns: &Columns,
    out: &mut Vec<f32>,
) {
    let mut sums = [0i32; CHUNK];
    for tree in trees {
        let mut places = [0u32; CHUNK];
        for (bit, (column, border)) in tree.splits.iter().enumerate() {
            let column = columns.column(usize::from(*column));
            for (place, value) in places.iter_mut().zip(column) {
                *place |= u32::from(value > border) << bit;
            }
        }
        for (sum, place) in sums[..columns.rows].iter_mut().zip(&places) {
            *sum += i32::from(tree.leaves[*place as usize % L]);
        }
    }
    out.extend(sums[..columns.rows].iter().map(|sum| {
        let sum = *sum as f32 * LEAF_SCALE + bias;
        1.0 / (1.0 + (-sum).exp())
    }));
}
