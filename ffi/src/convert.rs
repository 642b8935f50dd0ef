//! Values of the header to values of the engine, and back.

use hypercache_core::log::Severity;
use hypercache_core::pool::LimitOutcome;
use hypercache_core::stats::LatencyOp;
use hypercache_core::{
    DeleteOutcome, Error, ErrorKind, IncrOutcome, Info, Match, PolicyKind, Pressure, PutMode,
    PutOptions, PutOutcome, Result, Ttl, ValueType,
};

use crate::abi::*;
use crate::boundary::{bytes, invalid, read, unsupported};

pub(crate) const fn ttl(ms: u64) -> Ttl {
    match ms {
        HC_TTL_DEFAULT => Ttl::Default,
        HC_TTL_KEEP => Ttl::Keep,
        HC_TTL_NEVER => Ttl::Never,
        _ => Ttl::Millis(ms),
    }
}

pub(crate) const fn level(pressure: Pressure) -> i32 {
    match pressure {
        Pressure::None => HC_PRESSURE_NONE,
        Pressure::Elevated => HC_PRESSURE_ELEVATED,
        Pressure::High => HC_PRESSURE_HIGH,
        Pressure::Critical => HC_PRESSURE_CRITICAL,
    }
}

pub(crate) const fn limit_status(outcome: LimitOutcome) -> hc_status {
    match outcome {
        LimitOutcome::Reached => HC_OK,
        LimitOutcome::Partial => HC_PARTIAL,
        LimitOutcome::Superseded => HC_CONFLICT,
    }
}

/// The status of a write and the version it made, 0 if it stored nothing.
pub(crate) const fn put_status(outcome: PutOutcome) -> (hc_status, u64) {
    match outcome {
        PutOutcome::Stored(version) => (HC_OK, version),
        PutOutcome::Exists => (HC_EXISTS, 0),
        PutOutcome::NotFound => (HC_NOT_FOUND, 0),
        PutOutcome::Conflict => (HC_CONFLICT, 0),
        PutOutcome::NotAdmitted => (HC_NOT_ADMITTED, 0),
    }
}

pub(crate) const fn delete_status(outcome: DeleteOutcome) -> hc_status {
    match outcome {
        DeleteOutcome::Deleted => HC_OK,
        DeleteOutcome::NotFound => HC_NOT_FOUND,
        DeleteOutcome::Conflict => HC_CONFLICT,
    }
}

/// The status of an increment and the sum, `None` if there is none.
pub(crate) const fn incr_status(outcome: IncrOutcome) -> (hc_status, Option<i64>) {
    match outcome {
        IncrOutcome::Sum(sum) => (HC_OK, Some(sum)),
        IncrOutcome::WrongType => (HC_WRONG_TYPE, None),
        IncrOutcome::Overflow => (HC_OVERFLOW, None),
        IncrOutcome::NotAdmitted => (HC_NOT_ADMITTED, None),
    }
}

pub(crate) fn value_type(value: u32) -> Result<ValueType> {
    u8::try_from(value).map(ValueType).map_err(|_| invalid("type is above 255"))
}

pub(crate) const fn found(found: bool) -> hc_status {
    if found { HC_OK } else { HC_NOT_FOUND }
}

const fn ttl_left(ttl_ms: Option<u64>) -> u64 {
    match ttl_ms {
        Some(ms) => ms,
        None => HC_TTL_NEVER,
    }
}

#[inline(always)]
pub(crate) const fn info(info: &Info) -> hc_info {
    hc_info {
        len: info.len,
        version: info.version,
        ttl_ms: ttl_left(info.ttl_ms),
        session: info.session,
        r#type: info.value_type.0 as u32,
        flags: info.flags,
        reserved: [0; 2],
    }
}

/// The engine's metadata of a view, from what the view shows.
pub(crate) const fn view_info(view: &hc_view) -> Info {
    Info {
        len: view.len,
        version: view.version,
        ttl_ms: if view.ttl_ms == HC_TTL_NEVER { None } else { Some(view.ttl_ms) },
        session: view.session,
        value_type: ValueType(view.r#type as u8),
        flags: view.flags,
    }
}

/// The mode of a write.
pub(crate) fn put_mode(mode: i32, expected_version: u64) -> Result<PutMode> {
    match mode {
        HC_PUT_SET => Ok(PutMode::Set),
        HC_PUT_ADD => Ok(PutMode::Add),
        HC_PUT_REPLACE => Ok(PutMode::Replace),
        HC_PUT_CAS => Ok(PutMode::CompareAndSet(expected_version)),
        _ => Err(unsupported("mode is not an HC_PUT_ of this library")),
    }
}

/// What each entry of a batch names for itself, checked.
pub(crate) fn entry_options(entry: &hc_entry, batch: &hc_put_options) -> Result<PutOptions> {
    let ttl_ms = if entry.ttl_ms == HC_TTL_DEFAULT { batch.ttl_ms } else { entry.ttl_ms };
    Ok(PutOptions {
        ttl: ttl(ttl_ms),
        mode: put_mode(batch.mode, entry.expected_version)?,
        session: entry.session,
        value_type: value_type(entry.r#type)?,
        flags: entry.flags,
        soft_ttl_ms: entry.soft_ttl_ms,
        idle_ttl_ms: entry.idle_ttl_ms,
    })
}

/// # Safety
/// `options` is NULL or an hc_put_options of as many bytes as its size says.
pub(crate) unsafe fn read_put_options(options: *const hc_put_options) -> Result<hc_put_options> {
    if options.is_null() {
        return Ok(crate::boundary::zeroed());
    }
    // SAFETY: not NULL, and whole by the caller's contract.
    let options = unsafe { read(options) }?;
    if options.reserved != 0 {
        return Err(unsupported("hc_put_options.reserved is not 0"));
    }
    Ok(options)
}

/// # Safety
/// `options` is NULL or an hc_put_options of as many bytes as its size says.
pub(crate) unsafe fn put_options(options: *const hc_put_options) -> Result<PutOptions> {
    // SAFETY: as the caller's contract.
    let options = unsafe { read_put_options(options) }?;
    Ok(PutOptions {
        ttl: ttl(options.ttl_ms),
        mode: put_mode(options.mode, options.expected_version)?,
        session: options.session,
        value_type: value_type(options.r#type)?,
        flags: options.flags,
        soft_ttl_ms: options.soft_ttl_ms,
        idle_ttl_ms: options.idle_ttl_ms,
    })
}

/// # Safety
/// `matching` is NULL or an hc_match of as many bytes as its size says, and its pattern points to
/// as many bytes as it says, for the lifetime.
pub(crate) unsafe fn matching<'a>(matching: *const hc_match) -> Result<Match<'a>> {
    // SAFETY: as the caller's contract.
    let m = unsafe { read(matching) }?;
    // SAFETY: as the caller's contract.
    let pattern = unsafe {
        bytes(m.pattern.data, m.pattern.len, "pattern.data is NULL and pattern.len is not 0")
    }?;
    match m.kind {
        HC_MATCH_ALL => Ok(Match::All),
        HC_MATCH_PREFIX => Ok(Match::Prefix(pattern)),
        HC_MATCH_GLOB => Ok(Match::Glob(pattern)),
        HC_MATCH_SESSION => Ok(Match::Session(m.session)),
        HC_MATCH_TYPE => Ok(Match::Type(value_type(m.r#type)?)),
        _ => Err(unsupported("kind is not an HC_MATCH_ of this library")),
    }
}

pub(crate) fn policy(policy: i32) -> Result<PolicyKind> {
    match policy {
        HC_POLICY_DEFAULT => return Ok(PolicyKind::Default),
        HC_POLICY_S3FIFO => return Ok(PolicyKind::S3Fifo),
        HC_POLICY_LRU => return Ok(PolicyKind::Lru),
        HC_POLICY_FIFO => return Ok(PolicyKind::Fifo),
        HC_POLICY_SIEVE => return Ok(PolicyKind::Sieve),
        HC_POLICY_WTINYLFU => return Ok(PolicyKind::WTinyLfu),
        HC_POLICY_LFU => return Ok(PolicyKind::Lfu),
        HC_POLICY_RANDOM => return Ok(PolicyKind::Random),
        HC_POLICY_SESSION => return Ok(PolicyKind::Session),
        HC_POLICY_ADAPTIVE => return Ok(PolicyKind::Adaptive),
        HC_POLICY_TTL => return Ok(PolicyKind::Ttl),
        HC_POLICY_HYBRID => return Ok(PolicyKind::Hybrid),
        _ => {}
    }
    let known: Vec<_> = PolicyKind::ALL.iter().map(|(name, _)| *name).collect();
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "policy is {policy}, no HC_POLICY_ of this library; {} are built in",
            known.join(", ")
        ),
    ))
}

pub(crate) const fn policy_number(kind: PolicyKind) -> i32 {
    match kind {
        PolicyKind::Default => HC_POLICY_DEFAULT,
        PolicyKind::S3Fifo => HC_POLICY_S3FIFO,
        PolicyKind::Fifo => HC_POLICY_FIFO,
        PolicyKind::Lru => HC_POLICY_LRU,
        PolicyKind::Sieve => HC_POLICY_SIEVE,
        PolicyKind::WTinyLfu => HC_POLICY_WTINYLFU,
        PolicyKind::Lfu => HC_POLICY_LFU,
        PolicyKind::Random => HC_POLICY_RANDOM,
        PolicyKind::Session => HC_POLICY_SESSION,
        PolicyKind::Adaptive => HC_POLICY_ADAPTIVE,
        PolicyKind::Ttl => HC_POLICY_TTL,
        PolicyKind::Hybrid => HC_POLICY_HYBRID,
    }
}

pub(crate) fn latency_op(op: i32) -> Result<LatencyOp> {
    match op {
        HC_OP_GET => Ok(LatencyOp::Get),
        HC_OP_SET => Ok(LatencyOp::Set),
        HC_OP_DELETE => Ok(LatencyOp::Delete),
        _ => Err(unsupported("op is not an HC_OP_ of this library")),
    }
}

pub(crate) const fn severity_number(severity: Severity) -> i32 {
    match severity {
        Severity::Error => HC_LOG_ERROR,
        Severity::Warn => HC_LOG_WARN,
        Severity::Info => HC_LOG_INFO,
    }
}
