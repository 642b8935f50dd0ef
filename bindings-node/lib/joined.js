'use strict';

// Keys that go to the addon as one string: those of a batch, and the parts of an array.
//
// Reading elements of an array costs the addon more than all else of a look-up. What says where each of the
// strings ends is in the shared words. Reading a list can run code (an accessor, a proxy), which may join
// others meanwhile: then, as where not all are strings or integers, the addon reads the list by itself.

const { words, numbers, CODES, OFFSETS } = require('./native.js');

/** In place of an end: a number. */
const NUMBER = (1 << 16) + 1;
/** The word of how many parts there are. */
const PARTS = 7;
/** The most parts, and the most units of their text. */
const MOST_PARTS = 16;
const MOST_UNITS = 500;

/** Counts what was joined. */
let turns = 0;

/** The keys of a list joined, if all of them are strings. */
function joinKeys(keys, count) {
  const turn = ++turns;
  let joined = '';
  for (let i = 0; i < count; i++) {
    const key = keys[i];
    if (typeof key !== 'string') return undefined;
    joined += key;
    words[CODES + i] = joined.length;
  }
  return turn === turns ? joined : undefined;
}

/** Keys and values of a list joined, if all of them are strings: `[keys, values]`. Such a list is this code's own. */
function joinPairs(pairs) {
  let keys = '';
  let values = '';
  for (let i = 0, at = 0; at < pairs.length; i++, at += 2) {
    const key = pairs[at];
    const value = pairs[at + 1];
    if (typeof key !== 'string' || typeof value !== 'string') return undefined;
    keys += key;
    values += value;
    words[CODES + i] = keys.length;
    words[OFFSETS + i] = values.length;
  }
  return [keys, values];
}

/**
 * The parts of a key joined, if it is an array of some short strings and integers. To be asked for
 * before anything else that the call needs is looked at, and to be passed with the bits of the store's number inverted.
 */
function joinParts(key) {
  if (!Array.isArray(key)) return undefined;
  const turn = ++turns;
  const count = key.length;
  if (count > MOST_PARTS) return undefined;
  let joined = '';
  for (let i = 0; i < count; i++) {
    const part = key[i];
    if (typeof part === 'string') {
      joined += part;
      words[CODES + i] = joined.length;
    } else if (Number.isSafeInteger(part)) {
      words[CODES + i] = NUMBER;
      numbers[i] = part;
    } else {
      return undefined;
    }
  }
  if (turn !== turns || joined.length > MOST_UNITS) return undefined;
  words[PARTS] = count;
  return joined;
}

module.exports = { joinKeys, joinPairs, joinParts };
