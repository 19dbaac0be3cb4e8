// Versions of the libraries behind records, pictures and drawing; see core/libraries.h.
#ifndef EDT_DATAIO_DATAIO_LIBRARIES_H
#define EDT_DATAIO_DATAIO_LIBRARIES_H

#include "core/libraries.h"

// Returns how many.
int edt_dataio_libraries(edt_library out_libraries[static EDT_LIBRARIES_MAX]);

#endif
