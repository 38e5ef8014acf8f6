#!/bin/sh
# check_includes.sh SRC ARROWS VENDORS: every #include of SRC goes along an arrow, every vendor header is at home.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
arrows=$(realpath "$2") vendors=$(realpath "$3")
cd "$1"
find . -type f \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) | sed 's|^\./||' | LC_ALL=C sort |
    xargs awk -f "$here/check_includes.awk" "$arrows" "$vendors"
