#!/bin/sh
# A disk or mount that fails while data are read: one line that names the file, exit 1, on whichever rank; nothing good is called bad.
. "$(dirname "$0")/lib.sh"
library=$build/tests/libfail_read.so
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
write_config tiny.yaml 1000000
sed -i "s,$data,set," tiny.yaml
cp -r "$data" set
shard=set/shards/train-000001.tar
manifest=$(cksum <set/manifest.pb)
broken="env LD_PRELOAD=$library" # and FAIL_READ_PATH=...: reads of that file fail (fail_read.c)
unchanged() { [ "$manifest" = "$(cksum <set/manifest.pb)" ] || fail "the manifest changed"; }

# verify reads a shard for its hash (2 reads), then per sample two headers and a label, then the samples. Wherever the failure
# comes, and be it a single one, verify ends: no sample is recorded as bad, no shard reported.
reads=$((2 + 256 * 3 + 256))
for from in 1 2 3 4 5 6 500 $((reads - 100)); do
  for count in 1 1000000; do
    refused 1 "$shard.*: Input/output error" $broken FAIL_READ_PATH=$shard FAIL_READ_FROM=$from FAIL_READ_COUNT=$count "$V" verify set --threads 1
    not_said 'bad s|samples in'
    unchanged
  done
done
refused 1 "$shard.*: Input/output error" $broken FAIL_READ_PATH=$shard FAIL_READ_FROM=600 "$V" verify set --threads 3
refused 1 'train-000001\.idx.*: Input/output error' $broken FAIL_READ_PATH=train-000001.idx "$V" verify set
refused 1 'train-000001\.idx.*: Input/output error' $broken FAIL_READ_PATH=train-000001.idx FAIL_READ_FROM=3 "$V" verify set
unchanged
run 0 "$V" verify set # the same data, read well
said '1500 samples in 7 shards.*: 0 bad'
# The count above is true: there are that many reads of the shard, and not many more.
run 0 $broken FAIL_READ_PATH=$shard FAIL_READ_FROM=$((reads + 20)) "$V" verify set --threads 1

# Training. ended_by REGEX: the failure was the end of it, in a line that matches; one rank met it, or all did.
ended_by() {
  patience=300
  while kill -0 $job 2>/dev/null && [ $patience -gt 0 ]; do
    patience=$((patience - 1))
    sleep 0.2
  done
  [ $patience -gt 0 ] || fail "the job did not end by itself within a minute"
  ended 1
  errors=$(grep -Ec '(^|\] )error: ' out)
  [ "$errors" -eq 1 ] || [ "${everywhere:-0}" -ge "$errors" ] || fail "$errors error lines"
  said "$1"
  not_said 'bad sample'
  nobody_left
  run 0 "$V" inspect run
  said 'all checksums match'
  unchanged
  rm -rf run bad
}
# train_until RANKS [RANK]: a run up to step 45; reads of $shard fail as soon as the file bad is there, on all ranks or on RANK.
train_until() {
  LD_PRELOAD=$library FAIL_READ_PATH=$shard FAIL_READ_WHEN=$T/bad
  export LD_PRELOAD FAIL_READ_PATH FAIL_READ_WHEN
  [ $# -lt 2 ] || export FAIL_READ_RANK="$2"
  start "$1" tiny.yaml run.dir=run checkpoint.every=20steps
  unset LD_PRELOAD FAIL_READ_PATH FAIL_READ_WHEN FAIL_READ_RANK
  wait_for 60 step_reached run 45
}
train_until 1
touch bad
ended_by "error: .*$shard.*: Input/output error"
for rank in 0 2; do
  train_until 3 $rank
  touch bad
  ended_by "rank $rank.*error: .*$shard.*: Input/output error"
done
# All ranks at once: a line each at most.
everywhere=3
train_until 3
touch bad
ended_by "rank [012].*error: .*$shard.*: Input/output error"
# A shard that shrinks under the run.
cp $shard whole
train_until 2
everywhere=2
truncate -s 100000 $shard
ended_by "$shard.*truncated"
everywhere=
cp whole $shard

# The other readers.
run 0 "$V" train tiny.yaml run.dir=run train.duration=20steps
shard=set/shards/val-000000.tar
refused 1 "$shard.*: Input/output error" $broken FAIL_READ_PATH=$shard "$V" eval run set
refused 1 "rank 1.*$shard.*: Input/output error" $broken FAIL_READ_PATH=$shard FAIL_READ_RANK=1 $mpi 2 "$V" eval run set
refused 1 "$shard.*: Input/output error" $broken FAIL_READ_PATH=$shard "$V" train tiny.yaml run.dir=run-2 train.duration=20steps
shard=set/shards/train-000000.tar
refused 1 "$shard.*: Input/output error" $broken FAIL_READ_PATH=$shard "$V" preview tiny.yaml -o sheet.png
[ ! -e sheet.png ] || fail "a sheet was written"
unchanged
echo ok
