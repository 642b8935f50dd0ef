//! The list through the engine's crate.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::time::Duration;

use hypercache::HC_TTL_NEVER;
use hypercache_core::store::{BatchRead, Draft, View};
use hypercache_core::{
    BatchEntry, Claim, ClaimOptions, DeleteOutcome, DropReason, Error, ErrorKind, Filter,
    FilterConfig, IncrOutcome, Info, Lease, Match, PolicyKind, Pool, PoolConfig, PutMode,
    PutOptions, PutOutcome, Read, Store, StoreConfig, Ttl, ValueType,
};
use serde_json::Value;

use crate::list::*;
use crate::support;

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
