// The schema of a database, rendered from the catalogues: one line per object with a digest of its definition, so that
// what is missing or changed can be named.
//
// Two things are kept out. What a dump does not carry (validity of broken indexes, versions of extensions), and what
// differs between two renderings of the same: the server writes `x IN ('a')` back with other casts and parentheses
// each time it is read in, so expressions are compared without either.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { notOfExtension, USER_SCHEMA } from './catalogue.ts';
import type { Session } from './connection.ts';
import { STAND_IN } from './globals.ts';
import { literal } from './names.ts';

export interface Definition {
  readonly name: string; // 'table public.orders'
  readonly digest: string;
  /** Its owner and who may do what; null where there is no such thing. */
  readonly ownership: Ownership | null;
}
export interface Ownership {
  readonly digest: string;
  /** The same with one name for all superusers; null where none occurs. */
  readonly anySuperuser: string | null;
}

export async function definitionsOf(session: Session): Promise<Definition[]> {
  const found: Definition[] = [];
  for (const text of QUERIES) {
    for (const row of await session.rows(definitionRow, text)) found.push(row);
  }
  return found;
}

const definitionRow = z
  .object({
    what: z.string(),
    name: z.string(),
    exact: z.string().nullable(),
    expression: z.string().nullable(),
    ownership: z.string().nullable(),
  })
  .transform(
    ({ what, name, exact, expression, ownership }): Definition => ({
      name: `${what} ${name}`,
      digest: md5(`${exact ?? ''}\u001f${withoutCasts(expression ?? '')}`),
      ownership: ownership === null ? null : digestsOf(ownership),
    }),
  );

function md5(text: string): string {
  return createHash('md5').update(text).digest('hex');
}

/** Superusers stand between \u0001 and \u0002; owner and grants are separated by \u0003. */
function digestsOf(ownership: string): Ownership {
  const [first = '', ...rest] = ownership.split('\u0001');
  const digest = md5([first, ...rest.map((text) => text.replace('\u0002', ''))].join(''));
  if (rest.length === 0) return { digest, anySuperuser: null };
  const nameless = [first, ...rest.map((text) => text.slice(text.indexOf('\u0002')))].join('');
  const [owner = '', ...grants] = nameless.split('\u0003');
  return { digest, anySuperuser: md5([owner, ...new Set(grants.toSorted())].join('\u0003')) };
}

const WORD = '(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)';
const CAST = new RegExp(
  `::${WORD}(?:\\.${WORD})?(?: varying| precision)?(?:\\(\\d+(?:,\\d+)?\\))?(?: with(?:out)? time zone)?(?:\\[\\])*`,
  'g',
);

/** An expression without casts, parentheses and spaces. */
export function withoutCasts(expression: string): string {
  return expression.replace(CAST, '').replace(/[()\s]/g, '');
}

/** One superuser is as good as another, and so is who owns in its place what came as SQL text. */
function roleName(oid: string): string {
  return `(select case when r.rolsuper or r.rolname = ${literal(STAND_IN)} then concat(chr(1), r.rolname, chr(2))
    else r.rolname::text end from pg_roles r where r.oid = ${oid})`;
}
/** Grants as text, the default ones included: a restore may leave those unsaid. Who granted does not count. */
function grants(acl: string, kind: string, owner: string): string {
  return `(select string_agg(g, chr(3) order by g collate "C") from (
    select format('%s=%s%s', case grantee when 0 then 'PUBLIC' else ${roleName('grantee')} end, privilege_type,
      case when is_grantable then '*' end) as g
    from aclexplode(coalesce(${acl}, acldefault('${kind}', ${owner})))) y)`;
}
function ownership(acl: string, kind: string, owner: string): string {
  return `concat(${roleName(owner)}, chr(3), ${grants(acl, kind, owner)})`;
}
/** Grants on single columns, in the words of those on the whole; nothing where there are none. */
const COLUMN_GRANTS = `(select string_agg(concat(chr(3), g), '' order by g collate "C") from (
    select format('%s=%s(%s)%s', case grantee when 0 then 'PUBLIC' else ${roleName('grantee')} end, privilege_type,
      quote_ident(a.attname), case when is_grantable then '*' end) as g
    from pg_attribute a cross join lateral aclexplode(a.attacl)
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) y)`;
function sorted(texts: string): string {
  return `(select string_agg(o, ',' order by o collate "C") from unnest(${texts}) o)`;
}

/** Columns, in their order where a restore keeps it: tables that inherit get their parents' columns first. */
const COLUMNS = `(
  select string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
      case when a.attcollation <> t.typcollation then concat('collate ', a.attcollation::regcollation) end,
      case when a.attnotnull then 'not null' end, nullif(a.attidentity::text, ''), nullif(a.attgenerated::text, ''),
      case when a.attstorage <> t.typstorage then concat('storage ', a.attstorage) end, nullif(a.attcompression::text, ''),
      case when coalesce(a.attstattarget, -1) >= 0 then concat('statistics ', a.attstattarget) end,
      ${sorted('a.attoptions')}), ', ' order by case when i.inherits then 0 else a.attnum end, a.attname collate "C")
  from pg_attribute a join pg_type t on t.oid = a.atttypid
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)`;
const DEFAULTS = `(
  select string_agg(concat(a.attname, '=', pg_get_expr(d.adbin, d.adrelid)), ',' order by a.attname collate "C")
  from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum where d.adrelid = c.oid)`;

const RELATIONS = `
  select case c.relkind when 'v' then 'view' when 'm' then 'materialised view' when 'f' then 'foreign table'
      when 'c' then 'composite type' else 'table' end as what,
    c.oid::regclass::text as name,
    concat_ws(' | ', c.relkind, c.relpersistence, am.amname, ${COLUMNS}, i.parents, pg_get_partkeydef(c.oid),
      pg_get_expr(c.relpartbound, c.oid), ${sorted('c.reloptions')}, c.relrowsecurity, c.relforcerowsecurity,
      c.relreplident, case when c.relkind = 'm' then c.relispopulated end, nullif(c.reloftype, 0)::regtype,
      (select concat(s.srvname, ${sorted('f.ftoptions')}) from pg_foreign_table f
        join pg_foreign_server s on s.oid = f.ftserver where f.ftrelid = c.oid)) as exact,
    concat(${DEFAULTS}, case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end) as expression,
    case when c.relkind <> 'c' then concat(${ownership('c.relacl', 'r', 'c.relowner')}, ${COLUMN_GRANTS}) end as ownership
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_am am on am.oid = c.relam
  cross join lateral (
    select count(*) > 0 as inherits, string_agg(h.inhparent::regclass::text, ',' order by h.inhseqno) as parents
    from pg_inherits h where h.inhrelid = c.oid
  ) i
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'c') and ${USER_SCHEMA} and ${notOfExtension('pg_class', 'c.oid')}`;

const FUNCTIONS = `
  select case p.prokind when 'a' then 'aggregate' when 'p' then 'procedure' else 'function' end as what,
    p.oid::regprocedure::text as name,
    case when p.prokind = 'a' then (
        select concat_ws(' ', pg_get_function_result(p.oid), a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
          a.aggtranstype::regtype, a.agginitval, a.aggsortop::regoperator) from pg_aggregate a where a.aggfnoid = p.oid)
      when p.prosqlbody is null then pg_get_functiondef(p.oid) end as exact,
    case when p.prokind <> 'a' and p.prosqlbody is not null then pg_get_functiondef(p.oid) end as expression,
    ${ownership('p.proacl', 'f', 'p.proowner')} as ownership
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where ${USER_SCHEMA} and ${notOfExtension('pg_proc', 'p.oid')}
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'i')`;

const TYPES = `
  select case t.typtype when 'e' then 'enum' when 'd' then 'domain' when 'r' then 'range' else 'type' end as what,
    t.oid::regtype::text as name,
    concat_ws(' | ', t.typtype, t.typlen, t.typcategory, t.typnotnull,
      (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
      case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) end,
      (select r.rngsubtype::regtype from pg_range r where r.rngtypid = t.oid)) as exact,
    concat(t.typdefault, ' ', (select string_agg(concat(k.conname, pg_get_constraintdef(k.oid)), ','
      order by k.conname collate "C") from pg_constraint k where k.contypid = t.oid and k.contype = 'c')) as expression,
    ${ownership('t.typacl', 'T', 't.typowner')} as ownership
  from pg_type t join pg_namespace n on n.oid = t.typnamespace
  where t.typtype in ('e', 'd', 'r', 'b') and t.typrelid = 0 and ${USER_SCHEMA} and ${notOfExtension('pg_type', 't.oid')}
    and not exists (select from pg_type b where b.typarray = t.oid)`;

const ON_TABLES = [
  `select 'index' as what, i.indexrelid::regclass::text as name,
      concat_ws(' ', i.indisclustered, i.indisreplident, i.indisunique, i.indisprimary) as exact,
      pg_get_indexdef(i.indexrelid) as expression, null as ownership
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
    where (i.indisvalid or c.relkind = 'I') and ${USER_SCHEMA} and ${notOfExtension('pg_class', 'i.indrelid')}`,
  // Those of partitions that come from their parent are made again with it, and named again too.
  `select 'constraint' as what, concat(k.conrelid::regclass, '.', quote_ident(k.conname)) as name,
      concat_ws(' ', k.contype, k.condeferrable, k.condeferred, k.convalidated) as exact,
      pg_get_constraintdef(k.oid) as expression, null as ownership
    from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
    where k.contype in ('c', 'f', 'p', 'u', 'x') and k.conparentid = 0 and k.conislocal and ${USER_SCHEMA}
      and ${notOfExtension('pg_class', 'c.oid')}`,
  `select 'trigger' as what, concat(g.tgrelid::regclass, '.', quote_ident(g.tgname)) as name, g.tgenabled::text as exact,
      pg_get_triggerdef(g.oid) as expression, null as ownership
    from pg_trigger g join pg_class c on c.oid = g.tgrelid join pg_namespace n on n.oid = c.relnamespace
    where not g.tgisinternal and g.tgparentid = 0 and ${USER_SCHEMA} and ${notOfExtension('pg_class', 'c.oid')}`,
  `select 'rule' as what, concat(r.ev_class::regclass, '.', quote_ident(r.rulename)) as name, r.ev_enabled::text as exact,
      pg_get_ruledef(r.oid) as expression, null as ownership
    from pg_rewrite r join pg_class c on c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace
    where r.rulename <> '_RETURN' and ${USER_SCHEMA} and ${notOfExtension('pg_class', 'c.oid')}`,
  `select 'policy' as what, concat(p.polrelid::regclass, '.', quote_ident(p.polname)) as name,
      concat_ws(' ', p.polcmd, p.polpermissive, (select string_agg(case r when 0 then 'PUBLIC' else pg_get_userbyid(r) end,
        ',' order by pg_get_userbyid(r) collate "C") from unnest(p.polroles) r)) as exact,
      concat(pg_get_expr(p.polqual, p.polrelid), ' | ', pg_get_expr(p.polwithcheck, p.polrelid)) as expression,
      null as ownership
    from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
    where ${notOfExtension('pg_class', 'c.oid')}`,
  `select 'statistics' as what, concat(quote_ident(n.nspname), '.', quote_ident(s.stxname)) as name, '' as exact,
      pg_get_statisticsobjdef(s.oid) as expression, null as ownership
    from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace where ${USER_SCHEMA}`,
  `select 'sequence' as what, c.oid::regclass::text as name,
      concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
        (select concat(d.refobjid::regclass, '.', a.attname) from pg_depend d
          join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_class'::regclass
            and d.deptype in ('a', 'i'))) as exact,
      '' as expression, ${ownership('c.relacl', 's', 'c.relowner')} as ownership
    from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
    where ${USER_SCHEMA} and ${notOfExtension('pg_class', 'c.oid')}`,
];

const DATABASE_WIDE = [
  `select 'schema' as what, quote_ident(n.nspname) as name, '' as exact, '' as expression,
      ${ownership('n.nspacl', 'n', 'n.nspowner')} as ownership
    from pg_namespace n where ${USER_SCHEMA} and ${notOfExtension('pg_namespace', 'n.oid')}`,
  `select 'extension' as what, quote_ident(e.extname) as name, e.extnamespace::regnamespace::text as exact,
      '' as expression, null as ownership from pg_extension e`,
  `select 'event trigger' as what, quote_ident(e.evtname) as name,
      concat_ws(' ', e.evtevent, e.evtenabled, e.evtfoid::regprocedure, ${sorted('e.evttags')}) as exact,
      '' as expression, ${roleName('e.evtowner')} as ownership
    from pg_event_trigger e where ${notOfExtension('pg_event_trigger', 'e.oid')}`,
  `select 'publication' as what, quote_ident(p.pubname) as name,
      concat_ws(' ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
        (select string_agg(concat(r.prrelid::regclass, (select concat('(', string_agg(quote_ident(a.attname), ','
              order by a.attname collate "C"), ')') from pg_attribute a
              where a.attrelid = r.prrelid and a.attnum = any (r.prattrs) and r.prattrs is not null having count(*) > 0)),
            ',' order by r.prrelid::regclass::text collate "C")
          from pg_publication_rel r where r.prpubid = p.oid),
        (select string_agg(s.pnnspid::regnamespace::text, ',' order by s.pnnspid::regnamespace::text collate "C")
          from pg_publication_namespace s where s.pnpubid = p.oid),
        nullif(to_jsonb(p) ->> 'pubgencols', 'n')) as exact,
      (select string_agg(concat(r.prrelid::regclass, ' ', pg_get_expr(r.prqual, r.prrelid)), ','
          order by r.prrelid::regclass::text collate "C")
        from pg_publication_rel r where r.prpubid = p.oid and r.prqual is not null) as expression,
      ${roleName('p.pubowner')} as ownership
    from pg_publication p`,
  `select 'foreign server' as what, quote_ident(s.srvname) as name,
      concat_ws(' ', w.fdwname, s.srvtype, s.srvversion, ${sorted('s.srvoptions')}) as exact, '' as expression,
      ${ownership('s.srvacl', 'S', 's.srvowner')} as ownership
    from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw
    where ${notOfExtension('pg_foreign_server', 's.oid')}`,
  `select 'collation' as what, concat(quote_ident(n.nspname), '.', quote_ident(k.collname)) as name,
      concat_ws(' ', k.collprovider, k.collisdeterministic, k.collcollate, k.collctype) as exact, '' as expression,
      ${roleName('k.collowner')} as ownership
    from pg_collation k join pg_namespace n on n.oid = k.collnamespace
    where ${USER_SCHEMA} and ${notOfExtension('pg_collation', 'k.oid')}`,
  `select 'operator' as what, o.oid::regoperator::text as name,
      concat_ws(' ', o.oprresult::regtype, o.oprcode, o.oprcom::regoperator, o.oprnegate::regoperator) as exact,
      '' as expression, ${roleName('o.oprowner')} as ownership
    from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
    where ${USER_SCHEMA} and ${notOfExtension('pg_operator', 'o.oid')}`,
  `select 'cast' as what, concat(c.castsource::regtype, ' to ', c.casttarget::regtype) as name,
      concat_ws(' ', c.castcontext, c.castmethod, nullif(c.castfunc, 0)::regprocedure) as exact, '' as expression,
      null as ownership
    from pg_cast c where c.oid >= 16384 and ${notOfExtension('pg_cast', 'c.oid')}`,
  `select 'text search configuration' as what, concat(quote_ident(n.nspname), '.', quote_ident(t.cfgname)) as name,
      (select string_agg(concat(m.maptokentype, ' ', m.mapdict::regdictionary), ',' order by m.maptokentype, m.mapseqno)
        from pg_ts_config_map m where m.mapcfg = t.oid) as exact, '' as expression,
      ${roleName('t.cfgowner')} as ownership
    from pg_ts_config t join pg_namespace n on n.oid = t.cfgnamespace
    where ${USER_SCHEMA} and ${notOfExtension('pg_ts_config', 't.oid')}`,
  `select 'default privileges' as what, concat_ws(' ', pg_get_userbyid(d.defaclrole),
        nullif(d.defaclnamespace, 0)::regnamespace, d.defaclobjtype) as name,
      (select string_agg(g, ',' order by g collate "C") from (select format('%s=%s%s', case grantee when 0 then 'PUBLIC'
        else pg_get_userbyid(grantee) end, privilege_type, case when is_grantable then '*' end) as g
        from aclexplode(d.defaclacl)) y) as exact, '' as expression, null as ownership
    from pg_default_acl d`,
  `select concat('comment on ', i.type) as what, i.identity as name, d.description as exact, '' as expression,
      null as ownership
    from pg_description d cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) i
    where i.identity is not null and (d.objoid >= 16384 or d.classoid = 'pg_namespace'::regclass
        and d.objoid = to_regnamespace('public'))
      and not exists (select from pg_depend e where e.classid = d.classoid and e.objid = d.objoid and e.deptype = 'e')`,
];

const QUERIES = [RELATIONS, FUNCTIONS, TYPES, ...ON_TABLES, ...DATABASE_WIDE];
