// Own properties of objects, without inherited ones.

/** The value of an object's own property; undefined if it has none, even if it inherits one. */
export const own = (object, name) => (object !== undefined && object !== null && Object.hasOwn(object, name) ? object[name] : undefined);

/** The names of an object's properties that are not in `names`. */
export const unknown = (object, names) => Object.keys(object).filter((name) => !names.includes(name));
