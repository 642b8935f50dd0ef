//! `PoolBase`: a byte budget that several caches may share.

use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use hypercache_sys::*;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::{of_type, whole};
use crate::cache::CacheBase;
use crate::errors::{self, Names, check, detail, error, error_naming, error_with};
use crate::open::{c_text, size};

/// A pool's arguments that the library knows under another name.
const NAMES: Names =
    &[("limit_bytes", "limit"), ("limit_max_bytes", "limit_max"), ("pin_limit_bytes", "pin_limit")];

/// One reference to a pool.
pub struct OwnedPool(pub *mut hc_pool);

// SAFETY: the library's handles may be used from any thread.
unsafe impl Send for OwnedPool {}
// SAFETY: as above, and from many at once.
unsafe impl Sync for OwnedPool {}

impl Drop for OwnedPool {
    fn drop(&mut self) {
        // SAFETY: this holds one reference and gives it back once.
        unsafe { hc_pool_release(self.0) };
    }
}

/// A pool's handle: what `hypercache.Pool` is made of.
#[pyclass(module = "hypercache._native", subclass, frozen, weakref)]
pub struct PoolBase {
    pool: Mutex<Option<Arc<OwnedPool>>>,
}

/// Changes a pool's limit while other threads run.
pub fn set_limit(py: Python<'_>, pool: *mut hc_pool, limit: u64, names: Names) -> PyResult<()> {
    let pool = Borrowed(pool);
    let (status, why) = py.detach(|| {
        let pool = &pool;
        let mut why = detail();
        // SAFETY: the caller holds the pool; `why` is a place.
        let status = unsafe { hc_pool_set_limit(pool.0, limit, &raw mut why) };
        (status, why)
    });
    match status {
        // Views or raw memory still hold more: the rest goes as they are given back.
        HC_OK | HC_PARTIAL | HC_CONFLICT => Ok(()),
        _ => Err(error_naming(py, status, &why, names)),
    }
}

fn thresholds(
    elevated: &Bound<'_, PyAny>,
    high: &Bound<'_, PyAny>,
    critical: &Bound<'_, PyAny>,
) -> PyResult<[u32; 3]> {
    let percent = |value, what| whole(value, what, "0 to 100");
    Ok([percent(elevated, "elevated")?, percent(high, "high")?, percent(critical, "critical")?])
}

/// A pool that somebody else holds.
struct Borrowed(*mut hc_pool);

// SAFETY: the library's handles may be used from many threads at once.
unsafe impl Sync for Borrowed {}
// SAFETY: as above.
unsafe impl Send for Borrowed {}

impl PoolBase {
    /// Takes over one reference.
    pub fn adopt(pool: *mut hc_pool) -> Self {
        Self { pool: Mutex::new(Some(Arc::new(OwnedPool(pool)))) }
    }

    pub fn share(&self, py: Python<'_>) -> PyResult<Arc<OwnedPool>> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pool.ok_or_else(|| errors::named(py, "ClosedError", "the pool is closed".into()))
    }
}

/// How a pool is opened; NULL to find it.
struct Opening(*const hc_pool_config);

// SAFETY: the config is only read, and outlives the call.
unsafe impl Sync for Opening {}

/// Writes one byte into the pipe of whoever waits for the pool's level to change.
unsafe extern "C" fn wake(ctx: *mut c_void, _level: i32, _used: u64, _limit: u64) {
    // The pipe does not block: a byte that does not fit tells nothing new.
    // SAFETY: the descriptor is open until the watch has been cancelled.
    unsafe { libc::write(ctx.addr().cast_signed() as i32, ptr::from_ref(&1_u8).cast(), 1) };
}

/// A registered watcher of a pool's pressure.
#[pyclass(module = "hypercache._native", frozen)]
pub struct Watch {
    watch: Mutex<Registered>,
    /// What is watched, for as long as it is.
    pool: Arc<OwnedPool>,
}

struct Registered(*mut hc_watch);

// SAFETY: a watch may be cancelled on any thread.
unsafe impl Send for Registered {}

#[pymethods]
impl Watch {
    /// The level of pressure now, also where the pool was closed meanwhile.
    fn level(&self) -> i32 {
        // SAFETY: the share holds the pool through the call.
        unsafe { hc_pool_pressure(self.pool.0) }
    }

    /// Ends the watch; afterwards nothing is written any more. Idempotent.
    fn cancel(&self, py: Python<'_>) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::replace(&mut *watch, Registered(ptr::null_mut()));
        drop(watch);
        py.detach(|| {
            let Registered(watch) = { taken };
            // SAFETY: the watch is registered, or NULL, and was taken out: it is cancelled once.
            unsafe { hc_watch_cancel(watch) };
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watch = self.watch.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as above; the callback takes no lock that this thread may hold.
        unsafe { hc_watch_cancel(watch.0) };
    }
}

#[pymethods]
impl PoolBase {
    #[new]
    #[pyo3(signature = (limit, name, elevated, high, critical, pin_limit, limit_max, flags, of=None))]
    #[allow(clippy::too_many_arguments, reason = "one a parameter of Pool, which names them")]
    fn new(
        py: Python<'_>,
        limit: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        elevated: &Bound<'_, PyAny>,
        high: &Bound<'_, PyAny>,
        critical: &Bound<'_, PyAny>,
        pin_limit: Option<&Bound<'_, PyAny>>,
        limit_max: Option<&Bound<'_, PyAny>>,
        flags: u32,
        of: Option<&Bound<'_, CacheBase>>,
    ) -> PyResult<Self> {
        if let Some(cache) = of {
            // SAFETY: the share holds the pool while it is retained.
            return Ok(Self::adopt(unsafe { hc_pool_retain(cache.get().share(py)?.pool) }));
        }
        let name: Option<&str> =
            name.map(|name| of_type(name, "name", "a str, or None")).transpose()?;
        let name = name.map(|name| c_text(name, "name")).transpose()?;
        let bytes = |value: Option<&Bound<'_, PyAny>>, what| {
            value.map(|value| size(value, what)).transpose().map(|bytes| bytes.unwrap_or(0))
        };
        // SAFETY: all zeroes is a valid config: integers and null pointers.
        let mut config: hc_pool_config = unsafe { std::mem::zeroed() };
        config.size = size_of::<hc_pool_config>();
        config.limit_bytes = bytes(limit, "limit")?;
        [config.elevated_pct, config.high_pct, config.critical_pct] =
            thresholds(elevated, high, critical)?;
        config.flags = flags;
        config.pin_limit_bytes = bytes(pin_limit, "pin_limit")?;
        config.limit_max_bytes = bytes(limit_max, "limit_max")?;
        if name.is_none() && limit.is_none() {
            return Err(PyTypeError::new_err("a pool takes a limit, or the name of one"));
        }
        // Taking all memory now (`prefault`) takes as long as that is much.
        let parts = Opening(if limit.is_some() { &raw const config } else { ptr::null() });
        let (status, Borrowed(pool), why) = py.detach(|| {
            let (parts, mut opened, mut why) = (&parts, ptr::null_mut(), detail());
            // SAFETY: config, name and outputs live through the call.
            let status = unsafe {
                match &name {
                    None => hc_pool_create(parts.0, &raw mut opened, &raw mut why),
                    Some(name) => {
                        hc_pool_open(name.as_ptr(), parts.0, &raw mut opened, &raw mut why)
                    }
                }
            };
            (status, Borrowed(opened), why)
        });
        match status {
            HC_OK => Ok(Self::adopt(pool)),
            HC_NOT_FOUND => {
                let name = name.unwrap_or_default();
                let name = name.to_string_lossy();
                let text = format!("no pool named {name:?} is open in this process");
                Err(PyKeyError::new_err(text))
            }
            _ => Err(error_naming(py, status, &why, NAMES)),
        }
    }

    /// Changes the limit; returns when it is reached, or what still holds more is all that is left.
    #[pyo3(signature = (limit))]
    fn resize(&self, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = limit.py();
        let pool = self.share(py)?;
        set_limit(py, pool.0, size(limit, "limit")?, NAMES)
    }

    /// Changes the pressure thresholds, in percent of the limit.
    #[pyo3(signature = (elevated, high, critical))]
    fn set_thresholds(
        &self,
        elevated: &Bound<'_, PyAny>,
        high: &Bound<'_, PyAny>,
        critical: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = elevated.py();
        let pool = self.share(py)?;
        let [elevated, high, critical] = thresholds(elevated, high, critical)?;
        // SAFETY: the share holds the pool through the call.
        let status = unsafe { hc_pool_set_thresholds(pool.0, elevated, high, critical) };
        if status == HC_ERR_INVALID {
            return Err(PyValueError::new_err(format!(
                "thresholds are {elevated}, {high}, {critical} %; 0 < elevated <= high <= critical \
                 <= 100 is allowed"
            )));
        }
        check(py, status)
    }

    /// The level of pressure now.
    #[pyo3(name = "_pressure_level")]
    fn pressure_level(&self, py: Python<'_>) -> PyResult<i32> {
        let pool = self.share(py)?;
        // SAFETY: the share holds the pool through the call.
        Ok(unsafe { hc_pool_pressure(pool.0) })
    }

    /// Evicts until at most so many bytes are used, or nothing is left that can go; the bytes freed.
    #[pyo3(signature = (target))]
    fn trim(&self, target: &Bound<'_, PyAny>) -> PyResult<u64> {
        let py = target.py();
        let pool = self.share(py)?;
        let target = size(target, "target")?;
        let mut freed = 0;
        // SAFETY: the share holds the pool through the call; `freed` is a place.
        let status = py.detach(|| unsafe { hc_pool_trim(pool.0, target, &raw mut freed) });
        if status < 0 { Err(error(py, status)) } else { Ok(freed) }
    }

    /// Writes a byte into this descriptor, which must not block, at each change of level.
    #[pyo3(name = "_watch")]
    fn watch(&self, py: Python<'_>, descriptor: i32) -> PyResult<Watch> {
        let pool = self.share(py)?;
        let mut watch = ptr::null_mut();
        let ctx = ptr::without_provenance_mut(descriptor.cast_unsigned() as usize);
        // SAFETY: the callback needs the number only; the output is a place.
        let status = unsafe { hc_pool_watch(pool.0, Some(wake), ctx, None, &raw mut watch) };
        check(py, status)?;
        Ok(Watch { watch: Mutex::new(Registered(watch)), pool })
    }

    /// The pool's statistics by name.
    #[pyo3(name = "_stats_dict")]
    fn stats_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pool = self.share(py)?;
        // SAFETY: all zeroes are valid statistics.
        let mut stats: hc_pool_stats = unsafe { std::mem::zeroed() };
        stats.size = size_of::<hc_pool_stats>();
        // SAFETY: the struct is a place of the size it names.
        check(py, unsafe { hc_pool_stats_get(pool.0, &raw mut stats) })?;
        crate::stats::pool(py, &stats)
    }

    /// Whether the pool was closed.
    #[getter(_closed)]
    fn closed(&self) -> bool {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The name, or None.
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let pool = self.share(py)?;
        // SAFETY: all zeroes is a valid config.
        let mut config: hc_pool_config = unsafe { std::mem::zeroed() };
        config.size = size_of::<hc_pool_config>();
        // SAFETY: the struct is a place of the size it names.
        check(py, unsafe { hc_pool_config_get(pool.0, &raw mut config) })?;
        Ok(crate::open::lasting(config.name))
    }

    /// Checks every invariant of the pool and of all stores in it.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        let pool = self.share(py)?;
        let mut why = detail();
        // SAFETY: the share holds the pool through the call; `why` is a place.
        let status = py.detach(|| unsafe { hc_pool_validate(pool.0, &raw mut why) });
        if status == HC_OK { Ok(()) } else { Err(error_with(py, status, &why)) }
    }

    /// Gives the pool back. Its memory goes with the last cache in it.
    fn close(&self, py: Python<'_>) {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(pool));
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a Pool cannot be pickled or copied: its memory is this process's. Open it by name",
        ))
    }
}
