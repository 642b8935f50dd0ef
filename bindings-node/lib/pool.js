'use strict';

const { native, abandoned, POOL } = require('./native.js');
const { checkOptions, names, refuse } = require('./options.js');
const { UncloneableEmitter } = require('./uncloneable.js');

const OPTIONS = names(
  'maxBytes', 'maxBytesEver', 'name', 'pinLimit', 'elevated', 'high', 'critical', 'prefault',
  'zeroOnFree', 'noHugePages', 'pressureOfUsed',
);
const THRESHOLDS = names('elevated', 'high', 'critical');

/** A byte budget and its memory; caches and filters may share one. */
class Pool extends UncloneableEmitter {
  #id = 0;
  #watched = false;

  constructor(options) {
    super();
    checkOptions('Pool', options, OPTIONS);
    this.#id = native.openPool(options);
    abandoned.register(this, [POOL, this.#id], this);
    this.on('newListener', (event) => {
      if (event === 'pressure') this.#watch();
    });
  }

  /** For caches and filters that are opened in it. */
  static handleOf(pool) {
    if (pool === null || typeof pool !== 'object' || !(#id in pool)) refuse('pool', pool, 'a Pool');
    return pool.#id;
  }

  #watch() {
    if (this.#watched) return;
    // A watch must not keep the pool alive: it lives as long as its owner wants it.
    const weak = new WeakRef(this);
    native.watch(this.#id, (level, usedBytes, limitBytes) => {
      const pool = weak.deref();
      // What was on its way when the pool was closed is no longer told.
      if (pool !== undefined && !pool.closed) pool.emit('pressure', { level, usedBytes, limitBytes });
    });
    this.#watched = true;
  }

  get pressure() {
    return native.pressure(this.#id);
  }

  stats() {
    return native.poolStats(this.#id);
  }

  resize(maxBytes) {
    return native.resizePool(this.#id, maxBytes) === 0;
  }

  trim(bytes = 0) {
    return native.trim(this.#id, bytes);
  }

  setThresholds(options = {}) {
    checkOptions('setThresholds', options, THRESHOLDS);
    const { elevated = 85, high = 90, critical = 95 } = options;
    native.setThresholds(this.#id, elevated, high, critical);
  }

  validate() {
    native.validate(POOL, this.#id);
  }

  get closed() {
    return this.#id === 0;
  }

  close() {
    if (this.#id === 0) return;
    abandoned.unregister(this);
    native.release(POOL, this.#id);
    this.#id = 0;
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.close();
  }
}

module.exports = { Pool };
