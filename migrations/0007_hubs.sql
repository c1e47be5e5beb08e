-- The hubs that have sockets, so that they are told of changes. A hub enters itself, and removes
-- itself some seconds after its last socket has closed.
CREATE TABLE hubs (
  tenant TEXT PRIMARY KEY,
  -- The root of the tenant's family.
  root TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX hubs_by_root ON hubs (root);
UPDATE schema_version SET version = 7;
