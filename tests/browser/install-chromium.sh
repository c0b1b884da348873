#!/bin/sh
# Chromium and its driver from Debian's packages, for tests/browser. Does nothing where both are installed.
set -eu
if command -v chromedriver >/dev/null && command -v chromium >/dev/null; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "tests/browser need chromium and chromedriver (on Debian: apt-get install chromium chromium-driver)" >&2
  exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then as_root="sudo"; fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  chromium chromium-driver fonts-dejavu-core >/dev/null
