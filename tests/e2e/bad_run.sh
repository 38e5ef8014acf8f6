#!/bin/sh
# Run folders and checkpoints that cannot be used: in use, not writable, another run's, damaged, full disk.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 200

# both CODE REGEX CONFIG ...: refused alone and at two ranks.
both() {
  code=$1 pattern=$2
  shift 2
  refused "$code" "$pattern" "$V" train "$@"
  refused "$code" "$pattern" "$V" train -n 2 "$@"
}

# Not a folder. (As root every folder can be written, so a file stands in the way.)
echo text >file
both 1 'run\.dir.*file' tiny.yaml run.dir=file/run
both 1 'run\.dir.*file' tiny.yaml run.dir=file
[ "$(cat file)" = text ] || fail "the file in the way was touched"
# In use by another job.
start 1 tiny.yaml run.dir=busy train.duration=1000000steps
wait_for 60 step_reached busy 5
holder=$job
both 2 'busy is in use by another' tiny.yaml run.dir=busy train.duration=1000000steps
kill -USR2 $holder
job=$holder
holder=
ended 75

run 0 "$V" train tiny.yaml run.dir=run
sum() { cat "$1"/checkpoints/*/*.safetensors | cksum; }
before=$(sum run)
both 2 'run\.if_exists=fail' tiny.yaml run.dir=run run.if_exists=fail
# A key that must not change on resume: the difference is shown.
both 2 'optim\.lr.*0\.002.*0\.5|optim\.lr.*0\.5.*0\.002' tiny.yaml run.dir=run optim.lr=0.5
both 2 'model\.depth' tiny.yaml run.dir=run model.depth=3
[ "$before" = "$(sum run)" ] || fail "checkpoints changed"
# A refused command is not an attempt that leaves its config behind.
run 0 "$V" train run
said 'nothing to do'
grep -q 'lr: 0.002' run/config.yaml || fail "the refused config was written into the run folder"
# A new folder beside it.
run 0 "$V" train tiny.yaml run.dir=run run.if_exists=new train.duration=10steps
[ -d run-2/checkpoints/step-00000010 ] || fail "run.if_exists=new made no run-2"

# A damaged newest checkpoint: named, the one before is used. Here the end of the run is lost and done again.
damage() { printf '\252' | dd of="$1" bs=1 seek=20000 conv=notrunc 2>/dev/null; }
for ranks in 1 2; do
  rm -rf hurt
  cp -r run hurt
  damage hurt/checkpoints/step-00000200/model.safetensors
  run 1 "$V" inspect hurt/checkpoints/step-00000200
  said 'error: .*step-00000200/model\.safetensors'
  run 0 train $ranks tiny.yaml run.dir=hurt
  said 'warning: .*step-00000200.*model\.safetensors'
  said 'resumed    from .*step-00000150'
  run 0 "$V" inspect hurt/checkpoints/latest
  said 'all checksums match'
  [ $ranks -eq 2 ] || same run/checkpoints/step-00000200/model.safetensors hurt/checkpoints/latest/model.safetensors
done
# All of them damaged: nothing is overwritten by a new start.
rm -rf hurt
cp -r run hurt
for file in hurt/checkpoints/step-*/model.safetensors; do damage "$file"; done
refused 1 'every checkpoint is damaged' "$V" train tiny.yaml run.dir=hurt

# A full disk (a limit on the size of files, so that only checkpoints feel it): during the run an error line and on, at the end
# exit 1; what was there before stays whole.
if command -v prlimit >/dev/null; then
  start 1 tiny.yaml run.dir=full train.duration=1000000steps checkpoint.every=20steps run.log_every=100000
  wait_for 60 [ -e full/checkpoints/latest ]
  prlimit --pid $job --fsize=50000:
  wait_for 60 grep -q 'error: .*training goes on' job.out
  prlimit --pid $job --fsize=unlimited:
  lines=$(grep -c '^checkpoint step' job.out)
  wait_for 60 sh -c "[ \$(grep -c '^checkpoint step' job.out) -gt $lines ]"
  kill -USR2 $job
  ended 75
  said 'error: .*(File too large|No space).*training goes on, earlier checkpoints are intact'
  run 0 "$V" inspect full
  said 'all checksums match'
  ls full/checkpoints | grep -q tmp && fail "temporary folders left: $(ls full/checkpoints)"

  # Metrics feel it too: records are lost, whole ones, and the run goes on.
  rm -rf full
  start 1 tiny.yaml run.dir=full train.duration=1000000steps checkpoint.every=0
  wait_for 60 sh -c '[ -e full/metrics.jsonl ] && [ "$(wc -c <full/metrics.jsonl)" -gt 20000 ]'
  prlimit --pid $job --fsize=20000:
  wait_for 60 grep -q 'warning: full/metrics.jsonl.*training goes on' job.out
  prlimit --pid $job --fsize=unlimited:
  lines=$(wc -l <full/metrics.jsonl)
  wait_for 60 sh -c "[ \$(wc -l <full/metrics.jsonl) -gt $((lines + 5)) ]"
  kill -USR2 $job
  ended 75
  [ "$(grep -c 'training goes on' out)" -eq 1 ] || fail "the lost metrics were not told once"
  [ "$(grep -vc '^{"step":.*}$' full/metrics.jsonl)" -eq 0 ] || fail "metrics.jsonl holds torn records"
fi
# At the end. Two ranks over TCP: shared-memory segments are files too.
trap '' XFSZ
for command in "" "$mpi 2 --mca btl self,tcp --mca btl_tcp_if_include lo"; do
  rm -rf full
  refused 1 'full/checkpoints/.*File too large' $command sh -c \
    "ulimit -f 60; exec '$V' train tiny.yaml run.dir=full train.duration=20steps run.log_every=100000"
  not_said 'training goes on'
  [ ! -e full/checkpoints/latest ] || fail "a checkpoint was committed on a full disk"
  ls full/checkpoints | grep -q tmp && fail "temporary folders left: $(ls full/checkpoints)"
done
echo ok
