// Makes Criterion run under ThreadSanitizer. Its sandbox places a shared arena at
// 0x200000000000 + (rand_r() << 24), nearly always where ThreadSanitizer keeps its shadow, and
// gives up after three tries. This rand_r stands before libc's in test programs built with
// -fsanitize=thread and leaves only addresses that belong to the program and lie below any
// position-independent executable. Nothing else in a test calls rand_r.
#include <stdlib.h>

enum { FIRST_STEP = 0x354000, N_STEPS = 0x1400 };

int rand_r(unsigned int *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (int)(FIRST_STEP + (*seed >> 8) % N_STEPS);
}
