-- Dates, times, zones, intervals.
SELECT date '2024-02-29', '2024-1-5'::date, 'January 8, 1999'::date, '19990108'::date, 'infinity'::date, '0044-03-15 BC'::date;
SELECT '2023-02-29'::date;
SELECT '2024-13-01'::date;
SELECT 'yesterdayish'::date;
SELECT '5874898-01-01'::date;
SELECT date '2024-03-01' - 1, date '2024-03-01' - date '2024-02-01', date '2024-01-31' + interval '1 month', date '2024-01-01' + time '10:00';
SELECT timestamp '2024-02-29 12:34:56.789', timestamptz '2024-02-29 12:34:56.789+02', timestamp '2024-02-29T12:00';
SELECT '2024-02-29 25:00'::timestamp;
SELECT '2024-01-01 00:00 Nowhere/City'::timestamptz;
SELECT '294277-01-01'::timestamp;
SELECT timestamptz '2024-03-31 02:30 Europe/Berlin', timestamptz '2024-10-27 02:30 Europe/Berlin', timestamptz '2024-07-01 12:00 CEST';
SELECT timestamp '2024-03-31 02:30' AT TIME ZONE 'Europe/Berlin', timestamptz '2024-03-31 00:30Z' AT TIME ZONE 'America/New_York';
SELECT timestamp '2024-01-01' AT TIME ZONE 'Mars/Base';
SELECT timestamptz '2024-01-01 00:00Z' AT TIME ZONE interval '5 hours', timestamptz '2024-01-01Z' AT TIME ZONE '+03';
SELECT time '04:05:06.789', time '24:00', timetz '04:05:06-08', time '04:05' + interval '3 hours', time '23:00' + interval '2 hours';
SELECT time '25:00';
SELECT time '10:00' - time '08:30', timetz '10:00+01' < timetz '10:00+00';
SELECT interval '1 year 2 months 3 days 4 hours 5 minutes 6.7 seconds', interval 'P1Y2M3DT4H5M6S', interval '1-2', interval '3 4:05:06', interval '-1 day +2 hours', interval '1.5 months';
SELECT interval '1' year, interval '90' minute, interval '1 day 02:03:04' hour to minute, interval '1.23456' second(2);
SELECT interval 'nonsense';
SELECT interval '1 day' * 1.5, interval '1 month' / 3, interval '1 day' + interval '1 month', - interval '1 hour', interval '1 day' > interval '23 hours', interval '30 days' = interval '1 month';
SELECT interval '1 day' / 0;
SELECT interval '178956970 years' * 100;
SELECT justify_days(interval '35 days'), justify_hours(interval '27 hours'), justify_interval(interval '1 mon -1 hour');
SELECT age(timestamp '2024-03-01', timestamp '2023-12-31'), age(date '2000-02-29', date '1999-01-31');
SELECT extract(year FROM date '2024-02-29'), extract(week FROM date '2024-12-30'), extract(isoyear FROM date '2024-12-30'), extract(doy FROM date '2024-12-31'), extract(dow FROM date '2024-02-29'), extract(century FROM date '2001-01-01'), extract(julian FROM date '2024-01-01');
SELECT extract(epoch FROM timestamptz '2024-01-01 00:00Z'), extract(microseconds FROM time '01:02:03.5'), extract(hour FROM interval '25 hours'), extract(epoch FROM interval '1 mon'), date_part('minute', timestamp '2024-01-01 10:20');
SELECT extract(nonsense FROM date '2024-01-01');
SELECT extract(hour FROM date '2024-01-01');
SELECT extract(timezone FROM timestamptz '2024-01-01 00:00+02');
SELECT date_trunc('hour', timestamp '2024-02-29 12:34:56'), date_trunc('quarter', date '2024-05-05'), date_trunc('day', timestamptz '2024-05-05 01:00Z', 'Australia/Sydney'), date_trunc('minute', interval '1 day 02:03:04');
SELECT date_trunc('nonsense', timestamp '2024-01-01');
SELECT date_bin('15 minutes', timestamp '2024-01-01 10:20', timestamp '2024-01-01'), date_bin('0 minutes', timestamp '2024-01-01', timestamp '2024-01-01');
SELECT make_date(2024, 2, 29), make_time(1, 2, 3.5), make_timestamp(2024, 1, 2, 3, 4, 5.6), make_timestamptz(2024, 1, 2, 3, 4, 5.6, 'Asia/Tokyo'), make_interval(years => 1, hours => 5);
SELECT make_date(2023, 2, 29);
SELECT to_char(timestamp '2024-02-29 15:04:05.678', 'YYYY-MM-DD HH12:MI:SS.MS AM Dy Month WW IW Q J'), to_char(interval '100 hours', 'HH24:MI'), to_char(timestamptz '2024-07-01 12:00Z', 'TZ OF');
SELECT to_date('29 Feb 2024', 'DD Mon YYYY'), to_timestamp('2024-02-29 15', 'YYYY-MM-DD HH24'), to_timestamp(0), to_timestamp(1e9 + 0.5);
SELECT to_date('31 Feb 2024', 'DD Mon YYYY');
SELECT to_timestamp('abc', 'YYYY');
SELECT timestamp 'infinity' - timestamp 'infinity', timestamp 'infinity' > now();
SELECT timestamp 'infinity', date '-infinity', isfinite(date 'infinity'), 'epoch'::timestamp, 'allballs'::time;
SELECT (date '2024-01-01', date '2024-02-01') OVERLAPS (date '2024-01-15', interval '1 month'), (time '10:00', time '11:00') OVERLAPS (time '11:00', time '12:00');
SELECT generate_series(timestamp '2024-01-30', timestamp '2024-03-01', interval '1 month');
SELECT generate_series(timestamptz '2024-03-30', timestamptz '2024-04-02', interval '1 day');
SELECT timestamp(2) '2024-01-01 00:00:00.126', timestamptz(0) '2024-01-01 00:00:00.6Z', time(1) '00:00:00.16';
--# volatile
SELECT now(), current_timestamp, localtimestamp, current_date, current_time, localtime;
--# volatile
SELECT clock_timestamp(), statement_timestamp(), transaction_timestamp(), timeofday();
SELECT now() = current_timestamp, now() = transaction_timestamp(), current_date = now()::date, localtimestamp = now()::timestamp, pg_typeof(now()), pg_typeof(current_time);
--# volatile
SELECT current_timestamp(0), current_time(2), localtime(1), localtimestamp(3);
SELECT 'now'::timestamp = now()::timestamp, 'today'::date = current_date, 'tomorrow'::date - 'yesterday'::date, 'now'::date = current_date;
SELECT now() - now(), age(now()) < interval '1 day', now() > timestamptz '2020-01-01';
SELECT pg_typeof(localtimestamp), pg_typeof(current_date), pg_typeof(localtime(0)), pg_typeof('now'::timestamptz);
SET TimeZone = 'America/New_York';
SELECT timestamptz '2024-07-01 12:00Z', timestamptz '2024-01-01 12:00Z', '2024-07-01 12:00'::timestamptz, timestamp '2024-07-01 12:00'::timestamptz;
SELECT timestamptz '2024-03-10 02:30', timestamptz '2024-11-03 01:30', date_trunc('day', timestamptz '2024-07-01 02:00Z');
SET TimeZone = 'Asia/Kathmandu'; SELECT timestamptz '2024-07-01 12:00Z';
SET TimeZone = -7.5;
SELECT timestamptz '2024-07-01 12:00Z';
SHOW TimeZone;
SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE;
SELECT timestamptz '2024-07-01 12:00Z';
SET TIME ZONE LOCAL;
SELECT timestamptz '2024-07-01 12:00Z';
SET DateStyle = 'German, DMY';
SELECT date '2024-02-01', '1.2.2024'::date, timestamptz '2024-07-01 12:00Z';
SET DateStyle = 'SQL, DMY';
SELECT date '2024-02-01', '01/02/2024'::date, timestamptz '2024-07-01 12:00Z';
SET DateStyle = 'Postgres'; SELECT timestamptz '2024-07-01 12:00Z';
RESET DateStyle;
SET IntervalStyle = 'iso_8601';
SELECT interval '1 year -2 days 03:04:05';
SET IntervalStyle = 'postgres_verbose'; SELECT interval '1 year -2 days 03:04:05';
SET IntervalStyle = 'sql_standard'; SELECT interval '1 year 2 mons', interval '-3 days 04:00';
RESET IntervalStyle;
RESET TimeZone;
--# with: 2024-02-29 | 1 month
--# with: infinity | 1 day
SELECT $1::date, $1::timestamp + $2::interval, $2::interval * 2;
--# with: 2024-03-31 01:30:00+01
SELECT $1::timestamptz, $1::timestamptz AT TIME ZONE 'UTC', extract(epoch FROM $1::timestamptz);
--# with: 10:20:30.5 | 10:20+02
SELECT $1::time, $2::timetz;
CREATE TABLE d (id serial PRIMARY KEY, d date, ts timestamp(3), tz timestamptz, t time, i interval, made timestamptz DEFAULT now(), day date DEFAULT current_date);
INSERT INTO d (d, ts, tz, t, i) VALUES ('2024-02-29', '2024-02-29 12:00:00.12345', '2024-02-29 12:00+05', '12:00', '1 mon');
INSERT INTO d (d) VALUES ('infinity'), (NULL), ('4713-01-01 BC');
INSERT INTO d (ts) VALUES ('not a time');
INSERT INTO d (d) VALUES ('2024-02-30');
SELECT id, d, ts, tz, t, i FROM d ORDER BY id;
--# volatile
SELECT made, day FROM d ORDER BY id;
SELECT count(*) FROM d WHERE made <= now() AND day = current_date;
--# volatile
INSERT INTO d (tz) VALUES (now()), (current_timestamp) RETURNING tz, made;
SELECT count(DISTINCT tz) FROM d WHERE id > 6;
SELECT d FROM d ORDER BY d NULLS FIRST;
UPDATE d SET i = i * 2 + '1 hour', d = d + 1 WHERE id = 1 RETURNING i, d;
-- The server parses it by its own clock: the replicas differ, and the statement is not confirmed.
--# differs: an untyped 'now'
INSERT INTO d (tz) VALUES ('now');
