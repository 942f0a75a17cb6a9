-- The lowest version whose programs can work with each version of the schema: one that is upgraded later may start on what another has upgraded.
ALTER TABLE schema_version ADD COLUMN readable_by BIGINT NOT NULL DEFAULT 1;
