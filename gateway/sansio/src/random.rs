//! Seeded randomness: xoshiro256++ (Blackman and Vigna, 2019), expanded from one seed by SplitMix64.
//!
//! For identifiers, jitter and choices. Drivers seed it from the operating system, the simulator
//! from the run's seed. It is not a cipher: nothing secret is derived from it.

/// A stream of random numbers that is the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut z = seed;
        let state = core::array::from_fn(|_| {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = z;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        });
        Self { state }
    }

    /// A stream of its own for a part, so that parts do not disturb each other's.
    pub fn fork(&mut self) -> Self {
        Self::new(self.u64())
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// 32 random bits.
    pub fn u32(&mut self) -> u32 {
        (self.u64() >> 32) as u32
    }

    /// A number below `bound`, each equally likely (bias below 2⁻⁶⁴ × bound); 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether a thing of probability `p` happens.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A number of the exponential law with this mean: gaps between Poisson arrivals.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Fills `token` with letters and digits, about 5.95 bits each (for tags, branches, Call-IDs).
    pub fn token(&mut self, token: &mut [u8]) {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for byte in token {
            *byte = ALPHABET[self.below(62) as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| a.u64() == b.u64()));
        assert_ne!(Random::new(8).u64(), Random::new(7).u64());
    }

    #[test]
    fn the_laws_have_their_means() {
        let mut random = Random::new(1);
        let n = 100_000;
        let mean = (0..n).map(|_| random.exponential(3.0)).sum::<f64>() / f64::from(n);
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
        let mean = (0..n).map(|_| random.below(10)).sum::<u64>() as f64 / f64::from(n);
        assert!((mean - 4.5).abs() < 0.05, "{mean}");
    }
}
