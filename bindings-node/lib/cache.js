'use strict';

const { isUint8Array } = require('node:util').types;

const {
  native, words, fromSlab, checkSlab, loaded, abandoned, MORE, LARGE, ENCODE, MOST, STORE, SCAN,
} = require('./native.js');
const { getMany, setMany } = require('./batch.js');
const { codecOf, decode, encode, isNative, BYTES } = require('./codec.js');
const { Waits, checkFetch, fetch } = require('./fetch.js');
const { CuckooFilter } = require('./filter.js');
const { joinParts } = require('./joined.js');
const { checkFunction, checkIterable, checkOptions, names, refuse } = require('./options.js');
const { Pool } = require('./pool.js');
const { Uncloneable } = require('./uncloneable.js');

// The addon's functions as constants: V8 then calls them directly, where a property of an object with
// so many would first have to be looked up.
const {
  get, peek, getString, getBuffer, getInto, has, set, setFor, put, delete: remove,
} = native;

const OPTIONS = names(
  'maxBytes', 'minBytes', 'name', 'pool', 'policy', 'policyOptions', 'ttl', 'ttlJitter', 'max',
  'maxEntries', 'maxValueBytes', 'shards', 'hashSeed', 'codec', 'filterFpr', 'latency', 'leaseTime', 'absentTtl',
  'softTtl', 'idleTtl', 'staleIfError', 'noEarlyRefresh',
);
const PUT_OPTIONS = names('ttl', 'session', 'flags', 'softTtl', 'idleTtl', 'type');
const SET_OPTIONS = names(...PUT_OPTIONS, 'ifVersion');
const DELETE_OPTIONS = names('ifVersion');
const INCR_OPTIONS = names('initial', 'ttl');
const ENTRY_OPTIONS = names('peek', 'raw');

const SET = 0;
const ADD = 1;
const REPLACE = 2;
const CAS = 3;

const MATCHES = new Map([['prefix', 1], ['glob', 2], ['session', 3], ['type', 4]]);

const OPERATIONS = new Map([['get', 0], ['set', 1], ['delete', 2]]);

/** A kind of match and its operand; everything where nothing is asked for. */
function matchOf(match) {
  if (match === undefined) return [0, undefined];
  const allowed = 'one of { prefix }, { glob }, { session }, { type }';
  if (match === null || typeof match !== 'object') refuse('match', match, allowed);
  const given = Object.entries(match);
  if (given.length !== 1 || !MATCHES.has(given[0][0])) {
    const found = given.map(([name]) => name).join(', ') || 'nothing';
    throw new TypeError(`match has ${found}; ${allowed} is allowed`);
  }
  const [[name, operand]] = given;
  if (operand === undefined) refuse(name, operand, 'what to match');
  return [MATCHES.get(name), operand];
}

/** A list of keys. */
function listOf(keys) {
  checkIterable('keys', keys, 'keys');
  return Array.from(keys);
}

/** Whether the addon stores the value under a type of its own. */
function isPlain(value) {
  switch (typeof value) {
    case 'object':
      return value === null || isUint8Array(value);
    case 'undefined':
      return false;
    default:
      return true;
  }
}

/** A cache off the V8 heap, bounded in bytes. */
class Cache extends Uncloneable {
  #id = 0;
  #codec;
  #pool;
  #ownsPool;
  /** Made when the first caller has to wait or to load. */
  #waits;

  constructor(options) {
    super();
    checkOptions('Cache', options, OPTIONS);
    const { pool, name, max, maxEntries = max, codec, ...rest } = options;
    this.#codec = codecOf(codec);
    this.#ownsPool = pool === undefined;
    if (this.#ownsPool) {
      const { maxBytes, ...others } = rest;
      if (maxBytes === undefined && name === undefined) {
        throw new TypeError('a cache has maxBytes, a pool, or the name of one that is open');
      }
      this.#pool = new Pool({ maxBytes, name });
      this.#open({ ...others, name, maxEntries }, maxBytes === undefined);
    } else {
      this.#pool = pool;
      this.#open({ ...rest, name, maxEntries }, false);
    }
    abandoned.register(this, [STORE, this.#id], this);
  }

  #open(options, find) {
    try {
      this.#id = native.openStore(Pool.handleOf(this.#pool), options, find);
    } catch (error) {
      if (this.#ownsPool) this.#pool.close();
      throw error;
    }
  }

  // ---- Reading ---------------------------------------------------------------------------

  get(key) {
    const id = this.#id;
    const joined = typeof key === 'object' ? joinParts(key) : undefined;
    checkSlab();
    const value = joined === undefined ? get(id, key) : get(~id, joined);
    if (value !== MORE) return value;
    return words[0] === BYTES ? fromSlab() : this.#rest(key);
  }

  peek(key) {
    const id = this.#id;
    const joined = typeof key === 'object' ? joinParts(key) : undefined;
    checkSlab();
    const value = joined === undefined ? peek(id, key) : peek(~id, joined);
    return value === MORE ? this.#rest(key) : value;
  }

  /** What the addon has left to do here of a value that it found. */
  #rest(key) {
    const type = words[0];
    if (type !== LARGE) return decode(this.#codec, type, fromSlab());
    const bytes = loaded(this.#id, key);
    if (bytes === undefined) return undefined;
    // Between the look-up and the copy it may have been written anew as what the addon makes.
    return isNative(words[0]) ? this.peek(key) : decode(this.#codec, words[0], bytes);
  }

  getString(key) {
    const id = this.#id;
    const joined = typeof key === 'object' ? joinParts(key) : undefined;
    return joined === undefined ? getString(id, key) : getString(~id, joined);
  }

  getBuffer(key) {
    const id = this.#id;
    const joined = typeof key === 'object' ? joinParts(key) : undefined;
    checkSlab();
    const found = joined === undefined ? getBuffer(id, key) : getBuffer(~id, joined);
    if (found === true) return fromSlab();
    return found === undefined ? undefined : loaded(this.#id, key);
  }

  getInto(key, target, offset = 0) {
    const id = this.#id;
    const joined = typeof key === 'object' ? joinParts(key) : undefined;
    return joined === undefined ? getInto(id, key, target, offset) : getInto(~id, joined, target, offset);
  }

  has(key) {
    const id = this.#id;
    const joined = typeof key === 'object' ? joinParts(key) : undefined;
    return joined === undefined ? has(id, key) : has(~id, joined);
  }

  getEntry(key, options = {}) {
    checkOptions('getEntry', options, ENTRY_OPTIONS);
    const { peek = false, raw = false } = options;
    return this.#entry(native.entry(this.#id, key, peek ? 1 : 0, Boolean(raw)));
  }

  #entry(fields) {
    if (fields === undefined) return undefined;
    const [value, decoded, type, flags, session, ttl, version, bytes] = fields;
    const given = decoded ? value : decode(this.#codec, type, value);
    return { value: given, type, flags, session, ttl, version, bytes };
  }

  take(key) {
    for (;;) {
      const found = this.#entry(native.entry(this.#id, key, 0, false));
      // Decoded before it is removed: what the codec cannot read stays.
      if (found === undefined || remove(this.#id, key, found.version) === 0) return found?.value;
    }
  }

  getMany(keys) {
    const list = Array.isArray(keys) ? keys : listOf(keys);
    if (list.length <= MOST) return getMany(this, this.#id, this.#codec, list);
    const values = [];
    for (let at = 0; at < list.length; at += MOST) {
      values.push(...getMany(this, this.#id, this.#codec, list.slice(at, at + MOST)));
    }
    return values;
  }

  remainingTtl(key) {
    return native.remainingTtl(this.#id, key);
  }

  getRemainingTTL(key) {
    return native.remainingTtl(this.#id, key) ?? 0;
  }

  // ---- Writing ---------------------------------------------------------------------------

  set(key, value, options) {
    if (options === undefined) {
      if (value === undefined) {
        this.delete(key);
        return true;
      }
      const id = this.#id;
      const joined = typeof key === 'object' ? joinParts(key) : undefined;
      const status = joined === undefined ? set(id, key, value) : set(~id, joined, value);
      if (status !== ENCODE) return status === 0;
      return this.#put(SET, key, value, {}) === 0;
    }
    checkOptions('set', options, SET_OPTIONS);
    const { ifVersion } = options;
    if (value === undefined) return this.delete(key, { ifVersion }) || ifVersion === undefined;
    return this.#put(ifVersion === undefined ? SET : CAS, key, value, options) === 0;
  }

  add(key, value, options = {}) {
    checkOptions('add', options, PUT_OPTIONS);
    return this.#put(ADD, key, value, options) === 0;
  }

  replace(key, value, options = {}) {
    checkOptions('replace', options, PUT_OPTIONS);
    return this.#put(REPLACE, key, value, options) === 0;
  }

  #put(mode, key, value, { ttl, session, flags, ifVersion, softTtl, idleTtl, type }) {
    if (value === undefined) refuse('value', value, 'anything else');
    if (type !== undefined && !isUint8Array(value)) refuse('value', value, 'with a type of its own, a Uint8Array');
    const id = this.#id;
    const joined = typeof key === 'object' ? joinParts(key) : undefined;
    const [store, name] = joined === undefined ? [id, key] : [~id, joined];
    const only =
      mode === SET && session === undefined && flags === undefined && softTtl === undefined &&
      idleTtl === undefined && type === undefined;
    const status = only
      ? setFor(store, name, value, ttl)
      : put(store, name, value, mode, ttl, session, flags, ifVersion, softTtl, idleTtl, type);
    if (status !== ENCODE) return status;
    const codec = this.#codec;
    const bytes = encode(codec, value);
    return put(id, key, bytes, mode, ttl, session, flags, ifVersion, softTtl, idleTtl, codec.type);
  }

  setMany(entries, options = {}) {
    checkIterable('entries', entries, '[key, value]');
    checkOptions('setMany', options, PUT_OPTIONS);
    const { ttl, ...others } = options;
    const batched = Object.keys(others).length === 0 && !(ttl <= 0);
    let stored = 0;
    let pairs = [];
    const flush = () => {
      if (pairs.length !== 0) stored += this.#setBatch(pairs, ttl, options);
      pairs = [];
    };
    for (const entry of entries) {
      if (!Array.isArray(entry)) refuse('an entry', entry, '[key, value]');
      const [key, value] = entry;
      if (batched && isPlain(value)) {
        pairs.push(key, value);
        if (pairs.length === MOST) flush();
      } else {
        flush();
        stored += Number(this.set(key, value, options));
      }
    }
    flush();
    return stored;
  }

  #setBatch(pairs, ttl, options) {
    if (setMany(this.#id, ttl, pairs) !== ENCODE) return words[0];
    // Text that is no Unicode, or a bigint that needs the codec: one by one.
    let stored = 0;
    for (let i = 0; i < pairs.length; i += 2) stored += Number(this.set(pairs[i], pairs[i + 1], options));
    return stored;
  }

  delete(key, options) {
    if (options === undefined) {
      const id = this.#id;
      const joined = typeof key === 'object' ? joinParts(key) : undefined;
      return (joined === undefined ? remove(id, key, undefined) : remove(~id, joined, undefined)) === 0;
    }
    checkOptions('delete', options, DELETE_OPTIONS);
    const { ifVersion } = options;
    return remove(this.#id, key, ifVersion) === 0;
  }

  deleteMany(keys) {
    const list = listOf(keys);
    let deleted = 0;
    for (let at = 0; at < list.length; at += MOST) {
      deleted += native.deleteMany(this.#id, ...list.slice(at, at + MOST));
    }
    return deleted;
  }

  incr(key, delta = 1, options = {}) {
    checkOptions('incr', options, INCR_OPTIONS);
    const { initial = delta, ttl } = options;
    return native.incr(this.#id, key, delta, initial, ttl);
  }

  touch(key, ttl) {
    return native.touch(this.#id, key, ttl) === 0;
  }

  // ---- Read-through ----------------------------------------------------------------------

  async fetch(key, loader, options = {}) {
    checkFunction('loader', loader);
    const checked = checkFetch('fetch', options);
    this.#waits ??= new Waits(this.#id, this.#codec);
    return fetch(() => this.#id, this.#waits, this.#codec, key, loader, checked);
  }

  wrap(fn, options = {}) {
    checkFunction('fn', fn);
    const { name, key, ...others } = checkFetch('wrap', options);
    if (key !== undefined) checkFunction('key', key);
    if (name !== undefined && typeof name !== 'string') refuse('name', name, 'a string');
    const prefix = name ?? fn.name;
    if (prefix === '' && key === undefined) {
      throw new TypeError('the function has no name to tell its keys from others: give `name` or `key`');
    }
    const keyOf = key ?? ((...args) => [prefix, ...args]);
    const cache = this;
    return function wrapped(...args) {
      return cache.fetch(keyOf.apply(this, args), () => fn.apply(this, args), others);
    };
  }

  setKnownKeys(filter) {
    native.setKnownKeys(this.#id, filter === undefined ? undefined : CuckooFilter.handleOf(filter));
  }

  mayExist(key) {
    return native.mayExist(this.#id, key);
  }

  // ---- Many entries at once --------------------------------------------------------------

  invalidate(match) {
    if (match === undefined) refuse('match', match, 'what to invalidate (clear() removes everything)');
    return native.invalidate(this.#id, ...matchOf(match));
  }

  clear() {
    native.clear(this.#id);
  }

  *#walk(match, withValues) {
    const scan = native.scan(this.#id, ...matchOf(match));
    // A walk that is dropped in the middle is given back when the generator is collected.
    const token = {};
    abandoned.register(token, [SCAN, scan], token);
    try {
      for (;;) {
        const batch = native.scanNext(scan, MOST, withValues);
        if (batch.length === 0) return;
        yield batch;
      }
    } finally {
      abandoned.unregister(token);
      native.release(SCAN, scan);
    }
  }

  *keys(match) {
    for (const batch of this.#walk(match, false)) yield* batch;
  }

  *entries(match) {
    for (const batch of this.#walk(match, true)) {
      for (let i = 0; i < batch.length; i += 3) {
        const type = batch[i + 2];
        const value = batch[i + 1];
        yield [batch[i], type === undefined ? value : decode(this.#codec, type, value)];
      }
    }
  }

  *values(match) {
    for (const [, value] of this.entries(match)) yield value;
  }

  forEach(visit, self) {
    checkFunction('visit', visit);
    for (const [key, value] of this.entries()) visit.call(self, value, key, this);
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  // ---- The cache itself ------------------------------------------------------------------

  get size() {
    return native.size(this.#id);
  }

  get pool() {
    return this.#pool;
  }

  get config() {
    return native.storeConfig(this.#id);
  }

  stats() {
    return native.storeStats(this.#id);
  }

  latency(operation) {
    const number = OPERATIONS.get(operation);
    if (number === undefined) refuse('operation', operation, "'get', 'set' or 'delete'");
    return native.latency(this.#id, number);
  }

  resize(maxBytes) {
    if (this.#ownsPool) return this.#pool.resize(maxBytes);
    return native.resizeStore(this.#id, maxBytes) === 0;
  }

  validate() {
    native.validate(STORE, this.#id);
  }

  get closed() {
    return this.#id === 0;
  }

  close() {
    if (this.#id === 0) return;
    abandoned.unregister(this);
    const id = this.#id;
    this.#id = 0;
    this.#waits?.close();
    native.release(STORE, id);
    if (this.#ownsPool) this.#pool.close();
  }

  destroy() {
    if (this.#id === 0) return;
    native.destroy(this.#id);
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.close();
  }
}

module.exports = { Cache };
