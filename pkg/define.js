// A catalog in code, for the types of its keys.

export const defineCatalog = (catalog) => catalog;
