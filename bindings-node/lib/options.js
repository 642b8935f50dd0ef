'use strict';

/** Options are an object, and each of them is known: a slip of the pen is no default. */
function checkOptions(what, options, known) {
  if (options === null || typeof options !== 'object') {
    throw new TypeError(`${what} takes an object of options`);
  }
  for (const name of Object.keys(options)) {
    if (!known.has(name)) {
      throw new TypeError(`${what} has no option ${name}; options are ${[...known].sort().join(', ')}`);
    }
  }
}

module.exports = { checkOptions };
