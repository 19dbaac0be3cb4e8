// See convert_state.h. Locks are those of open file descriptions: they end with their process,
// however it ends, and work between threads and on NFS. Where the file system has none, a
// single process works all the same.
#include "dataio/convert_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/path.h"
#include "dataio/catalog.h"
#include "dataio/fingerprint64.h"
#include "dataio/side_index.h"

enum { JOIN_LOCK, ALIVE_LOCK, MAX_TRIES = 100, MAX_STATE_BYTES = 1 << 24 };

struct edt_convert_state {
    edt_convert_state_options options; // texts: in the arena
    edt_arena arena;
    const char *dir;         // PREFIX.converting
    const char *work_prefix; // dir/BASENAME
    const char *lock_path, *state_path, *publish_path;
    int lock;        // file descriptor, -1: none
    bool holds_join; // JOIN_LOCK
    bool is_gone;    // published and removed
};

static edt_status fail_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the state of a conversion");
}

// Locks one byte; false when another process holds it. File systems without locks agree to all.
static bool lock_byte(int fd, short type, off_t at, bool wait)
{
    struct flock range = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1, .l_pid = 0};
    int code;
    do {
        code = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range);
    } while (code != 0 && errno == EINTR);
    return code == 0 || (errno != EAGAIN && errno != EACCES);
}

static const char *shard_path(edt_arena *arena, const char *prefix,
                              const edt_convert_state_options *o, int64_t i)
{
    return edt_arena_printf(arena, "%s-%05" PRId64 "-of-%05" PRId64 "%s", prefix, i,
                            o->n_shards, edt_shard_compression_suffix(o->compression));
}

static const char *group_path(edt_arena *arena, const edt_convert_state *state, int64_t g)
{
    return edt_arena_printf(arena, "%s/group-%05" PRId64 ".done", state->dir, g);
}

// Removes the files of a directory that `wanted` agrees to (NULL: all but the lock). A file
// that another process removes first is fine.
static void remove_files(const char *dir, bool (*wanted)(const char *name))
{
    DIR *list = opendir(dir);
    const struct dirent *entry;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        const bool keep =
            wanted == NULL ? strcmp(entry->d_name, "lock") == 0 : !wanted(entry->d_name);
        if (!keep && entry->d_name[0] != '\0' && strcmp(entry->d_name, ".edt") != 0) {
            (void)unlinkat(dirfd(list), entry->d_name, 0);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
}

static bool is_temporary(const char *name)
{
    return strstr(name, ".tmp-") != NULL;
}

static bool is_done_mark(const char *name)
{
    return strncmp(name, "group-", 6) == 0 && edt_path_has_suffix(name, ".done");
}

static void clear(const edt_convert_state *state)
{
    char hidden[4096];
    // The marks of finished groups go first: without them nothing else is believed.
    remove_files(state->dir, is_done_mark);
    remove_files(state->dir, NULL);
    if ((size_t)snprintf(hidden, sizeof hidden, "%s/.edt", state->dir) < sizeof hidden) {
        remove_files(hidden, NULL);
        (void)rmdir(hidden);
    }
}

static void remove_directory(edt_convert_state *state)
{
    clear(state);
    (void)unlink(state->lock_path);
    (void)rmdir(state->dir);
    state->is_gone = true;
}

// Opens the lock file of the directory that has the name now and takes JOIN_LOCK.
static edt_status take_join_lock(edt_convert_state *state, edt_error *err)
{
    int code = 0;
    for (int i = 0; i < MAX_TRIES; ++i) {
        if (mkdir(state->dir, 0777) != 0 && errno != EEXIST) {
            return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot create directory '%s'",
                                       state->dir);
        }
        const int fd = open(state->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        code = errno;
        if (fd < 0 && code == ENOENT) {
            continue; // somebody removed the directory just now
        }
        if (fd < 0) {
            break;
        }
        struct stat mine, named;
        (void)lock_byte(fd, F_WRLCK, JOIN_LOCK, true);
        if (fstat(fd, &mine) == 0 && stat(state->lock_path, &named) == 0 &&
            mine.st_ino == named.st_ino && mine.st_dev == named.st_dev) {
            state->lock = fd;
            state->holds_join = true;
            return EDT_OK;
        }
        (void)close(fd);
    }
    return edt_error_set_errno(err, EDT_ERR_IO, code, "cannot create '%s'", state->lock_path);
}

static void drop_join_lock(edt_convert_state *state)
{
    if (state->holds_join) {
        (void)lock_byte(state->lock, F_UNLCK, JOIN_LOCK, false);
        state->holds_join = false;
    }
}

static bool has_identity(const edt_convert_state *state)
{
    char *text = NULL;
    size_t n = 0;
    const char *identity = state->options.identity;
    if (identity == NULL ||
        edt_file_read(state->state_path, MAX_STATE_BYTES, NULL, &text, &n) != EDT_OK) {
        return false;
    }
    const bool same = n == strlen(identity) && memcmp(text, identity, n) == 0;
    edt_mem_free(text);
    return same;
}

static edt_status join(edt_convert_state *state, edt_error *err)
{
    EDT_TRY(take_join_lock(state, err));
    const bool alone = lock_byte(state->lock, F_WRLCK, ALIVE_LOCK, false);
    const bool same = has_identity(state);
    if (!same && !alone) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "another conversion with other inputs or options is writing to '%s' now; wait "
                 "for it, or choose another prefix",
                 state->options.prefix);
    }
    if (!same) {
        clear(state);
        const char *identity = state->options.identity != NULL ? state->options.identity : "";
        EDT_TRY(edt_file_write(state->state_path, identity, strlen(identity), err));
    } else if (alone) {
        remove_files(state->dir, is_temporary); // of processes that died
    }
    (void)lock_byte(state->lock, F_RDLCK, ALIVE_LOCK, false);
    drop_join_lock(state);
    return EDT_OK;
}

// Whether `name` is BASE-12345-of-12345.tfrecord… and what follows the shard's number.
static bool parse_shard_name(const char *name, const char *base, const char **out_rest)
{
    const size_t n_base = strlen(base);
    if (strncmp(name, base, n_base) != 0 || name[n_base] != '-') {
        return false;
    }
    const char *p = name + n_base + 1;
    const size_t n_digits = strspn(p, "0123456789");
    const char *rest = p + n_digits;
    const size_t n_of = strncmp(rest, "-of-", 4) == 0 ? strspn(rest + 4, "0123456789") : 0;
    *out_rest = rest;
    const char *suffix = rest + 4 + n_of;
    return n_digits >= 5 && n_of >= 5 && strncmp(suffix, ".tfrecord", 9) == 0 &&
           (suffix[9] == '\0' || strcmp(suffix + 9, ".gz") == 0 ||
            strcmp(suffix + 9, ".zz") == 0 || strcmp(suffix + 9, ".zst") == 0);
}

static edt_status refuse_other_sets(edt_convert_state *state, edt_error *err)
{
    const edt_convert_state_options *o = &state->options;
    const char *base = strrchr(o->prefix, '/');
    base = base != NULL ? base + 1 : o->prefix;
    const char *dir = edt_path_dirname(&state->arena, o->prefix);
    const char *mine = edt_arena_printf(&state->arena, "-of-%05" PRId64 "%s", o->n_shards,
                                        edt_shard_compression_suffix(o->compression));
    if (dir == NULL || mine == NULL) {
        return fail_memory(err);
    }
    edt_status status = EDT_OK;
    DIR *list = opendir(dir);
    const struct dirent *entry;
    while (list != NULL && status == EDT_OK && (entry = readdir(list)) != NULL) {
        const char *rest = NULL;
        if (parse_shard_name(entry->d_name, base, &rest) && strcmp(rest, mine) != 0) {
            status = edt_error_set(
                err, EDT_ERR_MISMATCH,
                "'%s/%s' belongs to a set of another number of shards or another compression "
                "under the same prefix; a pattern such as '%s-*' would take both for one set: "
                "remove the old shards or choose another --output prefix",
                dir, entry->d_name, o->prefix);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return status;
}

edt_status edt_convert_state_open(const edt_convert_state_options *options, edt_error *err,
                                  edt_convert_state **out_state)
{
    edt_status status = EDT_OK;
    edt_convert_state *state = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *state);
    if (state == NULL) {
        return fail_memory(err);
    }
    state->lock = -1;
    edt_arena_init(&state->arena, EDT_MEM_ARENA, 0);
    edt_arena *a = &state->arena;
    const char *base = strrchr(options->prefix, '/');
    state->options = *options;
    state->options.prefix = edt_arena_strdup(a, options->prefix);
    if (options->identity != NULL) {
        state->options.identity = edt_arena_strdup(a, options->identity);
    }
    state->dir = edt_arena_printf(a, "%s.converting", options->prefix);
    state->work_prefix = edt_arena_printf(a, "%s.converting/%s", options->prefix,
                                          base != NULL ? base + 1 : options->prefix);
    state->lock_path = edt_arena_printf(a, "%s.converting/lock", options->prefix);
    state->state_path = edt_arena_printf(a, "%s.converting/state", options->prefix);
    state->publish_path = edt_arena_printf(a, "%s.converting/publish", options->prefix);
    const char *parent = edt_path_dirname(a, options->prefix);
    if (state->options.prefix == NULL || state->dir == NULL || state->work_prefix == NULL ||
        state->lock_path == NULL || state->state_path == NULL || state->publish_path == NULL ||
        parent == NULL || (options->identity != NULL && state->options.identity == NULL)) {
        status = fail_memory(err);
        goto fail;
    }
    EDT_TRY_GOTO(edt_path_mkdirs(parent, err));
    EDT_TRY_GOTO(refuse_other_sets(state, err));
    EDT_TRY_GOTO(join(state, err));
    *out_state = state;
    return EDT_OK;

fail:
    edt_convert_state_close(state);
    return status;
}

void edt_convert_state_close(edt_convert_state *state)
{
    if (state == NULL) {
        return;
    }
    if (state->lock >= 0 && !state->is_gone) {
        if (!state->holds_join) {
            state->holds_join = lock_byte(state->lock, F_WRLCK, JOIN_LOCK, true);
        }
        if (lock_byte(state->lock, F_WRLCK, ALIVE_LOCK, false)) {
            if (edt_convert_state_has_groups(state)) {
                remove_files(state->dir, is_temporary);
            } else {
                remove_directory(state);
            }
        }
    }
    if (state->lock >= 0) {
        (void)close(state->lock); // and with it all locks
    }
    edt_arena_deinit(&state->arena);
    edt_mem_free(state);
}

const char *edt_convert_state_prefix(const edt_convert_state *state)
{
    return state->work_prefix;
}

bool edt_convert_state_has_groups(const edt_convert_state *state)
{
    bool found = false;
    DIR *list = state->is_gone ? NULL : opendir(state->dir);
    const struct dirent *entry;
    while (list != NULL && !found && (entry = readdir(list)) != NULL) {
        found = is_done_mark(entry->d_name);
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return found;
}

typedef struct number {
    const char *key;
    int64_t *value;
} number;
enum { N_NUMBERS = 10 };

static void list_numbers(edt_convert_group *g, number out[N_NUMBERS])
{
    const number numbers[N_NUMBERS] = {{"images", &g->n_images},
                                       {"records", &g->n_records},
                                       {"boxes", &g->counts.n_boxes},
                                       {"empty", &g->counts.n_empty},
                                       {"outside", &g->counts.n_outside},
                                       {"clipped", &g->counts.n_clipped},
                                       {"negative", &g->counts.n_negative},
                                       {"kept_outside", &g->counts.n_kept_outside},
                                       {"kept_empty", &g->counts.n_kept_empty},
                                       {"stream_bytes", (int64_t *)&g->stream_bytes}};
    memcpy(out, numbers, sizeof numbers);
}

// Whether the shards of a group lie where they should, with the sizes noted. While publishing
// some have their final names already.
static bool has_shards(const edt_convert_state *state, int64_t g, const edt_json_node *sizes,
                       edt_arena *arena)
{
    const edt_convert_state_options *o = &state->options;
    const bool publishing = edt_path_exists(state->publish_path);
    const edt_json_node *size = sizes != NULL ? sizes->first : NULL;
    for (int64_t i = g; i < o->n_shards; i += o->n_groups, size = size->next) {
        const char *path = shard_path(arena, state->work_prefix, o, i);
        const char *final = shard_path(arena, o->prefix, o, i);
        struct stat info;
        if (size == NULL || size->kind != EDT_JSON_KIND_NUMBER || path == NULL ||
            final == NULL ||
            (stat(path, &info) != 0 && (!publishing || stat(final, &info) != 0)) ||
            (double)info.st_size != size->number) {
            return false;
        }
    }
    return size == NULL;
}

static edt_status read_group(const edt_convert_state *state, int64_t g, edt_arena *arena,
                             edt_convert_report *report, edt_error *err,
                             edt_convert_group *group)
{
    char *text = NULL;
    size_t n_bytes = 0;
    const char *path = group_path(arena, state, g);
    if (path == NULL) {
        return fail_memory(err);
    }
    EDT_TRY(edt_file_read(path, MAX_STATE_BYTES, err, &text, &n_bytes));
    const edt_json_node *root = NULL;
    edt_status status =
        edt_json_parse((edt_span){(const uint8_t *)text, n_bytes}, arena, err, &root);
    edt_mem_free(text);
    EDT_TRY(status);
    number numbers[N_NUMBERS];
    list_numbers(group, numbers);
    for (int i = 0; i < N_NUMBERS; ++i) {
        const edt_json_node *node = edt_json_get(root, numbers[i].key);
        if (node == NULL || node->kind != EDT_JSON_KIND_NUMBER) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "'%s' has no %s", path, numbers[i].key);
        }
        *numbers[i].value = (int64_t)node->number;
    }
    const edt_json_node *digest = edt_json_get(root, "digest");
    if (digest == NULL || digest->kind != EDT_JSON_KIND_TEXT ||
        sscanf(digest->text, "%" SCNx64, &group->digest) != 1 ||
        !has_shards(state, g, edt_json_get(root, "shard_bytes"), arena)) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "'%s' does not describe the shards there", path);
    }
    return report != NULL ? edt_convert_report_merge(report, root, err) : EDT_OK;
}

edt_status edt_convert_state_load_group(const edt_convert_state *state, int64_t g,
                                        edt_convert_report *report, edt_error *err,
                                        bool *out_done, edt_convert_group *out_group)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_convert_group group = {0};
    edt_error why = {0};
    const edt_status status = read_group(state, g, &arena, report, &why, &group);
    edt_arena_deinit(&arena);
    if (status == EDT_ERR_NOMEM) {
        return fail_memory(err);
    }
    *out_done = status == EDT_OK;
    if (status == EDT_OK) {
        *out_group = group;
    } else if (status != EDT_ERR_NOT_FOUND) {
        EDT_DEBUG("group %" PRId64 " is converted again: %s", g, why.text);
    }
    return EDT_OK;
}

edt_status edt_convert_state_drop_group(const edt_convert_state *state, int64_t g,
                                        edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 512);
    const char *path = group_path(&arena, state, g);
    edt_status status = path == NULL ? fail_memory(err) : EDT_OK;
    if (path != NULL && unlink(path) != 0 && errno != ENOENT) {
        status = edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot remove '%s'", path);
    }
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_convert_state_save_group(const edt_convert_state *state, int64_t g,
                                        const edt_convert_group *group,
                                        edt_convert_report *report, edt_error *err)
{
    const edt_convert_state_options *o = &state->options;
    edt_status status = EDT_OK;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_json_writer json = {.indent = 1};
    edt_convert_group copy = *group;
    number numbers[N_NUMBERS];
    list_numbers(&copy, numbers);
    edt_json_begin_object(&json);
    for (int i = 0; i < N_NUMBERS; ++i) {
        edt_json_put_i64(&json, numbers[i].key, *numbers[i].value);
    }
    char digest[20];
    (void)snprintf(digest, sizeof digest, "%016" PRIx64, group->digest);
    edt_json_put_text(&json, "digest", digest);
    edt_json_key(&json, "shard_bytes");
    edt_json_begin_array(&json);
    for (int64_t i = g; i < o->n_shards; i += o->n_groups) {
        const char *path = shard_path(&arena, state->work_prefix, o, i);
        struct stat info;
        if (path == NULL || stat(path, &info) != 0) {
            status = path == NULL
                         ? fail_memory(err)
                         : edt_error_set_errno(err, EDT_ERR_IO, errno,
                                               "'%s' is gone after it was written", path);
            goto fail;
        }
        edt_json_i64(&json, (int64_t)info.st_size);
    }
    edt_json_end_array(&json);
    edt_convert_report_put(report, &json);
    edt_json_end_object(&json);
    edt_text text;
    EDT_TRY_GOTO(edt_json_writer_finish(&json, err, &text));
    const char *path = group_path(&arena, state, g);
    status =
        path == NULL ? fail_memory(err) : edt_file_write(path, text.data, text.n_bytes, err);
fail:
    edt_json_writer_deinit(&json);
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_convert_state_begin_publish(edt_convert_state *state, edt_error *err,
                                           bool *out_is_last)
{
    *out_is_last = false;
    state->holds_join = lock_byte(state->lock, F_WRLCK, JOIN_LOCK, true);
    struct stat mine, named;
    if (fstat(state->lock, &mine) != 0 || stat(state->lock_path, &named) != 0 ||
        mine.st_ino != named.st_ino || mine.st_dev != named.st_dev) {
        state->is_gone = true; // another rank has published everything
        return EDT_OK;
    }
    for (int64_t g = 0; g < state->options.n_groups; ++g) {
        bool done = false;
        edt_convert_group group;
        EDT_TRY(edt_convert_state_load_group(state, g, NULL, err, &done, &group));
        if (!done) {
            drop_join_lock(state);
            return EDT_OK;
        }
    }
    *out_is_last = true;
    return EDT_OK;
}

static edt_status move(const char *from, const char *to, bool *out_moved, edt_error *err)
{
    *out_moved = rename(from, to) == 0;
    if (!*out_moved && errno != ENOENT) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot rename '%s' to '%s'", from,
                                   to);
    }
    return EDT_OK;
}

// Side indexes are a convenience that any reader can make, so failures are not errors.
static void move_index(edt_arena *arena, const char *from_shard, const char *to_shard)
{
    bool moved = false;
    const char *from = edt_side_index_path(arena, from_shard);
    const char *to = edt_side_index_path(arena, to_shard);
    if (from != NULL && to != NULL && edt_side_dir_create(to, NULL) == EDT_OK) {
        (void)!move(from, to, &moved, NULL);
    }
}

static edt_status move_shards(const edt_convert_state *state, edt_arena *arena, edt_error *err)
{
    const edt_convert_state_options *o = &state->options;
    const char *first = shard_path(arena, o->prefix, o, 0);
    if (first == NULL) {
        return fail_memory(err);
    }
    EDT_TRY(edt_catalog_remove(first, err));
    // From here to the last rename a kill leaves an incomplete set, which the same command
    // completes.
    for (int pass = 0; pass < 3; ++pass) {
        for (int64_t i = 0; i < o->n_shards; ++i) {
            const char *from = shard_path(arena, state->work_prefix, o, i);
            const char *to = shard_path(arena, o->prefix, o, i);
            bool moved = false;
            if (from == NULL || to == NULL) {
                return fail_memory(err);
            }
            if (pass == 0 && edt_path_exists(from)) {
                EDT_TRY(edt_side_index_remove(to, err));
                if (unlink(to) != 0 && errno != ENOENT) {
                    return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot replace '%s'",
                                               to);
                }
            } else if (pass == 1) {
                EDT_TRY(move(from, to, &moved, err));
            } else if (pass == 2) {
                move_index(arena, from, to);
            }
            edt_arena_reset(arena);
        }
    }
    return EDT_OK;
}

edt_status edt_convert_state_publish(edt_convert_state *state, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_status status = edt_file_write(state->publish_path, "", 0, err);
    if (status == EDT_OK) {
        status = move_shards(state, &arena, err);
    }
    if (status == EDT_OK) {
        edt_error why = {0};
        const char *first = shard_path(&arena, state->options.prefix, &state->options, 0);
        if (first == NULL || edt_catalog_build_if_complete(first, &why) != EDT_OK) {
            EDT_WARN("the shards are complete, but not their catalog, which the first reader "
                     "will make: %s",
                     why.text);
        }
        remove_directory(state);
    }
    edt_arena_deinit(&arena);
    return status;
}

uint64_t edt_convert_state_hash_file(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return 0;
    }
    const int64_t facts[3] = {(int64_t)info.st_size, (int64_t)info.st_mtim.tv_sec,
                              (int64_t)info.st_mtim.tv_nsec};
    return edt_fingerprint64((edt_span){(const uint8_t *)facts, sizeof facts});
}
