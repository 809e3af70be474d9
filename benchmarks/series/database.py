"""A shop's PostgreSQL database over eight days: nightly dumps, base backups.

What a database does to a backup tool: a few rows change everywhere. Every
table has updates scattered over all of it, inserts at its end and in the holes
that VACUUM left, and deletes, about one row in a hundred a day. So almost
every stretch of 64 KiB differs from the day before, and nearly all of its
bytes do not.

All values follow from the seed through PostgreSQL's own hash; the rows of a
dump are the same on every machine. A base backup also holds a system
identifier, times and positions in the log, which no seed can fix.
"""

from series import throwaway

DUMPS = 8
BASE_BACKUPS = 4
NIGHTS = 60

# Of the rows below, for sixty nights and for upheavals.
NIGHTS_SCALE = 0.25
UPHEAVALS_SCALE = 0.25

# Rows at scale 1.
ROWS = {"customers": 115_000, "products": 26_000, "orders": 450_000,
        "lines": 650_000, "messages": 50_000, "events": 340_000,
        "sessions": 15_000}

_WORDS = """the of and to in a is that for it was on are as with they be at
one have this from or had by hot but some what there we can out other were all
your when up use word how said an each she which do their time if will way
about many then them would write like so these her long make thing see him two
has look more day could go come did sound no most number who over know water
than call first people may down side been now find any new work part take get
place made live where after back little only round man year came show every
good me give our under name very through just form much great think say help
low line before turn cause same mean differ move right boy old too does tell
sentence set three want air well also play small end put home read hand port
large spell add even land here must big high such follow act why ask men change
went light kind off need house picture try us again animal point mother world
near build self earth father order invoice refund delivery address payment
parcel voucher customer support ticket account balance transfer warehouse
shipment discount coupon checkout basket catalogue supplier return warranty
defect replacement courier tracking estimate quarter annual subscription
renewal cancel upgrade licence receipt statement overdue reminder contract
signature attachment screenshot browser password reset login session timeout
database backup restore snapshot archive retention schedule nightly weekly
server container volume cluster replica failover latency throughput queue
worker scheduler webhook payload token secret certificate expiry rotation
policy audit review approval deploy release rollback incident postmortem metric
dashboard alert threshold budget forecast margin revenue pipeline lead prospect
campaign newsletter segment audience conversion funnel experiment variant
feature toggle backlog sprint milestone roadmap estimate blocker dependency
version patch hotfix regression coverage benchmark profile memory storage
network bandwidth region zone tenant quota limit usage invoice ledger posting
journal reconcile settlement currency exchange fee commission tax report""".split()

_PLACES = """Aachen Bergen Coimbra Delft Esbjerg Faro Ghent Halmstad Izola Jena
Kotka Leiden Malaga Nantes Oulu Porto Quimper Rijeka Siena Tartu Uppsala Varna
Weimar Xanten Ystad Zadar""".split()

_SCHEMA = """
-- Uniform from 0 to n-1, fixed by the row, the column's salt and the seed.
CREATE FUNCTION pick(row_id bigint, salt bigint, n int) RETURNS int
  LANGUAGE sql IMMUTABLE AS
  $$ SELECT ((hashint8extended(row_id, salt + {seed} * 1000003)
              & 9223372036854775807) % n)::int $$;
-- The same, leaning to small numbers as words and customers do.
CREATE FUNCTION lean(row_id bigint, salt bigint, n int) RETURNS int
  LANGUAGE sql IMMUTABLE AS
  $$ SELECT (n * power(pick(row_id, salt, 1000003) / 1000003.0::float8, 3)
            )::int $$;
CREATE FUNCTION word(row_id bigint, salt bigint) RETURNS text
  LANGUAGE sql IMMUTABLE AS
  $$ SELECT (ARRAY[{words}])[1 + lean(row_id, salt, {word_count} - 1)] $$;
CREATE FUNCTION place(row_id bigint, salt bigint) RETURNS text
  LANGUAGE sql IMMUTABLE AS
  $$ SELECT (ARRAY[{places}])[1 + pick(row_id, salt, {place_count})] $$;
CREATE FUNCTION prose(row_id bigint, salt bigint, words int) RETURNS text
  LANGUAGE sql IMMUTABLE AS
  $$ SELECT string_agg(word(row_id * 1000 + w, salt), ' ' ORDER BY w)
     FROM generate_series(1, words) w $$;
CREATE FUNCTION moment(row_id bigint, per_day int) RETURNS timestamptz
  LANGUAGE sql IMMUTABLE AS
  $$ SELECT '2025-01-01 00:00:00+00'::timestamptz
       + row_id * (interval '1 day' / per_day) $$;

CREATE TABLE customers (id bigint PRIMARY KEY, name text, email text,
  city text, balance numeric(12,2), newsletter boolean, since timestamptz);
CREATE TABLE products (id bigint PRIMARY KEY, sku text, title text,
  price numeric(10,2), stock int, description text);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, status text,
  total numeric(12,2), currency text, carrier text, city text,
  placed_at timestamptz, note text);
CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint, product_id bigint,
  quantity int, price numeric(10,2));
CREATE TABLE messages (id bigint PRIMARY KEY, customer_id bigint,
  written_at timestamptz, body text);
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz, kind text,
  payload jsonb);
CREATE TABLE sessions (id bigint PRIMARY KEY, token text, seen timestamptz);
CREATE INDEX ON orders (customer_id);
"""

# How row i of each table is made. {salt} differs from day to day only where a
# row is written anew.
_ROW = {
    "customers": """i, initcap(word(i,1) || ' ' || word(i,2)),
      word(i,1) || '.' || word(i,2) || i || '@' || lower(place(i,3))
        || '.example', place(i,3), pick(i,4,500000)/100.0, pick(i,5,3)=0,
      moment(i,400)""",
    "products": """i, 'SKU-' || lpad(i::text,7,'0'), initcap(prose(i,6,3)),
      (99+10*lean(i,7,5000))/100.0, pick(i,8,400), prose(i,9,20)""",
    "orders": """i, 1+lean(i,10,{customers}-1), (ARRAY['delivered',
      'delivered','delivered','shipped','paid','open','returned'])
      [1+pick(i,11,7)], (500+lean(i,12,400)*100)/100.0, 'EUR',
      (ARRAY['Northern Parcel Service','City Bicycle Couriers',
      'Collected at the counter'])[1+lean(i,27,3)], place(i,13),
      moment(i,1440), (ARRAY['','','','please leave with the neighbour',
      'gift wrapping, no invoice in the box'])[1+pick(i,28,5)]""",
    "lines": """i, 1+i*{orders}/{lines}, 1+lean(i,14,{products}-1),
      1+lean(i,15,6), (99+100*lean(i,16,60))/100.0""",
    "messages": """i, 1+lean(i,17,{customers}-1), moment(i,300),
      prose(i,18,20+pick(i,19,70))""",
    "events": """i, moment(i,960), (ARRAY['page_view','page_view','search',
      'add_to_cart','login','checkout'])[1+pick(i,20,6)],
      jsonb_build_object('customer', 1+lean(i,21,{customers}-1),
        'path', '/catalogue/' || word(i,22) || '/' || word(i,23),
        'agent', (ARRAY['Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101',
          'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36',
          'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X)'])
          [1+lean(i,24,3)],
        'referrer', 'https://shop.example/campaign/'
          || (ARRAY['none','spring-sale','newsletter'])[1+lean(i,29,3)],
        'locale', 'en_GB', 'currency', 'EUR', 'experiment', 'control',
        'viewport', jsonb_build_array(1920, 1080),
        'duration_ms', 10*lean(i,25,400), 'ok', pick(i,26,40)>0)""",
    "sessions": """i, md5(i::text || {seed}), moment(i,200)""",
}

# One day: what is updated (column = value, one row in so many), how many rows
# per thousand are added, and one row in so many that goes.
_DAY = {
    "customers": ("balance = pick(id,100+{day},500000)/100.0", 80, 2, 2000),
    "products": ("stock = pick(id,100+{day},400)", 40, 2, 1000),
    "orders": ("status = 'delivered', total = total + 1", 120, 6, 800),
    "lines": ("quantity = quantity + 1", 200, 6, 800),
    "messages": ("body = body || ' ' || word(id,100+{day})", 250, 6, 600),
    "events": ("payload = payload || '{{\"seen\": {day}}}'", 300, 10, 150),
    "sessions": ("token = md5(id::text || {day} || {seed})", 12, 20, 50),
}


def _quoted(words):
    return ",".join(f"'{word}'" for word in words)


def _fill(seed, rows):
    yield _SCHEMA.format(seed=seed, words=_quoted(_WORDS),
                         word_count=len(_WORDS), places=_quoted(_PLACES),
                         place_count=len(_PLACES))
    for table, columns in _ROW.items():
        yield (f"INSERT INTO {table} SELECT "
               + columns.format(seed=seed, **rows)
               + f" FROM generate_series(1::bigint, {rows[table]}) i;")
    yield "VACUUM ANALYZE;"


def _pass_a_day(seed, rows, day):
    for table, (change, one_in, per_thousand, gone_in) in _DAY.items():
        made = rows[table]
        added = max(1, made * per_thousand // 1000)
        first = made + (day - 2) * added + 1
        yield f"""
          DELETE FROM {table} WHERE pick(id, 200+{day}, {gone_in}) = 0;
          UPDATE {table} SET {change.format(day=day, seed=seed)}
            WHERE pick(id, 300+{day}, {one_in}) = 0;
          INSERT INTO {table} SELECT {_ROW[table].format(seed=seed, **rows)}
            FROM generate_series({first}::bigint, {first + added - 1}) i;"""
    yield "VACUUM;"


# What may happen to a database beside its days, one after another. Each names
# the state that it leads to.
UPHEAVALS = {
    "updates": "a row in a hundred, everywhere",
    "appends": "five rows in a hundred more, at the ends",
    "deletes": "five rows in a hundred less, everywhere",
    "column": "a column more in the largest tables",
    "reordered": "the largest tables in another order (CLUSTER)",
    "vacuumed": "VACUUM FULL after a tenth was deleted",
    "restored": "dumped, and restored into another database",
}


def _upheaval(name, seed, rows):
    """The statements; none for what takes another database."""
    large = ("orders", "lines", "events")
    if name == "updates":
        yield from _pass_a_day(seed, rows, 2)
    elif name == "appends":
        for table, columns in _ROW.items():
            first = rows[table] * 2
            last = first + max(1, rows[table] // 20)
            yield (f"INSERT INTO {table} SELECT "
                   + columns.format(seed=seed, **rows)
                   + f" FROM generate_series({first}::bigint, {last}) i;")
    elif name == "deletes":
        for table in _ROW:
            yield f"DELETE FROM {table} WHERE pick(id, 400, 20) = 0;"
        yield "VACUUM;"
    elif name == "column":
        for table in large:
            yield (f"ALTER TABLE {table} ADD COLUMN region text;"
                   f"UPDATE {table} SET region = place(id, 401);")
        yield "VACUUM;"
    elif name == "reordered":
        for table in large:
            yield (f"CREATE INDEX anew ON {table} (pick(id, 402, 1000000));"
                   f"CLUSTER {table} USING anew; DROP INDEX anew;")
    elif name == "vacuumed":
        for table in _ROW:
            yield f"DELETE FROM {table} WHERE pick(id, 403, 10) = 0;"
        yield "VACUUM FULL;"


def _rows(scale):
    return {table: max(200, int(n * scale)) for table, n in ROWS.items()}


def make_nights(dumps, seed, scale):
    """Fills `dumps` with 1.sql to 60.sql, a night apart."""
    rows = _rows(scale * NIGHTS_SCALE)
    with throwaway.postgres() as server:
        server.sql("\n".join(_fill(seed, rows)))
        for day in range(1, NIGHTS + 1):
            if day > 1:
                server.sql("\n".join(_pass_a_day(seed, rows, day)))
            server.dump(dumps / f"{day}.sql")


def make_upheavals(dumps, bases, seed, scale):
    """One dump and one base backup before them, and one after each."""
    rows = _rows(scale * UPHEAVALS_SCALE)
    with throwaway.postgres() as server:
        server.sql("\n".join(_fill(seed, rows)))
        for number, name in enumerate(["", *UPHEAVALS], 1):
            if name == "restored":
                server.restore_anew(dumps / f"{number - 1}.sql")
            elif name:
                server.sql("\n".join(_upheaval(name, seed, rows)))
            server.dump(dumps / f"{number}.sql")
            server.base_backup(bases / f"{number}.tar")


def make(dumps, bases, seed, scale):
    """Fills `dumps` with 1.sql to 8.sql and `bases` with 1.tar to 4.tar."""
    rows = _rows(scale)
    with throwaway.postgres() as server:
        server.sql("\n".join(_fill(seed, rows)))
        for day in range(1, DUMPS + 1):
            if day > 1:
                server.sql("\n".join(_pass_a_day(seed, rows, day)))
            server.dump(dumps / f"{day}.sql")
            if day <= BASE_BACKUPS:
                server.base_backup(bases / f"{day}.tar")
