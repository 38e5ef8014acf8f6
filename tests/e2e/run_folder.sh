#!/bin/sh
# A run folder as the argument: `train RUN` goes on with that run, whatever its config, and `check RUN` and `bench` take it too.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 20

# Its config.yaml writes the defaults out: rules for parameters this model lacks are still the defaults.
run 0 "$V" train tiny.yaml run.dir=mean model.cls_token=false model.pool=mean
for ranks in 1 2; do
  run 0 train $ranks mean
  said 'nothing to do: the run is complete at step 20'
done
run 0 "$V" check mean
said '^one step   ok'
run 0 "$V" bench step mean --steps 2
refused 2 "optim\\.decay_rules: the pattern 'cls_tokens' matches none" "$V" train mean 'optim.decay_rules=["cls_tokens": 0]'
# run.if_exists starts runs; the argument RUN means that run.
for how in new fail; do
  run 0 "$V" train tiny.yaml run.dir=$how-1 run.if_exists=$how
  run 0 "$V" train tiny.yaml run.dir=$how-1 run.if_exists=resume train.duration=20steps
  sed -i "s/  if_exists: .*/  if_exists: $how/" $how-1/config.yaml
  run 0 "$V" train $how-1
  said 'nothing to do: the run is complete at step 20'
  refused 2 'command line: run\.if_exists: ' "$V" train $how-1 run.if_exists=$how
done
[ ! -e new-1-2 ] || fail "the run went on in another folder"
refused 2 'run\.if_exists=fail' "$V" train tiny.yaml run.dir=fail-1 run.if_exists=fail
# A requeued Slurm job goes on with the folder it began; another job's is not its own.
slurm() { env SLURM_JOB_ID="$1" SLURM_RESTART_COUNT="$2" "$V" train tiny.yaml run.dir=job run.if_exists="$3"; }
run 0 slurm 7 0 new
run 0 slurm 8 0 new
run 0 slurm 8 1 new
said 'nothing to do'
grep -q '"attempt": 2' job-2/env.json || fail "job 8 did not go on in job-2"
[ ! -e job-3 ] || fail "the requeued job began anew"
run 0 slurm 7 2 fail
said 'nothing to do'
refused 2 'run\.if_exists=fail' env SLURM_JOB_ID=8 SLURM_RESTART_COUNT=1 "$V" train tiny.yaml run.dir=job run.if_exists=fail

# compute.dtype: auto is decided once, by all ranks, and stays with the run on other hardware.
dtype_of() { sed -n 's/^  dtype: //p' "$1/config.yaml"; }
bf16=
if [ "$("$V" check | sed -n 's/.*compute\.dtype auto = \([a-z0-9]*\);.*/\1/p')" = bf16 ]; then bf16=1; fi
run 0 env VT_CPU_ISA=avx2 "$V" train tiny.yaml run.dir=fp32 compute.dtype=auto
[ "$(dtype_of fp32)" = fp32 ] || fail "the run stored dtype $(dtype_of fp32)"
run 0 "$V" train fp32 # whatever is here
said ', fp32, microbatch'
if [ -n "$bf16" ]; then
  refused 2 'may not change compute\.dtype \(fp32, now bf16\)' "$V" train tiny.yaml run.dir=fp32 compute.dtype=auto
  run 0 "$V" train tiny.yaml run.dir=bf16 compute.dtype=auto
  [ "$(dtype_of bf16)" = bf16 ] || fail "the run stored dtype $(dtype_of bf16)"
  refused 2 'may not change compute\.dtype \(bf16, now fp32\)' env VT_CPU_ISA=avx2 "$V" train tiny.yaml run.dir=bf16 compute.dtype=auto
  run 0 env VT_CPU_ISA=avx2 "$V" train bf16
  said 'warning: .*bf16 units'
  said ', bf16, microbatch'
  # Ranks that differ: what all have.
  run 0 $mpi 1 "$V" train tiny.yaml run.dir=mixed compute.dtype=auto : -np 1 -x VT_CPU_ISA=avx2 "$V" train tiny.yaml run.dir=mixed compute.dtype=auto
  [ "$(dtype_of mixed)" = fp32 ] || fail "ranks that differ trained in $(dtype_of mixed)"
fi

# A check leaves nothing behind, nor a path that is not the folder's.
run 0 "$V" check tiny.yaml run.dir=a/b/c
[ ! -e a ] || fail "check left $(find a)"
mkdir a
run 0 "$V" check tiny.yaml run.dir=a/b//c/
[ -d a ] && [ ! -e a/b ] || fail "check left $(find a)"
echo mine >x
refused 2 'run\.stop_file: is a path' "$V" train tiny.yaml run.dir=stopped run.stop_file=../x
[ -e x ] || fail "a file outside the run folder was removed"

# With the standard streams closed their numbers are not the run's files'.
"$V" train tiny.yaml run.dir=closed <&- >&- 2>&- || fail "exit code $? with closed streams"
"$V" inspect closed >out 2>&1 || fail "inspect"
said 'all checksums match'
[ "$(grep -vc '^{"step":.*}$' closed/metrics.jsonl)" -eq 0 ] || fail "metrics.jsonl holds other lines"
grep -vq '^20..-..-..T..:..:..Z ' closed/log.txt && fail "log.txt has lines without a time"
grep -q 'Z done ' closed/log.txt || fail "log.txt is not complete"

# What cannot meet does not train alone, and nothing is started twice.
refused 2 'a PMI launcher started 2 tasks' env PMI_RANK=0 PMI_SIZE=2 SLURM_STEP_NUM_TASKS=2 "$V" train tiny.yaml run.dir=alone
refused 2 'srun started 2 tasks' env SLURM_STEP_NUM_TASKS=2 "$V" train tiny.yaml run.dir=alone
refused 2 '-n 2 starts mpirun, and this is a rank' $mpi 2 "$V" train -n 2 tiny.yaml run.dir=alone
refused 2 'comm\.backend=self is for one rank' "$V" train -n 2 tiny.yaml run.dir=alone comm.backend=self
[ ! -e alone ] || fail "a run folder was made"
echo ok
