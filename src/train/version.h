/* "vitrail 0.1.0 (commit abc1234, oneDNN 2.6.3, Open MPI ...)": what --version prints and run folders keep. */
#ifndef VT_TRAIN_VERSION_H
#define VT_TRAIN_VERSION_H

const char *version_line(void);

#endif
