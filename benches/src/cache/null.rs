//! A cache that does nothing: what is left is the cost of the loop around it.

use super::{Cache, Peek};

/// Every get hits with an empty value.
#[derive(Debug, Default)]
pub struct Null;

impl Cache for Null {
    fn name(&self) -> &'static str {
        "(loop)"
    }

    #[inline]
    fn get(&self, key: &[u8], _buf: &mut [u8]) -> Option<usize> {
        std::hint::black_box(key);
        Some(0)
    }

    #[inline]
    fn set(&self, key: &[u8], value: &[u8]) {
        std::hint::black_box((key, value));
    }

    #[inline]
    fn set_for(&self, key: &[u8], value: &[u8], ttl: std::time::Duration) -> bool {
        std::hint::black_box((key, value, ttl));
        true
    }

    fn peek(&self, _key: &[u8], _buf: &mut [u8]) -> Peek {
        Peek::Present
    }

    fn remove(&self, key: &[u8]) {
        std::hint::black_box(key);
    }

    #[inline]
    fn get_many(&self, keys: &[&[u8]], _buf: &mut [u8]) -> usize {
        std::hint::black_box(keys);
        keys.len()
    }
}
