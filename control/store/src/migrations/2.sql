-- Who is registered: one row per user, all bindings in it.
CREATE TABLE registrations (
    user TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    bindings TEXT NOT NULL
) WITHOUT ROWID;
