// Clocks; see clock.h.
#include "core/clock.h"

#include <math.h>
#include <time.h>

static double read_clock(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double edt_clock_now_s(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double edt_clock_cpu_s(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

double edt_clock_wall_s(void)
{
    return read_clock(CLOCK_REALTIME);
}

char *edt_clock_text(double wall_s, char out[static EDT_CLOCK_TEXT_BYTES])
{
    const time_t whole = (time_t)floor(wall_s);
    struct tm utc = {0};
    (void)gmtime_r(&whole, &utc);
    if (strftime(out, EDT_CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        out[0] = '\0';
    }
    return out;
}
