CREATE OR REPLACE TEMP VIEW log AS
SELECT *, CAST(NULL AS BOOLEAN) AS "cancelled"
FROM read_parquet([
    'log/departures/2013-01-01.parquet',
    'it''s.parquet'
], union_by_name = true, hive_partitioning = false);

CREATE OR REPLACE TEMP TABLE keys AS
SELECT row_number() OVER () AS key_id, *
FROM (SELECT DISTINCT "key(origin)", "key(carrier)" FROM spine);

CREATE OR REPLACE TEMP TABLE moments AS
SELECT row_number() OVER () AS moment_id, *
FROM (SELECT DISTINCT k.key_id, s.t_us FROM spine AS s JOIN keys AS k ON k."key(origin)" = s."key(origin)" AND k."key(carrier)" = s."key(carrier)");

CREATE OR REPLACE TEMP TABLE spine_rows AS
SELECT s.spine_row, m.moment_id
FROM spine AS s
JOIN keys AS k ON k."key(origin)" = s."key(origin)" AND k."key(carrier)" = s."key(carrier)"
JOIN moments AS m ON m.key_id = k.key_id AND m.t_us = s.t_us;

CREATE OR REPLACE TEMP TABLE events AS
SELECT
    k.key_id,
    e._ts_us AS ts_us,
    e._ts_us AS known_at_us,
    row_number() OVER (ORDER BY e._ts_us, e._partition, e._offset) AS event_seq,
    e."delay" AS "value(delay)",
    e."cancelled" AS "value(cancelled)",
    epoch_us(e."at") AS "value(at)"
FROM log AS e
JOIN keys AS k ON k."key(origin)" = e."origin" AND k."key(carrier)" = e."carrier"
WHERE e._ts_us <= 7200000000;

WITH
active_1 AS (
    SELECT
        *,
        greatest(known_at_us, tile_start(ts_us, 60000000)) AS active_from_us,
        tile_start(ts_us, 60000000) + 3600000000 AS active_until_us
    FROM events
    WHERE known_at_us < tile_start(ts_us, 60000000) + 3600000000
),
changes_1 AS (
    SELECT
        key_id,
        active_from_us AS at_us,
        1 AS "rows",
        CAST("value(delay)" * pow(2, 52) AS HUGEINT) AS "sum(delay)",
        CAST("value(delay)" IS NOT NULL AS BIGINT) AS "count(delay)"
    FROM active_1
    UNION ALL
    SELECT
        key_id,
        active_until_us,
        -1,
        -CAST("value(delay)" * pow(2, 52) AS HUGEINT),
        -CAST("value(delay)" IS NOT NULL AS BIGINT)
    FROM active_1
),
steps_1 AS (
    SELECT
        key_id,
        at_us,
        sum("rows") AS "rows",
        sum("sum(delay)") AS "sum(delay)",
        sum("count(delay)") AS "count(delay)"
    FROM changes_1
    GROUP BY key_id, at_us
),
running_1 AS (
    SELECT
        key_id,
        at_us,
        sum("rows") OVER so_far AS "rows",
        sum("sum(delay)") OVER so_far AS "sum(delay)",
        sum("count(delay)") OVER so_far AS "count(delay)"
    FROM steps_1
    WINDOW so_far AS (PARTITION BY key_id ORDER BY at_us ROWS UNBOUNDED PRECEDING)
),
timeline_1 AS (
    SELECT
        key_id,
        ts_us AS at_us,
        NULL AS moment_id,
        0 AS reach_us,
        "value(delay)" AS "max(delay)"
    FROM events
    WHERE known_at_us - ts_us <= 0
    UNION ALL
    SELECT
        key_id,
        t_us,
        moment_id,
        t_us - tile_start(t_us, 60000000) - (-3540000000),
        NULL
    FROM moments
),
framed_1 AS (
    SELECT
        moment_id,
        max("max(delay)") OVER frame AS "max(delay)"
    FROM timeline_1
    WINDOW frame AS (PARTITION BY key_id ORDER BY at_us RANGE BETWEEN reach_us PRECEDING AND CURRENT ROW)
    QUALIFY moment_id IS NOT NULL
),
steps_2 AS (
    SELECT
        key_id,
        known_at_us AS at_us,
        sum(CAST("value(cancelled)" AS HUGEINT)) AS "sum(cancelled)",
        max(CASE WHEN "value(at)" IS NOT NULL THEN event_seq END) AS "last(at)"
    FROM events
    GROUP BY key_id, known_at_us
),
running_2 AS (
    SELECT
        key_id,
        at_us,
        sum("sum(cancelled)") OVER so_far AS "sum(cancelled)",
        max("last(at)") OVER so_far AS "last(at)"
    FROM steps_2
    WINDOW so_far AS (PARTITION BY key_id ORDER BY at_us ROWS UNBOUNDED PRECEDING)
),
features AS (
    SELECT
        m.moment_id,
        CAST(coalesce(running_1."rows", 0) AS BIGINT) AS feature_1,
        CASE WHEN running_1."count(delay)" > 0 THEN CAST(CAST(coalesce(running_1."sum(delay)", 0) AS DOUBLE) * pow(2, -52) AS DOUBLE) / running_1."count(delay)" END AS feature_2,
        framed_1."max(delay)" AS feature_3,
        coalesce(running_2."sum(cancelled)", 0) AS feature_4,
        running_2."last(at)" AS feature_5
    FROM moments AS m
    ASOF LEFT JOIN running_1 ON running_1.key_id = m.key_id AND running_1.at_us <= m.t_us
    LEFT JOIN framed_1 ON framed_1.moment_id = m.moment_id
    ASOF LEFT JOIN running_2 ON running_2.key_id = m.key_id AND running_2.at_us <= m.t_us
)
SELECT
    s.spine_row,
    f.feature_1 AS "n_1h",
    f.feature_2 AS "mean_1h",
    f.feature_3 AS "max_1h",
    f.feature_4 AS "cancelled",
    last_5."value(at)" AS "last_at"
FROM spine_rows AS s
JOIN features AS f ON f.moment_id = s.moment_id
LEFT JOIN events AS last_5 ON last_5.event_seq = f.feature_5
ORDER BY s.spine_row;
