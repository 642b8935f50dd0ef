//! Policy options, names, configurations, patterns: taken, or refused with what is wrong by name.
//!
//! The rules:
//! 1. what the documented grammar and ranges allow is taken, everything else is refused, and of
//!    that a reading of its own is kept here to compare with;
//! 2. a refusal is `Invalid` or `Unsupported` (the one for values, the other for what is not
//!    known), and its sentence names the argument or option and its value;
//! 3. what was taken is in force: the configuration that is handed out says so;
//! 4. what was refused has changed nothing and left nothing behind.

use crate::input::Input;
use crate::{Log, Target};
use hypercache_core::config::{NAME_LEN_MAX, POOL_LIMIT_MAX, POOL_LIMIT_MIN, SHARDS_MAX};
use hypercache_core::eviction::AnyPolicy;
use hypercache_core::types::{VALUE_LEN_MAX, glob_matches};
use hypercache_core::{
    Error, ErrorKind, PolicyKind, Pool, PoolConfig, Store, StoreConfig, Thresholds,
};

/// See the module.
pub const TARGET: Target = Target {
    name: "options",
    run,
    reaches: &[
        "policy options",
        "options taken",
        "option without a value",
        "option not known",
        "option given twice",
        "option out of range",
        "policy name",
        "policy known",
        "policy not known",
        "pool config",
        "pool config taken",
        "pool config refused",
        "pool made",
        "store config",
        "store opened",
        "store refused",
        "names",
        "name taken",
        "name refused",
        "one of this name",
        "configs disagree",
        "glob",
        "glob matches",
    ],
    generated: 20_000,
    len_max: 160,
};

/// Runs one input.
pub fn run(bytes: &[u8], log: &mut Log) {
    let mut input = Input::new(bytes);
    match input.byte() % 8 {
        0 | 1 => policy_options(&mut input, log),
        2 => policy_name(&mut input, log),
        3 => pool_config(&mut input, log),
        4 | 5 => store_config(&mut input, log),
        6 => names(&mut input, log),
        _ => glob(&mut input, log),
    }
}

fn text<'a>(bytes: &'a [u8]) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(bytes)
}

fn kind(input: &mut Input<'_>) -> PolicyKind {
    input.pick(&[
        PolicyKind::S3Fifo,
        PolicyKind::Lru,
        PolicyKind::Fifo,
        PolicyKind::Default,
        PolicyKind::Sieve,
        PolicyKind::Random,
        PolicyKind::Session,
        PolicyKind::Lfu,
        PolicyKind::WTinyLfu,
        PolicyKind::Adaptive,
        PolicyKind::Ttl,
        PolicyKind::Hybrid,
    ])
}

/// The options that the documentation gives each policy: name, least, most.
fn known(kind: PolicyKind) -> &'static [(&'static str, u64, u64)] {
    match kind {
        PolicyKind::S3Fifo => &[("small", 1, 90), ("ghost", 0, 400), ("threshold", 1, 3)],
        PolicyKind::Default | PolicyKind::Adaptive => &[("objective", 0, 0), ("ghosts", 0, 8)],
        PolicyKind::Lru => &[("share", 0, 99)],
        PolicyKind::WTinyLfu => &[("window", 1, 80), ("adapt", 0, 1)],
        PolicyKind::Lfu => &[("decay", 0, 10_000)],
        PolicyKind::Random => &[("keep", 0, 90)],
        PolicyKind::Session => &[
            ("session_ttl", 1, 1_000_000_000),
            ("idle_timeout", 1, 1_000_000_000),
            ("grace", 0, 1_000_000_000),
            ("sessions", 0, 1 << 20),
        ],
        PolicyKind::Hybrid => &[("share", 0, 99), ("spare", 0, 3), ("window", 1, 32)],
        PolicyKind::Fifo | PolicyKind::Sieve | PolicyKind::Ttl => &[],
    }
}

/// What is wrong with options: the kind of failure and the words that must name it.
fn wrong(known: &[(&str, u64, u64)], text: &str) -> Option<(&'static str, ErrorKind, Vec<String>)> {
    let mut named = Vec::new();
    for item in text.split(',').map(str::trim) {
        if item.is_empty() {
            continue;
        }
        let Some(equals) = item.find('=') else {
            return Some(("option without a value", ErrorKind::Invalid, vec![item.to_owned()]));
        };
        let (name, value) = (item[..equals].trim(), item[equals + 1..].trim());
        let Some((_, least, most)) = known.iter().find(|(known, ..)| *known == name) else {
            return Some(("option not known", ErrorKind::Unsupported, vec![name.to_owned()]));
        };
        if named.contains(&name) {
            return Some(("option given twice", ErrorKind::Invalid, vec![name.to_owned()]));
        }
        named.push(name);
        if name == "objective" {
            // The one option that is a word.
            if !["objects", "bytes"].contains(&value) {
                let words = [name, value, "objects", "bytes"].map(str::to_owned).to_vec();
                return Some(("option out of range", ErrorKind::Invalid, words));
            }
            continue;
        }
        if !value.parse::<u64>().is_ok_and(|value| (*least..=*most).contains(&value)) {
            let words = [name, value, &least.to_string(), &most.to_string()];
            let words = words.map(str::to_owned).to_vec();
            return Some(("option out of range", ErrorKind::Invalid, words));
        }
    }
    None
}

fn policy_options(input: &mut Input<'_>, log: &mut Log) {
    let kind = kind(input);
    let text = text(input.rest());
    log.begin("policy options", || format!("{kind:?} \"{text}\""));
    let result = AnyPolicy::new(kind, Some(&text)).map(|_| ());
    match (wrong(known(kind), &text), result) {
        (None, Ok(())) => log.note("options taken"),
        (Some((what, kind, words)), Err(error)) => {
            log.result(what, || &error);
            refused(&error, kind, &words);
        }
        (expected, found) => panic!("\"{text}\": {found:?}, and {expected:?} is expected"),
    }
}

/// Rule 2.
fn refused(error: &Error, kind: ErrorKind, words: &[String]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.context().contains(word.as_str()), "\"{error}\" does not name {word}");
    }
}

fn policy_name(input: &mut Input<'_>, log: &mut Log) {
    let name = text(input.rest());
    log.begin("policy name", || format!("\"{name}\""));
    let known = PolicyKind::ALL.iter().any(|(known, _)| *known == name);
    match PolicyKind::parse(&name) {
        Ok(kind) => {
            log.note("policy known");
            assert!(known);
            assert_eq!(kind.name(), name);
        }
        Err(error) => {
            log.result("policy not known", || &error);
            assert!(!known);
            refused(&error, ErrorKind::Unsupported, &["policy".to_owned(), name.into_owned()]);
        }
    }
}

/// A number, often at an edge.
fn number(input: &mut Input<'_>) -> u64 {
    const EDGES: [u64; 16] = [
        0,
        1,
        POOL_LIMIT_MIN / 4 - 1,
        POOL_LIMIT_MIN / 4,
        POOL_LIMIT_MIN - 1,
        POOL_LIMIT_MIN,
        POOL_LIMIT_MIN + 1,
        POOL_LIMIT_MAX,
        POOL_LIMIT_MAX + 1,
        VALUE_LEN_MAX,
        VALUE_LEN_MAX + 1,
        u64::MAX,
        u64::MAX - 1,
        i64::MAX as u64,
        8 << 20,
        32 << 30,
    ];
    match input.byte() {
        byte @ 0..100 => u64::from(byte),
        byte @ 100..180 => EDGES[usize::from(byte) % EDGES.len()],
        180..220 => u64::from(input.word()) << 8,
        220..240 => u64::from(input.word()) << 20,
        _ => input.number(),
    }
}

fn pool_config(input: &mut Input<'_>, log: &mut Log) {
    let numbers = [number(input), number(input), number(input)];
    let flags = input.byte();
    let thresholds = (flags & 1 != 0).then(|| Thresholds {
        elevated_pct: u32::from(input.byte()),
        high_pct: u32::from(input.byte()),
        critical_pct: u32::from(input.byte()),
    });
    let [limit_bytes, limit_max_bytes, pin_limit_bytes] = numbers;
    let config = PoolConfig {
        limit_bytes,
        limit_max_bytes: if flags & 2 == 0 { 0 } else { limit_max_bytes },
        pin_limit_bytes: if flags & 4 == 0 { 0 } else { pin_limit_bytes },
        thresholds,
        zero_on_free: flags & 8 != 0,
        no_huge_pages: flags & 16 != 0,
        pressure_by_used: flags & 32 != 0,
        ..PoolConfig::default()
    };
    log.begin("pool config", || format!("{config:?}"));
    match config.resolved() {
        Ok(resolved) => {
            log.note("pool config taken");
            let max = resolved.limit_max_bytes;
            assert!((POOL_LIMIT_MIN..=POOL_LIMIT_MAX).contains(&limit_bytes));
            assert!((limit_bytes..=POOL_LIMIT_MAX).contains(&max));
            assert!((1..=max).contains(&resolved.pin_limit_bytes));
            resolved.check_agrees(&resolved).unwrap();
            config.check_agrees(&resolved).unwrap();
            assert_eq!(resolved.resolved().unwrap(), resolved, "defaults have defaults");
            // Beyond that a machine may have other reasons.
            if limit_bytes <= 64 << 20 && max <= 8 << 30 {
                let pool = Pool::create(&config).unwrap();
                log.note("pool made");
                assert_eq!(pool.config(), resolved);
                pool.validate().unwrap();
            }
        }
        Err(error) => {
            log.result("pool config refused", || &error);
            let fields = [
                ("limit_bytes", limit_bytes),
                ("limit_max_bytes", limit_max_bytes),
                ("pin_limit_bytes", pin_limit_bytes),
            ];
            let named = fields.iter().any(|(field, value)| {
                error.context().starts_with(field) && error.context().contains(&value.to_string())
            });
            let thresholds = thresholds.is_some_and(|thresholds| thresholds.check().is_err())
                && error.context().contains("thresholds");
            assert!(named || thresholds, "\"{error}\" names no field");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let made = Pool::create(&config).map(|_| ()).unwrap_err();
            assert_eq!((made.kind(), made.context()), (error.kind(), error.context()));
        }
    }
}

fn store_config(input: &mut Input<'_>, log: &mut Log) {
    let pool = Pool::create(&PoolConfig::new(2 << 20)).unwrap();
    let set = input.byte();
    let mut field = |bit: u8| if set & 1 << bit == 0 { 0 } else { number(input) };
    let mut config = StoreConfig {
        limit_bytes: field(0),
        limit_entries: field(1),
        value_len_max: field(2),
        default_ttl_ms: field(3),
        hash_seed: field(4),
        floor_bytes: field(5),
        shards: field(6) as u32,
        jitter_pct: field(7) as u32,
        ..StoreConfig::default()
    };
    config.policy = kind(input);
    config.latency = input.flag();
    let options = text(input.rest());
    config.policy_options = (!options.is_empty()).then(|| options.into_owned());
    log.begin("store config", || format!("{config:?}"));
    let used = pool.stats().used_bytes;
    match pool.open_store(&config) {
        Ok(store) => {
            log.note("store opened");
            assert_in_force(&config, &store);
            store.set(b"", b"").unwrap();
            store.validate().unwrap();
            drop(store);
        }
        Err(error) => {
            log.result("store refused", || &error);
            name_the_field(&pool, &config, &error);
            assert_eq!(pool.stats().used_bytes, used, "a refusal left something behind");
        }
    }
    pool.validate().unwrap();
    assert_eq!(pool.stats().stores, 0);
}

/// Rule 3.
fn assert_in_force(asked: &StoreConfig, store: &Store) {
    let has = store.config();
    asked.check_agrees(&StoreConfig { shards: asked.shards, ..has.clone() }).unwrap();
    // Shards are an upper bound.
    assert!(has.shards.is_power_of_two() && has.shards <= SHARDS_MAX);
    assert!(asked.shards == 0 || has.shards <= asked.shards, "{has:?}");
    assert_eq!(has.policy, asked.policy.resolved());
    assert!(wrong(known(asked.policy), asked.policy_options.as_deref().unwrap_or("")).is_none());
    assert!(asked.jitter_pct <= 100);
}

fn name_the_field(pool: &Pool, config: &StoreConfig, error: &Error) {
    let options = wrong(known(config.policy), config.policy_options.as_deref().unwrap_or(""));
    let number = |field: &'static str, value: u64, is_wrong: bool| {
        is_wrong.then(|| (field, value.to_string()))
    };
    let limit_max = pool.config().limit_max_bytes;
    let (limit, shards) = (config.limit_bytes, config.shards);
    let out_of_range = limit != 0 && !(POOL_LIMIT_MIN / 4..=POOL_LIMIT_MAX).contains(&limit);
    let fields = [
        number("limit_bytes", limit, out_of_range),
        number(
            "shards",
            shards.into(),
            shards != 0 && (!shards.is_power_of_two() || shards > SHARDS_MAX),
        ),
        number("value_len_max", config.value_len_max, config.value_len_max > VALUE_LEN_MAX),
        number("jitter_pct", config.jitter_pct.into(), config.jitter_pct > 100),
        number("floor_bytes", config.floor_bytes, config.floor_bytes > pool.stats().limit_bytes),
    ];
    assert!(config.floor_bytes <= limit_max || fields[4].is_some());
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Unsupported => {
            let named = fields.into_iter().flatten().any(|(field, value)| {
                error.context().starts_with(field) && error.context().contains(&value)
            });
            if !named {
                let Some((_, kind, words)) = options else {
                    panic!("\"{error}\" names nothing that is wrong with {config:?}")
                };
                refused(error, kind, &words);
            }
        }
        // Many shards, or a measured store, do not fit into a small limit.
        ErrorKind::NoSpace => assert!(
            shards > 8 || (limit != 0 && limit < POOL_LIMIT_MIN) || config.latency,
            "{error}: {config:?}"
        ),
        other => panic!("{other:?}: {error}"),
    }
}

/// Pools and stores by name: found again, compared with what they were made with.
fn names(input: &mut Input<'_>, log: &mut Log) {
    let repeats = usize::from(input.byte() % 8) * 60 + 1;
    let change = input.byte();
    let name = text(input.rest()).repeat(repeats);
    log.begin("names", || format!("\"{name}\""));
    let sound = (1..=NAME_LEN_MAX).contains(&name.len()) && !name.contains('\0');
    let pool_config = PoolConfig::new(1 << 20);
    match Pool::open(&name, Some(&pool_config)) {
        Ok(Some(pool)) => {
            log.note("name taken");
            assert!(sound);
            assert_eq!(pool.name(), Some(&*name));
            let again = Pool::open(&name, None).unwrap().unwrap();
            assert_eq!(again.id(), pool.id());
            let other = PoolConfig { limit_bytes: 2 << 20, ..pool_config.clone() };
            let error = Pool::open(&name, Some(&other)).map(|_| ()).unwrap_err();
            refused(&error, ErrorKind::Invalid, &["limit_bytes".to_owned()]);
            store_names(&pool, &name, change, log);
            drop((again, pool));
            assert!(Pool::open(&name, None).unwrap().is_none(), "a name outlives its pool");
        }
        Ok(None) => panic!("a configuration was given"),
        Err(error) => {
            log.result("name refused", || &error);
            assert!(!sound);
            refused(&error, ErrorKind::Invalid, &["name".to_owned(), name.len().to_string()]);
            let pool = Pool::create(&pool_config).unwrap();
            let config = StoreConfig { name: Some(name.clone()), ..StoreConfig::default() };
            let error = pool.open_store(&config).map(|_| ()).unwrap_err();
            refused(&error, ErrorKind::Invalid, &["name".to_owned()]);
            assert!(pool.find_store(&name).unwrap().is_none());
        }
    }
}

fn store_names(pool: &Pool, name: &str, change: u8, log: &mut Log) {
    let made = StoreConfig {
        name: Some(name.to_owned()),
        limit_bytes: 512 << 10,
        limit_entries: 100,
        value_len_max: 1_000,
        default_ttl_ms: 60_000,
        shards: 1,
        policy: PolicyKind::Lru,
        policy_options: Some("share=10".to_owned()),
        hash_seed: 7,
        floor_bytes: 1_000,
        jitter_pct: 3,
        latency: false,
        filter_fpr: 0.01,
        soft_ttl_ms: 40_000,
        idle_ttl_ms: 50_000,
        stale_if_error_ms: 5_000,
        no_early_refresh: false,
        lease_ms: 2_000,
        negative_ttl_ms: 500,
        negative_pct: 10,
    };
    let store = pool.open_store(&made).unwrap();
    log.note("one of this name");
    // What is not set agrees with everything; what is set must be what it was made with.
    let unset = StoreConfig { name: made.name.clone(), ..StoreConfig::default() };
    for config in [&made, &unset] {
        assert_eq!(pool.open_store(config).unwrap().id(), store.id());
    }
    let (other, field) = match change % 19 {
        0 => (StoreConfig { limit_bytes: 600 << 10, ..unset }, "limit_bytes"),
        1 => (StoreConfig { limit_entries: 101, ..unset }, "limit_entries"),
        2 => (StoreConfig { value_len_max: 1_001, ..unset }, "value_len_max"),
        3 => (StoreConfig { default_ttl_ms: 1, ..unset }, "default_ttl_ms"),
        4 => (StoreConfig { shards: 2, ..unset }, "shards"),
        5 => (StoreConfig { policy: PolicyKind::Fifo, ..unset }, "policy"),
        6 => (StoreConfig { policy_options: Some("share=11".into()), ..unset }, "policy_options"),
        7 => (StoreConfig { hash_seed: 8, ..unset }, "hash_seed"),
        8 => (StoreConfig { floor_bytes: 1, ..unset }, "floor_bytes"),
        9 => (StoreConfig { jitter_pct: 4, ..unset }, "jitter_pct"),
        13 => (StoreConfig { soft_ttl_ms: 1, ..unset }, "soft_ttl_ms"),
        14 => (StoreConfig { idle_ttl_ms: 1, ..unset }, "idle_ttl_ms"),
        15 => (StoreConfig { stale_if_error_ms: 1, ..unset }, "stale_if_error_ms"),
        16 => (StoreConfig { no_early_refresh: true, ..unset }, "no_early_refresh"),
        10 => (StoreConfig { lease_ms: 1, ..unset }, "lease_ms"),
        11 => (StoreConfig { negative_ttl_ms: 1, ..unset }, "negative_ttl_ms"),
        12 => (StoreConfig { negative_pct: 1, ..unset }, "negative_pct"),
        17 => (StoreConfig { filter_fpr: 0.02, ..unset }, "filter_fpr"),
        _ => (StoreConfig { latency: true, ..unset }, "latency"),
    };
    let error = pool.open_store(&other).map(|_| ()).unwrap_err();
    log.result("configs disagree", || &error);
    refused(&error, ErrorKind::Invalid, &[field.to_owned()]);
    assert_eq!(pool.find_store(name).unwrap().map(|found| found.id()), Some(store.id()));
    drop(store);
    assert!(pool.find_store(name).unwrap().is_none(), "a name outlives its store");
}

/// The pattern, a length byte before it, against the rest.
fn glob(input: &mut Input<'_>, log: &mut Log) {
    let (pattern, key) = (input.short(), input.rest());
    log.begin("glob", || format!("\"{}\" \"{}\"", pattern.escape_ascii(), key.escape_ascii()));
    let expected = matches_slowly(pattern, key);
    if expected {
        log.note("glob matches");
    }
    assert_eq!(glob_matches(pattern, key), expected);
}

/// By the table of all pairs of a pattern's end and a key's end.
fn matches_slowly(pattern: &[u8], key: &[u8]) -> bool {
    enum Part {
        Run,
        One,
        Byte(u8),
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        parts.push(match (byte, pattern.get(at)) {
            (b'*', _) => Part::Run,
            (b'?', _) => Part::One,
            (b'\\', Some(&quoted)) => {
                at += 1;
                Part::Byte(quoted)
            }
            (byte, _) => Part::Byte(byte),
        });
    }
    // reach[i]: the parts so far match the first i bytes.
    let mut reach = vec![false; key.len() + 1];
    reach[0] = true;
    for part in parts {
        let mut next = vec![false; key.len() + 1];
        for end in 0..=key.len() {
            next[end] = match part {
                Part::Run => reach[end] || (end > 0 && next[end - 1]),
                Part::One => end > 0 && reach[end - 1],
                Part::Byte(byte) => end > 0 && reach[end - 1] && key[end - 1] == byte,
            };
        }
        reach = next;
    }
    reach[key.len()]
}
