#!/bin/sh
# Puts the program and what it needs into dist/.
set -eu
cd "$(dirname "$0")"
npm ci --omit=dev --no-audit --no-fund
rm -rf dist
mkdir dist
cp -R package.json server.js lib node_modules deploy dist/
