'use strict';

// Many keys in one call of the addon.
//
// Strings are the cheapest to pass one by one, and to make one by one, so the addon gets and gives them
// joined: keys are put together here and short texts are cut apart here.

const {
  native, words, numbers, integers, scratch, memory, view, checkSlab, renewSlab, MOST, CODES, OFFSETS, LENGTHS, KINDS,
} = require('./native.js');
const { decode } = require('./codec.js');
const { joinKeys, joinPairs } = require('./joined.js');

const { getMany: getManyOf, getManyText, setMany: setManyOf, setManyText } = native;

// What a value is; less than the first is the length of a text.
const MISS = 1 << 16;
const NUMBER = MISS + 1;
const BIGINT = MISS + 2;
const FALSE = MISS + 3;
const TRUE = MISS + 4;
const NULL = MISS + 5;
const BYTES = MISS + 6;
const TEXT = MISS + 7;
const ENCODED_IN_SLAB = MISS + 8;
const ENCODED = MISS + 9;

/** What the addon gives for keys that are strings: short texts, joined. Undefined for others. */
function ofText(store, keys) {
  const joined = joinKeys(keys, keys.length);
  if (joined === undefined) return undefined;
  checkSlab();
  return getManyText(store, joined, keys.length);
}

/** The same for keys of any kind. */
function ofAny(store, keys) {
  checkSlab();
  return getManyOf(store, ...keys);
}

/** The values of up to `MOST` keys. */
function getMany(cache, store, codec, given) {
  let keys = given;
  let text = ofText(store, keys);
  if (text === undefined) {
    // A copy, which nothing that the keys may run can change.
    keys = Array.from(given).slice(0, MOST);
    text = ofAny(store, keys);
  }
  const count = keys.length;
  const values = new Array(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const code = words[CODES + i];
    if (code < MISS) {
      const start = at;
      at += code;
      values[i] = text.slice(start, at);
    } else {
      values[i] = code === MISS ? undefined : made(code, i);
    }
  }
  if (words[0] === 0) finish();
  else decodeRest(cache, codec, keys, values);
  return values;
}

/** Sees to it that the slab has room for what is read next. */
function finish() {
  if (words[3] !== 0) renewSlab();
}

/** A value that is no short text and needs no codec. */
function made(code, i) {
  switch (code) {
    case NUMBER:
      return numbers[i];
    case BIGINT:
      return integers[i];
    case FALSE:
      return false;
    case TRUE:
      return true;
    case NULL:
      return null;
    case BYTES:
      return view(memory.area, words[OFFSETS + i], words[LENGTHS + i]);
    case TEXT:
      return scratch.utf8Slice(words[OFFSETS + i], words[OFFSETS + i] + words[LENGTHS + i]);
    default:
      return undefined;
  }
}

/** Puts in the values that are left for the codec, or to be read on their own. */
function decodeRest(cache, codec, keys, values) {
  const left = [];
  // All bytes first: decoding may call the cache, which uses the same memory.
  for (let i = 0; i < values.length; i++) {
    const code = words[CODES + i];
    if (code < ENCODED_IN_SLAB) continue;
    const [start, length] = [words[OFFSETS + i], words[LENGTHS + i]];
    let bytes;
    if (code === ENCODED_IN_SLAB) bytes = view(memory.area, start, length);
    else if (code === ENCODED) bytes = Buffer.from(scratch.subarray(start, start + length));
    left.push([i, words[KINDS + i], bytes]);
  }
  finish();
  for (const [i, type, bytes] of left) {
    values[i] = bytes === undefined ? cache.get(keys[i]) : decode(codec, type, bytes);
  }
}

/** Stores up to `MOST` pairs of keys and values, `[key, value, ...]`; `ENCODE`: one of the values has to be encoded. */
function setMany(store, ttl, pairs) {
  const joined = joinPairs(pairs);
  if (joined !== undefined) {
    const status = setManyText(store, joined[0], joined[1], pairs.length / 2, ttl);
    if (status !== undefined) return status;
  }
  return setManyOf(store, ttl, ...pairs);
}

module.exports = { getMany, setMany };
