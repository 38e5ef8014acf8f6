/* The two homes of the comm table that live in this room. Other rooms call world_open. */
#ifndef VT_COMM_SELF_H
#define VT_COMM_SELF_H

#include <stdbool.h>

#include "comm/comm.h"

/* One process, no MPI: every collective is the identity. */
vt_status comm_self_open(struct comm **out);

/* Initialises MPI and wraps MPI_COMM_WORLD. Collective. */
vt_status comm_mpi_open(struct comm **out);
void comm_mpi_finalise(void);
/* Any thread. May return when MPI is not up (any more); the caller exits then. */
void comm_mpi_abort(int exit_code);

#endif
