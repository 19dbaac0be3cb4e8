// State files from arbitrary bytes: every refusal has a message; what is read is written so
// that it reads the same.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/io/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static char dir[64];

static void remove_dir(void)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/checkpoint", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

static void write_input(const uint8_t *data, size_t n)
{
    if (dir[0] == '\0') {
        (void)snprintf(dir, sizeof dir, "%s/edt-fuzz-XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (mkdtemp(dir) == NULL || atexit(remove_dir) != 0) {
            abort();
        }
    }
    char path[128];
    (void)snprintf(path, sizeof path, "%s/checkpoint", dir);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n || close(fd) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    write_input(data, n);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_error err = {0};
    edt_checkpoint_state state, back;
    if (edt_checkpoint_state_read(dir, &arena, &err, &state) != EDT_OK) {
        if (err.text[0] == '\0') {
            abort();
        }
    } else {
        if (edt_checkpoint_state_write(dir, &state, &err) != EDT_OK ||
            edt_checkpoint_state_read(dir, &arena, &err, &back) != EDT_OK ||
            strcmp(back.latest, state.latest) != 0 || back.n != state.n) {
            abort();
        }
        for (int i = 0; i < state.n; ++i) {
            if (strcmp(back.all[i], state.all[i]) != 0) {
                abort();
            }
        }
    }
    edt_arena_deinit(&arena);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const texts[] = {
        "model_checkpoint_path: \"model.ckpt-9\"\nall_model_checkpoint_paths: "
        "\"model.ckpt-8\"\n"
        "all_model_checkpoint_paths: \"model.ckpt-9\"\n"
        "all_model_checkpoint_timestamps: 1596612.25\nlast_preserved_timestamp: 1.5e9\n",
        "# a comment\nmodel_checkpoint_path: 'a' \"\\\"b\\\\\\303\\251\\x41\\n\"; x: -1, y: "
        "inf\n",
    };
    if (i >= 2 || strlen(texts[i]) > cap) {
        return 0;
    }
    memcpy(out, texts[i], strlen(texts[i]));
    return strlen(texts[i]);
}
