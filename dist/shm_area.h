// The piece of shared memory through which the ranks of one machine exchange bytes. It has no
// name: who creates it hands the file descriptor to the processes it starts, and nothing is
// left behind when the last of them ends, however it ends.
#ifndef EDT_DIST_SHM_AREA_H
#define EDT_DIST_SHM_AREA_H

#include "core/error.h"

// The descriptor closes on exec; clear that in the child. The caller closes it.
edt_status edt_shm_area_create(int world_size, edt_error *err, int *out_fd);

// Lets every rank's current or next exchange fail with EDT_ERR_DEVICE and these words; the
// first ones stay. What a supervisor does when a rank dies.
edt_status edt_shm_area_post_abort(int fd, const char *reason, edt_error *err);

#endif
