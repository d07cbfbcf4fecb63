-- What clients have defined in a database, a line each: names and texts, no OIDs, nothing that differs between a database that was made by
-- statements one after another and one that was made from its dump. Run as steel with search_path = pg_catalog.
-- First an inventory of everything that has an OID of its own, so that nothing can be there that is not told; then what it is.
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend d WHERE d.deptype = 'e'
), inside AS (
    SELECT n.oid FROM pg_namespace n
     WHERE n.nspname = 'steel' OR n.nspname ~ '^pg_(toast|temp)'
), object AS (
    SELECT o.class, o.oid FROM (
        SELECT 'pg_class'::regclass, c.oid FROM pg_class c WHERE c.relnamespace NOT IN (SELECT oid FROM inside)
        UNION ALL SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p WHERE p.pronamespace NOT IN (SELECT oid FROM inside)
        UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t
                   WHERE t.typnamespace NOT IN (SELECT oid FROM inside) AND t.typelem = 0
                     AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
        UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger t WHERE NOT t.tgisinternal
        UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r
        UNION ALL SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k WHERE k.connamespace NOT IN (SELECT oid FROM inside)
        UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy p
        UNION ALL SELECT 'pg_namespace'::regclass, n.oid FROM pg_namespace n WHERE n.oid NOT IN (SELECT oid FROM inside)
        UNION ALL SELECT 'pg_operator'::regclass, x.oid FROM pg_operator x
        UNION ALL SELECT 'pg_opclass'::regclass, x.oid FROM pg_opclass x
        UNION ALL SELECT 'pg_opfamily'::regclass, x.oid FROM pg_opfamily x
        UNION ALL SELECT 'pg_amop'::regclass, x.oid FROM pg_amop x
                   WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opfamily'::regclass AND m.objid = x.amopfamily)
        UNION ALL SELECT 'pg_amproc'::regclass, x.oid FROM pg_amproc x
                   WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_opfamily'::regclass AND m.objid = x.amprocfamily)
        UNION ALL SELECT 'pg_am'::regclass, x.oid FROM pg_am x
        UNION ALL SELECT 'pg_cast'::regclass, x.oid FROM pg_cast x
        UNION ALL SELECT 'pg_collation'::regclass, x.oid FROM pg_collation x
        UNION ALL SELECT 'pg_conversion'::regclass, x.oid FROM pg_conversion x
        UNION ALL SELECT 'pg_language'::regclass, x.oid FROM pg_language x
        UNION ALL SELECT 'pg_ts_config'::regclass, x.oid FROM pg_ts_config x
        UNION ALL SELECT 'pg_ts_dict'::regclass, x.oid FROM pg_ts_dict x
        UNION ALL SELECT 'pg_ts_parser'::regclass, x.oid FROM pg_ts_parser x
        UNION ALL SELECT 'pg_ts_template'::regclass, x.oid FROM pg_ts_template x
        UNION ALL SELECT 'pg_transform'::regclass, x.oid FROM pg_transform x
        UNION ALL SELECT 'pg_statistic_ext'::regclass, x.oid FROM pg_statistic_ext x
        UNION ALL SELECT 'pg_event_trigger'::regclass, x.oid FROM pg_event_trigger x
        UNION ALL SELECT 'pg_publication'::regclass, x.oid FROM pg_publication x
        UNION ALL SELECT 'pg_publication_rel'::regclass, x.oid FROM pg_publication_rel x
        UNION ALL SELECT 'pg_publication_namespace'::regclass, x.oid FROM pg_publication_namespace x
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, x.oid FROM pg_foreign_data_wrapper x
        UNION ALL SELECT 'pg_foreign_server'::regclass, x.oid FROM pg_foreign_server x
        UNION ALL SELECT 'pg_user_mapping'::regclass, x.oid FROM pg_user_mapping x
        UNION ALL SELECT 'pg_extension'::regclass, x.oid FROM pg_extension x
        UNION ALL SELECT 'pg_largeobject'::regclass, x.oid FROM pg_largeobject_metadata x
    ) o (class, oid)
    -- What initdb made has lower OIDs; the migrations change functions in place.
    WHERE o.oid >= 16384
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = o.class AND m.objid = o.oid)
)
SELECT concat_ws(' ', 'object', i.type, i.identity)
  FROM object o, pg_identify_object(o.class, o.oid, 0) i
UNION ALL
SELECT concat_ws(' ', 'relation', o.oid::regclass, steel.relation_definition(o.oid), c.relispopulated, a.amname,
                 (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace), c.reloftype::regtype)
  FROM object o JOIN pg_class c ON c.oid = o.oid LEFT JOIN pg_am a ON a.oid = c.relam
 WHERE o.class = 'pg_class'::regclass
UNION ALL
SELECT concat_ws(' ', 'column', o.oid::regclass, quote_ident(a.attname), a.attstorage, nullif(a.attcompression, ''), a.attstattarget,
                 a.attfdwoptions)
  FROM object o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE o.class = 'pg_class'::regclass
UNION ALL
SELECT concat_ws(' ', 'index', o.oid::regclass, i.indisclustered, i.indisreplident, i.indisvalid, i.indisunique, i.indimmediate)
  FROM object o JOIN pg_index i ON i.indexrelid = o.oid WHERE o.class = 'pg_class'::regclass
UNION ALL
SELECT concat_ws(' ', 'sequence', o.oid::regclass, d.deptype, d.refobjid::regclass,
                 (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = d.refobjid AND a.attnum = d.refobjsubid))
  FROM object o JOIN pg_class c ON c.oid = o.oid AND c.relkind = 'S'
  JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = o.oid AND d.refclassid = 'pg_class'::regclass
                  AND d.deptype IN ('a', 'i')
 WHERE o.class = 'pg_class'::regclass
UNION ALL
SELECT concat_ws(' ', 'rule', r.ev_class::regclass, quote_ident(r.rulename), r.ev_enabled)
  FROM object o JOIN pg_rewrite r ON r.oid = o.oid WHERE o.class = 'pg_rewrite'::regclass
UNION ALL
SELECT concat_ws(' ', 'trigger', steel.plain(pg_get_triggerdef(t.oid)), t.tgenabled, t.tgdeferrable, t.tginitdeferred)
  FROM object o JOIN pg_trigger t ON t.oid = o.oid WHERE o.class = 'pg_trigger'::regclass
UNION ALL
SELECT concat_ws(' ', 'constraint', i.identity, steel.plain(pg_get_constraintdef(k.oid)), k.convalidated, k.condeferrable, k.condeferred)
  FROM object o JOIN pg_constraint k ON k.oid = o.oid, pg_identify_object(o.class, o.oid, 0) i
 WHERE o.class = 'pg_constraint'::regclass
UNION ALL
SELECT concat_ws(' ', 'policy', p.polrelid::regclass, quote_ident(p.polname), r.role)
  FROM object o JOIN pg_policy p ON p.oid = o.oid,
       LATERAL (SELECT CASE member WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(member)) END FROM unnest(p.polroles) member) r (role)
 WHERE o.class = 'pg_policy'::regclass
UNION ALL
SELECT concat_ws(' ', 'type', o.oid::regtype, steel.type_definition(o.oid), t.typcollation::regcollation, c.opcname, r.rngcollation::regcollation,
                 r.rngcanonical::regproc, r.rngsubdiff::regproc)
  FROM object o JOIN pg_type t ON t.oid = o.oid
  LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_opclass c ON c.oid = r.rngsubopc
 WHERE o.class = 'pg_type'::regclass
UNION ALL
SELECT concat_ws(' ', 'routine', o.oid::regprocedure, quote_ident(pg_get_userbyid(p.proowner)), steel.plain(pg_get_function_arguments(o.oid)),
                 pg_get_function_result(o.oid), CASE WHEN p.prokind <> 'a' THEN steel.plain(pg_get_functiondef(o.oid)) END,
                 p.prokind, p.provolatile, p.proparallel,
                 (SELECT concat_ws(' ', a.aggkind, a.aggnumdirectargs, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                                   a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn, a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify,
                                   a.aggmfinalmodify, a.aggsortop::regoperator, a.aggtranstype::regtype, a.aggtransspace,
                                   a.aggmtranstype::regtype, a.aggmtransspace, quote_nullable(a.agginitval), quote_nullable(a.aggminitval))
                    FROM pg_aggregate a WHERE a.aggfnoid = p.oid))
  FROM object o JOIN pg_proc p ON p.oid = o.oid WHERE o.class = 'pg_proc'::regclass
UNION ALL
SELECT concat_ws(' ', 'operator', o.oid::regoperator, x.oprresult::regtype, x.oprcode, x.oprcom::regoperator, x.oprnegate::regoperator, x.oprrest,
                 x.oprjoin, x.oprcanmerge, x.oprcanhash)
  FROM object o JOIN pg_operator x ON x.oid = o.oid WHERE o.class = 'pg_operator'::regclass
UNION ALL
SELECT concat_ws(' ', 'cast', x.castsource::regtype, x.casttarget::regtype, x.castfunc::regprocedure, x.castcontext, x.castmethod)
  FROM object o JOIN pg_cast x ON x.oid = o.oid WHERE o.class = 'pg_cast'::regclass
UNION ALL
SELECT concat_ws(' ', 'collation', o.oid::regcollation, x.collprovider, x.collisdeterministic, x.collencoding, x.collcollate, x.collctype,
                 coalesce(to_jsonb(x) ->> 'colliculocale', to_jsonb(x) ->> 'colllocale'))
  FROM object o JOIN pg_collation x ON x.oid = o.oid WHERE o.class = 'pg_collation'::regclass
UNION ALL
SELECT concat_ws(' ', 'conversion', x.connamespace::regnamespace, quote_ident(x.conname), x.conforencoding, x.contoencoding, x.conproc, x.condefault)
  FROM object o JOIN pg_conversion x ON x.oid = o.oid WHERE o.class = 'pg_conversion'::regclass
UNION ALL
SELECT concat_ws(' ', 'text search', o.oid::regdictionary, x.dicttemplate::regclass, x.dictinitoption)
  FROM object o JOIN pg_ts_dict x ON x.oid = o.oid WHERE o.class = 'pg_ts_dict'::regclass
UNION ALL
SELECT concat_ws(' ', 'text search', o.oid::regconfig, (SELECT p.prsname FROM pg_ts_parser p WHERE p.oid = x.cfgparser),
                 m.maptokentype, m.mapseqno, m.mapdict::regdictionary)
  FROM object o JOIN pg_ts_config x ON x.oid = o.oid LEFT JOIN pg_ts_config_map m ON m.mapcfg = x.oid WHERE o.class = 'pg_ts_config'::regclass
UNION ALL
SELECT concat_ws(' ', 'statistics', pg_get_statisticsobjdef(o.oid), x.stxstattarget)
  FROM object o JOIN pg_statistic_ext x ON x.oid = o.oid WHERE o.class = 'pg_statistic_ext'::regclass
UNION ALL
SELECT concat_ws(' ', 'event trigger', quote_ident(x.evtname), x.evtevent, x.evtenabled, x.evttags, x.evtfoid::regprocedure)
  FROM object o JOIN pg_event_trigger x ON x.oid = o.oid WHERE o.class = 'pg_event_trigger'::regclass
UNION ALL
SELECT concat_ws(' ', 'publication', quote_ident(x.pubname), x.puballtables, x.pubinsert, x.pubupdate, x.pubdelete, x.pubtruncate, x.pubviaroot)
  FROM object o JOIN pg_publication x ON x.oid = o.oid WHERE o.class = 'pg_publication'::regclass
UNION ALL
SELECT concat_ws(' ', 'comment', i.type, i.identity, d.description)
  FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) i
 WHERE (d.objoid >= 16384 OR d.objoid = 'public'::regnamespace)
   AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.classoid AND m.objid = d.objoid)
   AND d.classoid NOT IN ('pg_extension'::regclass)
   AND d.objoid <> 'steel'::regnamespace
UNION ALL
SELECT concat_ws(' ', 'label', i.type, i.identity, l.provider, l.label)
  FROM pg_seclabel l, pg_identify_object(l.classoid, l.objoid, l.objsubid) i
