//! What the targets share: inputs cut into pieces as a network would.

/// A fuzz input: an octet of choices, two that seed the cuts, and the octets that a peer sends.
pub struct Input<'a> {
    pub choices: u8,
    seed: u32,
    pub octets: &'a [u8],
}

impl<'a> Input<'a> {
    #[must_use]
    pub fn new(data: &'a [u8]) -> Option<Self> {
        let (&[choices, high, low], octets) = data.split_first_chunk()?;
        let seed = u32::from(high) << 8 | u32::from(low);
        Some(Self {
            choices,
            seed,
            octets,
        })
    }

    /// Whether that bit of the choices is set.
    #[must_use]
    pub fn chooses(&self, bit: u8) -> bool {
        self.choices >> bit & 1 == 1
    }

    /// The octets in pieces of lengths that the seed gives; the two lowest bits say how long they are at most.
    #[must_use]
    pub fn pieces(&self) -> Vec<&'a [u8]> {
        let longest = [1, 5, 100, 3_000][(self.seed & 3) as usize];
        let (mut state, mut rest, mut pieces) = (self.seed | 1 << 16, self.octets, Vec::new());
        while !rest.is_empty() {
            // xorshift (Marsaglia): any spread will do, and the same one every time.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let length = 1 + state as usize % longest;
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}
