-- The query that looks for the row which an error of a key (23505, 23503) speaks of. The error names the constraint and,
-- in its DETAIL, the key as text; both are in the catalog's own words, so what is not exactly those is no key: NULL.
--
-- The query runs with the rights of a session of the clients' role, and with the operator of the key itself, so that it
-- finds what PostgreSQL found, by the same index.

-- The values in `Key (a, b)=(1, 2) …`, if they are as many as the columns: a value may hold a comma.
CREATE FUNCTION steel.key_values(detail text, columns text[]) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    start text := 'Key (' || array_to_string(columns, ', ') || ')=(';
    rest text;
    found text[];
BEGIN
    IF NOT starts_with(detail, start) THEN
        RETURN NULL;
    END IF;
    rest := substring(substr(detail, length(start) + 1)
                      FROM '^(.*)\) (?:already exists|is not present in table ".*"|is still referenced from table ".*")\.$');
    found := CASE cardinality(columns) WHEN 1 THEN ARRAY[rest] ELSE string_to_array(rest, ', ') END;
    RETURN CASE WHEN cardinality(found) = cardinality(columns) AND rest IS NOT NULL THEN found END;
END
$$;

-- `unlocked`: only a row that nobody has locked or deleted since it came.
CREATE FUNCTION steel.key_query(sqlstate text, schema text, "table" text, name text, detail text, unlocked boolean) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation oid := to_regclass(format('%I.%I', schema, "table"));
    k pg_constraint := (SELECT k FROM pg_constraint k WHERE k.conrelid = relation AND k.conname = name AND k.contype = 'f');
    i pg_index := (SELECT i FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                    WHERE i.indrelid = relation AND c.relname = name AND i.indisunique AND i.indisvalid);
    missing boolean := detail ~ '\) is not present in table ".*"\.$';
    searched oid;
    -- Columns as the error names them, what is searched for them, the type that their text is of, and the operator.
    named text[];
    wanted text[];
    types text[];
    operators text[];
    found text[];
    conditions text;
BEGIN
    IF key_query.sqlstate = '23505' AND i.indexrelid IS NOT NULL THEN
        searched := relation;
        SELECT array_agg(pg_get_indexdef(i.indexrelid, n, true) ORDER BY n),
               array_agg(format('(%s)', pg_get_indexdef(i.indexrelid, n, false)) ORDER BY n),
               array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY n),
               array_agg(format('OPERATOR(%s.%s)', o.oprnamespace::regnamespace, o.oprname) ORDER BY n)
          INTO named, wanted, types, operators
          FROM generate_series(1, i.indnkeyatts) n
          JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum = n
          JOIN pg_opclass c ON c.oid = i.indclass[n - 1]
          JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
                        AND p.amopstrategy = 3
          JOIN pg_operator o ON o.oid = p.amopopr;
    ELSIF key_query.sqlstate = '23503' AND k.oid IS NOT NULL THEN
        searched := CASE WHEN missing THEN k.confrelid ELSE k.conrelid END;
        SELECT array_agg(given.attname ORDER BY n),
               array_agg(quote_ident(sought.attname) ORDER BY n),
               array_agg(format_type(given.atttypid, given.atttypmod) ORDER BY n),
               array_agg(format('OPERATOR(%s.%s)', o.oprnamespace::regnamespace, o.oprname) ORDER BY n)
          INTO named, wanted, types, operators
          FROM generate_subscripts(k.conkey, 1) n
          JOIN pg_attribute given ON given.attrelid = CASE WHEN missing THEN k.conrelid ELSE k.confrelid END
                                 AND given.attnum = CASE WHEN missing THEN k.conkey[n] ELSE k.confkey[n] END
          JOIN pg_attribute sought ON sought.attrelid = searched
                                  AND sought.attnum = CASE WHEN missing THEN k.confkey[n] ELSE k.conkey[n] END
          JOIN pg_operator o ON o.oid = k.conpfeqop[n];
    END IF;
    found := steel.key_values(detail, named);
    IF found IS NULL THEN
        RETURN NULL;
    END IF;
    -- The operator of a foreign key takes the referenced column first.
    SELECT string_agg(CASE WHEN missing OR key_query.sqlstate = '23505'
                           THEN format('%s %s %L::%s', wanted[n], operators[n], found[n], types[n])
                           ELSE format('%L::%s %s %s', found[n], types[n], operators[n], wanted[n]) END, ' AND ' ORDER BY n)
           || coalesce(' AND (' || pg_get_expr(i.indpred, i.indrelid) || ')', '')
           || CASE WHEN unlocked THEN ' AND xmax = 0' ELSE '' END
      INTO conditions
      FROM generate_subscripts(wanted, 1) n;
    RETURN format('SELECT EXISTS (SELECT FROM %s WHERE %s)', searched::regclass, conditions);
END
$$;

REVOKE ALL ON FUNCTION steel.key_values(text, text[]), steel.key_query(text, text, text, text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steel.key_values(text, text[]), steel.key_query(text, text, text, text, text, boolean) TO PUBLIC;
ALTER EXTENSION plpgsql ADD FUNCTION steel.key_values(text, text[]);
ALTER EXTENSION plpgsql ADD FUNCTION steel.key_query(text, text, text, text, text, boolean);
