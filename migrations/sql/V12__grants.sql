-- What clients may call in this schema, all in one place: nothing but this.

REVOKE ALL ON ALL TABLES IN SCHEMA steel FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA steel FROM PUBLIC;

-- Bodies inlined into a client's statement run with the client's rights.
GRANT USAGE ON SCHEMA steel TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    steel.orig_now(), steel.orig_statement_timestamp(), steel.orig_clock_timestamp(), steel.clock(),
    steel.orig_gen_random_uuid(), steel.seed(text, integer),
    steel.begin_tx(timestamptz, text, text, text[], text[]), steel.begin_op(integer),
    steel.mark(text, bigint, integer), steel.begin_apply(text), steel.replay(text, jsonb), steel.replay_rest(),
    steel.orig_nextval(regclass), steel.orig_currval(regclass), steel.orig_lastval(),
    steel.orig_setval(regclass, bigint, boolean),
    steel.nextval(regclass), steel.currval(regclass), steel.lastval(), steel.setval(regclass, bigint, boolean),
    steel.report_value(regclass, bigint), steel.report_setval(regclass, bigint, boolean),
    steel.replay_nextval(regclass), steel.is_ordered(), steel.identity_value(regclass, bigint), steel.identity_baseline(regclass)
    TO PUBLIC;
