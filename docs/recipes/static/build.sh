#!/bin/sh
# Copies the site into dist/, with the digest of each asset in its name.
set -eu
cd "$(dirname "$0")"
rm -rf dist
mkdir -p dist/public/assets
cp site/index.html dist/public/
for file in site/assets/*; do
    name=${file##*/}
    digest=$(sha256sum "$file" | cut -c1-12)
    cp "$file" "dist/public/assets/${name%.*}-$digest.${name##*.}"
    sed -i "s|/assets/$name|/assets/${name%.*}-$digest.${name##*.}|g" dist/public/index.html
done
