// Time: a monotonic clock for durations and the wall clock as text for logs and files.
#ifndef EDT_CORE_CLOCK_H
#define EDT_CORE_CLOCK_H

// Seconds since an arbitrary moment; never runs backwards.
double edt_clock_now_s(void);

// Processor seconds that all threads of the process have used.
double edt_clock_cpu_s(void);

// Seconds since 1970 UTC.
double edt_clock_wall_s(void);

// Writes wall seconds as UTC, "2024-02-29T12:34:56Z" (ISO 8601), and returns `out`.
enum { EDT_CLOCK_TEXT_BYTES = 40 };
char *edt_clock_text(double wall_s, char out[static EDT_CLOCK_TEXT_BYTES]);

#endif
