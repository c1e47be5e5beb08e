// What an object has itself, without what every object inherits.

/** The value that an object has itself under a name; undefined where it has none, also where every object inherits one. */
export const own = (object, name) => (object !== undefined && object !== null && Object.hasOwn(object, name) ? object[name] : undefined);

/** The names of an object that are none of `names`. */
export const unknown = (object, names) => Object.keys(object).filter((name) => !names.includes(name));
