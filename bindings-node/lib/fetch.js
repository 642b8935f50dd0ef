'use strict';

// Read-through: of all who miss a key, one loads it.
//
// Who that is decides the library, for promises, worker threads and other languages alike. What is
// here takes its answers: a value, a lease to load by, or that another caller loads, and then waits
// for the library to tell of the lease's end.

const { native, words, fromSlab, checkSlab, loaded, waits: byStore, MORE, LARGE, ENCODE } = require('./native.js');
const { decode, encode, isNative } = require('./codec.js');
const { isUint8Array } = require('node:util').types;
const { HyperCacheError } = require('./errors.js');
const { joinParts } = require('./joined.js');
const { keptKey, nameOfKey } = require('./key.js');
const { checkOptions, names, outside, refuse } = require('./options.js');

// Statuses of the C interface.
const OK = 0;
const NOT_FOUND = 1;
const NOT_ADMITTED = 4;
const DONE = 6;
const CLAIMED = 7;
const TIMEOUT = 8;
const LOAD_FAILED = 12;

// Flags and reasons of the C interface.
const STALE = 2;
const CANCELLED = 0;
const FAILED = 1;
const ABSENT = 2;

/** A timer fires so late at most, in milliseconds. */
const LONGEST = 2 ** 31 - 1;
/** How long a reload that failed is not tried again while the old value serves. */
const RETRY = 1_000;
/** How long to wait before asking again where there is no room for another wait. */
const PAUSE = 10;

/** What somebody here waits for: the end of a lease that another caller holds. */
class Wait {
  #waiting = 0;

  constructor(name) {
    this.name = name;
    this.error = undefined;
    this.loaded = undefined;
    this.timer = undefined;
    this.ended = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  /** What it comes to, unless the signal ends that before: who is gone does not keep the process alive. */
  async endedOr(signal) {
    this.#waiting += 1;
    this.timer?.ref();
    try {
      return await until(signal, this.ended);
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0) this.timer?.unref();
    }
  }

  /** Ends it with what it came to: a status and, for `OK`, what makes the value for each who waits. */
  end(status, copy) {
    clearTimeout(this.timer);
    this.resolve({ status, copy, error: this.error, loaded: this.loaded });
  }
}

class Waits {
  #store;
  #codec;
  /** Whether an old value serves where loading it anew fails. */
  servesIfError;
  #next = 1;
  #byCookie = new Map();
  /** Those who wait for the same key share a wait. */
  #byName = new Map();

  constructor(store, codec) {
    this.#store = store;
    this.#codec = codec;
    this.servesIfError = native.storeConfig(store).staleIfError > 0;
    byStore.set(store, this);
  }

  /** The wait for the end of the lease on the key; `DONE`: claim again. */
  of(key) {
    const name = nameOfKey(key);
    const present = this.#byName.get(name);
    if (present !== undefined) return present;
    const cookie = this.#next;
    this.#next = cookie === 0xffffffff ? 1 : cookie + 1;
    const left = native.wait(this.#store, key, cookie);
    const wait = new Wait(name);
    if (left === -1) {
      wait.end(DONE);
      return wait;
    }
    if (left >= 0) {
      this.#byCookie.set(cookie, wait);
      this.#byName.set(name, wait);
    }
    // The library watches no time: when the lease is over, the one who waits may have it.
    const time = left >= 0 ? Math.min(left + 1, LONGEST) : PAUSE;
    wait.timer = setTimeout(() => this.#end(cookie, wait, DONE), time);
    return wait;
  }

  #end(cookie, wait, status, copy) {
    this.#byCookie.delete(cookie);
    if (this.#byName.get(wait.name) === wait) this.#byName.delete(wait.name);
    wait.end(status, copy);
  }

  /** Why the load failed that those wait for who are here: others learn only that it did. */
  explain(key, error) {
    const wait = this.#byName.get(nameOfKey(key));
    if (wait !== undefined) wait.error = error;
  }

  /** The value that was loaded here and that the library could neither store nor pass on. */
  keep(key, value) {
    const wait = this.#byName.get(nameOfKey(key));
    if (wait !== undefined) wait.loaded = { by: undefined, copies: Promise.resolve(copiesOf(this.#codec, value)) };
  }

  /** Waits have ended: says so to each. */
  told() {
    for (;;) {
      let passed;
      try {
        passed = native.waitsNext(this.#store);
      } catch (error) {
        // The value that was passed on cannot be made here.
        const wait = this.#byCookie.get(words[5]);
        if (wait === undefined) throw error;
        wait.error = error;
        this.#end(words[5], wait, LOAD_FAILED);
        continue;
      }
      if (passed === false) return;
      const [status, cookie, encoded, type] = [words[4], words[5], words[6], words[0]];
      const wait = this.#byCookie.get(cookie);
      if (wait === undefined) continue;
      if (status !== OK) {
        this.#end(cookie, wait, status);
        continue;
      }
      const [value] = passed;
      const codec = this.#codec;
      this.#end(cookie, wait, OK, encoded === 0 ? () => value : () => decode(codec, type, Buffer.from(value)));
    }
  }

  /** The store is closed here: whoever waits finds out by claiming again. */
  close() {
    byStore.delete(this.#store);
    for (const [cookie, wait] of this.#byCookie) this.#end(cookie, wait, DONE);
  }
}

/** What a claim found: `[status, value]`. */
function claim(store, codec, key, flags) {
  const joined = joinParts(key);
  checkSlab();
  const value = joined === undefined ? native.claim(store, key, flags) : native.claim(~store, joined, flags);
  if (value === MORE && words[4] !== OK) return [words[4], words[5]];
  return read(store, codec, key, value);
}

/** The value that is there now, however old. */
function present(store, codec, key) {
  checkSlab();
  return read(store, codec, key, native.peek(store, key));
}

/** What the addon gave for a value, decoded: `[OK, value]`, or `[DONE]` for none. */
function read(store, codec, key, value) {
  // A large value may have gone between the look-up and the copy.
  if (value === undefined) return [DONE];
  if (value !== MORE) return [OK, value];
  const type = words[0];
  if (type !== LARGE) return [OK, decode(codec, type, fromSlab())];
  const bytes = loaded(store, key);
  // Then it has gone meanwhile, or is another one.
  return bytes === undefined || isNative(words[0]) ? [DONE] : [OK, decode(codec, words[0], bytes)];
}

/** The promise, but no longer than until the signal says so. */
function until(signal, promise) {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    // What was called to get the promise may have said so.
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** A lease of this caller, which ends once: numbers of leases are used again. */
class Lease {
  #number;

  constructor(number) {
    this.#number = number;
  }

  drop(reason, retryMs = 0) {
    if (this.#number === undefined) return;
    native.leaseDrop(this.#number, reason, retryMs);
    this.#number = undefined;
  }

  /** Stores the loaded value, unless the lease is over: then it is already old. Gives whether others got it. */
  put(codec, value, ttl, softTtl) {
    if (this.#number === undefined) return true;
    let status = native.leasePut(this.#number, value, ttl, softTtl, undefined);
    if (status === ENCODE) status = native.leasePut(this.#number, encode(codec, value), ttl, softTtl, codec.type);
    this.#number = undefined;
    return status === OK;
  }
}

/** For how long the library is to know that there is no value: 0 is its own time, and not "at all". */
function remembered(absentTtl) {
  return absentTtl === undefined ? 0 : Math.max(1, Math.ceil(absentTtl));
}

/** Loads a key that this caller has the lease for. */
async function load(lease, waits, codec, key, loader, { ttl, softTtl, signal, absentTtl }, isOld) {
  // Who gave up has not failed: another one may load, now.
  const abort = () => lease.drop(CANCELLED);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const value = await loader(key, { signal });
    if (value === undefined) lease.drop(ABSENT, remembered(absentTtl));
    else if (!lease.put(codec, value, ttl, softTtl)) waits.keep(key, value);
    return value;
  } catch (error) {
    waits.explain(key, error);
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    // Where an old value serves, it does so for a while before the loader is asked again.
    lease.drop(FAILED, isOld ? RETRY : 0);
  }
}

/** What gives a copy of the value each time, as the cache would. */
function copiesOf(codec, value) {
  if (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol') return () => value;
  if (value === null) return () => null;
  if (isUint8Array(value)) {
    const bytes = Buffer.from(value);
    return () => Buffer.from(bytes);
  }
  const bytes = Buffer.from(encode(codec, value));
  return () => decode(codec, codec.type, Buffer.from(bytes));
}

/**
 * For those who waited for a value that nothing could hold: one of them loads it for all, unless it was
 * loaded here.
 */
async function loadedForAll(ended, codec, key, loader, signal) {
  for (;;) {
    ended.loaded ??= {
      by: signal,
      copies: Promise.resolve(loader(key, { signal })).then((value) => copiesOf(codec, value)),
    };
    const { by, copies } = ended.loaded;
    try {
      return (await until(signal, copies))();
    } catch (error) {
      // Who loaded it gave up, not those who wait.
      if (by === signal || !by?.aborted || signal?.aborted) throw error;
      if (ended.loaded.by === by) ended.loaded = undefined;
    }
  }
}

const FETCH_OPTIONS = names('ttl', 'staleWhileRevalidate', 'signal', 'absentTtl');
const WRAP_OPTIONS = names(...FETCH_OPTIONS, 'name', 'key');

const isSignal = (value) =>
  typeof value?.throwIfAborted === 'function' && typeof value.addEventListener === 'function';

/** The options of a fetch, checked before anything is loaded. */
function checkFetch(what, options) {
  checkOptions(what, options, what === 'wrap' ? WRAP_OPTIONS : FETCH_OPTIONS);
  const checked = { ...options };
  const { signal } = checked;
  for (const name of ['ttl', 'staleWhileRevalidate', 'absentTtl']) {
    const time = checked[name];
    if (time === undefined) continue;
    if (typeof time !== 'number') refuse(name, time, 'a number of milliseconds');
    if (Number.isNaN(time) || (time < 0 && name !== 'ttl')) outside(name, time, 'a number of milliseconds');
  }
  if (signal !== undefined && !isSignal(signal)) refuse('signal', signal, 'an AbortSignal');
  return checked;
}

/** The options of a fetch with its times as the library takes them: after the soft one, one caller reloads. */
function timesOf({ ttl, staleWhileRevalidate = 0, ...options }) {
  if (staleWhileRevalidate === 0) return { ...options, ttl, softTtl: undefined };
  for (const [name, time] of Object.entries({ ttl, staleWhileRevalidate })) {
    if (!(typeof time === 'number' && time > 0 && time < Infinity)) {
      outside(name, time, 'with staleWhileRevalidate, a number of milliseconds above 0');
    }
  }
  return { ...options, ttl: ttl + staleWhileRevalidate, softTtl: Math.ceil(ttl) };
}

/**
 * The value of a key, loaded if there is none.
 *
 * @param {() => number} storeOf the number of the store, 0 once it is closed
 */
async function fetch(storeOf, waits, codec, given, loader, settings) {
  const key = keptKey(given);
  const options = timesOf(settings);
  const { softTtl, signal } = options;
  const serves = softTtl !== undefined;
  for (;;) {
    signal?.throwIfAborted();
    // What has a soft time of its own or of the cache serves those who do not reload it.
    let [status, value] = claim(storeOf(), codec, key, STALE);
    let ended;
    if (status === TIMEOUT) {
      ended = await waits.of(key).endedOr(signal);
      status = ended.status;
      if (status === OK) value = ended.copy();
    }
    switch (status) {
      case OK:
        return value;
      case CLAIMED: {
        const lease = new Lease(value);
        let before = DONE;
        let old;
        try {
          if (serves || waits.servesIfError) [before, old] = present(storeOf(), codec, key);
        } catch (error) {
          lease.drop(CANCELLED);
          throw error;
        }
        const loaded = load(lease, waits, codec, key, loader, options, before === OK);
        if (before !== OK) return until(signal, loaded);
        if (!serves) return until(signal, loaded.catch(() => old));
        // The old value serves, and nobody waits for this load: a loader that fails is asked later.
        loaded.catch(() => {});
        return old;
      }
      case NOT_FOUND:
        return undefined;
      case LOAD_FAILED:
        throw ended?.error ?? new HyperCacheError('HC_LOAD_FAILED', 'another caller was loading the key, and failed');
      case NOT_ADMITTED:
        // The value could neither be stored nor be passed on.
        return loadedForAll(ended ?? {}, codec, key, loader, signal);
      default:
        // The lease has ended: look again.
        break;
    }
  }
}

module.exports = { Waits, checkFetch, fetch };
