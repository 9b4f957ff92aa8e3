-- One row per call from its start; "ended" is null while it is open.
CREATE TABLE calls (
    call INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    started INTEGER NOT NULL,
    answered INTEGER,
    ended INTEGER,
    from_number TEXT NOT NULL,
    dialled TEXT NOT NULL,
    routed TEXT,
    source TEXT NOT NULL,
    trunk TEXT,
    peer TEXT,
    status INTEGER,
    side TEXT,
    q850 INTEGER,
    cause TEXT,
    pdd_us INTEGER,
    setup_us INTEGER,
    caller_sip_call_id TEXT NOT NULL,
    callee_sip_call_id TEXT,
    attempts TEXT,
    media TEXT
) STRICT;
CREATE INDEX calls_by_start ON calls (started);
CREATE INDEX calls_by_dialled ON calls (dialled, started);
CREATE INDEX calls_by_from ON calls (from_number, started);
CREATE INDEX calls_by_trunk ON calls (trunk, started);
CREATE INDEX calls_open ON calls (shard) WHERE ended IS NULL;

-- Single numbers: "alive" is the last time at which open calls were known to be alive.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
