//! Hashes of states: 128 bits, the same in every run. No protection against anybody is needed.

use std::hash::{Hash, Hasher};

/// Folds words into two lanes, each by a wide multiplication.
pub(super) struct Print {
    low: u64,
    high: u64,
}

impl Print {
    /// The hash of one value.
    pub(super) fn of(value: &(impl Hash + ?Sized)) -> u128 {
        let mut print = Self { low: 0x243f_6a88_85a3_08d3, high: 0x1319_8a2e_0370_7344 };
        value.hash(&mut print);
        let (low, high) =
            (fold(print.low, print.high ^ FIRST), fold(print.high, print.low ^ SECOND));
        (u128::from(high) << 64) | u128::from(low)
    }

    const fn word(&mut self, word: u64) {
        self.low = fold(self.low ^ word, FIRST).wrapping_add(self.high);
        self.high = fold(self.high ^ word.rotate_left(32), SECOND).wrapping_add(word);
    }
}

const FIRST: u64 = 0xa076_1d64_78bd_642f;
const SECOND: u64 = 0xe703_7ed1_a0b4_28db;

const fn fold(a: u64, b: u64) -> u64 {
    let wide = (a as u128).wrapping_mul(b as u128);
    (wide as u64) ^ ((wide >> 64) as u64)
}

impl Hasher for Print {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn finish(&self) -> u64 {
        self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_make_other_hashes() {
        let mut seen: Vec<u128> = (0_u64..10_000).map(|n| Print::of(&n)).collect();
        seen.extend((0_u64..10_000).map(|n| Print::of(&(n, 0_u64))));
        seen.extend((1_u64..10_000).map(|n| Print::of(&(0_u64, n))));
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
        assert_ne!(Print::of("a\0"), Print::of("a"));
    }
}
