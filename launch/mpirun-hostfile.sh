#!/bin/sh
# Train over the hosts of a hostfile ("node1 slots=1" a line; one slot per GPU or per CPU socket).
#   launch/mpirun-hostfile.sh HOSTFILE CONFIG [key.path=value ...]
# The checkout and the data must have the same path on every host, and ssh must work without a password.
#   VITRAIL_NETWORK=10.0.0.0/24   the network for MPI traffic, when hosts have several
#   VITRAIL_BINARY=/path/vitrail  default: build/vitrail beside this script
set -eu
[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
hostfile=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
network=""
[ -z "${VITRAIL_NETWORK:-}" ] ||
    network="--mca btl_tcp_if_include $VITRAIL_NETWORK --mca oob_tcp_if_include $VITRAIL_NETWORK"
# The keepalive flags make mpirun notice a lost host in seconds instead of minutes; without yield, waiting ranks would
# take the cores of their own loader threads. The ring is the fast all-reduce for large buckets over a network.
# shellcheck disable=SC2086
exec mpirun --hostfile "$hostfile" --map-by slot --bind-to none $network \
    --mca mpi_yield_when_idle 1 \
    --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 \
    --mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 4 \
    ${OMP_NUM_THREADS:+-x OMP_NUM_THREADS} "${VITRAIL_BINARY:-$here/build/vitrail}" train "$@"
