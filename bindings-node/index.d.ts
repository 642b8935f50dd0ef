/// <reference types="node" />
import { EventEmitter } from 'node:events';

/**
 * What names an entry. A string is its UTF-8 bytes, so that other languages name the same entry;
 * numbers are safe integers; an array is a key made of keys. The longest key takes 65,535 bytes.
 */
export type Key = string | Uint8Array | number | bigint | RawKey | readonly Key[];

/** A key by its bytes, for what a program in C wrote under bytes that no other key encodes to. */
export class RawKey {
  constructor(bytes: Uint8Array);
  readonly bytes: Uint8Array;
}

/** A number of bytes, text such as `"64MiB"`, `"1.5GiB"` or `"500MB"`, or a share of the memory of this machine or container, such as `"25%"`. */
export type Bytes = number | bigint | string;

/** Milliseconds; parts of one round up, `Infinity` does not expire, 0 or less removes the entry. `"keep"`: what the present entry has left. */
export type Ttl = number | 'keep';

/** What the eviction goes by; docs/eviction.md says which is for what. */
export type Policy =
  | 'default' | 'adaptive' | 's3fifo' | 'sieve' | 'wtinylfu' | 'lru' | 'lfu' | 'fifo' | 'random'
  | 'ttl' | 'hybrid' | 'session';

/** How values are stored that have no type of their own: objects, arrays, dates, ... */
export interface Codec {
  /** The type to store under, 128 to 255; 128 unless given. */
  type?: number;
  encode(value: any): Uint8Array;
  /** The bytes may share memory with other Buffers: do not keep or transfer their `buffer`. */
  decode(bytes: Buffer): any;
}

export interface CacheOptions {
  /** The limit, everything included: of a pool of its own, or, with `pool`, of the share in it. */
  maxBytes?: Bytes;
  /** In a shared pool: other caches cannot push this one below it. */
  minBytes?: Bytes;
  /** Caches of one name (and pool) are one cache, in every worker thread and language of the process. */
  name?: string;
  /** The pool to live in; without one the cache has its own. */
  pool?: Pool;
  policy?: Policy;
  /** Options of the policy, `"name=value,..."`. */
  policyOptions?: string;
  /** How long entries live unless they say otherwise, in milliseconds; 0 or Infinity: they do not expire. */
  ttl?: number;
  /** Shortens times to live by up to this share, in per cent, so that not all expire at once. */
  ttlJitter?: number;
  /** The most entries, besides the limit in bytes. */
  maxEntries?: number;
  /** The same under lru-cache's name. */
  max?: number;
  /** The longest value; a quarter of the limit unless given. */
  maxValueBytes?: Bytes;
  /** At most so many shards, a power of two. */
  shards?: number;
  /** Fixes the hash, for tests and replays. */
  hashSeed?: number | bigint;
  /** How values are stored that have no type of their own: V8's structured serialisation unless given. */
  codec?: 'v8' | 'json' | 'msgpack' | Codec;
  /** How long one caller may load, in milliseconds, before another may: 10,000 unless given. */
  leaseTime?: number;
  /** How old values may get, in milliseconds, before one caller of `fetch` reloads them; the others get the old value meanwhile. */
  softTtl?: number;
  /** Entries go that were not read for so many milliseconds, at most 2^32 - 1. */
  idleTtl?: number;
  /**
   * An old value serves once more for so many milliseconds where `fetch` fails to load it anew. It needs a soft
   * time (`softTtl`, `staleWhileRevalidate`): what is older than its `ttl` is gone and serves nobody.
   */
  staleIfError?: number;
  /** Nothing is loaded anew before its time. By default, one of many callers may do so shortly before, so that not all have to wait at once. */
  noEarlyRefresh?: boolean;
  /** How long a key is remembered whose loader gave undefined, in milliseconds: 1,000 unless given, 0 for not at all. */
  absentTtl?: number;
  /** A filter before the index, asked where most look-ups miss; the share of keys it may err for, 1e-9 to 0.1. None unless given. */
  filterFpr?: number;
  /** Measure latencies (see `latency()`). */
  latency?: boolean;
}

export interface SetOptions {
  ttl?: Ttl;
  /** As the cache's own option, for this entry. */
  softTtl?: number;
  idleTtl?: number;
  /** The session that the entry belongs to, up to 64 bits. */
  session?: number | bigint;
  /** 32 bits of the application's own, kept with the entry. */
  flags?: number;
  /** Bytes only: the type to store them under, 0 to 255, for other languages to read. */
  type?: number;
}

/** Loads a value; what it throws, everyone learns who waits for it. */
export type Loader<V> = (key: any, context: { signal?: AbortSignal }) => V | undefined | Promise<V | undefined>;

export interface FetchOptions {
  ttl?: number;
  /** For so many milliseconds after `ttl`, the old value is given at once, while one caller reloads it. Needs a `ttl`. */
  staleWhileRevalidate?: number;
  /** Ends the wait; who loads is told, and leaves the load to another. */
  signal?: AbortSignal;
  /** How long to remember that there is no such value; the cache's own `absentTtl` unless given, 0 for not at all. */
  absentTtl?: number;
}

export interface WrapOptions<A extends any[]> extends FetchOptions {
  /** The key of a call: the function's name and its arguments unless given. */
  key?: (...args: A) => Key;
  /** The name in such keys. */
  name?: string;
}

/** An entry with what is kept beside its value. */
export interface Entry<V> {
  value: V;
  /** `HC_TYPE_*` of the C interface. */
  type: number;
  flags: number;
  session: number | bigint;
  /** Milliseconds left, `Infinity` if it does not expire. */
  ttl: number;
  /** Changes with every write (and may change when the store moves the entry). */
  version: bigint;
  /** The length of the value as it is stored. */
  bytes: number;
}

/** What entries to take; patterns are matched against the bytes of the key. */
export type Match =
  | { prefix: string | Uint8Array }
  /** `*` is any run, `?` one byte, `\` quotes. */
  | { glob: string | Uint8Array }
  | { session: number | bigint }
  | { type: number };

export interface CacheStats {
  entries: number; payloadBytes: number; deadBytes: number; waitingBytes: number; usedBytes: number;
  limitBytes: number; pinnedBytes: number; hits: number; misses: number; staleHits: number;
  inserts: number; updates: number; deletes: number; invalidated: number; evicted: number;
  evictedBytes: number; expired: number; notAdmitted: number; rejected: number; writtenBytes: number;
  movedBytes: number; filterSkips: number; leases: number; leaseWaits: number; sessions: number;
  sessionsIdle: number; sessionsExpired: number; sessionsEnded: number; faults: number;
  poisonedShards: number;
}

export interface Latency {
  count: number; minNs: number; meanNs: number; p50Ns: number; p90Ns: number; p99Ns: number;
  p999Ns: number; maxNs: number;
}

export interface CacheConfig {
  name?: string; maxBytes: number; minBytes: number; maxValueBytes: number; maxEntries: number;
  shards: number; policy: Policy | 'unknown'; ttl: number;
  /** 0: none. */
  softTtl: number; staleIfError: number;
}

/**
 * A cache off the V8 heap, bounded in bytes. Strings, Buffers, numbers, booleans and null are stored
 * under a type that other languages read; a Uint8Array comes back as a Buffer; everything else goes
 * through the codec.
 */
export class Cache<V = any> implements Iterable<[Key, V]> {
  constructor(options: CacheOptions);

  /** The value, or undefined. */
  get(key: Key): V | undefined;
  /** `get` that counts no hit. */
  peek(key: Key): V | undefined;
  /** A value of text, JSON or bytes as a string. */
  getString(key: Key): string | undefined;
  /** The bytes of a value of whatever type. */
  getBuffer(key: Key): Buffer | undefined;
  /** Copies the bytes to the target and gives their number; a RangeError names the length that is needed where they do not fit. */
  getInto(key: Key, target: Uint8Array, offset?: number): number | undefined;
  /** The value with what is kept beside it; with `peek` no hit is counted, with `raw` the value is its bytes. */
  getEntry(key: Key, options?: { peek?: boolean; raw?: false }): Entry<V> | undefined;
  getEntry(key: Key, options: { peek?: boolean; raw: true }): Entry<Buffer> | undefined;
  /** `get` and `delete` in one: of several callers one gets the value. What the codec cannot read stays. */
  take(key: Key): V | undefined;
  /** Whether there is an entry, without counting a hit. */
  has(key: Key): boolean;
  /** The values in the order of the keys, in one call for all: short texts and Buffers share memory, as small Buffers do in Node. */
  getMany(keys: Iterable<Key>): (V | undefined)[];
  /** Milliseconds left, Infinity if it does not expire, undefined if there is none. */
  remainingTtl(key: Key): number | undefined;
  /** The same with lru-cache's name and its 0 for an entry that is not there. */
  getRemainingTTL(key: Key): number;

  /** False if the policy declined the value; the older one is gone then too. A `ttl` of 0 or less, and undefined, delete. With `ifVersion`: only if the entry has this version. */
  set(key: Key, value: V | undefined, options?: SetOptions & { ifVersion?: bigint }): boolean;
  /** Only if there is no entry. */
  add(key: Key, value: V, options?: SetOptions): boolean;
  /** Only if there is one. */
  replace(key: Key, value: V, options?: SetOptions): boolean;
  /** Stores them one by one and gives the number of those stored: those for which `set` would give true. */
  setMany(entries: Iterable<readonly [Key, V]>, options?: SetOptions): number;
  /** Whether there was an entry. */
  delete(key: Key, options?: { ifVersion?: bigint }): boolean;
  /** How many were there. */
  deleteMany(keys: Iterable<Key>): number;
  /** Adds to an integer, atomically, and gives the sum; an absent key becomes `initial`, which is the delta unless given. */
  incr(key: Key, delta?: number | bigint, options?: { initial?: number | bigint; ttl?: number }): number | bigint;
  /** Restarts the time to live; whether there is an entry. */
  touch(key: Key, ttl?: Ttl): boolean;

  /**
   * The value, loaded if there is none: of all who fetch the key at a time, in all worker threads and
   * languages of the process, one loads it. Who waits holds up nothing. A loader that gives undefined
   * says that there is no such value; that is remembered for `absentTtl`.
   */
  fetch(key: Key, loader: Loader<V>, options?: FetchOptions): Promise<V | undefined>;
  /** Takes a filter as the keys of the source behind `fetch`: what it excludes is not loaded. Undefined: none. */
  setKnownKeys(filter: CuckooFilter | undefined): void;
  /** False: certainly neither here nor, by the known keys, in the source. */
  mayExist(key: Key): boolean;
  /** The function, with its results in the cache under its name and arguments. */
  wrap<A extends any[], R extends V>(fn: (...args: A) => R | Promise<R>, options?: WrapOptions<A>): (...args: A) => Promise<R>;

  /** Removes what matches and gives the number. Visits the whole store. */
  invalidate(match: Match): number;
  /** Removes everything. */
  clear(): void;
  /** Each entry that is there throughout comes once, in no order; no hits are counted. */
  keys(match?: Match): Generator<Key, void, undefined>;
  values(match?: Match): Generator<V, void, undefined>;
  entries(match?: Match): Generator<[Key, V], void, undefined>;
  [Symbol.iterator](): Generator<[Key, V], void, undefined>;
  forEach(visit: (value: V, key: Key, cache: this) => void, self?: any): void;

  /** The number of entries. */
  readonly size: number;
  /** The pool: the one it was given, or its own. */
  readonly pool: Pool;
  /** What is in force, defaults filled in. */
  readonly config: CacheConfig;
  stats(): CacheStats;
  /** Nanoseconds, if the cache was opened with `latency`. */
  latency(operation: 'get' | 'set' | 'delete'): Latency | undefined;
  /** Changes the limit. False: views of other languages still hold more; it is reached as they are given back. */
  resize(maxBytes: Bytes): boolean;
  /** Checks every invariant and throws what is broken; for tests. */
  validate(): void;
  readonly closed: boolean;
  /** Gives the handle back. Entries go with the last one. */
  close(): void;
  /** Drops all entries and ends the cache for everyone who has it open. */
  destroy(): void;
  [Symbol.dispose](): void;
}

export interface PoolOptions {
  maxBytes?: Bytes;
  /** The largest limit it may be given later: 8 times `maxBytes` unless given. */
  maxBytesEver?: Bytes;
  /** Pools of one name are one pool, in every worker thread and language of the process. */
  name?: string;
  /** Memory that views of other languages may hold back: a quarter unless given. */
  pinLimit?: Bytes;
  /** Where levels of pressure begin, in per cent: 85, 90 and 95 unless given. */
  elevated?: number;
  high?: number;
  critical?: number;
  /** Take all memory now. */
  prefault?: boolean;
  /** Wipe memory before it is used again. */
  zeroOnFree?: boolean;
  noHugePages?: boolean;
  /** Pressure goes by used bytes, not by what eviction cannot give back. */
  pressureOfUsed?: boolean;
}

export type PressureLevel = 'none' | 'elevated' | 'high' | 'critical';

export interface PressureEvent {
  level: PressureLevel;
  usedBytes: number;
  limitBytes: number;
}

export interface PoolStats {
  limitBytes: number; targetBytes: number; usedBytes: number; peakBytes: number; pinnedBytes: number;
  heldBytes: number; appBytes: number; overheadBytes: number; residentBytes: number; hugeBytes: number;
  stores: number; levelChanges: number; allocFailures: number; allocCreated: number;
  allocReused: number; allocReturned: number; allocDiscarded: number; pressure: PressureLevel;
}

/** A byte budget and its memory; caches and filters may share one. */
export class Pool extends EventEmitter {
  constructor(options: PoolOptions);
  readonly pressure: PressureLevel;
  stats(): PoolStats;
  /** Changes the limit. False: what cannot be evicted still holds more. */
  resize(maxBytes: Bytes): boolean;
  /** Evicts until at most so many bytes are used, and gives the number of bytes freed. */
  trim(bytes?: Bytes): number;
  setThresholds(thresholds?: { elevated?: number; high?: number; critical?: number }): void;
  validate(): void;
  readonly closed: boolean;
  close(): void;
  [Symbol.dispose](): void;
  /** A change of level. A listener does not keep the process alive. */
  on(event: 'pressure', listener: (event: PressureEvent) => void): this;
  on(event: string | symbol, listener: (...args: any[]) => void): this;
}

export interface FilterOptions {
  /** How many keys are expected in it at a time. */
  capacity: number;
  /** The share of false positives, 0.001 unless given. */
  fpr?: number;
  hashSeed?: number | bigint;
  /** Charge its memory to this pool. */
  pool?: Pool;
}

export interface FilterStats {
  keys: number; capacity: number; bytes: number; adds: number; addFailures: number; lookups: number;
  removes: number; removeFailures: number; kicks: number; longestKickChain: number; resizes: number;
  positives: number; loadFactor: number; fprTheoretical: number; fprSampled: number;
  saturated: boolean;
}

/** What a set certainly does not contain: `has` is never false for a key that was added. */
export class CuckooFilter {
  constructor(options: FilterOptions);
  /** Loads what was saved; options that are set must be the file's. */
  static load(path: string, options?: Partial<FilterOptions>): Promise<CuckooFilter>;
  add(key: Key): this;
  /** False: certainly not there. */
  has(key: Key): boolean;
  /** Adds all of them, in as few calls of the library as may be. */
  addMany(keys: Iterable<Key>): this;
  /** What `has` gives for each, in their order. */
  hasMany(keys: Iterable<Key>): boolean[];
  /** Removes a key that was added; of one that was not, it may remove another one's trace. */
  delete(key: Key): boolean;
  clear(): void;
  stats(): FilterStats;
  /** Saves to a file, written beside it and renamed over it. */
  save(path: string): Promise<void>;
  validate(): void;
  readonly closed: boolean;
  close(): void;
  [Symbol.dispose](): void;
}

/**
 * A failure of the library; `code` is its status in the C interface, such as `HC_ERR_CLOSED`. Arguments of the
 * wrong kind are refused with a TypeError, and those of the right kind outside of their range with a
 * RangeError; the message names the argument, what it is, and what is allowed.
 */
export class HyperCacheError extends Error {
  constructor(code: string, message: string);
  readonly code: string;
}

/** All pools and caches of the process, in Prometheus' text format 0.0.4. */
export function metricsText(): string;
/** The library that was loaded. */
export function versions(): { version: string; build: string };
/** The folder of the C and C++ headers, for addons that use the same library. */
export function getInclude(): string;
/** The folder of `libhypercache.so.0`. */
export function getLibraryDir(): string;
