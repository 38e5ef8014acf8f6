#!/bin/sh
# launch/slurm.sbatch with a stand-in for Slurm: asked to stop, the job commits, is requeued with exit 75, and ends the run in the
# folder it began. The stand-in's srun is mpirun, and refuses what would make the first rank to leave kill the others.
. "$(dirname "$0")/lib.sh"
write_config tiny.yaml 3000
mkdir bin
cat >bin/srun <<'EOF'
#!/bin/sh
while :; do
  case $1 in
  --kill-on-bad-exit=1 | -K | -K1) echo "srun: the others would be killed" && exit 137 ;;
  --mpi=pmix) pmix=1 ;;
  -*) ;;
  *) break ;;
  esac
  shift
done
[ -n "${pmix:-}" ] || exit 3
exec mpirun -np 2 "$@"
EOF
cat >bin/scontrol <<'EOF'
#!/bin/sh
echo "$@" >scontrol.said
kill $PPID # as the real one ends the job
EOF
cat >bin/sleep <<'EOF'
#!/bin/sh
exit 0
EOF
chmod +x bin/*
job() { # RESTARTS: the batch script in the background
  env PATH="$T/bin:$PATH" VITRAIL_BINARY="$V" SLURM_SUBMIT_DIR="$T" SLURM_JOB_ID=7 SLURM_RESTART_COUNT="$1" \
    bash "$here/../../launch/slurm.sbatch" tiny.yaml run.dir=run run.if_exists=new >job.out 2>&1 &
  job=$!
}
mkdir run # someone else's
job 0
wait_for 60 step_reached run-2 30
kill -USR2 $job
ended any
said 'stopped at step [0-9]+ \(SIGUSR2\): committed'
[ "$(cat scontrol.said)" = 'requeue 7' ] || fail "the job was not requeued"
nobody_left
rm scontrol.said
job 1
ended 0
said 'resumed    from run-2/checkpoints/step-'
said '^done       run-2'
[ ! -e scontrol.said ] || fail "a complete run was requeued"
echo ok
