-- The version of the tables, and the oldest one whose Workers can use them. A migration that Workers
-- of an earlier version cannot live with sets both columns; any other sets `version` alone.
CREATE TABLE schema_version (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  oldest INTEGER NOT NULL
);
INSERT INTO schema_version (id, version, oldest) VALUES (1, 6, 5);
