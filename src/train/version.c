#include "train/version.h"

#ifndef VT_VERSION
#define VT_VERSION "0.0.0"
#endif
#ifndef VT_COMMIT
#define VT_COMMIT "unknown"
#endif

/* VT_VERSION, VT_COMMIT and VT_FEATURES come from the build (src/CMakeLists.txt). */
#ifndef VT_FEATURES
#define VT_FEATURES "cpu mpi"
#endif

const char *version_line(void) { return "vitrail " VT_VERSION " (commit " VT_COMMIT "; " VT_FEATURES ")"; }
