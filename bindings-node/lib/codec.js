'use strict';

const { isUint8Array } = require('node:util').types;

// Values that have no type of their own in the library: objects, arrays, dates, what else there is.

const v8 = require('node:v8');
const { refuse, outside } = require('./options.js');

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
  if (text === undefined) refuse('value', value, 'what JSON has');
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

class Serializer extends v8.DefaultSerializer {
  /** Makes the error for what cannot be cloned. */
  _getDataCloneError(message) {
    const error = new TypeError(`value holds what cannot be stored: ${message}`);
    error.code = 'ERR_INVALID_ARG_TYPE';
    return error;
  }

  _getSharedArrayBufferId() {
    throw this._getDataCloneError('memory that is shared is no value');
  }
}

class Deserializer extends v8.DefaultDeserializer {
  /** Typed arrays of their own: Node's show the bytes that are read, which other values share. */
  _readHostObject() {
    const view = super._readHostObject();
    if (Buffer.isBuffer(view)) return Buffer.from(view);
    if (view instanceof DataView) {
      return new DataView(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    }
    return view.slice();
  }
}

function toV8(value) {
  const serializer = new Serializer();
  serializer.writeHeader();
  serializer.writeValue(value);
  return serializer.releaseBuffer();
}

function fromV8(bytes) {
  const deserializer = new Deserializer(bytes);
  deserializer.readHeader();
  return deserializer.readValue();
}

const BUILT_IN = {
  v8: { type: V8, encode: toV8, decode: fromV8 },
  json: { type: JSON_TYPE, encode: toJson, decode: (bytes) => JSON.parse(bytes.toString()) },
  msgpack: {
    type: MSGPACK,
    encode: toMsgpack,
    // A copy, for what is bytes in the value shows those that are read.
    decode: (bytes) => msgpack().decode(Uint8Array.prototype.slice.call(bytes), MSGPACK_OPTIONS),
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
    refuse('codec', option, "'v8', 'json', 'msgpack' or { encode, decode, type? }");
  }
  if (typeof type !== 'number') refuse("the codec's type", type, 'an integer from 128 to 255');
  if (!Number.isInteger(type) || type < 128 || type > 255) {
    outside("the codec's type", type, 'an integer from 128 to 255');
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
  if (!isUint8Array(bytes)) refuse('what the codec has made', bytes, 'a Uint8Array');
  return bytes;
}

module.exports = { codecOf, decode, encode, isNative, BYTES };
