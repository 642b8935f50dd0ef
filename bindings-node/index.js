'use strict';

const path = require('node:path');
const { Cache } = require('./lib/cache.js');
const { Pool } = require('./lib/pool.js');
const { CuckooFilter } = require('./lib/filter.js');
const { RawKey } = require('./lib/key.js');
const { HyperCacheError } = require('./lib/errors.js');
const { native, folder } = require('./lib/native.js');

/** All pools and caches of the process, in Prometheus' text format. */
const metricsText = () => native.metricsText();

/** The library that was loaded: `{ version, build }`. */
const versions = () => native.versions();

/** The folder of the C and C++ headers, for addons that use the same library. */
const getInclude = () => path.join(folder, 'include');

/** The folder of `libhypercache.so.0`. */
const getLibraryDir = () => folder;

module.exports = {
  Cache,
  Pool,
  CuckooFilter,
  RawKey,
  HyperCacheError,
  metricsText,
  versions,
  getInclude,
  getLibraryDir,
};
