-- A call from its start to its end; small, so that what changes often is cheap to change.
CREATE TABLE open (
    call INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    started INTEGER NOT NULL,
    answered INTEGER,
    from_number TEXT NOT NULL,
    dialled TEXT NOT NULL,
    source TEXT NOT NULL,
    trunk TEXT,
    peer TEXT,
    caller_sip_call_id TEXT NOT NULL
) STRICT;

-- Finished calls, each written once.
CREATE TABLE calls (
    call INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    started INTEGER NOT NULL,
    answered INTEGER,
    ended INTEGER NOT NULL,
    from_number TEXT NOT NULL,
    dialled TEXT NOT NULL,
    routed TEXT,
    source TEXT NOT NULL,
    trunk TEXT,
    peer TEXT,
    status INTEGER NOT NULL,
    side TEXT NOT NULL,
    q850 INTEGER,
    cause TEXT NOT NULL,
    pdd_us INTEGER,
    setup_us INTEGER,
    caller_sip_call_id TEXT NOT NULL,
    callee_sip_call_id TEXT,
    attempts TEXT NOT NULL,
    media TEXT
) STRICT;
CREATE INDEX calls_by_start ON calls (started);
CREATE INDEX calls_by_dialled ON calls (dialled, started);
CREATE INDEX calls_by_from ON calls (from_number, started);
CREATE INDEX calls_by_trunk ON calls (trunk, started);

-- Single numbers: "alive" is the last time at which open calls were known to be alive.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
