-- random() is PostgreSQL's own, seeded from the nonce of the transaction's Begin; it is not turned back by
-- a rollback to a savepoint. gen_random_uuid() draws on it, and on the nonce, so that two transactions differ
-- whatever a client does with setseed().

CREATE FUNCTION steel.orig_gen_random_uuid() RETURNS uuid
    LANGUAGE internal VOLATILE STRICT PARALLEL SAFE AS 'gen_random_uuid';

-- Version 4, variant 10. Only the leader of a parallel plan has the seeded generator.
CREATE OR REPLACE FUNCTION pg_catalog.gen_random_uuid() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED
    RETURN CASE
        WHEN coalesce(current_setting('steel.nonce', true), '') = '' THEN steel.orig_gen_random_uuid()
        ELSE overlay(overlay(
                 substr(encode(sha256(convert_to(current_setting('steel.nonce', true), 'UTF8')
                                      || float8send(random()) || float8send(random())
                                      || float8send(random())), 'hex'), 1, 32)
                 placing '4' from 13)
                 placing substr('89ab', 1 + floor(random() * 4)::integer, 1) from 17)::uuid
    END;

-- A seed in [0, 1) with 52 bits from the nonce and the number of the operation.
CREATE FUNCTION steel.seed(nonce text, operation integer) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ('x' || substr(md5(nonce || ':' || operation::text), 1, 13))::bit(52)::bigint::double precision
           / 4503599627370496;
