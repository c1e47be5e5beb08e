-- Tenants that a job could not change, and the reasons.
CREATE TABLE job_failures (
  job TEXT NOT NULL,
  tenant TEXT NOT NULL,
  -- The problems of the record that the job would have written: a JSON array.
  problems TEXT NOT NULL,
  PRIMARY KEY (job, tenant)
) WITHOUT ROWID;
