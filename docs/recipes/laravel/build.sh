#!/bin/sh
# Copies the app into dist/, without what lives in shared/ on hosts.
set -eu
cd "$(dirname "$0")"
rm -rf dist
mkdir dist
cp -R artisan bootstrap database public dist/
