# Sourced by the scripts of this folder, which are run as `sh SCRIPT.sh BUILD_DIR [arguments]`: the binary, a scratch folder
# ($T, the working directory) that is removed with every process left in it, checks that stop the script, and small configs.
# shellcheck shell=sh disable=SC2034
set -u
build=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
V=$build/vitrail
json=$build/tests/json_get
data=$build/e2e-data

if [ ! -e "$data/manifest.pb" ]; then
  echo "skipped: no packed Fashion-MNIST in $data (Debian package dataset-fashion-mnist)"
  exit 77
fi

T=$(mktemp -d "${TMPDIR:-/tmp}/vte.XXXXXX") || exit 2
cd "$T" || exit 2
# What Open MPI leaves behind when it is killed stays in the scratch folder.
TMPDIR=$T
VT_E2E_MARK=$T
OMPI_MCA_btl_vader_backing_directory=$T
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
OMPI_MCA_odls_base_sigkill_timeout=0
export TMPDIR VT_E2E_MARK OMPI_MCA_btl_vader_backing_directory OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM \
  OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_mpi_yield_when_idle \
  OMPI_MCA_btl_vader_single_copy_mechanism OMPI_MCA_odls_base_sigkill_timeout
# Open MPI never gives all its memory back; undefined behaviour is a failure.
ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0} UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$here/../tsan.supp}
export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS

# Processes of this script that still run: vitrail, mpirun or a probe with this script's mark in the environment;
# not $holder.
left_running() {
  for dir in /proc/[0-9]*; do
    read -r name <"$dir/comm" || continue
    case $name in
    vitrail | mpirun | orterun | orted | train_*) ;;
    *) continue ;;
    esac
    tr '\0' '\n' <"$dir/environ" | grep -qx "VT_E2E_MARK=$T" || continue
    [ "${dir#/proc/}" = "${holder:-}" ] && continue
    grep -q '^State:[[:space:]]*Z' "$dir/status" && continue
    echo "${dir#/proc/}"
  done 2>/dev/null
}

finish() {
  rc=$?
  [ $rc -ne 0 ] || rc=${failures:-0} # VT_E2E_GO_ON=1 shows all failures, not only the first
  trap - EXIT INT TERM HUP
  for pid in $(left_running); do kill -9 "$pid" 2>/dev/null; done
  if [ $rc -ne 0 ] && [ -n "${KEEP:-}" ]; then
    echo "kept: $T"
  else
    rm -rf "$T" 2>/dev/null || { sleep 1; rm -rf "$T"; }
  fi
  exit $rc
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

fail() {
  echo "FAILED: $*"
  if [ -s out ]; then
    echo "---- the last command's output"
    tail -25 out
  fi
  [ -n "${VT_E2E_GO_ON:-}" ] || exit 1
  failures=$((${failures:-0} + 1))
}

# run CODE command...: its output goes to ./out; the exit code must be CODE.
run() {
  wanted=$1
  shift
  "$@" >out 2>&1
  rc=$?
  [ $rc -eq "$wanted" ] || fail "exit code $rc, expected $wanted: $*"
}

# said REGEX: some line of ./out matches. not_said: none does.
said() { grep -Eq -- "$1" out || fail "no line matches: $1"; }
not_said() { if grep -E -- "$1" out; then fail "a line matches: $1"; fi; }

# refused CODE REGEX command...: fails with CODE and exactly one error line, which matches; nothing is left running.
refused() {
  code=$1 pattern=$2
  shift 2
  run "$code" timeout -s KILL 60 "$@"
  grep -E '(^|\] )error: ' out >errors
  lines=$(wc -l <errors)
  [ "$lines" -eq 1 ] || fail "$lines error lines, expected 1: $*"
  grep -Eq -- "$pattern" errors || fail "the error line does not match: $pattern"
  nobody_left
}

nobody_left() {
  tries=0
  while pids=$(left_running) && [ -n "$pids" ]; do
    tries=$((tries + 1))
    [ $tries -lt 40 ] || { fail "still running: $pids"; return; }
    sleep 0.25
  done
}

same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# wait_for SECONDS command...: until it succeeds.
wait_for() {
  limit=$(($1 * 20))
  shift
  while ! "$@"; do
    limit=$((limit - 1))
    [ $limit -gt 0 ] || { fail "never came: $*"; return; }
    sleep 0.05
  done
}

# The last step in a run's metrics; 0 before the first.
step_of() {
  at=$(tail -n 1 "$1/metrics.jsonl" 2>/dev/null | sed -n 's/^{"step":\([0-9]*\),.*/\1/p')
  echo "${at:-0}"
}
step_reached() { [ "$(step_of "$1")" -ge "$2" ]; }

# Children of a process, no tools needed.
children_of() {
  for stat in /proc/[0-9]*/stat; do
    read -r pid _ _ parent _ <"$stat" || continue
    [ "$parent" = "$1" ] && echo "$pid"
  done 2>/dev/null
}

# write_config FILE STEPS: a tiny ViT on the packed pictures; fp32, one thread, dropout and drop-path on.
write_config() {
  cat >"$1" <<EOF
model:
  name: custom
  image_size: 28
  channels: 1
  patch_size: 7
  width: 32
  depth: 2
  heads: 2
  mlp_width: 64
  dropout: 0.1
  drop_path: 0.1
data:
  train: $data#train[:50%]
  val: $data#val
  batch: 24
  transform: pad_crop(2)|flip(0.5)
  threads: 1
optim:
  lr: 0.002
  warmup: 10%
train:
  duration: ${2}steps
compute:
  threads: 1
  dtype: fp32
checkpoint:
  every: 50steps
eval:
  every: 0
run:
  log_every: 1
comm:
  timeout_s: 60
EOF
}

# train RANKS CONFIG ...: alone, or by its own -n. start: the same in the background, output in ./job.out, its pid in $job.
# ended CODE: wait for it; its output is in ./out then, and its exit code must be CODE ("any": no matter, in $rc).
train() {
  ranks=$1
  shift
  if [ "$ranks" -eq 1 ]; then "$V" train "$@"; else "$V" train -n "$ranks" "$@"; fi
}
start() {
  ranks=$1
  shift
  : >job.out # not what an earlier job said
  if [ "$ranks" -eq 1 ]; then "$V" train "$@" >job.out 2>&1 & else "$V" train -n "$ranks" "$@" >job.out 2>&1 & fi
  job=$!
}
ended() {
  wait "$job"
  rc=$?
  cp job.out out
  [ "$1" = any ] || [ $rc -eq "$1" ] || fail "the job ended with $rc, expected $1"
}
# $mpi RANKS command...
mpi="mpirun --oversubscribe --bind-to none -np"

# train/loss of every step (the last record of a step counts), as "step value" lines.
losses() {
  sed -n 's/^{"step":\([0-9]*\),.*"train\/loss":\([^,}]*\).*/\1 \2/p' "$1/metrics.jsonl" | awk '{v[$1] = $2} END {for (s in v) print s, v[s]}' |
    sort -n
}
