-- Up to when no lease on a task is left that has run out.
INSERT INTO meta (name, value) VALUES ('lapsed', 0);
