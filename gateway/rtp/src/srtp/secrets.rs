//! A stream of secrets from one seed: AES-256 in counter mode that changes its key with every draw, so that what was drawn
//! cannot be found from what is kept.

use aes::Aes256Enc;
use aes::cipher::{Block, BlockEncrypt as _, KeyInit as _};
use zeroize::Zeroize as _;

/// Draws keys. Its seed has to come from the operating system's generator, or from a simulator that keeps nothing secret.
#[derive(Clone)]
pub struct Secrets {
    key: [u8; 32],
}

impl Secrets {
    /// The stream of a seed.
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { key: seed }
    }

    /// A stream of its own for a part.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::new(seed)
    }

    /// Fills `bytes` with what nobody can foretell who does not know the seed.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let cipher = Aes256Enc::new((&self.key).into());
        let mut counter = 0u128;
        let mut next = || {
            let mut block: Block<Aes256Enc> = counter.to_be_bytes().into();
            cipher.encrypt_block(&mut block);
            counter += 1;
            block
        };
        for half in self.key.chunks_exact_mut(16) {
            half.copy_from_slice(&next());
        }
        for part in bytes.chunks_mut(16) {
            part.copy_from_slice(&next()[..part.len()]);
        }
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets")
    }
}
