#!/bin/sh
# Everything that needs an NVIDIA GPU, in stages of at most 8 minutes. Each prints one table; run it again to go on where it
# stopped (what passed with this build is not repeated).
#   tests/gpu/run.sh [options] STAGE...     build ops model bench train nccl bench_data bench_modes sanitizer, or all: in
#                      this order, which is that of worth
#     --build DIR        build folder (default: build, or the bundle's)
#     --results DIR      each table also goes to DIR/STAGE.txt, the logs to DIR/logs.tar.gz, the choices made by timing
#                        to DIR/tuning.txt (default: BUILD/gpu-results)
#     --device NAME      what is tested: cuda; cpu proves the stages themselves on any machine
#     --quick            small models and few steps
#     --limit SECONDS    of each stage (default: 480)
#     --total SECONDS    of this call: its stages get what is left of it
#     --bundle DIR       libraries, tools and pictures from an unpacked bundle (bundle.sh)
# Exit: 0 passed, 1 failed, 75 out of time (run it again), 77 skipped: no GPU here, or
# nothing to run it with.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
build='' results='' device=cuda quick='' bundle='' stage_limit=480 total=999999 call_start=$(date +%s)
all_stages="build ops model bench train nccl bench_data bench_modes sanitizer"
usage() { sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2; }
stages='' command="tests/gpu/run.sh $*"
while [ $# -gt 0 ]; do
  case $1 in
  --build) build=$2 && shift ;;
  --results) results=$2 && shift ;;
  --device) device=$2 && shift ;;
  --bundle) bundle=$(cd "$2" && pwd) && shift ;;
  --quick) quick=1 ;;
  --limit) stage_limit=$2 && shift ;;
  --total) total=$2 && shift ;;
  all) stages=$all_stages ;;
  *) case " $all_stages " in *" $1 "*) stages="$stages $1" ;; *) usage ;; esac ;;
  esac
  shift
done
[ -n "$stages" ] || usage
[ -n "$build" ] || build=${bundle:-$source}/build
gpu_here() {
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then return 0; fi
  ls /dev/nvidia[0-9]* >/dev/null 2>&1
}
if [ "$device" = cuda ] && ! gpu_here; then
  for stage in $stages; do echo "SKIPPED $stage: there is no NVIDIA GPU on this machine"; done
  exit 77
fi
mkdir -p "$build" || exit 1
build=$(cd "$build" && pwd)
results=${results:-$build/gpu-results}
mkdir -p "$results" || exit 1
commit=$(cat "$bundle/commit" 2>/dev/null || git -C "$source" describe --always --dirty --abbrev=10 2>/dev/null || echo unknown)
. "$here/environment.sh"
. "$here/stages.sh"
. "$here/bench_stages.sh"
final=0 passed=''
for stage in $stages; do
  run_stage "$stage" || rc=$?
  rc=${rc:-0}
  case $rc in
  0) passed=1 ;;
  77) ;;
  75) [ $final -ne 0 ] || final=75 ;;
  *) final=1 ;;
  esac
  [ "$stage" != build ] || [ "$rc" -eq 0 ] || break
  rc=0
done
[ -n "$passed" ] || [ $final -ne 0 ] || final=77
exit $final
