'use strict';

const { EventEmitter } = require('node:events');

// An object of a class is cloned (`structuredClone`, `postMessage`, as a value) as its own properties, and
// what holds a handle would come out as an empty object. Objects that engines refuse to clone are
// refused whatever their class is; a WeakRef is the smallest of them. It is not to be seen: the prototype is
// that of the class.

function uncloneable(Class) {
  return Reflect.construct(WeakRef, [WeakRef], Class);
}

/** For classes to extend whose objects cannot be cloned. */
function Uncloneable() {
  return uncloneable(new.target);
}
Uncloneable.prototype = Object.prototype;

/** The same for emitters of events. */
function UncloneableEmitter() {
  const emitter = uncloneable(new.target);
  EventEmitter.call(emitter);
  return emitter;
}
UncloneableEmitter.prototype = EventEmitter.prototype;

module.exports = { Uncloneable, UncloneableEmitter };
