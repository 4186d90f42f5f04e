-- A small web shop: a few hundred thousand rows with the types that real databases have.
CREATE EXTENSION IF NOT EXISTS plpgsql;
CREATE TYPE order_state AS ENUM ('new', 'paid', 'sent', 'returned');
CREATE DOMAIN email AS text CHECK (value LIKE '%@%');
CREATE SEQUENCE invoice_numbers START 100000;

CREATE TABLE customers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email email NOT NULL UNIQUE,
  name text NOT NULL,
  address jsonb NOT NULL,
  tags text[] NOT NULL DEFAULT '{}',
  last_ip inet,
  since timestamptz NOT NULL
);
CREATE TABLE products (
  id uuid PRIMARY KEY,
  title text NOT NULL,
  price numeric(10, 2) NOT NULL,
  gross numeric GENERATED ALWAYS AS (price * 1.19) STORED,
  stock int4range,
  picture bytea,
  words tsvector
);
CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY,
  customer bigint NOT NULL REFERENCES customers,
  state order_state NOT NULL,
  total numeric(12, 2) NOT NULL,
  placed timestamptz NOT NULL,
  delivery interval,
  note text,
  PRIMARY KEY (id, placed)
) PARTITION BY RANGE (placed);
CREATE TABLE orders_2025 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE "Odd ""names"" & 'quotes'" ("a column" int PRIMARY KEY, "ünïcode" text);

INSERT INTO customers (email, name, address, tags, last_ip, since)
SELECT 'customer' || i || '@example.com', 'Customer ' || md5(i::text),
  jsonb_build_object('street', md5((i * 7)::text), 'number', i % 200, 'city', (ARRAY['Lyon', 'Łódź', '東京', 'Oslo'])[1 + i % 4]),
  CASE WHEN i % 10 = 0 THEN ARRAY['vip', 'newsletter'] ELSE '{}' END,
  ('10.' || i % 256 || '.' || i / 256 % 256 || '.1')::inet, timestamptz '2024-01-01' + i * interval '7 minutes'
FROM generate_series(1, 60000) AS i;

INSERT INTO products (id, title, price, stock, picture, words)
SELECT md5(i::text)::uuid, 'Product ' || i, (i % 10000) / 100.0, int4range(i % 50, i % 50 + 10),
  decode(repeat(md5(i::text), 8), 'hex'), to_tsvector('simple', 'product ' || i || ' ' || md5(i::text))
FROM generate_series(1, 5000) AS i;

INSERT INTO orders (customer, state, total, placed, delivery, note)
SELECT 1 + i::bigint * 7919 % 60000, (ARRAY['new', 'paid', 'sent', 'returned']::order_state[])[1 + i % 4], (i::bigint * 31 % 100000) / 100.0,
  timestamptz '2025-06-01' + i * interval '90 seconds', i % 9 * interval '1 day', CASE WHEN i % 3 = 0 THEN repeat(md5(i::text), 3) END
FROM generate_series(1, 350000) AS i;

INSERT INTO "Odd ""names"" & 'quotes'" SELECT i, E'line one\nline two\t' || i || ' – žluťoučký' FROM generate_series(1, 100) AS i;

CREATE INDEX ON orders (customer);
CREATE INDEX ON orders (placed);
CREATE INDEX ON products USING gin (words);
CREATE VIEW revenue AS SELECT date_trunc('month', placed) AS month, sum(total) FROM orders WHERE state <> 'returned' GROUP BY 1;
CREATE MATERIALIZED VIEW best_customers AS SELECT customer, sum(total) AS spent FROM orders GROUP BY 1 ORDER BY 2 DESC LIMIT 100;
CREATE FUNCTION discount(amount numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT amount * 0.9';
SELECT nextval('invoice_numbers') FROM generate_series(1, 500);
SELECT lo_from_bytea(0, decode(repeat(md5(i::text), 4096), 'hex')) FROM generate_series(1, 20) AS i;
COMMENT ON TABLE orders IS 'one row for each order, for ever';
