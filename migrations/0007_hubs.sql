-- The hubs that have sockets, so that they are told of changes. A hub enters itself, and removes
-- itself some seconds after its last socket has closed.
CREATE TABLE hubs (
  tenant TEXT NOT NULL,
  -- 0: the hub that numbers the tenant's messages.
  shard INTEGER NOT NULL,
  -- The root of the tenant's family.
  root TEXT NOT NULL,
  PRIMARY KEY (tenant, shard)
) WITHOUT ROWID;
CREATE INDEX hubs_by_root ON hubs (root);
UPDATE schema_version SET version = 7;
