#!/bin/sh
# Puts the program, and wheels of all that it needs, into dist/. Nothing is downloaded: the wheels
# are built from what the cache holds.
set -eu
cd "$(dirname "$0")"
rm -rf dist
python3 -m pip wheel --no-index --find-links "${WHEEL_CACHE:-wheel-cache}" \
    --wheel-dir dist/wheels --requirement requirements.txt
cp install app.py requirements.txt dist/
