# graphs.sh BUILD: a step replayed from captured graphs has the bits of one that is enqueued call by call, whatever is around it. On
# the fake GPU, which aborts on what a GPU would refuse while capturing.
set -u
build=$1
V=$build/vitrail
T=$(mktemp -d "${TMPDIR:-/tmp}/vtg.XXXXXX") || exit 2
trap 'rm -rf "$T"' EXIT
cd "$T" || exit 2
TMPDIR=$T
VITRAIL_PLUGIN=$build/tests/libfake_plugin.so VT_FAKE_GPUS=2 VT_FAKE_COUNT=1
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export TMPDIR VITRAIL_PLUGIN VT_FAKE_GPUS VT_FAKE_COUNT OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM \
  OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_mpi_yield_when_idle \
  OMPI_MCA_btl_vader_single_copy_mechanism
ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
export ASAN_OPTIONS

# Evaluation in between, every kind of draw, averaged weights.
cat >tiny.yaml <<END
model: {name: custom, drop_path: 0.2, dropout: 0.1, attention_dropout: 0.1, image_size: 16, patch_size: 8, width: 16, depth: 3, heads: 2, mlp_width: 32}
data: {train: synthetic, val: synthetic, synthetic_samples: 40, synthetic_classes: 4, batch: 10, threads: 1}
train: {duration: 12steps, ema: 0.9}
eval: {every: 5steps}
checkpoint: {every: 4steps}
compute: {threads: 1, device: cuda}
comm: {bucket_mb: 0.01}
run: {log_every: 1}
END


fail() {
  echo "FAILED: $*"
  tail -25 out
  exit 1
}
# run CODE command...: its output goes to ./out
run() {
  wanted=$1
  shift
  "$@" >out 2>&1
  rc=$?
  [ $rc -eq "$wanted" ] || fail "exit code $rc, expected $wanted: $*"
}
says() { grep -qF -- "$1" out || fail "expected to read: $1"; }
silent() { ! grep -qF -- "$1" out || fail "expected not to read: $1"; }
train() { "$V" train "$@"; }
launches() { sed -n 's/.*fake: \([0-9]*\) graphs launched.*/\1/p' out | head -1; }
# What a run computed: every loss, every evaluation, and the weights.
results() { grep -o '"\(train\|val\)/[a-z0-9]*":[^,}]*' "$1/metrics.jsonl"; cksum <"$1/checkpoints/latest/model.safetensors"; }
same() {
  results "$1" >a
  results "$2" >b
  [ "$(wc -l <a)" -gt 12 ] || fail "$1 has no results"
  cmp -s a b || fail "$1 and $2 differ: $(diff a b | head -4)"
}
# pair NAME RANKS GRAPHS options...: the same run without and with graphs; 10 of the latter's 12 steps launch GRAPHS graphs each.
pair() {
  name=$1 ranks=$2 graphs=$3
  shift 3
  run 0 train -n "$ranks" tiny.yaml "$@" compute.graphs=off run.dir="$name-off"
  [ "$(launches)" -eq 0 ] || fail "$name: graphs where they are off"
  run 0 train -n "$ranks" tiny.yaml "$@" compute.graphs=on run.dir="$name-on"
  [ "$(launches)" -eq $((10 * graphs)) ] || fail "$name: $(launches) graphs launched, expected $((10 * graphs))"
  same "$name-off" "$name-on"
  echo "ok $name"
}

pair one 1 2
pair micro 1 6 compute.micro_batch=4 # the last of three has padding
pair light 1 2 compute.recompute=light
pair block 1 4 compute.recompute=block compute.micro_batch=6
pair host 2 5 comm.backend=mpi # backward is cut where three buckets start
VT_FAKE_NCCL=1
export VT_FAKE_NCCL
pair nccl 2 5
pair nccl-micro 2 9 compute.micro_batch=2 comm.wire=bf16
same nccl-on host-on
grep -q '"time/comm_exposed_ms"' nccl-on/metrics.jsonl || fail "no times of sums"
# The parts of a step by the device's clock make up most of it, though the host has only enqueued.
for name in one-off one-on nccl-micro-on; do
  sed -n 's/.*"time\/step_ms":\([0-9.e+-]*\).*"time\/forward_ms":\([0-9.e+-]*\),"time\/backward_ms":\([0-9.e+-]*\).*/\1 \2 \3/p' "$name/metrics.jsonl" |
    awk '{ n++; if ($2 > 0 && $3 > 0 && $2 + $3 <= $1 * 1.001) ok++; step += $1; work += $2 + $3 }
         END { if (n != 12 || ok != n || work < 0.3 * step) { print n, ok, step, work; exit 1 } }' >out ||
    fail "$name: forward and backward are not parts of the step"
done

# Stopped and resumed: captured anew, the same run.
(VT_FAKE_LAUNCH_US=1000 exec "$V" train tiny.yaml compute.graphs=on run.dir=resumed) >out 2>&1 &
job=$!
while kill -0 $job 2>/dev/null && ! grep -q '"step":6,' resumed/metrics.jsonl 2>/dev/null; do sleep 0.05; done
kill -TERM $job 2>/dev/null
wait $job
grep -q 'stopped at step' out || fail "the run was not stopped in between"
run 0 train tiny.yaml compute.graphs=on run.dir=resumed
same one-off resumed
echo "ok resumed"

# auto: on where enqueueing is what takes the time; the choice is kept, and a resume asks the clock no more.
VT_FAKE_LAUNCH_US=2000 run 0 train tiny.yaml run.dir=slow
says 'graphs     on: enqueueing takes the host'
"$V" inspect slow/tuning.pb | grep -q '^  graphs/.* on,' || fail "the choice is not in tuning.pb"
same one-off slow
mkdir kept
(VT_FAKE_LAUNCH_US=2000 exec "$V" train tiny.yaml run.dir=kept) >out 2>&1 &
job=$!
while kill -0 $job 2>/dev/null && ! grep -q '"step":6,' kept/metrics.jsonl 2>/dev/null; do sleep 0.05; done
kill -TERM $job 2>/dev/null
wait $job
says 'graphs     on'
run 0 train tiny.yaml run.dir=kept
silent 'graphs     '
silent 'fake: timed'
same one-off kept
# Two ranks take rank 0's choice.
VT_FAKE_LAUNCH_US=2000 run 0 train -n 2 tiny.yaml run.dir=slow2
[ "$(grep -c 'graphs     on' out)" -eq 1 ] || fail "expected one line on graphs"
same nccl-off slow2
echo "ok auto"

# Other libraries: what was chosen for the old ones is timed again, with one line that says so.
VT_FAKE_LIBRARY=2 run 0 train tiny.yaml compute.graphs=on run.dir=one-on
[ "$(grep -c 'are of other libraries (1): timed again' out)" -eq 1 ] || fail "expected one line on the libraries"
says 'fake: timed'
VT_FAKE_LIBRARY=2 run 0 train tiny.yaml compute.graphs=on run.dir=one-on
silent 'other libraries'
silent 'fake: timed'
run 0 train tiny.yaml compute.graphs=on run.dir=one-on
silent 'fake: timed' # the old libraries' are still there

# What cannot be captured runs as without graphs.
VT_FAKE_CAPTURE=no run 0 train tiny.yaml compute.graphs=on run.dir=refused
says 'compute.graphs: the step cannot be captured and is enqueued call by call: the fake captures nothing'
[ "$(grep -c 'cannot be captured' out)" -eq 1 ] || fail "expected one warning"
same one-off refused

# Backward's products leave room where sums take long, or where it is asked for.
run 0 train -n 2 tiny.yaml comm.spare_sms=7 run.dir=spare
says "backward's products leave 7 multiprocessors to NCCL"
silent 'leave 3 multiprocessors'

run 2 train tiny.yaml compute.device=cpu compute.graphs=on run.dir=cpu
says 'compute.graphs=on: backend cpu runs ops as they are called'
run 0 train tiny.yaml compute.device=cpu run.dir=cpu
echo "all as expected"
