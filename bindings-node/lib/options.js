'use strict';

const { fail } = require('./errors.js');

const TYPE = 1;
const RANGE = 2;

/** A value as a message shows it: in short, and without running any code of its own. */
function shown(value) {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
    case 'bigint':
      return `${value}n`;
    case 'symbol':
    case 'function':
      return `a ${typeof value}`;
    case 'object':
      if (value === null) return 'null';
      return Array.isArray(value) ? 'an array' : 'an object';
    default:
      return String(value);
  }
}

/** Refuses a value of a kind that its place does not take: `allowed` says what it takes. */
function refuse(name, value, allowed) {
  fail(TYPE, 'ERR_INVALID_ARG_TYPE', `${name} is ${shown(value)}; ${allowed} is allowed`);
}

/** Refuses a value of the right kind that is outside of its range. */
function outside(name, value, allowed) {
  fail(RANGE, 'ERR_OUT_OF_RANGE', `${name} is ${shown(value)}; ${allowed} is allowed`);
}

/** Options are an object, and each of them is known: a slip of the pen is no default. */
function checkOptions(what, options, known) {
  if (options === null || typeof options !== 'object') {
    fail(TYPE, 'ERR_INVALID_ARG_TYPE', `the options of ${what} are ${shown(options)}; an object is allowed`);
  }
  for (const name of Object.keys(options)) {
    if (!known.has(name)) {
      const names = [...known].sort().join(', ');
      fail(TYPE, 'ERR_INVALID_ARG_VALUE', `${what} has no option ${name}; options are ${names}`);
    }
  }
}

/** The names of options. */
const names = (...list) => new Set(list);

function checkFunction(name, value) {
  if (typeof value !== 'function') refuse(name, value, 'a function');
}

/** Keys and entries come in something to walk through; text would be taken for its letters. */
function checkIterable(name, value, of) {
  if (value === null || typeof value !== 'object' || typeof value[Symbol.iterator] !== 'function') {
    refuse(name, value, `an iterable of ${of}`);
  }
}

module.exports = { refuse, outside, checkOptions, checkFunction, checkIterable, names };
