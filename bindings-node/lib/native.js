'use strict';

// The addon, and the memory that it shares with this code.
//
// Words: what a call gives beside its value. Scratch: where values of a batch are copied to. Slab:
// memory that is cut into Buffers, as Node does it for small ones; the addon writes a value behind
// those that were cut off, so a Buffer costs no second copy.

const { markAsUntransferable } = require('node:worker_threads');
const { fail } = require('./errors.js');
const { RawKey } = require('./key.js');
const { load } = require('./platform.js');

const { native, folder } = load();

/** What a call gives when there is more to do than it could: no cache holds the global object. */
const MORE = native.more();
/** In place of a type: the value is large. */
const LARGE = 0xffffffff;
/** In place of a status: the value is for the codec. */
const ENCODE = 1000;
/** The most keys of one call. */
const MOST = 64;

// Where the words of a batch begin: what each value is, where its bytes are, how many, of which type;
// and numbers, which take two words each.
const CODES = 8;
const OFFSETS = CODES + MOST;
const LENGTHS = OFFSETS + MOST;
const KINDS = LENGTHS + MOST;
const NUMBERS = KINDS + MOST;
const WORDS = NUMBERS + 2 * MOST;

const SLAB_BYTES = 16 << 10;

/** The class of Buffers without what `Buffer.from` checks and does beside making one. */
const FastBuffer = Buffer[Symbol.species];
/** A Buffer that shows part of an ArrayBuffer. */
const view =
  typeof FastBuffer === 'function' && FastBuffer.prototype === Buffer.prototype
    ? (area, offset, length) => new FastBuffer(area, offset, length)
    : (area, offset, length) => Buffer.from(area, offset, length);

// The addon is loaded once a thread, also where this file is evaluated more than once, as test runners
// and duplicate installations do: all of them share what the addon writes to.
const memory = (native.memory ??= {
  words: new Uint32Array(WORDS),
  scratch: Buffer.alloc(256 << 10),
  slab: undefined,
  /** The slab's ArrayBuffer. */
  area: undefined,
  /** Those who wait for leases, by the number of their store. */
  waits: new Map(),
});
const { words, scratch, waits } = memory;
const numbers = new Float64Array(words.buffer, NUMBERS * words.BYTES_PER_ELEMENT, MOST);
const integers = new BigInt64Array(words.buffer, NUMBERS * words.BYTES_PER_ELEMENT, MOST);
const wake = (store) => waits.get(store)?.told();
if (native.begin(fail, (...values) => values, wake, RawKey, checkSlab, words, scratch) !== words.length) {
  throw new Error('hypercache: the package and its addon are of different versions');
}
if (memory.slab === undefined) renewSlab();

/** Begins another slab. The old one lives for as long as Buffers show it. */
function renewSlab() {
  const slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  markAsUntransferable(slab.buffer);
  native.setSlab(slab);
  memory.slab = slab;
  memory.area = slab.buffer;
}

/** The bytes that the last call left in the slab, as a Buffer. */
function fromSlab() {
  const buffer = view(memory.area, words[1], words[2]);
  if (words[3] !== 0) renewSlab();
  return buffer;
}

/**
 * Whoever has a Buffer can reach the slab's memory and take it away (`ArrayBuffer.transfer`).
 * Before the addon writes there it has to be there.
 */
function checkSlab() {
  if (memory.slab.length === 0) renewSlab();
}

const { load: loadInto } = native;

/** A value that was found to be large, as a Buffer of its own, with its type in the first word. */
function loaded(store, key) {
  let room = words[2];
  for (;;) {
    const bytes = Buffer.allocUnsafeSlow(room);
    const length = loadInto(store, key, bytes);
    if (length === undefined) return undefined;
    if (length === room) return bytes;
    // It was written anew meanwhile.
    if (length < room) return Buffer.from(bytes.subarray(0, length));
    room = length;
  }
}

const STORE = 0;
const POOL = 1;
const FILTER = 2;
const SCAN = 3;

/** Gives back the handles of objects that nobody closed. */
const abandoned = new FinalizationRegistry(([kind, id]) => native.release(kind, id));

module.exports = {
  native,
  folder,
  words,
  scratch,
  numbers,
  integers,
  memory,
  view,
  fromSlab,
  checkSlab,
  renewSlab,
  loaded,
  abandoned,
  waits,
  MORE,
  LARGE,
  ENCODE,
  MOST,
  CODES,
  OFFSETS,
  LENGTHS,
  KINDS,
  STORE,
  POOL,
  FILTER,
  SCAN,
};
