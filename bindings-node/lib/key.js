'use strict';

const { isUint8Array } = require('node:util').types;

/**
 * A key by its bytes: names what a program in C wrote under bytes that no other key encodes to.
 * Reading keys back gives one where the bytes are those of no other type.
 */
class RawKey {
  constructor(bytes) {
    if (!isUint8Array(bytes)) throw new TypeError('a raw key is made of a Uint8Array');
    this.bytes = bytes;
  }
}

module.exports = { RawKey };
