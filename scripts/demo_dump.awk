# Writes what pg_dump would write for a small shop, for `make demo` on a machine
# without PostgreSQL: awk -v day=1 -f demo_dump.awk
#
# Day 2 is day 1 with a day's changes: some rows in a hundred differ all over
# the tables, some are gone, new ones stand at the end. Every value follows from
# the row's number, so the same day always gives the same bytes.

# About uniform from 0 to n-1. All products stay exact in a double.
function pick(row, salt, n) {
  h = ((row * 7919 + salt * 104729 + 1) % 2147483647 * 16807) % 2147483647
  h = (h * (1 + h % 10007)) % 2147483647
  h = (h * (1 + h % 10009)) % 2147483647
  return h % n
}

function prose(row, salt, count,    text, i) {
  text = words[1 + pick(row, salt, word_count)]
  for (i = 1; i < count; i++)
    text = text " " words[1 + pick(row, salt + i, word_count)]
  return text
}

function moment(row) {
  return sprintf("2026-%02d-%02d %02d:%02d:%02d+00", 1 + row / 28000 % 12,
                 1 + row / 1000 % 28, row / 41 % 24, row % 60, row * 7 % 60)
}

function gone(row, salt) { return day > 1 && pick(row, salt, 500) == 0 }
function changed(row, salt) { return day > 1 && pick(row, salt, 100) == 0 }

function open_table(name, columns) {
  printf "\n--\n-- Data for Name: %s; Type: TABLE DATA; Schema: public\n--\n\n",
         name
  printf "COPY public.%s (%s) FROM stdin;\n", name, columns
}

BEGIN {
  OFS = "\t"
  word_count = split("order invoice parcel customer address refund delivery " \
    "the of and to in is that for it was on are with they be at one have " \
    "warehouse shipment discount coupon checkout basket catalogue supplier " \
    "return warranty courier tracking annual subscription renewal receipt " \
    "reminder contract signature browser password session timeout backup " \
    "restore snapshot archive nightly weekly server cluster replica queue " \
    "late again please thank you morning evening today tomorrow", words, " ")
  state_count = split("delivered shipped paid open returned", states, " ")
  city_count = split("Aachen Bergen Delft Faro Ghent Jena Leiden Nantes Oulu " \
    "Porto Rijeka Siena Tartu Varna Zadar", cities, " ")

  print "--\n-- PostgreSQL database dump\n--\n"
  print "SET statement_timeout = 0;\nSET client_encoding = 'UTF8';"
  print "SET standard_conforming_strings = on;\n"
  print "CREATE TABLE public.customers (\n    id bigint NOT NULL,"
  print "    name text,\n    city text,\n    balance numeric(12,2)\n);\n"
  print "CREATE TABLE public.orders (\n    id bigint NOT NULL,"
  print "    customer_id bigint,\n    state text,\n    total numeric(12,2),"
  print "    placed_at timestamp with time zone,\n    token text\n);\n"
  print "CREATE TABLE public.messages (\n    id bigint NOT NULL,"
  print "    written_at timestamp with time zone,\n    body text\n);"

  customers = 60000; orders = 280000; messages = 110000
  more = day > 1 ? 1.01 : 1

  open_table("customers", "id, name, city, balance")
  for (i = 1; i <= customers * more; i++)
    if (!gone(i, 1))
      print i, prose(i, 2, 2), cities[1 + pick(i, 4, city_count)],
        sprintf("%.2f", pick(i, changed(i, 5) ? 6 : 7, 500000) / 100)
  print "\\."

  open_table("orders", "id, customer_id, state, total, placed_at, token")
  for (i = 1; i <= orders * more; i++)
    if (!gone(i, 11))
      print i, 1 + pick(i, 12, customers),
        changed(i, 13) ? "returned" : states[1 + pick(i, 14, state_count)],
        sprintf("%.2f", pick(i, 15, 90000) / 100), moment(i),
        sprintf("%08x%08x", pick(i, 16, 2147483647), pick(i, 17, 2147483647))
  print "\\."

  open_table("messages", "id, written_at, body")
  for (i = 1; i <= messages * more; i++)
    if (!gone(i, 21))
      print i, moment(i), prose(i, 22, 24 + pick(i, 60, 40)) \
        (changed(i, 61) ? " (edited)" : "")
  print "\\."

  print "\n--\n-- PostgreSQL database dump complete\n--\n"
}
