//! Values that the library could neither store nor pass on, handed to those in this process who
//! wait for them.
//!
//! Who is to wait for a key joins its place first. Who ends a lease with a value opens an offer there
//! before the library has the value, and settles it afterwards: with the value if nothing could hold
//! it. So whoever is told that (`HC_NOT_ADMITTED`), or was about to look again and is granted a lease,
//! finds the value here and does not load it once more. What was offered before one joined is old,
//! and what the library knows to be old (`HC_CONFLICT`) is never offered.
//!
//! The table's lock is taken with the interpreter's lock held, and no Python code runs under it: a
//! forked child finds it free.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hypercache_sys::*;
use pyo3::prelude::*;

use crate::value::{self, Codec};

/// The store's address, which all who have it open share, and the key's bytes.
pub type Name = (usize, Box<[u8]>);

/// The name of a key's place.
pub fn name(store: *mut hc_store, key: &[u8]) -> Name {
    (store.addr(), key.into())
}

/// An encoded value, held: bytes, text, or what a codec made.
pub struct Held {
    pub owner: Py<PyAny>,
    pub data: *const u8,
    pub len: usize,
    pub tag: u32,
}

// SAFETY: the bytes are those of an object that is held and does not change.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    /// The value for one more of those who wait.
    fn decode<'py>(&self, py: Python<'py>, codec: &Codec) -> PyResult<Bound<'py, PyAny>> {
        if self.tag == HC_TYPE_BYTES || self.tag == HC_TYPE_STRING {
            // Neither can be changed: all may have the same.
            return Ok(self.owner.bind(py).clone());
        }
        // SAFETY: the bytes are alive while this is.
        let bytes = unsafe { std::slice::from_raw_parts(self.data, self.len) };
        value::decode(py, self.tag, bytes, codec)
    }
}

/// How long to wait for an offer that is with the library: it is no longer than copying a value.
const SETTLED: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Offers {
    /// With the library now.
    open: usize,
    /// Those that stood, and the latest one's value.
    stood: u64,
    value: Option<Arc<Held>>,
}

#[derive(Default)]
struct Place {
    offers: Mutex<Offers>,
    settled: Condvar,
}

static PLACES: Mutex<BTreeMap<Name, Arc<Place>>> = Mutex::new(BTreeMap::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One who waits for a key, or has a value for those who do.
pub struct Joined {
    name: Name,
    place: Arc<Place>,
    /// The offers that are old to this one.
    since: u64,
}

impl Joined {
    /// Joins the place of a key.
    pub fn new(name: Name) -> Self {
        let place = locked(&PLACES).entry(name.clone()).or_default().clone();
        let since = locked(&place.offers).stood;
        Self { name, place, since }
    }

    /// Joins the place of a key if somebody waits for it.
    pub fn waited_for(name: &Name) -> Option<Self> {
        let place = locked(&PLACES).get(name)?.clone();
        Some(Self { name: name.clone(), place, since: 0 })
    }

    /// Says that there may be a value in a moment.
    pub fn open(&self) {
        locked(&self.place.offers).open += 1;
    }

    /// Says whether there is one.
    pub fn settle(&self, value: Option<Held>) {
        let mut offers = locked(&self.place.offers);
        offers.open -= 1;
        let old = value.and_then(|value| {
            offers.stood += 1;
            offers.value.replace(Arc::new(value))
        });
        drop(offers);
        self.place.settled.notify_all();
        drop(old);
    }

    /// What was offered since this joined.
    pub fn offered<'py>(
        &self,
        py: Python<'py>,
        codec: &Codec,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_new = |offers: &Offers| offers.stood > self.since;
        let found = {
            let offers = locked(&self.place.offers);
            if is_new(&offers) || offers.open == 0 {
                is_new(&offers).then(|| offers.value.clone())
            } else {
                drop(offers);
                py.detach(|| {
                    let still = |offers: &mut Offers| offers.open > 0 && !is_new(offers);
                    let offers = locked(&self.place.offers);
                    let waited = self.place.settled.wait_timeout_while(offers, SETTLED, still);
                    let (offers, _) = waited.unwrap_or_else(PoisonError::into_inner);
                    is_new(&offers).then(|| offers.value.clone())
                })
            }
        };
        found.flatten().map(|value| value.decode(py, codec)).transpose()
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut places = locked(&PLACES);
        // The table's own share and this one: nobody else is here, and nobody can come.
        let last = Arc::strong_count(&self.place) == 2;
        let gone = if last { places.remove(&self.name) } else { None };
        drop(places);
        drop(gone);
    }
}
