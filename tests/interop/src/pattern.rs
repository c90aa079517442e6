//! Data whose every piece tells where it belongs: the crate hands over what arrives in the order of arrival, so after a
//! loss an application has to find the order itself. Word i of the data is i times an odd constant, a bijection.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const INVERSE: u64 = 0xf1de_83e1_9937_733d;
const WORD: usize = 8;
const NEEDED: usize = 3 * WORD - 1; // two whole words, however the piece was cut

/// Bytes `offset` and following.
pub fn fill(offset: u64, out: &mut [u8]) {
    for (index, byte) in out.iter_mut().enumerate() {
        let position = offset + index as u64;
        let word = (position / WORD as u64).wrapping_mul(FACTOR).to_be_bytes();
        *byte = word[(position % WORD as u64) as usize];
    }
}

pub fn bytes(offset: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    fill(offset, &mut out);
    out
}

fn word_at(piece: &[u8], at: usize) -> u64 {
    let bytes: [u8; WORD] = piece[at..at + WORD].try_into().expect("a word");
    u64::from_be_bytes(bytes).wrapping_mul(INVERSE)
}

/// Where a piece belongs, if it is long enough to tell.
fn locate(piece: &[u8], total: u64) -> Option<u64> {
    if piece.len() < NEEDED {
        return None;
    }
    (0..WORD).find_map(|shift| {
        let index = word_at(piece, shift);
        let next = word_at(piece, shift + WORD);
        let offset = index.checked_mul(WORD as u64)?.checked_sub(shift as u64)?;
        (next == index.wrapping_add(1) && offset + piece.len() as u64 <= total).then_some(offset)
    })
}

/// Puts pieces where they belong.
pub struct Puzzle {
    data: Vec<u8>,
    have: Vec<bool>,
    end: usize, // of the piece that came last
    pub bytes: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
}

impl Puzzle {
    pub fn new(total: usize) -> Self {
        Self { data: vec![0; total], have: vec![false; total], end: 0, bytes: 0, duplicates: 0, out_of_order: 0 }
    }

    /// A piece too short to tell is taken for the continuation of the one before.
    pub fn add(&mut self, piece: &[u8]) {
        let at = locate(piece, self.data.len() as u64).map_or(self.end, |offset| offset as usize);
        self.out_of_order += u64::from(at != self.end);
        let end = (at + piece.len()).min(self.data.len());
        for (index, byte) in (at..end).zip(piece) {
            let before = std::mem::replace(&mut self.have[index], true);
            self.duplicates += u64::from(before);
            self.bytes += u64::from(!before);
            self.data[index] = *byte;
        }
        self.end = end;
    }

    pub fn complete(&self) -> bool {
        self.bytes == self.data.len() as u64
    }

    pub fn data(&self) -> &[u8] {
        &self.data
    }
}
