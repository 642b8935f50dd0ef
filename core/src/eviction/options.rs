//! Options of a policy: `"name=value,..."`, each a whole number in a stated range.
//!
//! A policy describes its options as a table and gets one number for each row, so that what is
//! refused, and how it is said, is the same for all of them.

use crate::error::{Error, ErrorKind, Result};

/// One option.
pub(super) struct Number {
    /// How it is written.
    pub name: &'static str,
    /// The least value allowed.
    pub least: u64,
    /// The largest value allowed.
    pub most: u64,
    /// Its value where the text does not name it.
    pub default: u64,
}

/// The value of each option of `table`, in its order.
pub(super) fn parse<const N: usize>(
    policy: &str,
    table: &[Number; N],
    text: Option<&str>,
) -> Result<[u64; N]> {
    parse_words(policy, table, &[], text)
}

/// [`parse`] where some options are written as one of a few words each: the value is the word's
/// place among them.
pub(super) fn parse_words<const N: usize>(
    policy: &str,
    table: &[Number; N],
    words: &[(&str, &[&str])],
    text: Option<&str>,
) -> Result<[u64; N]> {
    let mut values = [0; N];
    for (value, option) in values.iter_mut().zip(table) {
        *value = option.default;
    }
    let mut named = [false; N];
    for item in text.unwrap_or("").split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let Some((name, value)) = item.split_once('=') else {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("policy option \"{item}\" has no value; name=value,... is allowed"),
            ));
        };
        let (name, value) = (name.trim(), value.trim());
        let row = table.iter().zip(&mut values).zip(&mut named);
        let Some(((option, slot), named)) = row.into_iter().find(|((o, _), _)| o.name == name)
        else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("policy option \"{name}\" is not known; {}", known(policy, table)),
            ));
        };
        if std::mem::replace(named, true) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("policy option \"{name}\" is given twice; once is allowed"),
            ));
        }
        if let Some((_, words)) = words.iter().find(|(written, _)| *written == name) {
            *slot = word(name, words, value)?;
            continue;
        }
        *slot = match value.parse::<u64>() {
            Ok(number) if (option.least..=option.most).contains(&number) => number,
            Ok(_) | Err(_) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "policy option {name} is \"{value}\"; {} to {} is allowed",
                        option.least, option.most
                    ),
                ));
            }
        };
    }
    Ok(values)
}

fn word(name: &str, words: &[&str], value: &str) -> Result<u64> {
    words.iter().position(|word| *word == value).map(|at| at as u64).ok_or_else(|| {
        let words = words.join(", ");
        Error::new(
            ErrorKind::Invalid,
            format!("policy option {name} is \"{value}\"; one of {words} is allowed"),
        )
    })
}

fn known<const N: usize>(policy: &str, table: &[Number; N]) -> String {
    if table.is_empty() {
        return format!("{policy} has no options");
    }
    let names: Vec<_> = table.iter().map(|option| option.name).collect();
    format!("{policy} has {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{Number, parse, parse_words};
    use crate::error::ErrorKind;

    const TABLE: [Number; 2] = [
        Number { name: "small", least: 1, most: 90, default: 10 },
        Number { name: "threshold", least: 1, most: 3, default: 1 },
    ];

    #[test]
    fn values_and_defaults() {
        for (text, expected) in [
            (None, [10, 1]),
            (Some(""), [10, 1]),
            (Some(" , "), [10, 1]),
            (Some("small=25"), [25, 1]),
            (Some("threshold=2,small=90"), [90, 2]),
            (Some(" small = 1 , threshold = 3,"), [1, 3]),
        ] {
            assert_eq!(parse("p", &TABLE, text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn refusals_name_the_option_and_what_is_allowed() {
        for (text, kind, sentence) in [
            (
                "smal=1",
                ErrorKind::Unsupported,
                "policy option \"smal\" is not known; p has small, threshold",
            ),
            (
                "small",
                ErrorKind::Invalid,
                "policy option \"small\" has no value; name=value,... is allowed",
            ),
            ("small=0", ErrorKind::Invalid, "policy option small is \"0\"; 1 to 90 is allowed"),
            ("small=91", ErrorKind::Invalid, "policy option small is \"91\"; 1 to 90 is allowed"),
            ("small=-1", ErrorKind::Invalid, "policy option small is \"-1\"; 1 to 90 is allowed"),
            ("small=", ErrorKind::Invalid, "policy option small is \"\"; 1 to 90 is allowed"),
            (
                "small=1,small=1",
                ErrorKind::Invalid,
                "policy option \"small\" is given twice; once is allowed",
            ),
        ] {
            let error = parse("p", &TABLE, Some(text)).unwrap_err();
            assert_eq!((error.kind(), error.context()), (kind, sentence), "{text}");
        }
        let words = [("small", &["few", "many"][..])];
        assert_eq!(parse_words("p", &TABLE, &words, Some("small=many")).unwrap(), [1, 1]);
        let error = parse_words("p", &TABLE, &words, Some("small=1")).unwrap_err();
        let sentence = "policy option small is \"1\"; one of few, many is allowed";
        assert_eq!((error.kind(), error.context()), (ErrorKind::Invalid, sentence));
        let error = parse("fifo", &[], Some("a=1")).unwrap_err();
        assert_eq!(error.context(), "policy option \"a\" is not known; fifo has no options");
    }
}
