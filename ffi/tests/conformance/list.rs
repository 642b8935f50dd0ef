//! The list as data: its files, and how it writes bytes, numbers and times.

use std::collections::BTreeSet;

use hypercache::HC_TTL_NEVER;
use serde_json::Value;

use crate::support;

/// The limit of a behaviour's pool, where it asks for no other, in bytes.
pub const POOL_LIMIT: u64 = 8 << 20;
/// Room for any value of the list, in bytes.
pub const ENOUGH: u64 = 2 << 20;

/// One behaviour: what is done, step by step, and what comes of it.
pub struct Behaviour {
    pub name: String,
    pub data: Value,
}

/// Every behaviour of every file, in order.
pub fn behaviours() -> Vec<Behaviour> {
    let folder = support::root().join("conformance");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    let (mut all, mut names) = (Vec::new(), BTreeSet::new());
    for file in files {
        let list: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for data in list["behaviours"].as_array().unwrap() {
            let name = format!("{}/{}", text(list.get("group")), text(data.get("name")));
            assert!(data["says"].is_string(), "{name} says nothing");
            assert!(names.insert(name.clone()), "{name} is there twice");
            all.push(Behaviour { name, data: data.clone() });
        }
    }
    assert!(all.len() >= 30, "the list is shorter than it was");
    all
}

pub fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).expect("a string is missing")
}

pub fn number(step: &Value, field: &str) -> Option<u64> {
    step.get(field).map(|value| value.as_u64().expect("a number"))
}

/// Bytes as the list writes them.
pub fn bytes(value: &Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(hex) = value.get("hex") {
        let hex = text(Some(hex)).as_bytes();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        return hex.chunks(2).map(|it| pair(it).unwrap()).collect();
    }
    text(value.get("repeat")).repeat(number(value, "times").unwrap() as usize).into_bytes()
}

pub fn list<'a>(step: &'a Value, field: &str) -> &'a [Value] {
    step.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub fn all_bytes(step: &Value, field: &str) -> Vec<Vec<u8>> {
    list(step, field).iter().map(bytes).collect()
}

pub fn expected_status(step: &Value) -> &str {
    step.get("status").map_or("HC_OK", |status| text(Some(status)))
}

/// `least, most` of the time left, where the step compares it.
pub fn ttl_range(step: &Value) -> Option<(u64, u64)> {
    match step.get("ttl_ms")? {
        Value::String(never) if never == "never" => Some((HC_TTL_NEVER, HC_TTL_NEVER)),
        range => Some((range[0].as_u64().unwrap(), range[1].as_u64().unwrap())),
    }
}
