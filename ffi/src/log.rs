//! The logger's callback.

use std::ffi::{c_char, c_void};

use hypercache_core::log::{Severity, set_logger};

use crate::abi::*;
use crate::boundary::{fill_text, quiet};
use crate::convert::severity_number;
use crate::pool::Context;

/// The longest message handed on; the engine's are one sentence.
const MESSAGE_MAX: usize = 1024;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_set_logger(
    r#fn: hc_log_fn,
    ctx: *mut c_void,
    drop: hc_drop_fn,
    max_severity: i32,
) {
    let context = Context { ctx, drop };
    quiet(move || {
        let max = match max_severity {
            ..HC_LOG_ERROR => None,
            HC_LOG_ERROR => Some(Severity::Error),
            HC_LOG_WARN => Some(Severity::Warn),
            _ => Some(Severity::Info),
        };
        match (r#fn, max) {
            (Some(callback), Some(max)) => {
                let logger = move |severity: Severity, text: &str| {
                    let context = &context;
                    let mut message = [0 as c_char; MESSAGE_MAX];
                    fill_text(&mut message, text);
                    // SAFETY: the caller's function with the caller's ctx, which lives until
                    // drop; the message ends with a NUL.
                    unsafe {
                        callback(context.ctx, severity_number(severity), message.as_ptr());
                    }
                };
                set_logger(Some(Box::new(logger)), max);
            }
            (None, _) | (_, None) => set_logger(None, Severity::Error),
        }
        Ok(())
    });
}
