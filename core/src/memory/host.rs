//! Calls of the host's code: callbacks, loggers, wakers, and the ends of what they captured.
//!
//! Nothing that goes wrong there may unwind into the library, nor into whichever caller happened to
//! come by. That includes what was thrown: a payload is a value of the host's, whose own destructor
//! may unwind, so it is not dropped. Losing its few bytes is the lesser evil.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the host's code; `None`: it unwound.
pub fn call<T>(code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).map_err(std::mem::forget).ok()
}

/// For tests: unwinds with a payload that unwinds once more when it is dropped.
#[cfg(test)]
pub fn throw_twice() -> ! {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("as the test wants it"));
        }
    }
    std::panic::resume_unwind(Box::new(Again))
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_unwinds() {
        assert_eq!(super::call(|| 7), Some(7));
        assert_eq!(super::call(|| super::throw_twice()), None::<()>);
    }
}
