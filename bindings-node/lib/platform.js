'use strict';

// The package of this platform, with the addon and the library.

/** Platforms that there is a package for. */
const PLATFORMS = ['linux-x64-gnu'];

/** This platform in the packages' words. */
function platform() {
  const { arch, platform: system } = process;
  if (system !== 'linux') return `${system}-${arch}`;
  // Node says which glibc it runs on; where there is none, it is musl.
  const { glibcVersionRuntime } = process.report.getReport().header;
  return `linux-${arch}-${glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`;
}

/** What to say where the package could not be loaded. */
function explain(name, cause) {
  const here = platform();
  const missing = cause.code === 'MODULE_NOT_FOUND' && cause.message.includes(name);
  if (!PLATFORMS.includes(here)) {
    return `hypercache has no package for ${here}; there is one for ${PLATFORMS.join(', ')} (64-bit Linux with glibc on x64)`;
  }
  if (missing) {
    return (
      `hypercache needs the package ${name}, which is not installed: ` +
      'package managers leave it out where optional dependencies are switched off'
    );
  }
  return `hypercache cannot load ${name}: ${cause.message}`;
}

/** The addon, and the folder that it lies in. */
function load() {
  const libc = process.platform === 'linux' ? '-gnu' : '';
  const name = `@hypercache/${process.platform}-${process.arch}${libc}`;
  try {
    return { native: require(name), folder: require('node:path').dirname(require.resolve(name)) };
  } catch (cause) {
    throw new Error(explain(name, cause), { cause });
  }
}

module.exports = { load };
