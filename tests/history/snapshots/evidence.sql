CREATE OR REPLACE TEMP VIEW log AS
SELECT
    _ts_us,
    _known_at_us,
    _partition,
    _offset,
    "origin" AS "origin",
    "carrier" AS "carrier",
    "at" AS "at",
    "delay" AS "delay",
    CAST(NULL AS BOOLEAN) AS "cancelled"
FROM read_parquet([
    'log/departures/2013-01-01.parquet'
], union_by_name = true, hive_partitioning = false)
UNION ALL BY NAME
SELECT
    _ts_us,
    _known_at_us,
    _partition,
    _offset,
    "origin" AS "origin",
    "carrier" AS "carrier",
    "at" AS "at",
    CASE WHEN abs("delay") > 9007199254740992 THEN error('integers in delay that no float is') ELSE CAST("delay" AS DOUBLE) END AS "delay",
    CAST(NULL AS BOOLEAN) AS "cancelled"
FROM read_parquet([
    'it''s.parquet'
], union_by_name = true, hive_partitioning = false);

CREATE OR REPLACE TEMP TABLE keys AS
SELECT row_number() OVER () AS key_id, *
FROM (SELECT DISTINCT "key(origin)", "key(carrier)" FROM spine);

CREATE OR REPLACE TEMP TABLE moments AS
SELECT s.spine_row AS moment_id, k.key_id, s.t_us
FROM spine AS s
JOIN keys AS k ON k."key(origin)" = s."key(origin)" AND k."key(carrier)" = s."key(carrier)";

CREATE OR REPLACE TEMP TABLE events AS
SELECT
    k.key_id,
    e._ts_us AS ts_us,
    e._partition AS source_partition,
    e._offset AS source_offset,
    row_number() OVER (ORDER BY e._ts_us, e._partition, e._offset) AS event_seq,
    e."delay" AS "value(delay)",
    e."cancelled" AS "value(cancelled)",
    epoch_us(e."at") AS "value(at)"
FROM log AS e
JOIN keys AS k ON k."key(origin)" = e."origin" AND k."key(carrier)" = e."carrier";

WITH
windows_1 AS (
    SELECT
        moment_id,
        key_id,
        tile_start(t_us, 60000000) + (-3540000000) AS from_us,
        tile_start(t_us, 60000000) + 60000000 AS until_us
    FROM moments
),
counted_1 AS (
    SELECT
        w.moment_id,
        sum(1) AS "rows",
        sum(CAST("value(delay)" * pow(2, 52) AS HUGEINT)) AS "sum(delay)",
        sum(CAST("value(delay)" IS NOT NULL AS BIGINT)) AS "count(delay)",
        max("value(delay)") AS "max(delay)"
    FROM (
        SELECT *, unnest(list_distinct([tile_start(from_us, 3600000000), tile_start(until_us - 1, 3600000000)])) AS stretch
        FROM windows_1
    ) AS w
    JOIN (SELECT *, tile_start(ts_us, 3600000000) AS stretch FROM events) AS e
        ON e.key_id = w.key_id AND e.stretch = w.stretch AND e.ts_us >= w.from_us AND e.ts_us < w.until_us
    JOIN evidence AS v
        ON v.moment_id = w.moment_id AND v.source_partition = e.source_partition AND v.applied_offset >= e.source_offset
    GROUP BY w.moment_id
),
running_2 AS (
    SELECT
        key_id,
        source_partition,
        source_offset,
        sum(CAST("value(cancelled)" AS HUGEINT)) OVER so_far AS "sum(cancelled)",
        max(CASE WHEN "value(at)" IS NOT NULL THEN event_seq END) OVER so_far AS "last(at)"
    FROM events
    WINDOW so_far AS (PARTITION BY key_id, source_partition ORDER BY source_offset ROWS UNBOUNDED PRECEDING)
),
counted_2 AS (
    SELECT
        v.moment_id,
        sum("sum(cancelled)") AS "sum(cancelled)",
        max("last(at)") AS "last(at)"
    FROM (SELECT * FROM evidence JOIN moments USING (moment_id)) AS v
    ASOF JOIN running_2 AS r
        ON r.key_id = v.key_id AND r.source_partition = v.source_partition AND r.source_offset <= v.applied_offset
    GROUP BY v.moment_id
),
features AS (
    SELECT
        m.moment_id,
        CAST(coalesce(counted_1."rows", 0) AS BIGINT) AS feature_1,
        CASE WHEN counted_1."count(delay)" > 0 THEN CAST(CAST(coalesce(counted_1."sum(delay)", 0) AS DOUBLE) * pow(2, -52) AS DOUBLE) / counted_1."count(delay)" END AS feature_2,
        counted_1."max(delay)" AS feature_3,
        coalesce(counted_2."sum(cancelled)", 0) AS feature_4,
        counted_2."last(at)" AS feature_5
    FROM moments AS m
    LEFT JOIN counted_1 ON counted_1.moment_id = m.moment_id
    LEFT JOIN counted_2 ON counted_2.moment_id = m.moment_id
)
SELECT
    f.moment_id AS spine_row,
    f.feature_1 AS "n_1h",
    f.feature_2 AS "mean_1h",
    f.feature_3 AS "max_1h",
    f.feature_4 AS "cancelled",
    last_5."value(at)" AS "last_at"
FROM features AS f
LEFT JOIN events AS last_5 ON last_5.event_seq = f.feature_5
ORDER BY f.moment_id;
