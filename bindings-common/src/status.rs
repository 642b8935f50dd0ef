//! What a status of the C interface means, for messages of languages' own errors.

/// Every status that the C interface names, with its name and a sentence.
pub const STATUSES: [(i32, &str, &str); 25] = [
    (0, "HC_OK", "done"),
    (1, "HC_NOT_FOUND", "there is no live entry under this key"),
    (2, "HC_EXISTS", "the key already has a live entry"),
    (3, "HC_CONFLICT", "the entry was written meanwhile"),
    (4, "HC_NOT_ADMITTED", "the policy declined the entry"),
    (5, "HC_SMALL_BUFFER", "the value does not fit the buffer"),
    (6, "HC_DONE", "there are no more entries"),
    (7, "HC_CLAIMED", "the caller is to load the value"),
    (8, "HC_TIMEOUT", "the wait ended first"),
    (9, "HC_PARTIAL", "only some of it was done"),
    (10, "HC_WRONG_TYPE", "the entry's type does not allow this"),
    (11, "HC_OVERFLOW", "the sum does not fit 64 bits"),
    (12, "HC_LOAD_FAILED", "the value could not be loaded"),
    (-1, "HC_ERR_INVALID", "an argument is outside its range"),
    (-2, "HC_ERR_UNSUPPORTED", "this release of the library does not have it"),
    (-3, "HC_ERR_TOO_LARGE", "the entry could never fit: its key or value is too long"),
    (-4, "HC_ERR_NO_SPACE", "the memory is held by views or by raw allocations"),
    (-5, "HC_ERR_NO_MEMORY", "the operating system refused memory"),
    (-6, "HC_ERR_CLOSED", "the store is closed"),
    (-7, "HC_ERR_FORKED", "it belongs to the parent process; open it anew after a fork"),
    (-8, "HC_ERR_IO", "a file operation failed"),
    (-9, "HC_ERR_CORRUPT", "the file fails its checks"),
    (-10, "HC_ERR_POISONED", "part of the store is out of service until it is cleared"),
    (-11, "HC_ERR_INTERNAL", "a fault was caught inside the library; please report it"),
    (-12, "HC_ERR_DEADLOCK", "the caller would wait for itself"),
];

fn find(status: i32) -> Option<&'static (i32, &'static str, &'static str)> {
    STATUSES.iter().find(|(known, _, _)| *known == status)
}

/// `"HC_NOT_FOUND"`; `"HC_UNKNOWN"` for a status of a newer library.
#[must_use]
pub fn name(status: i32) -> &'static str {
    find(status).map_or("HC_UNKNOWN", |(_, name, _)| name)
}

/// What the status means, in a sentence without a full stop.
#[must_use]
pub fn text(status: i32) -> &'static str {
    find(status).map_or("the library gave a status that is not known here", |(_, _, text)| text)
}

/// The sentence of a failure: `message`, the bytes of `hc_error.message` up to the first NUL, or
/// what the status means where there are none.
#[must_use]
pub fn describe(status: i32, message: &[u8]) -> String {
    let said = message.split(|byte| *byte == 0).next().unwrap_or_default();
    if said.is_empty() {
        text(status).to_owned()
    } else {
        String::from_utf8_lossy(said).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{STATUSES, describe, name, text};

    #[test]
    fn statuses_are_the_headers() {
        let header = include_str!("../../include/hypercache.h");
        let mut named = 0;
        for line in header.lines() {
            let Some((word, rest)) =
                line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let Some(number) = rest.trim().strip_prefix("(-INT32_C(").map_or_else(
                || rest.trim().strip_prefix("INT32_C(").map(|rest| (1, rest)),
                |rest| Some((-1, rest)),
            ) else {
                continue;
            };
            let apart = ["POLICY", "PRESSURE", "PUT", "MATCH", "OP", "LOG", "DROP"];
            if apart.iter().any(|kind| word.starts_with(&format!("HC_{kind}_"))) {
                continue;
            }
            let digits = number.1.split(')').next().unwrap();
            assert_eq!(name(number.0 * digits.parse::<i32>().unwrap()), word);
            named += 1;
        }
        assert_eq!(named, STATUSES.len());
    }

    #[test]
    fn the_librarys_own_words_come_first() {
        assert_eq!(describe(-1, b"limit_bytes is 0\0junk"), "limit_bytes is 0");
        assert_eq!(describe(-6, b"\0"), text(-6));
        assert_eq!(describe(-6, b""), "the store is closed");
        assert_eq!(name(77), "HC_UNKNOWN");
        assert!(describe(77, b"").contains("not known"));
    }
}
