// What the system knows about this process.
#ifndef EDT_CORE_PROCESS_H
#define EDT_CORE_PROCESS_H

#include <stdint.h>

// Bytes of memory that the process has in use now (its resident set), -1 where the system does
// not tell. Allocates nothing.
int64_t edt_process_resident_bytes(void);

#endif
