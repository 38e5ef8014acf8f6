# stand_in.sh BUILD ops|train: the real plugin, its runtime, cuBLASLt and GPU played on the CPU (stand_in/), under the programs
# that run on a GPU.
set -u
build=$1 what=$2
V=$build/vitrail
T=$(mktemp -d "${TMPDIR:-/tmp}/vts.XXXXXX") || exit 2
trap 'rm -rf "$T"' EXIT
cd "$T" || exit 2
TMPDIR=$T
sanitizers="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)" # first in every program
VITRAIL_PLUGIN=$build/tests/libstand_in_plugin.so ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 VT_CUDA_TUNE=off
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export TMPDIR VITRAIL_PLUGIN ASAN_OPTIONS OMP_NUM_THREADS VT_CUDA_TUNE OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM \
  OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_mpi_yield_when_idle \
  OMPI_MCA_btl_vader_single_copy_mechanism

fail() {
  echo "FAILED: $*"
  tail -25 out
  exit 1
}
run() { LD_PRELOAD=$sanitizers "$@" >out 2>&1 || fail "exit code $?: $*"; }
says() { grep -q -- "$1" out || fail "expected to read: $1"; }

# ops SETTINGS... FILTER: cases of the op checker, each within its limit, none refused.
ops() {
  filter=
  for word; do filter=$word; done
  while [ $# -gt 1 ]; do
    export "${1?}"
    shift
  done
  run "$build/tests/test_ops" cuda "$filter"
  says '^[1-9][0-9]* passed, 0 failed, 0 refused$'
  echo "ok $filter: $(tail -1 out)"
}

if [ "$what" = ops ]; then
  (ops 'linear: ') || exit 1 # the first candidate of each, every case
  (ops VT_STAND_IN_ORDER=random 'adamw') || exit 1
  for filter in 'linear: odd' 'linear: gelu' 'linear: logits' 'linear: strided' 'linear: sums in passing, tanh'; do # every algorithm and route has its turn
    (ops VT_CUDA_TUNE=on "$filter") || exit 1
  done
  (ops VT_CUDA_TUNE=on VT_STAND_IN_LT=fp32-bias 'linear: gelu') || exit 1
  (ops VT_CUDA_TUNE=on VT_STAND_IN_LT=plain 'linear: gelu') || exit 1
  (ops VT_CUDA_TUNE=on VT_STAND_IN_ORDER=eager 'attention: packed') || exit 1
  for route in fused split scratch; do
    VT_CUDA_LINEAR=$route run "$build/tests/test_ops" cuda 'linear: db'
    says ' 0 failed'
  done
  # Kept for the next program: that finds all it needs, and so writes nothing. Where nothing is timed the file has no say.
  export VT_CUDA_TUNE_FILE="$T/kept-tuning.pb"
  (ops VT_CUDA_TUNE=off 'linear: odd') || exit 1
  [ ! -e kept-tuning.pb ] || fail "choices that were not timed are kept"
  (ops VT_CUDA_TUNE=on 'linear: odd') || exit 1
  "$V" inspect kept-tuning.pb >out || fail "inspect of kept-tuning.pb"
  says '^Stand-in_H100_number_0/sm_90/[0-9]*, cublaslt-130100,cudnn-0$'
  [ "$(grep -c '^  gemm/' out)" -gt 4 ] || fail "expected algorithms of products"
  touch -d 2001-02-03 kept-tuning.pb
  (ops VT_CUDA_TUNE=on 'linear: odd') || exit 1
  [ "$(date -r kept-tuning.pb +%Y)" -eq 2001 ] || fail "the second program timed again"
  (ops VT_CUDA_TUNE=on 'linear: logits') || exit 1
  [ "$(date -r kept-tuning.pb +%Y)" -gt 2001 ] || fail "what was new is not kept"
  echo nonsense >kept-tuning.pb
  (ops VT_CUDA_TUNE=off 'linear: odd') || exit 1
  LD_PRELOAD=$sanitizers VT_CUDA_TUNE=on "$build/tests/test_ops" cuda 'linear: odd' >out 2>&1 && fail "took a damaged file"
  says "VT_CUDA_TUNE_FILE: $T/kept-tuning.pb: tuning table: does not end with its checksum"
  echo "ok kept choices"
  echo "all as expected"
  exit 0
fi

cat >tiny.yaml <<END
model: {name: custom, drop_path: 0.2, dropout: 0.1, attention_dropout: 0.1, image_size: 16, patch_size: 8, width: 16, depth: 2, heads: 2, mlp_width: 32}
data: {train: synthetic, val: synthetic, synthetic_samples: 40, synthetic_classes: 4, batch: 10, threads: 1}
train: {duration: 6steps, ema: 0.9}
eval: {every: 100steps}
checkpoint: {every: 4steps}
compute: {threads: 1, device: cuda}
comm: {bucket_mb: 0.01, backend: mpi}
run: {log_every: 1}
END
# train NAME options...: losses, evaluations and the weights' sum into NAME.all.
train() {
  name=$1
  shift
  run "$V" train tiny.yaml "$@" run.dir="$name"
  { grep -o '"\(train\|val\)/[a-z0-9]*":[^,}]*' "$name/metrics.jsonl"; cksum <"$name/checkpoints/latest/model.safetensors"; } >"$name.all"
}
same() { cmp -s "$1.all" "$2.all" || fail "$1 and $2 differ: $(diff "$1.all" "$2.all" | head -4)"; }
# near NAME NAME LIMIT: the losses agree to so much of themselves.
near() {
  grep train/loss "$1.all" >a
  grep train/loss "$2.all" >b
  paste -d: a b | awk -F: -v limit="$3" '{ d = ($2 - $4) / $4; if (d < 0) d = -d; if (d > worst) worst = d }
    END { if (NR != 6 || worst > limit) { print NR " steps, " worst; exit 1 } }' || fail "the losses of $1 and $2 differ"
}
counted() { sed -n "s/^stand-in: .* $1 \([0-9]*\).*/\1/p" out; }

run "$V" check tiny.yaml
says 'Stand-in H100 number 0 (sm_90, 8 GiB)'
says 'cuBLASLt 13.1.0, driver for CUDA 13.0'
says 'one step *ok'
says 'attention  by own kernels alone: this build has no cuDNN'

# The same bits whatever runs when, and from graphs; with accumulation the last microbatch has padding.
for micro in 10 4; do
  train "plain-$micro" compute.graphs=off compute.micro_batch=$micro
  train "graphs-$micro" compute.graphs=on compute.micro_batch=$micro
  same "plain-$micro" "graphs-$micro"
  for order in eager random; do
    VT_STAND_IN_ORDER=$order train "$order-$micro" compute.graphs=on compute.micro_batch=$micro
    same "plain-$micro" "$order-$micro"
  done
done
# The second capture fails, with the first one's graph in flight: the run goes on without graphs.
VT_STAND_IN_CAPTURE=2 train refused compute.graphs=on
says 'compute.graphs: the step cannot be captured and is enqueued call by call: cuda: cudaStreamEndCapture: .*cudaError 901'
same plain-10 refused
echo "ok orders and graphs"

# The same training as elsewhere, bf16 and fp32.
train cpu compute.device=cpu compute.dtype=fp32
train fp32 compute.dtype=fp32
near fp32 cpu 1e-5
near plain-10 cpu 1e-2
VT_CUDA_TUNE=on train tuned
near tuned cpu 1e-2
echo "ok beside the CPU"

# Two ranks, each on its device, on every thread.
VT_STAND_IN_ORDER=random train two -n 2 compute.graphs=on
near two plain-10 1e-6
echo "ok two ranks"

# In steps the host waits for events only, and allocates nothing: more steps, no more of the rest.
for steps in 6 9; do
  VT_STAND_IN_COUNT=1 train "count-$steps" compute.graphs=off train.duration=${steps}steps checkpoint.every=100steps
  for kind in other-waits pageable allocations event-waits; do counted $kind >"$kind-$steps"; done
done
for kind in other-waits pageable allocations; do
  cmp -s "$kind-6" "$kind-9" || fail "$kind: $(cat $kind-6) in 6 steps, $(cat $kind-9) in 9"
done
[ $(($(cat event-waits-9) - $(cat event-waits-6))) -eq 6 ] || fail "event-waits: $(cat event-waits-6) in 6 steps, $(cat event-waits-9) in 9"
echo "ok no waits"

# Programs of tests/gpu; and a bench, whose graphs are freed after its last step.
run "$build/tests/gpu_model" cuda small
says '^passed$'
run "$V" bench step tiny.yaml train.duration=100steps compute.graphs=on --steps 3
says '^step .* ms (median of 3)'
echo "ok gpu_model, bench"
echo "all as expected"
