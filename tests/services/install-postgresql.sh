#!/bin/sh
# PostgreSQL from Debian's packages, for tests/services; nothing is started. Does nothing where it is installed.
set -eu
if ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "tests/services need PostgreSQL's server (on Debian: apt-get install postgresql)" >&2
  exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then as_root="sudo"; fi
$as_root apt-get update -qq
# the package would make and start a cluster of its own, which the tests do not use
$as_root mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" | $as_root tee /etc/postgresql-common/createcluster.d/archsearch.conf >/dev/null
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
