//! Times to live as languages give them: a number that may have a fraction, be 0 or less, or be
//! infinite.
//!
//! In C a time to live of 0 means the store's own. A person who writes 0 means "gone at once", so
//! in the languages 0 or less removes the entry, and what is above 0 never rounds down to it.

/// What a number of milliseconds or seconds asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// 0 or less: the entry is to be removed.
    Gone,
    /// So many milliseconds, at least 1.
    Millis(u64),
    /// Infinite, or longer than can be counted.
    Never,
}

/// The longest time to live that is counted, in milliseconds: beyond it (285,000 years) an entry
/// does not expire.
pub const MAX_MILLIS: u64 = (1 << 53) - 1;

/// A number of milliseconds; a part of one counts as a whole. None for NaN.
#[must_use]
pub fn from_millis(millis: f64) -> Option<Ttl> {
    if millis.is_nan() {
        return None;
    }
    Some(if millis <= 0.0 {
        Ttl::Gone
    } else if millis > MAX_MILLIS as f64 {
        Ttl::Never
    } else {
        Ttl::Millis(millis.ceil() as u64)
    })
}

/// A number of seconds; a part of a millisecond counts as a whole. What multiplying by 1,000 adds
/// by rounding does not: 1.1 s are 1,100 ms. None for NaN.
#[must_use]
pub fn from_seconds(seconds: f64) -> Option<Ttl> {
    let millis = seconds * 1_000.0;
    let near = millis.round();
    let off_by_rounding = near > 0.0 && (millis - near).abs() <= near * 2.0 * f64::EPSILON;
    from_millis(if off_by_rounding { near } else { millis })
}

#[cfg(test)]
mod tests {
    use super::{MAX_MILLIS, Ttl, from_millis, from_seconds};
    use proptest::prelude::*;

    #[test]
    fn the_rules() {
        for (millis, ttl) in [
            (0.0, Ttl::Gone),
            (-0.0, Ttl::Gone),
            (-1.5, Ttl::Gone),
            (f64::NEG_INFINITY, Ttl::Gone),
            (f64::MIN_POSITIVE, Ttl::Millis(1)),
            (0.2, Ttl::Millis(1)),
            (1.0, Ttl::Millis(1)),
            (1.000_001, Ttl::Millis(2)),
            (MAX_MILLIS as f64, Ttl::Millis(MAX_MILLIS)),
            (1e300, Ttl::Never),
            (f64::INFINITY, Ttl::Never),
        ] {
            assert_eq!(from_millis(millis), Some(ttl), "{millis}");
        }
        assert_eq!(from_millis(f64::NAN), None);
        assert_eq!(from_seconds(f64::NAN), None);
        assert_eq!(from_seconds(1e-9), Some(Ttl::Millis(1)));
        assert_eq!(from_seconds(1.0005), Some(Ttl::Millis(1001)));
        assert_eq!(from_seconds(f64::INFINITY), Some(Ttl::Never));
        assert_eq!(from_seconds(0.0), Some(Ttl::Gone));
    }

    proptest! {
        #[test]
        fn seconds_in_milliseconds_are_exact(millis in 1_u64..100_000_000_000) {
            prop_assert_eq!(from_seconds(millis as f64 / 1_000.0), Some(Ttl::Millis(millis)));
        }

        #[test]
        fn time_is_never_cut_short(millis in 0.0..1e15_f64) {
            if let Some(Ttl::Millis(whole)) = from_millis(millis) {
                prop_assert!(whole as f64 >= millis && (whole - 1) as f64 <= millis);
            }
        }
    }
}
