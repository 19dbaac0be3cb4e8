// Runs a fuzz target without libFuzzer. Without arguments: seeded pseudo-random inputs and
// mutations of the target's own seeds, the same on every machine. With arguments: the named
// files. With --write_seeds DIR: the seeds as files, for a libFuzzer corpus. With
// --mutations=N[,NUMBER] FILE...: N instead of the usual number, also of these files; another
// NUMBER makes other ones.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
// Defined by each target: writes seed number i into `out` and returns its size; 0 past the
// last.
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

enum { CAP = 1 << 14, N_RANDOM = 3000, N_MUTATIONS = 20000, MAX_SEEDS = 64 };

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint32_t draw(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % n);
}

// The target sees an exact allocation, so that a sanitizer catches any overrun.
static void run_one(const uint8_t *data, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);
    if (exact == NULL) {
        abort();
    }
    memcpy(exact, data, n);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static size_t mutate(uint8_t *data, size_t n)
{
    for (uint32_t k = 1 + draw(4); k > 0 && n > 0; --k) {
        const size_t at = draw((uint32_t)n);
        switch (draw(6)) {
        case 0: data[at] = (uint8_t)draw(256); break;
        case 1: data[at] ^= (uint8_t)(1u << draw(8)); break;
        case 2: n = at; break;
        case 3: // delete a run
        {
            size_t run = 1 + draw(8);
            run = run > n - at ? n - at : run;
            memmove(data + at, data + at + run, n - at - run);
            n -= run;
            break;
        }
        case 4: // repeat a run
        {
            size_t run = 1 + draw(32);
            run = run > n - at ? n - at : run;
            if (n + run <= CAP) {
                memmove(data + at + run, data + at, n - at);
                n += run;
            }
            break;
        }
        default: data[at] = (uint8_t) "\"\\{}[],:0-9e.\n\xff"[draw(15)]; break;
        }
    }
    return n;
}

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    static uint8_t data[1 << 20];
    const size_t n = fread(data, 1, sizeof data, file);
    (void)fclose(file);
    run_one(data, n);
    return 0;
}

static int write_seeds(const char *dir)
{
    static uint8_t data[CAP];
    size_t n;
    for (int i = 0; (n = edt_fuzz_seed(i, data, CAP)) > 0; ++i) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/seed-%d", dir, i);
        FILE *file = fopen(path, "wb");
        if (file == NULL || fwrite(data, 1, n, file) != n || fclose(file) != 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write_seeds") == 0) {
        return write_seeds(argv[2]);
    }
    long n_mutations = N_MUTATIONS;
    unsigned long seed_number = 0;
    const int has_number =
        argc > 1 && sscanf(argv[1], "--mutations=%ld,%lu", &n_mutations, &seed_number) >= 1;
    if (argc > 1 && !has_number) {
        int status = 0;
        for (int i = 1; i < argc; ++i) {
            status |= replay_file(argv[i]);
        }
        return status;
    }
    static uint8_t seeds[MAX_SEEDS][CAP];
    static uint8_t data[CAP];
    size_t n_bytes[MAX_SEEDS];
    int n_seeds = 0;
    while (n_seeds < MAX_SEEDS &&
           (n_bytes[n_seeds] = edt_fuzz_seed(n_seeds, seeds[n_seeds], CAP)) > 0) {
        run_one(seeds[n_seeds], n_bytes[n_seeds]);
        ++n_seeds;
    }
    for (int i = 2; i < argc && n_seeds < MAX_SEEDS; ++i) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        n_bytes[n_seeds] = fread(seeds[n_seeds], 1, CAP, file);
        (void)fclose(file);
        run_one(seeds[n_seeds], n_bytes[n_seeds]);
        ++n_seeds;
    }
    state += seed_number;
    run_one(data, 0);
    for (int i = 0; i < N_RANDOM; ++i) {
        const size_t n = draw(64);
        for (size_t k = 0; k < n; ++k) {
            data[k] = (uint8_t)draw(256);
        }
        run_one(data, n);
    }
    for (long i = 0; n_seeds > 0 && i < n_mutations; ++i) {
        const uint32_t seed = draw((uint32_t)n_seeds);
        memcpy(data, seeds[seed], n_bytes[seed]);
        run_one(data, mutate(data, n_bytes[seed]));
    }
    printf("%d seeds, %d random inputs, %ld mutations: ok\n", n_seeds, N_RANDOM,
           n_seeds > 0 ? n_mutations : 0);
    return 0;
}
