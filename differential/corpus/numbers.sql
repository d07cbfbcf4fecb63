-- Integers, numeric, floats: edges, overflow, division, rounding, NaN and infinity.
SELECT 1, -1, 2147483647, 2147483648, 9223372036854775807, 9223372036854775808;
SELECT 32767::smallint, (-32768)::smallint;
SELECT 32768::smallint;
SELECT (-32769)::int2;
SELECT 2147483647 + 1;
SELECT -2147483648 - 1;
SELECT (-2147483648) / -1;
SELECT 9223372036854775807 * 2;
SELECT abs(-2147483648);
SELECT 1/0;
SELECT 1 % 0;
SELECT 1.0 / 0;
SELECT 1e0::float8 / 0;
SELECT 7 / 2, -7 / 2, 7 % 2, -7 % 2, 7.0 / 2;
SELECT 5 & 3, 5 | 3, 5 # 3, ~5, 1 << 4, 256 >> 2;
SELECT 0.1 + 0.2, 0.1::float8 + 0.2::float8, 0.1::float4 + 0.2::float4;
SELECT 'NaN'::float8, 'Infinity'::float8, '-Infinity'::float8, 'inf'::float4;
SELECT 'NaN'::float8 = 'NaN'::float8, 'NaN'::numeric > 1e100, 'Infinity'::numeric - 'Infinity'::numeric;
SELECT 'Infinity'::float8 - 'Infinity'::float8, 'Infinity'::float8 * 0;
SELECT '-0'::float8, 0::float8 = '-0'::float8;
SELECT 1e308::float8 * 10;
SELECT 1e-308::float8 / 1e10, '1e-400'::float8;
SELECT '1e400'::float8;
SELECT 3.14159265358979::float4, 3.14159265358979::float8;
SELECT sqrt(2::float8), sqrt(2::numeric), cbrt(27::float8);
SELECT sqrt(-1);
SELECT ln(0);
SELECT ln(-1.0);
SELECT power(0, -1);
SELECT power(-2, 0.5);
SELECT exp(1), exp(1.0), exp(1000::float8);
SELECT round(2.5), round(-2.5), round(2.5::float8), round(3.5::float8), round(2.345, 2), round(1234.5, -2);
SELECT ceil(1.1), floor(-1.1), trunc(-1.9), sign(-3.2), ceil(1.1::float8);
SELECT 12345.678::numeric(7,2);
SELECT 12345.678::numeric(5,2);
SELECT 99.999::numeric(4,2);
SELECT 12345::numeric(3,-2), 0.00012::numeric(3,5);
SELECT 1.10 = 1.1, 1.10::text, (1.10 + 1)::text, scale(1.100), min_scale(1.100), trim_scale(1.100);
SELECT 1e-20::numeric, 123456789012345678901234567890.123456789;
--# majors: Digits of a power
SELECT 10::numeric ^ 50, 2 ^ 10, 2::float8 ^ 0.5;
SELECT div(17, 5), mod(17, 5), gcd(12, 18), lcm(4, 6), factorial(20);
SELECT factorial(-1);
SELECT greatest(1, NULL, 3), least(2.5, 1), greatest(NULL::int, NULL);
SELECT width_bucket(5.35, 0.024, 10.06, 5), width_bucket(5, ARRAY[1, 3, 8]);
SELECT '12'::int, ' 12 '::int, '+12'::int;
SELECT '12.5'::int;
SELECT 'abc'::int;
SELECT ''::int;
SELECT '99999999999'::int;
SELECT 'abc'::numeric;
SELECT 'abc'::float8;
SELECT 12.5::int, 13.5::int, (-12.5)::int, 1e9::int;
SELECT 1e10::int;
SELECT 'NaN'::float8::int;
SELECT 'Infinity'::float8::bigint;
SELECT 'NaN'::numeric::int;
SELECT 300::"char", 65::"char";
SELECT 3::money, 12.345::money, '$1,234.56'::money, 3::money * 2.5;
SELECT '1000000000000000000000'::money;
SELECT 1::bit(3), 5::bit(8), B'101' & B'110', B'101' || B'1', B'1010'::int, X'1F', X'1F'::int;
SELECT B'101'::bit(5), B'10101'::varbit(3), B'101' & B'1';
SELECT '102'::bit(3);
SELECT to_hex(255), to_char(1234.5, '9,999.99'), to_char(-5, 'S99'), to_char(0.1, '0.99EEEE'), to_char(485, 'RN');
SELECT to_number('12,345.6-', '99G999D9S');
SELECT pi(), degrees(pi()), radians(180), sin(0), cos(0), tan(0), asin(1), atan2(1, 1), sind(30), cosd(60);
SELECT asin(2);
SELECT sinh(1), cosh(1), tanh(1), asinh(1), acosh(1), atanh(0.5);
SELECT log(100), log(2, 8), log10(1000), ln(2.718281828);
SELECT 1::int2 + 1::int4, pg_typeof(1::int2 + 1::int8), pg_typeof(1 + 1.0), pg_typeof(1 + 1::float8), pg_typeof(1::float4 * 1::numeric);
SELECT bool_and(x > 0), sum(x), avg(x), min(x), max(x), count(x), stddev(x), variance(x) FROM (VALUES (1), (2), (NULL), (4)) v(x);
SELECT sum(x), avg(x), pg_typeof(sum(x)), pg_typeof(avg(x)) FROM (VALUES (1::bigint), (9223372036854775807)) v(x);
SELECT sum(x) FROM (VALUES (2147483647), (1)) v(x);
SELECT sum(x), avg(x), max(x) FROM (VALUES ('NaN'::float8), (1)) v(x);
SELECT sum(x), avg(x) FROM (VALUES ('Infinity'::numeric), ('-Infinity')) v(x);
SELECT corr(y, x), regr_slope(y, x), covar_pop(y, x) FROM (VALUES (1::float8, 2::float8), (2, 4.5), (3, 6)) v(x, y);
SELECT x FROM (VALUES ('NaN'::float8), ('Infinity'), (0), ('-Infinity'), (NULL)) v(x) ORDER BY x;
SELECT x FROM (VALUES ('NaN'::numeric), (1e30), (-5), (NULL)) v(x) ORDER BY x DESC NULLS LAST;
SELECT generate_series(1, 10, 3), generate_series(5, 1, -2);
SELECT generate_series(1, 3, 0);
SELECT generate_series(1.0, 2.0, 0.5);
SELECT count(*) FROM generate_series(1, 100000);
--# with: 1 | 2
--# with: 2147483647 | 1
--# with: NULL | 3
SELECT $1::int + $2::int, $1 < $2;
--# with: 1.5 | 2
--# with: NaN | Infinity
SELECT $1::numeric * $2::numeric, $1::numeric > $2::numeric;
--# with: 1e10 | -0
--# with: Infinity | NaN
SELECT $1::float8 / ($2::float8 - 1), $2::float8;
--# with: 5
--# with: abc
SELECT $1::smallint;
--# with: 1 | 0
SELECT $1::int / $2::int;
--# with: 7
SELECT $1 + 1;
--# with: 7
SELECT $1;
--# with: 12.5
SELECT sqrt($1), round($1::numeric);
--# with: 1 | 2
SELECT $1 || $2;
CREATE TABLE n (i int, s smallint, b bigint, x numeric(8,3), y numeric, f float4, d float8, c money, CHECK (i <> 13));
INSERT INTO n VALUES (1, 2, 3, 4.5678, 1.100, 0.1, 0.1, 5), (NULL, NULL, NULL, NULL, 'NaN', 'NaN', 'Infinity', NULL);
INSERT INTO n (s) VALUES (40000);
INSERT INTO n (x) VALUES (123456);
INSERT INTO n (i) VALUES (13);
INSERT INTO n (i) VALUES (3000000000);
INSERT INTO n (i) VALUES ('x');
SELECT * FROM n ORDER BY i;
UPDATE n SET y = y + 0.0050, d = -d RETURNING y, d;
UPDATE n SET s = s * 30000 WHERE s IS NOT NULL;
SELECT i, s, b, x, y, f, d, c FROM n ORDER BY b NULLS FIRST;
SELECT sum(y), avg(x), sum(c), max(d) FROM n;
