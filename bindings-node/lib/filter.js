'use strict';

const { native, abandoned, FILTER } = require('./native.js');
const { checkOptions } = require('./options.js');
const { Pool } = require('./pool.js');

const OPTIONS = new Set(['capacity', 'fpr', 'hashSeed', 'pool']);

const poolOf = (options) => (options.pool === undefined ? undefined : Pool.handleOf(options.pool));

/** The number of a filter that was loaded, for the constructor. */
class Loaded {
  constructor(id) {
    this.id = id;
  }
}

/** What a set certainly does not contain. */
class CuckooFilter {
  #id = 0;

  constructor(options) {
    if (options instanceof Loaded) {
      this.#id = options.id;
    } else {
      checkOptions('CuckooFilter', options, OPTIONS);
      this.#id = native.openFilter(poolOf(options), options);
    }
    abandoned.register(this, [FILTER, this.#id], this);
  }

  static async load(path, options = {}) {
    checkOptions('CuckooFilter.load', options, OPTIONS);
    return new this(new Loaded(await native.filterLoad(path, poolOf(options), options)));
  }

  /** For caches that take it as the keys of their source. */
  static handleOf(filter) {
    if (!(filter instanceof CuckooFilter)) throw new TypeError('the filter is a CuckooFilter');
    return filter.#id;
  }

  add(key) {
    native.filterAdd(this.#id, key);
    return this;
  }

  has(key) {
    return native.filterHas(this.#id, key);
  }

  delete(key) {
    return native.filterDelete(this.#id, key) === 0;
  }

  clear() {
    native.filterClear(this.#id);
  }

  stats() {
    return native.filterStats(this.#id);
  }

  async save(path) {
    await native.filterSave(this.#id, path);
  }

  validate() {
    native.validate(FILTER, this.#id);
  }

  get closed() {
    return this.#id === 0;
  }

  close() {
    if (this.#id === 0) return;
    abandoned.unregister(this);
    native.release(FILTER, this.#id);
    this.#id = 0;
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.close();
  }
}

module.exports = { CuckooFilter };
