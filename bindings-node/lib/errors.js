'use strict';

/** A failure of the library. `code` is its status in the C interface, such as `HC_ERR_CLOSED`. */
class HyperCacheError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}
Object.defineProperty(HyperCacheError.prototype, 'name', {
  value: 'HyperCacheError',
  configurable: true,
  writable: true,
});

const CLASSES = [null, TypeError, RangeError];

/** What the addon throws with: a kind, a code and a message. */
function fail(kind, code, message) {
  const Class = CLASSES[kind];
  if (Class === null) throw new HyperCacheError(code, message);
  const error = new Class(message);
  error.code = code;
  throw error;
}

module.exports = { HyperCacheError, fail };
