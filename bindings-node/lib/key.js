'use strict';

const { isUint8Array } = require('node:util').types;
const { refuse } = require('./options.js');

/**
 * A key by its bytes: names what a program in C wrote under bytes that no other key encodes to.
 * Reading keys back gives one where the bytes are those of no other type.
 */
class RawKey {
  constructor(bytes) {
    if (!isUint8Array(bytes)) refuse('bytes', bytes, 'a Uint8Array');
    this.bytes = bytes;
  }
}

/** The most bytes of a key, and so the most parts: what has more, the addon refuses. */
const MOST = 65_535;
/** The most arrays in each other. */
const DEEPEST = 32;

/** A key that nobody else can change, for use after the call that it was given to. */
function keptKey(key, depth = 1) {
  if (typeof key !== 'object' || key === null) return key;
  if (isUint8Array(key)) return key.byteLength > MOST ? key : Buffer.from(key);
  if (Array.isArray(key)) {
    const count = key.length;
    if (count > MOST || depth > DEEPEST) return key;
    const kept = [];
    for (let i = 0; i < count; i++) {
      const part = key[i];
      kept.push(typeof part === 'object' ? keptKey(part, depth + 1) : part);
    }
    return kept;
  }
  return key instanceof RawKey && isUint8Array(key.bytes) ? new RawKey(Buffer.from(key.bytes)) : key;
}

/** Text that is the same for keys that name the same entry. */
function nameOfKey(key) {
  switch (typeof key) {
    case 'string':
      return `s${key}`;
    case 'number':
    case 'bigint':
      return `i${key}`;
    default:
      break;
  }
  if (isUint8Array(key)) return `b${key.latin1Slice()}`;
  if (key instanceof RawKey) return `r${key.bytes.latin1Slice()}`;
  return `a${key.map((part) => nameOfKey(part)).map((name) => `${name.length}:${name}`).join('')}`;
}

module.exports = { RawKey, keptKey, nameOfKey };
