#!/bin/sh
# check_headers.sh SRC CC...: every header of SRC compiles alone, and twice.
set -eu
cd "$1"
shift
failures=0 count=0
for header in $(find . -name '*.h' | sed 's|^\./||' | LC_ALL=C sort); do
    count=$((count + 1))
    if ! printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
        "$@" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Werror -Wstrict-prototypes -fsyntax-only -I. -x c -; then
        echo "src/$header does not compile alone"
        failures=$((failures + 1))
    fi
done
echo "$count headers, $failures do not compile alone"
[ "$count" -gt 0 ] && [ "$failures" -eq 0 ]
