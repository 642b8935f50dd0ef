'use strict';

const { isUint8Array } = require('node:util').types;

// Values that have no type of their own in the library: objects, arrays, dates, what else there is.

const v8 = require('node:v8');

const BYTES = 0;
const JSON_TYPE = 6;
const MSGPACK = 7;
const V8 = 65;

let msgpackPackage;

function msgpack() {
  if (msgpackPackage === undefined) {
    try {
      msgpackPackage = require('@msgpack/msgpack');
    } catch (cause) {
      throw new Error('MessagePack values need the package @msgpack/msgpack: npm install it', { cause });
    }
  }
  return msgpackPackage;
}

function toJson(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`JSON has no ${typeof value}`);
  return Buffer.from(text);
}

/** Integers of 64 bits are bigints, and no others: what comes out is what went in. */
const MSGPACK_OPTIONS = { useBigInt64: true };

/** How deep the package encodes; it refuses what is deeper. */
const MSGPACK_DEPTH = 100;

/** Refuses bigints of more than 64 bits, of which the package would drop the upper ones. */
function checkBigints(value, depth = 1) {
  if (typeof value === 'bigint') {
    if (value !== (value < 0n ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value))) {
      throw new RangeError('MessagePack has integers of 64 bits, and this bigint takes more');
    }
  } else if (typeof value === 'object' && value !== null && depth <= MSGPACK_DEPTH && !ArrayBuffer.isView(value)) {
    for (const part of Array.isArray(value) ? value : Object.values(value)) checkBigints(part, depth + 1);
  }
}

function toMsgpack(value) {
  checkBigints(value);
  return msgpack().encode(value, MSGPACK_OPTIONS);
}

const BUILT_IN = {
  v8: { type: V8, encode: (value) => v8.serialize(value), decode: (bytes) => v8.deserialize(bytes) },
  json: { type: JSON_TYPE, encode: toJson, decode: (bytes) => JSON.parse(bytes.toString()) },
  msgpack: {
    type: MSGPACK,
    encode: toMsgpack,
    decode: (bytes) => msgpack().decode(bytes, MSGPACK_OPTIONS),
  },
};

const BY_TYPE = new Map(Object.values(BUILT_IN).map((codec) => [codec.type, codec]));

/** The codec of an option: a name, or an object of one's own. */
function codecOf(option) {
  if (option === undefined) return BUILT_IN.v8;
  if (typeof option === 'string' && Object.hasOwn(BUILT_IN, option)) {
    if (option === 'msgpack') msgpack();
    return BUILT_IN[option];
  }
  const { type = 128, encode, decode } = Object(option);
  if (typeof encode !== 'function' || typeof decode !== 'function') {
    throw new TypeError("the codec is 'v8', 'json', 'msgpack' or { encode, decode, type? }");
  }
  if (!Number.isInteger(type) || type < 128 || type > 255) {
    throw new RangeError(`the type of a codec of one's own is 128 to 255, not ${type}`);
  }
  return { type, encode, decode };
}

/** Whether the addon makes the values of a type. */
const isNative = (type) => type !== BYTES && type < JSON_TYPE;

/** What bytes of a type stand for. Types that nobody here knows are handed out as bytes. */
function decode(codec, type, bytes) {
  if (type === BYTES) return bytes;
  if (type === codec.type) return codec.decode(bytes);
  const known = BY_TYPE.get(type);
  return known === undefined ? bytes : known.decode(bytes);
}

/** The bytes of a value, to be stored under the codec's type. */
function encode(codec, value) {
  const bytes = codec.encode(value);
  if (!isUint8Array(bytes)) throw new TypeError('the codec has not made a Uint8Array');
  return bytes;
}

module.exports = { codecOf, decode, encode, isNative, BYTES };
