-- Tenants that a long run has left as they were, and why.
CREATE TABLE job_failures (
  job TEXT NOT NULL,
  tenant TEXT NOT NULL,
  -- What was wrong with the record that it would have had: a JSON array.
  problems TEXT NOT NULL,
  PRIMARY KEY (job, tenant)
) WITHOUT ROWID;
