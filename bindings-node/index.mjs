import hypercache from './index.js';

export const {
  Cache,
  Pool,
  CuckooFilter,
  RawKey,
  HyperCacheError,
  metricsText,
  versions,
  getInclude,
  getLibraryDir,
} = hypercache;
export default hypercache;
