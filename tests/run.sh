#!/bin/sh
# Install what is missing, build, run every test. The same on a new machine and in CI.
#   ./tests/run.sh [ctest arguments]      e.g. -R loader, -L mpi; long soaks: -L soak (left out by default)
set -eu
cd "$(dirname "$0")/.."
. launch/packages.sh

# shellcheck disable=SC2086
install_missing $vitrail_packages libcunit1-dev dataset-fashion-mnist
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DWITH_TESTS=ON >build.log 2>&1 || { cat build.log; exit 1; }
cmake --build build >>build.log 2>&1 || { grep -E 'error|warning|FAILED' build.log | head -40; tail -30 build.log; exit 1; }

[ -e build/libvitrail_cuda.so ] || echo "not compiled, and so not tested here: the CUDA plugin (no nvcc of CUDA 12.0 or newer)"
if [ $# -eq 0 ]; then set -- -LE soak; fi
status=0
ctest --test-dir build -j "$(nproc)" --output-on-failure --no-tests=error "$@" >tests.log 2>&1 || status=$?
grep -E '^ *[0-9]+/[0-9]+ Test|\*\*\*|tests passed|Total Test time' tests.log || true
[ "$status" -eq 0 ] || { echo "---- output of what failed"; grep -vE '^ *[0-9]+/[0-9]+ Test.*Passed|^ *Start' tests.log | tail -150; }
total=$(sed -nE 's/.*tests failed out of ([0-9]+)$/\1/p' tests.log)
failed=$(sed -nE 's/.*, ([0-9]+) tests failed out of .*/\1/p' tests.log)
skipped=$(grep -cE '\*\*\*Skipped' tests.log || true)
echo "$((total - failed - skipped)) passed, $failed failed, $skipped skipped"
exit "$status"
