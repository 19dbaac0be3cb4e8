// See process.h. Read by system calls alone: stdio would allocate its buffer.
#include "core/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

int64_t edt_process_resident_bytes(void)
{
    char text[128];
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    int64_t pages;
    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%*d %" SCNd64, &pages) == 1 ? pages * (int64_t)sysconf(_SC_PAGESIZE)
                                                     : -1;
}
