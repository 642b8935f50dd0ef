//! Inputs from a seed: the same ones in every run and on every machine.
//!
//! Blind, so no substitute for a fuzzer that sees coverage: they are what a short test adds to the
//! corpus. Half are noise, half are a file of the corpus with some of its bytes changed, which
//! keeps most of a meaningful program in its place.

/// A sequence of inputs.
#[derive(Debug)]
pub struct Generator {
    state: u64,
    len_max: usize,
}

impl Generator {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64, len_max: usize) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, len_max }
    }

    /// xorshift64* (Vigna 2016).
    fn roll(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.roll()) * n as u128) >> 64) as usize
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.roll() >> 56) as u8).collect()
    }

    /// The next input, made of `corpus` or of nothing.
    pub fn next(&mut self, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
        if corpus.is_empty() || self.below(2) == 0 {
            // Short ones are as likely as long ones.
            let bits = self.below(self.len_max.ilog2() as usize + 1);
            let len = self.below((2 << bits).min(self.len_max)) + 1;
            return self.noise(len);
        }
        let pick = self.below(corpus.len());
        let mut input = corpus[pick].1.clone();
        for _ in 0..=self.below(6) {
            self.mutate(&mut input, corpus);
        }
        input.truncate(self.len_max);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, corpus: &[(String, Vec<u8>)]) {
        let at = self.below(input.len() + 1);
        match self.below(6) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = (self.roll() >> 56) as u8,
            2 => {
                let len = self.below(8) + 1;
                let new = self.noise(len);
                input.splice(at..at, new);
            }
            3 if at < input.len() => {
                let end = (at + 1 + self.below(16)).min(input.len());
                input.drain(at..end);
            }
            4 if at < input.len() => {
                let end = (at + 1 + self.below(64)).min(input.len());
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            _ => {
                let other = &corpus[self.below(corpus.len())].1;
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}
