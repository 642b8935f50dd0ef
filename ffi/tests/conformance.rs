//! The behaviour list in `conformance/`, run in Rust through the engine's crate and in C through
//! the header: each behaviour becomes a C function, compiled against the static library.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::process::Command;
use std::time::Duration;

use hypercache::*;
use hypercache_core::store::{BatchRead, Draft, View};
use hypercache_core::{
    BatchEntry, Claim, ClaimOptions, DeleteOutcome, DropReason, Error, ErrorKind, Filter,
    FilterConfig, IncrOutcome, Info, Lease, Match, PolicyKind, Pool, PoolConfig, PutMode,
    PutOptions, PutOutcome, Read, Store, StoreConfig, Ttl, ValueType,
};
use serde_json::Value;

struct Behaviour {
    name: String,
    data: Value,
}

/// Every behaviour of every file, in order.
fn behaviours() -> Vec<Behaviour> {
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

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).expect("a string is missing")
}

fn number(step: &Value, field: &str) -> Option<u64> {
    step.get(field).map(|value| value.as_u64().expect("a number"))
}

/// Bytes as the list writes them.
fn bytes(value: &Value) -> Vec<u8> {
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

fn list<'a>(step: &'a Value, field: &str) -> &'a [Value] {
    step.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn all_bytes(step: &Value, field: &str) -> Vec<Vec<u8>> {
    list(step, field).iter().map(bytes).collect()
}

fn expected_status(step: &Value) -> &str {
    step.get("status").map_or("HC_OK", |status| text(Some(status)))
}

/// `least, most` of the time left, where the step compares it.
fn ttl_range(step: &Value) -> Option<(u64, u64)> {
    match step.get("ttl_ms")? {
        Value::String(never) if never == "never" => Some((HC_TTL_NEVER, HC_TTL_NEVER)),
        range => Some((range[0].as_u64().unwrap(), range[1].as_u64().unwrap())),
    }
}

// ---- In Rust ---------------------------------------------------------------------------------

fn error_status(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Invalid => "HC_ERR_INVALID",
        ErrorKind::Unsupported => "HC_ERR_UNSUPPORTED",
        ErrorKind::TooLarge => "HC_ERR_TOO_LARGE",
        ErrorKind::NoSpace => "HC_ERR_NO_SPACE",
        ErrorKind::NoMemory => "HC_ERR_NO_MEMORY",
        ErrorKind::Closed => "HC_ERR_CLOSED",
        ErrorKind::Forked => "HC_ERR_FORKED",
        ErrorKind::Io => "HC_ERR_IO",
        ErrorKind::Corrupt => "HC_ERR_CORRUPT",
        ErrorKind::Poisoned => "HC_ERR_POISONED",
        ErrorKind::Internal => "HC_ERR_INTERNAL",
        ErrorKind::Deadlock => "HC_ERR_DEADLOCK",
    }
}

fn put_name(outcome: &Result<PutOutcome, Error>) -> &'static str {
    match outcome {
        Ok(PutOutcome::Stored(_)) => "HC_OK",
        Ok(PutOutcome::Exists) => "HC_EXISTS",
        Ok(PutOutcome::NotFound) => "HC_NOT_FOUND",
        Ok(PutOutcome::Conflict) => "HC_CONFLICT",
        Ok(PutOutcome::NotAdmitted) => "HC_NOT_ADMITTED",
        Err(error) => error_status(error),
    }
}

fn found(outcome: Result<bool, Error>) -> &'static str {
    match outcome {
        Ok(true) => "HC_OK",
        Ok(false) => "HC_NOT_FOUND",
        Err(error) => error_status(&error),
    }
}

fn done(outcome: Result<(), Error>) -> &'static str {
    found(outcome.map(|()| true))
}

fn ttl(step: &Value) -> Ttl {
    match step.get("ttl_ms") {
        None => Ttl::Default,
        Some(Value::String(word)) => match word.as_str() {
            "default" => Ttl::Default,
            "keep" => Ttl::Keep,
            "never" => Ttl::Never,
            _ => panic!("ttl_ms is {word}"),
        },
        Some(ms) => Ttl::Millis(ms.as_u64().unwrap()),
    }
}

#[derive(Default)]
struct Names {
    versions: HashMap<String, u64>,
    views: HashMap<String, View>,
    drafts: HashMap<String, Draft>,
    filter: Option<Filter>,
    leases: HashMap<String, Lease>,
}

impl Names {
    fn filter(&self) -> &Filter {
        self.filter.as_ref().expect("the behaviour has no filter")
    }

    fn version(&self, step: &Value) -> Option<u64> {
        step.get("version").map(|name| self.versions[text(Some(name))])
    }

    fn save_version(&mut self, step: &Value, version: u64) {
        if let Some(name) = step.get("save_version") {
            self.versions.insert(text(Some(name)).to_owned(), version);
        }
    }
}

fn put_options(step: &Value, names: &Names) -> PutOptions {
    let mode = match step.get("mode").map_or("set", |mode| text(Some(mode))) {
        "set" => PutMode::Set,
        "add" => PutMode::Add,
        "replace" => PutMode::Replace,
        "cas" => PutMode::CompareAndSet(names.version(step).unwrap()),
        mode => panic!("mode is {mode}"),
    };
    PutOptions {
        ttl: ttl(step),
        mode,
        session: number(step, "session").unwrap_or(0),
        value_type: ValueType(number(step, "type").unwrap_or(0) as u8),
        flags: number(step, "flags").unwrap_or(0) as u32,
        soft_ttl_ms: number(step, "soft_ttl_ms").unwrap_or(0),
        idle_ttl_ms: number(step, "idle_ttl_ms").unwrap_or(0),
    }
}

fn matching<'a>(step: &Value, pattern: &'a [u8]) -> Match<'a> {
    match text(step.get("match")) {
        "all" => Match::All,
        "prefix" => Match::Prefix(pattern),
        "glob" => Match::Glob(pattern),
        "session" => Match::Session(number(step, "session").unwrap()),
        "type" => Match::Type(ValueType(number(step, "type").unwrap() as u8)),
        kind => panic!("match is {kind}"),
    }
}

fn check_info(step: &Value, info: &Info, names: &mut Names) {
    let compare = |field: &str, got: u64| {
        if let Some(expected) = number(step, field) {
            assert_eq!(got, expected, "{field}");
        }
    };
    compare("len", info.len as u64);
    compare("type", u64::from(info.value_type.0));
    compare("flags", u64::from(info.flags));
    compare("session", info.session);
    if let Some((least, most)) = ttl_range(step) {
        let left = info.ttl_ms.unwrap_or(HC_TTL_NEVER);
        assert!((least..=most).contains(&left), "ttl_ms is {left}");
    }
    if let Some(version) = names.version(step) {
        assert_eq!(info.version, version, "version");
    }
    names.save_version(step, info.version);
}

fn initialised(buf: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: the callers pass what a hit has copied.
    buf.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

const ENOUGH: u64 = 2 << 20;

/// Runs one step and returns its status.
fn run_step(step: &Value, store: &Store, names: &mut Names) -> &'static str {
    let key = step.get("key").map(bytes).unwrap_or_default();
    let value = step.get("value").map(bytes);
    let cap = number(step, "cap").unwrap_or(ENOUGH) as usize;
    match text(step.get("op")) {
        "set" | "put" => {
            let options = put_options(step, names);
            let outcome = store.put(&key, &value.unwrap(), &options);
            if let Ok(PutOutcome::Stored(version)) = outcome {
                names.save_version(step, version);
            }
            put_name(&outcome)
        }
        how @ ("get" | "peek" | "take") => {
            let mut buf = vec![MaybeUninit::uninit(); cap];
            let read = match how {
                "take" => store.take(&key, &mut buf),
                how => store.get_with(&key, &mut buf, how == "peek"),
            };
            match read {
                Ok(Read::Hit(info)) => {
                    check_info(step, &info, names);
                    if let Some(value) = value {
                        assert!(initialised(&buf[..info.len]) == value, "another value");
                    }
                    "HC_OK"
                }
                Ok(Read::SmallBuffer(info)) => {
                    check_info(step, &info, names);
                    "HC_SMALL_BUFFER"
                }
                Ok(Read::Miss) => "HC_NOT_FOUND",
                Err(error) => error_status(&error),
            }
        }
        "contains" => found(store.contains(&key)),
        "may_exist" => found(store.may_exist(&key)),
        "known_keys" => done(store.set_known_keys(Some(names.filter().clone()))),
        "no_known_keys" => done(store.set_known_keys(None)),
        "filter_add" => {
            let times = number(step, "times").unwrap_or(1);
            same((0..times).map(|_| done(names.filter().add(&key))))
        }
        "filter_contains" => found(names.filter().contains(&key)),
        "filter_contains_many" => {
            let keys = all_bytes(step, "keys");
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let mut answers = vec![false; keys.len()];
            names.filter().contains_many(&keys, &mut answers).unwrap();
            let answers: Vec<_> = answers.into_iter().map(|it| found(Ok(it))).collect();
            let expected: Vec<_> =
                list(step, "statuses").iter().map(|status| text(Some(status))).collect();
            assert_eq!(answers, expected);
            partial(list(step, "statuses"))
        }
        "filter_remove" => {
            let times = number(step, "times").unwrap_or(1);
            same((0..times).map(|_| found(names.filter().remove(&key))))
        }
        "filter_clear" => done(names.filter().clear()),
        "filter_reload" => {
            let path = support::scratch("conformance-filter").join("saved");
            names.filter().save(&path).unwrap();
            names.filter = Some(Filter::load(&path, &FilterConfig::default()).unwrap());
            "HC_OK"
        }
        "filter_stats" => {
            let s = names.filter().stats();
            for (field, expected) in step.as_object().unwrap() {
                let got = match field.as_str() {
                    "op" => continue,
                    "keys" => s.keys,
                    "capacity" => s.capacity,
                    "adds" => s.adds,
                    "add_failures" => s.add_failures,
                    "removes" => s.removes,
                    "remove_failures" => s.remove_failures,
                    "resizes" => s.resizes,
                    "saturated" => u64::from(s.saturated),
                    _ => panic!("teach this runner {field}"),
                };
                assert_eq!(Some(got), expected.as_u64(), "{field}");
            }
            "HC_OK"
        }
        "delete" => found(store.delete(&key)),
        "touch" => found(store.touch(&key, ttl(step))),
        "delete_if" => match store.delete_if(&key, names.version(step).unwrap()) {
            Ok(DeleteOutcome::Deleted) => "HC_OK",
            Ok(DeleteOutcome::NotFound) => "HC_NOT_FOUND",
            Ok(DeleteOutcome::Conflict) => "HC_CONFLICT",
            Err(error) => error_status(&error),
        },
        "incr" => {
            let [delta, initial] = ["delta", "initial"].map(|it| step[it].as_i64().unwrap());
            match store.incr(&key, delta, initial, ttl(step)) {
                Ok(IncrOutcome::Sum(sum)) => {
                    assert_eq!(Some(sum), step["sum"].as_i64(), "sum");
                    "HC_OK"
                }
                Ok(IncrOutcome::WrongType) => "HC_WRONG_TYPE",
                Ok(IncrOutcome::Overflow) => "HC_OVERFLOW",
                Ok(IncrOutcome::NotAdmitted) => "HC_NOT_ADMITTED",
                Err(error) => error_status(&error),
            }
        }
        "get_many" => {
            let keys = all_bytes(step, "keys");
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let mut buf = vec![MaybeUninit::uninit(); cap];
            let mut reads = vec![BatchRead::Miss; keys.len()];
            store.get_many(&keys, false, &mut buf, &mut reads).unwrap();
            let expected = list(step, "statuses").iter().zip(list(step, "values"));
            assert_eq!(list(step, "statuses").len(), reads.len());
            for (read, (status, value)) in reads.iter().zip(expected) {
                let got = match *read {
                    BatchRead::Hit { offset, len, .. } => {
                        assert!(initialised(&buf[offset..offset + len]) == bytes(value));
                        "HC_OK"
                    }
                    BatchRead::SmallBuffer { .. } => "HC_SMALL_BUFFER",
                    BatchRead::Miss => "HC_NOT_FOUND",
                    BatchRead::Failed(kind) => error_status(&Error::fixed(kind, "")),
                };
                assert_eq!(got, text(Some(status)));
            }
            partial(list(step, "statuses"))
        }
        "put_many" => {
            let entries = list(step, "entries");
            let pairs: Vec<_> =
                entries.iter().map(|it| (bytes(&it["key"]), bytes(&it["value"]))).collect();
            let options = put_options(step, names);
            let entries: Vec<_> =
                pairs.iter().map(|(key, value)| BatchEntry { key, value, options }).collect();
            let mut statuses = vec![""; entries.len()];
            store.put_many(&entries, &mut |at, outcome| statuses[at] = put_name(&outcome)).unwrap();
            let expected: Vec<_> =
                list(step, "statuses").iter().map(|status| text(Some(status))).collect();
            assert_eq!(statuses, expected);
            partial(list(step, "statuses"))
        }
        "delete_many" => {
            let keys = all_bytes(step, "keys");
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            assert_eq!(store.delete_many(&keys).unwrap(), number(step, "deleted").unwrap());
            "HC_OK"
        }
        "pin" => match store.pin(&key, false) {
            Ok(Some(view)) => {
                assert!(value.is_none_or(|value| *view == value[..]), "another value");
                names.views.insert(text(step.get("as")).to_owned(), view);
                "HC_OK"
            }
            Ok(None) => "HC_NOT_FOUND",
            Err(error) => error_status(&error),
        },
        "unpin" => {
            let view = names.views.remove(text(step.get("view"))).unwrap();
            assert!(value.is_none_or(|value| *view == value[..]), "another value");
            "HC_OK"
        }
        "reserve" => {
            let len = number(step, "len").unwrap() as usize;
            match store.reserve(&key, len, &put_options(step, names)) {
                Ok(draft) => {
                    names.drafts.insert(text(step.get("as")).to_owned(), draft);
                    "HC_OK"
                }
                Err(error) => error_status(&error),
            }
        }
        "commit" => {
            let mut draft = names.drafts.remove(text(step.get("draft"))).unwrap();
            draft.data_mut().write_copy_of_slice(&value.unwrap());
            // SAFETY: all of it was written above.
            put_name(&unsafe { draft.commit() })
        }
        "abandon" => {
            drop(names.drafts.remove(text(step.get("draft"))).unwrap());
            "HC_OK"
        }
        "invalidate" => {
            let pattern = step.get("pattern").map(bytes).unwrap_or_default();
            let removed = store.invalidate(matching(step, &pattern)).unwrap();
            assert_eq!(removed, number(step, "removed").unwrap());
            "HC_OK"
        }
        "scan" => {
            let pattern = step.get("pattern").map(bytes).unwrap_or_default();
            let mut scan = store.scan(matching(step, &pattern)).unwrap();
            let mut seen = Vec::new();
            while let Some(entry) = scan.next(false).unwrap() {
                seen.push(entry.key.to_vec());
            }
            let mut expected = all_bytes(step, "keys");
            seen.sort();
            expected.sort();
            assert_eq!(seen, expected);
            "HC_OK"
        }
        "claim" => {
            let options = ClaimOptions {
                timeout_ms: number(step, "timeout_ms").unwrap_or(0),
                stale: step.get("stale").is_some_and(|stale| stale == true),
            };
            let mut granted = |lease| {
                names.leases.insert(text(step.get("as")).to_owned(), lease);
            };
            if step.get("cap").is_none() {
                return match store.claim(&key, options) {
                    Ok(Claim::Value(view)) => {
                        check_info(step, view.info(), names);
                        assert!(value.is_none_or(|value| *view == value[..]), "another value");
                        "HC_OK"
                    }
                    other => claim_name(other, &mut granted),
                };
            }
            let mut buf = vec![MaybeUninit::uninit(); cap];
            match store.get_or_claim(&key, &mut buf, options) {
                Ok(Claim::Value(Read::Hit(info))) => {
                    check_info(step, &info, names);
                    let got = initialised(&buf[..info.len]);
                    assert!(value.is_none_or(|value| got == value), "another value");
                    "HC_OK"
                }
                Ok(Claim::Value(_)) => "HC_SMALL_BUFFER",
                other => claim_name(other, &mut granted),
            }
        }
        "lease_put" => {
            let lease = names.leases[text(step.get("lease"))];
            let outcome = store.lease_put(lease, &value.unwrap(), &put_options(step, names));
            if let Ok(PutOutcome::Stored(version)) = outcome {
                names.save_version(step, version);
            }
            put_name(&outcome)
        }
        "lease_drop" => {
            let lease = names.leases[text(step.get("lease"))];
            let ms = number(step, "retry_ms").unwrap_or(0);
            let reason = match text(step.get("reason")) {
                "cancelled" => DropReason::Cancelled,
                "failed" => DropReason::Failed { retry_ms: ms },
                "absent" => DropReason::Absent { ttl_ms: ms },
                reason => panic!("reason is {reason}"),
            };
            done(store.lease_drop(lease, reason))
        }
        "clear" => done(store.clear()),
        "destroy" => {
            store.destroy();
            "HC_OK"
        }
        "stats" => {
            let s = store.stats();
            for (field, expected) in step.as_object().unwrap() {
                let got = match field.as_str() {
                    "op" => continue,
                    "entries" => s.entries,
                    "hits" => s.hits,
                    "misses" => s.misses,
                    "inserts" => s.inserts,
                    "updates" => s.updates,
                    "deletes" => s.deletes,
                    "invalidated" => s.invalidated,
                    "expired" => s.expired,
                    "filter_skips" => s.filter_skips,
                    "leases" => s.leases,
                    "stale_hits" => s.stale_hits,
                    _ => panic!("teach this runner {field}"),
                };
                assert_eq!(Some(got), expected.as_u64(), "{field}");
            }
            "HC_OK"
        }
        "sleep" => {
            std::thread::sleep(Duration::from_millis(number(step, "ms").unwrap()));
            "HC_OK"
        }
        op => panic!("op is {op}"),
    }
}

/// The one status that all of them are.
fn same(mut statuses: impl Iterator<Item = &'static str>) -> &'static str {
    let first = statuses.next().unwrap();
    assert!(statuses.all(|status| status == first), "not all are {first}");
    first
}

fn claim_name<T>(claim: Result<Claim<T>, Error>, granted: &mut dyn FnMut(Lease)) -> &'static str {
    match claim {
        Ok(Claim::Value(_)) => "HC_OK",
        Ok(Claim::Claimed(lease)) => {
            granted(lease);
            "HC_CLAIMED"
        }
        Ok(Claim::TimedOut) => "HC_TIMEOUT",
        Ok(Claim::Absent) => "HC_NOT_FOUND",
        Ok(Claim::LoadFailed) => "HC_LOAD_FAILED",
        Ok(Claim::Declined) => "HC_NOT_ADMITTED",
        Err(error) => error_status(&error),
    }
}

fn partial(statuses: &[Value]) -> &'static str {
    if statuses.iter().all(|status| status == "HC_OK") { "HC_OK" } else { "HC_PARTIAL" }
}

const POOL_LIMIT: u64 = 8 << 20;

#[test]
fn in_rust() {
    for Behaviour { name, data } in behaviours() {
        let limit = data["pool"]["limit_bytes"].as_u64().unwrap_or(POOL_LIMIT);
        let pool = Pool::create(&PoolConfig::new(limit)).unwrap();
        let mut config = StoreConfig::default();
        for (field, value) in data["store"].as_object().into_iter().flatten() {
            match field.as_str() {
                "default_ttl_ms" => config.default_ttl_ms = value.as_u64().unwrap(),
                "value_len_max" => config.value_len_max = value.as_u64().unwrap(),
                "limit_bytes" => config.limit_bytes = value.as_u64().unwrap(),
                "limit_entries" => config.limit_entries = value.as_u64().unwrap(),
                "soft_ttl_ms" => config.soft_ttl_ms = value.as_u64().unwrap(),
                "idle_ttl_ms" => config.idle_ttl_ms = value.as_u64().unwrap(),
                "stale_if_error_ms" => config.stale_if_error_ms = value.as_u64().unwrap(),
                "lease_ms" => config.lease_ms = value.as_u64().unwrap(),
                "negative_ttl_ms" => config.negative_ttl_ms = value.as_u64().unwrap(),
                "policy" => config.policy = PolicyKind::parse(text(Some(value))).unwrap(),
                _ => panic!("{name}: teach this runner {field}"),
            }
        }
        let store = pool.open_store(&config).unwrap();
        let mut names = Names::default();
        if let Some(capacity) = data["filter"]["capacity"].as_u64() {
            let config = FilterConfig { pool: Some(pool.clone()), ..FilterConfig::new(capacity) };
            names.filter = Some(Filter::create(&config).unwrap());
        }
        for (at, step) in data["steps"].as_array().unwrap().iter().enumerate() {
            let run = std::panic::AssertUnwindSafe(|| run_step(step, &store, &mut names));
            let got = std::panic::catch_unwind(run)
                .unwrap_or_else(|_| panic!("{name}, step {}: see above", at + 1));
            assert_eq!(got, expected_status(step), "{name}, step {}", at + 1);
        }
        if let Some(filter) = names.filter.take() {
            filter.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        drop(names);
        pool.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

// ---- In C ------------------------------------------------------------------------------------

/// Bytes as an hc_slice in C.
fn c_bytes(value: Option<&Value>) -> String {
    let literal = |bytes: &[u8]| {
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
        format!("\"{escaped}\", {}", bytes.len())
    };
    match value {
        None | Some(Value::Null) => "NONE".to_owned(),
        Some(value) if value.get("repeat").is_some() => {
            let text = text(value.get("repeat")).as_bytes();
            format!("repeated({}, {})", literal(text), number(value, "times").unwrap())
        }
        Some(value) => format!("literal({})", literal(&bytes(value))),
    }
}

fn c_ttl(step: &Value) -> String {
    match step.get("ttl_ms") {
        None => "HC_TTL_DEFAULT".to_owned(),
        Some(Value::String(word)) => format!("HC_TTL_{}", word.to_uppercase()),
        Some(ms) => format!("UINT64_C({ms})"),
    }
}

/// The C side's names: versions, views and drafts are arrays, by order of first mention.
#[derive(Default)]
struct Slots(Vec<String>);

impl Slots {
    fn of(&mut self, name: &str) -> usize {
        self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        })
    }
}

struct Emitter {
    code: String,
    versions: Slots,
    views: Slots,
    drafts: Slots,
    leases: Slots,
}

impl Emitter {
    fn version(&mut self, step: &Value, absent: &str) -> String {
        match step.get("version") {
            Some(name) => format!("versions[{}]", self.versions.of(text(Some(name)))),
            None => absent.to_owned(),
        }
    }

    fn saved(&mut self, step: &Value) -> String {
        match step.get("save_version") {
            Some(name) => format!("&versions[{}]", self.versions.of(text(Some(name)))),
            None => "&ignored".to_owned(),
        }
    }

    fn options(&mut self, step: &Value) -> String {
        let mode = step.get("mode").map_or("set", |mode| text(Some(mode))).to_uppercase();
        let field = |name| number(step, name).unwrap_or(0);
        let version = self.version(step, "0");
        format!(
            "options(HC_PUT_{mode}, {}, {}, UINT32_C({}), {}, {version}, {}, {})",
            c_ttl(step),
            field("type"),
            field("flags"),
            field("session"),
            field("soft_ttl_ms"),
            field("idle_ttl_ms")
        )
    }

    fn arrays(&mut self, at: usize, fields: &[(&str, Vec<String>)]) {
        for (name, items) in fields {
            let kind = if *name == "statuses" { "hc_status" } else { "hc_slice" };
            let none = if *name == "statuses" { "0" } else { "NONE" };
            let items = items.iter().map(String::as_str).chain([none]).collect::<Vec<_>>();
            let len = items.len();
            writeln!(self.code, "    {kind} {name}{at}[{len}];").unwrap();
            for (i, item) in items.iter().enumerate() {
                writeln!(self.code, "    {name}{at}[{i}] = {item};").unwrap();
            }
        }
    }

    fn matching(step: &Value) -> String {
        format!(
            "matching(HC_MATCH_{}, {}, {}, {})",
            text(step.get("match")).to_uppercase(),
            c_bytes(step.get("pattern")),
            number(step, "session").unwrap_or(0),
            number(step, "type").unwrap_or(0)
        )
    }

    /// Sets `e` to what a read must find.
    fn expect_entry(&mut self, step: &Value, value: &str) {
        let any = |name| number(step, name).map_or("ANY".to_owned(), |n| format!("UINT64_C({n})"));
        let (least, most) = ttl_range(step).unwrap_or((0, u64::MAX));
        let version = self.version(step, "ANY");
        writeln!(self.code, "    e.value = {value};").unwrap();
        for name in ["len", "type", "flags", "session"] {
            writeln!(self.code, "    e.{name} = {};", any(name)).unwrap();
        }
        writeln!(
            self.code,
            "    e.ttl_least = UINT64_C({least});\n    e.ttl_most = UINT64_C({most});\n    \
             e.version = {version};"
        )
        .unwrap();
    }

    fn step(&mut self, at: usize, step: &Value) {
        let op = text(step.get("op"));
        let status = expected_status(step);
        let slices = |field: &str| -> Vec<String> {
            list(step, field).iter().map(|it| c_bytes(Some(it))).collect()
        };
        let statuses: Vec<String> =
            list(step, "statuses").iter().map(|it| text(Some(it)).to_owned()).collect();
        let cap = number(step, "cap").unwrap_or(ENOUGH);
        if step.get("key").is_some() {
            writeln!(self.code, "    key = {};", c_bytes(step.get("key"))).unwrap();
        }
        let value = c_bytes(step.get("value"));
        let is = |call: String| format!("status_is({at}, {status}, {call});");
        let line = match op {
            "set" => is(format!(
                "(value = {value}, hc_set(store, key.data, key.len, value.data, value.len, {}))",
                c_ttl(step)
            )),
            "put" => {
                let (options, saved) = (self.options(step), self.saved(step));
                format!("put({at}, {status}, store, key, {value}, {options}, {saved});")
            }
            "get" | "peek" | "take" => {
                let how = &op[..1];
                self.expect_entry(step, &value);
                let saved = self.saved(step);
                format!("look_up({at}, {status}, store, '{how}', key, {cap}, e, {saved});")
            }
            "contains" => is("hc_contains(store, key.data, key.len)".into()),
            "may_exist" => is("hc_may_exist(store, key.data, key.len)".into()),
            "known_keys" => is("hc_store_set_known_keys(store, filter)".into()),
            "no_known_keys" => is("hc_store_set_known_keys(store, NULL)".into()),
            how @ ("filter_add" | "filter_remove") => {
                let times = number(step, "times").unwrap_or(1);
                let call = is(format!("hc_{how}(filter, key.data, key.len)"));
                format!("for (int i = 0; i < {times}; i++) {call}")
            }
            "filter_contains" => is("hc_filter_contains(filter, key.data, key.len)".into()),
            "filter_contains_many" => {
                let n = list(step, "keys").len();
                self.arrays(at, &[("keys", slices("keys")), ("statuses", statuses)]);
                format!(
                    "filter_contains_many({at}, {status}, filter, keys{at}, {n}, statuses{at});"
                )
            }
            "filter_clear" => is("hc_filter_clear(filter)".into()),
            "filter_reload" => format!("filter = reloaded({at}, filter);"),
            "filter_stats" => {
                let mut lines = is("hc_filter_stats_get(filter, &filter_stats)".into());
                for (field, expected) in step.as_object().unwrap() {
                    if field != "op" {
                        write!(
                            lines,
                            "\n    number_is({at}, \"{field}\", {expected}, filter_stats.{field});"
                        )
                        .unwrap();
                    }
                }
                lines
            }
            "delete" => is("hc_delete(store, key.data, key.len)".into()),
            "touch" => is(format!("hc_touch(store, key.data, key.len, {})", c_ttl(step))),
            "delete_if" => {
                let version = self.version(step, "0");
                is(format!("hc_delete_if(store, key.data, key.len, {version})"))
            }
            "incr" => {
                let (delta, initial) = (&step["delta"], &step["initial"]);
                let call = is(format!(
                    "hc_incr(store, key.data, key.len, {delta}, {initial}, {}, &sum)",
                    c_ttl(step)
                ));
                match step.get("sum") {
                    Some(sum) => format!(
                        "{call}\n    number_is({at}, \"sum\", (uint64_t)INT64_C({sum}), \
                         (uint64_t)sum);"
                    ),
                    None => call,
                }
            }
            "get_many" => {
                let n = list(step, "keys").len();
                self.arrays(
                    at,
                    &[
                        ("keys", slices("keys")),
                        ("values", slices("values")),
                        ("statuses", statuses),
                    ],
                );
                format!(
                    "get_many({at}, {status}, store, keys{at}, {n}, {cap}, statuses{at}, \
                     values{at});"
                )
            }
            "put_many" => {
                let entries = list(step, "entries");
                let of = |field: &str| -> Vec<String> {
                    entries.iter().map(|it| c_bytes(it.get(field))).collect()
                };
                let mode = step.get("mode").map_or("set", |it| text(Some(it))).to_uppercase();
                self.arrays(
                    at,
                    &[("keys", of("key")), ("values", of("value")), ("statuses", statuses)],
                );
                format!(
                    "put_many({at}, {status}, store, keys{at}, values{at}, {}, HC_PUT_{mode}, \
                     statuses{at});",
                    entries.len()
                )
            }
            "delete_many" => {
                self.arrays(at, &[("keys", slices("keys"))]);
                let n = list(step, "keys").len();
                let call = is(format!("hc_delete_many(store, keys{at}, {n}, &count)"));
                let deleted = number(step, "deleted").unwrap();
                format!("{call}\n    number_is({at}, \"deleted\", {deleted}, count);")
            }
            "pin" => {
                let slot = self.views.of(text(step.get("as")));
                let call = is(format!("hc_pin(store, key.data, key.len, 0, &views[{slot}])"));
                if status == "HC_OK" {
                    format!(
                        "{call}\n    bytes_are({at}, {value}, views[{slot}].data, \
                         views[{slot}].len);"
                    )
                } else {
                    call
                }
            }
            "unpin" => {
                let slot = self.views.of(text(step.get("view")));
                format!(
                    "bytes_are({at}, {value}, views[{slot}].data, views[{slot}].len);\n    \
                     hc_unpin(&views[{slot}]);"
                )
            }
            "reserve" => {
                let options = self.options(step);
                let slot = self.drafts.of(text(step.get("as")));
                let len = number(step, "len").unwrap();
                let call = is(format!(
                    "hc_reserve(store, key.data, key.len, {len}, &put_options, &drafts[{slot}])"
                ));
                format!("put_options = {options};\n    {call}")
            }
            "commit" => {
                let slot = self.drafts.of(text(step.get("draft")));
                format!("commit({at}, {status}, &drafts[{slot}], {value});")
            }
            "abandon" => {
                let slot = self.drafts.of(text(step.get("draft")));
                format!("hc_abandon(&drafts[{slot}]);")
            }
            "invalidate" => {
                let call = is("hc_invalidate(store, &match, &count)".into());
                let removed = number(step, "removed").unwrap();
                let matching = Self::matching(step);
                format!(
                    "match = {matching};\n    {call}\n    number_is({at}, \"removed\", {removed}, \
                     count);"
                )
            }
            "scan" => {
                self.arrays(at, &[("keys", slices("keys"))]);
                let n = list(step, "keys").len();
                format!("scan({at}, store, {}, keys{at}, {n});", Self::matching(step))
            }
            "claim" => {
                let slot = match step.get("as") {
                    Some(name) => self.leases.of(text(Some(name))),
                    None => 7,
                };
                self.expect_entry(step, &value);
                let saved = self.saved(step);
                let stale = step.get("stale").is_some_and(|stale| stale == true);
                let flags = if stale { "HC_CLAIM_STALE" } else { "0" };
                let timeout = number(step, "timeout_ms").unwrap_or(0);
                let cap = number(step, "cap").map_or("ANY".into(), |cap| cap.to_string());
                format!(
                    "claim({at}, {status}, store, key, {flags}, UINT64_C({timeout}), {cap}, e, \
                     {saved}, &leases[{slot}]);"
                )
            }
            "lease_put" => {
                let options = self.options(step);
                let slot = self.leases.of(text(step.get("lease")));
                let saved = self.saved(step);
                format!(
                    "lease_put({at}, {status}, store, leases[{slot}], {value}, {options}, {saved});"
                )
            }
            "lease_drop" => {
                let slot = self.leases.of(text(step.get("lease")));
                let reason = text(step.get("reason")).to_uppercase();
                let ms = number(step, "retry_ms").unwrap_or(0);
                format!("lease_drop(store, leases[{slot}], HC_DROP_{reason}, {ms});")
            }
            "clear" => is("hc_clear(store)".into()),
            "destroy" => "hc_store_destroy(store);".into(),
            "stats" => {
                let mut lines = is("hc_store_stats_get(store, &stats)".into());
                for (field, expected) in step.as_object().unwrap() {
                    if field != "op" {
                        write!(
                            lines,
                            "\n    number_is({at}, \"{field}\", {expected}, stats.{field});"
                        )
                        .unwrap();
                    }
                }
                lines
            }
            "sleep" => format!("rest({});", number(step, "ms").unwrap()),
            op => panic!("op is {op}"),
        };
        writeln!(self.code, "    {line}").unwrap();
    }
}

/// The whole list as one C program.
fn c_program(all: &[Behaviour]) -> String {
    let mut program = String::from("#define _POSIX_C_SOURCE 200809L\n#include \"conform.h\"\n");
    let mut main = String::new();
    for (number, Behaviour { name, data }) in all.iter().enumerate() {
        let mut emitter = Emitter {
            code: String::new(),
            versions: Slots::default(),
            views: Slots::default(),
            drafts: Slots::default(),
            leases: Slots::default(),
        };
        for (at, step) in data["steps"].as_array().unwrap().iter().enumerate() {
            emitter.step(at + 1, step);
        }
        let mut config = String::new();
        for (field, value) in data["store"].as_object().into_iter().flatten() {
            let value = match value.as_str() {
                Some(policy) => format!("HC_POLICY_{}", policy.to_uppercase()),
                None => value.to_string(),
            };
            writeln!(config, "    sc.{field} = {value};").unwrap();
        }
        let limit = data["pool"]["limit_bytes"].as_u64().unwrap_or(POOL_LIMIT);
        let filter = match data["filter"]["capacity"].as_u64() {
            Some(capacity) => format!("new_filter(pool, UINT64_C({capacity}))"),
            None => "NULL".to_owned(),
        };
        writeln!(
            program,
            "\n/* {says} */\nstatic void behaviour{number}(void) {{\n    \
             hc_pool_config pc;\n    hc_store_config sc;\n    hc_pool *pool = NULL;\n    \
             hc_store *store = NULL;\n    hc_filter *filter = NULL;\n    \
             hc_filter_stats filter_stats;\n    hc_slice key = NONE, value = NONE;\n    \
             expected_entry e;\n    hc_store_stats stats;\n    hc_match match;\n    \
             hc_put_options put_options;\n    hc_view views[8];\n    hc_draft drafts[8];\n    \
             hc_lease leases[8];\n    \
             uint64_t versions[8] = {{0}}, ignored = 0, count = 0;\n    int64_t sum = 0;\n    \
             where = \"{name}\";\n    HC_INIT(&pc);\n    HC_INIT(&sc);\n    HC_INIT(&stats);\n    \
             HC_INIT(&match);\n    HC_INIT(&put_options);\n    HC_INIT(&filter_stats);\n    \
             memset(&e, 0, sizeof e);\n    memset(views, 0, sizeof views);\n    \
             memset(drafts, 0, sizeof drafts);\n    \
             memset(leases, 0, sizeof leases);\n    pc.limit_bytes = UINT64_C({limit});\n\
             {config}    begin(&pc, &sc, &pool, &store);\n    filter = {filter};\n    (void)key, (void)value, (void)e;\n    \
             (void)versions, (void)leases, (void)ignored, (void)count, (void)sum;\n{code}    \
             end(pool, store, filter);\n}}",
            says = text(data.get("says")).replace("*", "(star)").replace('\\', "(backslash)"),
            code = emitter.code,
        )
        .unwrap();
        writeln!(main, "    behaviour{number}();").unwrap();
    }
    writeln!(program, "\nint main(void) {{\n{main}    return 0;\n}}").unwrap();
    program
}

#[test]
fn in_c() {
    let all = behaviours();
    let folder = support::scratch("conformance");
    let source = folder.join("behaviours.c");
    std::fs::write(&source, c_program(&all)).unwrap();
    let include = support::root().join("conformance/c");
    let include = format!("-I{}", include.display());
    for compiler in support::compilers(&["gcc", "clang"]) {
        let program = folder.join(format!("behaviours-{compiler}"));
        // A behaviour uses some of the helpers only.
        let extra = [include.as_str(), "-Wno-unused-function"];
        let sources = [source.clone()];
        support::build(compiler, "c99", &sources, &extra, &support::archive(), &program);
        support::run(&mut Command::new(&program));
    }
}
