#!/bin/sh
# The include check on a small tree: silent while the tree is right, and each kind of violation is named.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/src/base" "$tree/src/config" "$tree/src/model" "$tree/src/backend/ref" "$tree/src/cli" "$tree/src/train"
cat > "$tree/arrows.txt" <<'END'
base: 
config: base
backend: base
backend/ref: base backend
model: base backend
train: base config model
cli: *
END
check() { sh "$here/check_includes.sh" "$tree/src" "$tree/arrows.txt" "$here/vendors.txt"; }

printf '#include "base/b.h"\n#include <stdio.h>\n' > "$tree/src/base/a.c"
printf '#  include "base/status.h"\n#include <yaml.h>\n#include <sys/stat.h>\n' > "$tree/src/config/a.c"
printf '#include "backend/ops.h"\n#include "backend/ref/r.h"\n' > "$tree/src/backend/ref/a.c"
printf '#include "train/loop.h"\n#include "backend/ref/r.h"\n' > "$tree/src/cli/a.c"
check || { echo "a tree without violations was refused"; exit 1; }

# expect FILE LINE TEXT: an include line put into FILE must be reported with TEXT.
failures=0
expect() {
    printf '%s\n' "$2" > "$tree/src/$1"
    if out=$(check) || ! printf '%s' "$out" | grep -qF -- "$1:1: $3"; then
        echo "$1: '$2' was not reported as '$3': $out"
        failures=$((failures + 1))
    fi
    rm "$tree/src/$1"
}
expect base/x.c '#include "config/run_config.h"' 'base may not include config'
expect config/x.h '#include "model/vit.h"' 'config may not include model'
expect model/x.c ' # include "backend/ref/r.h"' 'model may not include backend/ref'
expect train/x.c '#include "backend/ops.h"' 'train may not include backend'
expect model/x.c '#include "ops.h"' '"ops.h": expected "room/file.h"'
expect model/x.c '#include "../config/run_config.h"' '"../config/run_config.h": expected'
expect model/x.c '#include <mpi.h>' '<mpi.h> has its home in comm/'
expect model/x.c '#include "yaml.h"' '<yaml.h> has its home in config/'
expect config/x.h '#include <yaml.h>' '<yaml.h> in a header'
expect base/x.c '#include <jansson.h>' '<jansson.h> has its home in base/json'
expect model/x.c '#include "manifest.pb-c.h"' '<manifest.pb-c.h> has its home in dataset/'
expect model/x.c '#include <gsl/gsl.h>' '<gsl/gsl.h> is in no row'
expect model/x.c '#include HEADER' 'an #include that is not'
mkdir "$tree/src/attic"
expect attic/x.c '#include "base/b.h"' 'this folder is no room'
expect model/x.cu '#include <cuda_runtime.h>' '<cuda_runtime.h> has its home in backend/cuda/'
[ "$failures" -eq 0 ] && echo "all violations were reported"
