// Which catalog shards belong to, and whether they are the ones it knows; see catalog.h.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/path.h"
#include "dataio/catalog.h"
#include "dataio/shard_writer.h"

enum { MAX_BUILDS = 10 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Five digits or more; -1 otherwise.
static int64_t parse_number(const char *text, const char **out_end)
{
    int64_t value = 0;
    int n = 0;
    for (; is_digit(text[n]) && n < 9; ++n) {
        value = 10 * value + (text[n] - '0');
    }
    *out_end = text + n;
    return n >= 5 && !is_digit(text[n]) ? value : -1;
}

edt_status edt_shard_name_parse(const char *shard_path, edt_arena *arena, edt_error *err,
                                bool *out_is_one, edt_shard_name *out_name)
{
    static const char of_text[] = "-of-";
    *out_is_one = false;
    const char *slash = strrchr(shard_path, '/');
    const char *base = slash != NULL ? slash + 1 : shard_path;
    const char *of = NULL;
    for (const char *at = base; (at = strstr(at, of_text)) != NULL; ++at) {
        of = at;
    }
    const char *digits = of;
    while (digits != NULL && digits > base && is_digit(digits[-1])) {
        --digits;
    }
    if (of == NULL || digits == base || digits[-1] != '-') {
        return EDT_OK;
    }
    const char *end;
    edt_shard_name name = {.i_shard = parse_number(digits, &end)};
    name.n_shards = parse_number(of + sizeof of_text - 1, &end);
    bool is_suffix = false;
    for (int i = EDT_SHARD_COMPRESS_NONE; i <= EDT_SHARD_COMPRESS_ZSTD; ++i) {
        is_suffix |= strcmp(end, edt_shard_compression_suffix((edt_shard_compression)i)) == 0;
    }
    if (name.i_shard < 0 || name.i_shard >= name.n_shards ||
        name.n_shards > EDT_SHARD_MAX_SHARDS || !is_suffix) {
        return EDT_OK;
    }
    name.prefix = edt_arena_strndup(arena, shard_path, (size_t)(digits - 1 - shard_path));
    name.rest = edt_arena_strdup(arena, of);
    name.catalog_path =
        edt_arena_printf(arena, "%.*s.edt/%.*s%s.catalog", (int)(base - shard_path), shard_path,
                         (int)(digits - 1 - base), base, of);
    if (name.prefix == NULL || name.rest == NULL || name.catalog_path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a path");
    }
    *out_is_one = true;
    *out_name = name;
    return EDT_OK;
}

edt_status edt_catalog_remove(const char *shard_path, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    bool is_one;
    edt_shard_name name;
    edt_status status = edt_shard_name_parse(shard_path, &arena, err, &is_one, &name);
    if (status == EDT_OK && is_one && unlink(name.catalog_path) != 0 && errno != ENOENT &&
        errno != ENOTDIR) {
        status =
            edt_error_set_errno(err, EDT_ERR_IO, errno,
                                "cannot remove the outdated catalog '%s'", name.catalog_path);
    }
    edt_arena_deinit(&arena);
    return status;
}

static int64_t modified_ns(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000000000 + (int64_t)info->st_mtim.tv_nsec;
}

// False when the shard or an index of its present contents is missing.
static bool open_side(const char *shard_path, edt_arena *arena, edt_side_index **out_side)
{
    struct stat shard;
    struct stat side;
    const char *side_path = edt_side_index_path(arena, shard_path);
    if (side_path == NULL || stat(shard_path, &shard) != 0 || stat(side_path, &side) != 0 ||
        modified_ns(&side) < modified_ns(&shard) ||
        edt_side_index_open(side_path, NULL, out_side) != EDT_OK) {
        return false;
    }
    if (edt_side_index_summary(*out_side)->shard_bytes != (uint64_t)shard.st_size) {
        edt_side_index_close(*out_side);
        *out_side = NULL;
        return false;
    }
    return true;
}

// True when some shard is not the one any more that its index was read for.
static bool has_changed(const char *const *paths, edt_side_index *const *sides,
                        int64_t n_shards, edt_arena *arena)
{
    for (int64_t i = 0; i < n_shards; ++i) {
        edt_side_index *now = NULL;
        if (!open_side(paths[i], arena, &now)) {
            return true;
        }
        const edt_side_summary *a = edt_side_index_summary(now);
        const edt_side_summary *b = edt_side_index_summary(sides[i]);
        const bool same = a->shard_bytes == b->shard_bytes && a->n_records == b->n_records &&
                          a->lengths_crc == b->lengths_crc;
        edt_side_index_close(now);
        if (!same) {
            return true;
        }
    }
    return false;
}

// Builds once; `*out_again` when shards were replaced while that went on.
static edt_status build_once(const char *shard_path, edt_error *err, bool *out_again)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    edt_side_index **sides = NULL;
    int64_t n_shards = 0;
    bool is_one;
    edt_shard_name name;
    EDT_TRY_GOTO(edt_shard_name_parse(shard_path, &arena, err, &is_one, &name));
    if (!is_one) {
        goto fail;
    }
    n_shards = name.n_shards;
    const char **paths = edt_arena_calloc(&arena, (size_t)n_shards, sizeof *paths);
    sides = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_shards, sizeof *sides);
    if (paths == NULL || sides == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a catalog");
        goto fail;
    }
    for (int64_t i = 0; i < n_shards; ++i) {
        paths[i] = edt_arena_printf(&arena, "%s-%05" PRId64 "%s", name.prefix, i, name.rest);
        if (paths[i] == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a catalog");
            goto fail;
        }
        if (!open_side(paths[i], &arena, &sides[i])) {
            goto fail;
        }
    }
    EDT_TRY_GOTO(edt_catalog_write(name.catalog_path, paths, sides, n_shards, err));
    *out_again = has_changed(paths, sides, n_shards, &arena);
fail:
    for (int64_t i = 0; sides != NULL && i < n_shards; ++i) {
        edt_side_index_close(sides[i]);
    }
    edt_mem_free(sides);
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_catalog_build_if_complete(const char *shard_path, edt_error *err)
{
    // Another process may have put new shards and their catalog in place before ours, which
    // knows the old ones, was renamed over that; whoever comes last looks again.
    bool again = true;
    for (int i = 0; again && i < MAX_BUILDS; ++i) {
        again = false;
        EDT_TRY(build_once(shard_path, err, &again));
    }
    return EDT_OK;
}

// A set some of whose shards are listed.
typedef struct set {
    edt_shard_name name;
    const char *shard_path; // one of them
    edt_catalog *catalog;
    int64_t n_listed;
} set;

typedef struct set_list {
    set *sets;
    int64_t n, capacity;
} set_list;

static edt_status find_set(set_list *list, const edt_shard_name *name, const char *shard_path,
                           edt_error *err, set **out_set)
{
    // Names are sorted, so the set is nearly always the last one found.
    for (int64_t i = list->n; i-- > 0;) {
        if (strcmp(list->sets[i].name.catalog_path, name->catalog_path) == 0) {
            *out_set = &list->sets[i];
            return EDT_OK;
        }
    }
    if (list->n == list->capacity) {
        const int64_t capacity = list->capacity > 0 ? 2 * list->capacity : 4;
        set *sets = edt_mem_realloc(EDT_MEM_MISC, list->sets, (size_t)capacity * sizeof *sets);
        if (sets == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the catalogs of a data set");
        }
        list->sets = sets;
        list->capacity = capacity;
    }
    set *s = &list->sets[list->n++];
    *s = (set){.name = *name, .shard_path = shard_path};
    edt_error why = {0};
    const edt_status status = edt_catalog_open(name->catalog_path, &why, &s->catalog);
    if (status != EDT_OK && status != EDT_ERR_NOT_FOUND) {
        EDT_INFO("%s; it is not used", why.text);
    }
    *out_set = s;
    return EDT_OK;
}

static edt_status check_shard(const set *s, const char *path, int64_t i_shard,
                              const edt_side_summary *have, edt_error *err)
{
    edt_catalog_shard want;
    EDT_TRY(edt_catalog_get_shard(s->catalog, i_shard, err, &want));
    if (want.n_bytes == have->shard_bytes && want.n_records == have->n_records &&
        want.lengths_crc == have->lengths_crc) {
        return EDT_OK;
    }
    EDT_FAIL(err, EDT_ERR_MISMATCH,
             "'%s' is not the shard that the catalog of its data set knows: it has %" PRIu64
             " bytes, %" PRId64 " records and length CRCs %08" PRIx32
             ", the catalog says %" PRIu64 ", %" PRId64 " and %08" PRIx32
             "; restore the shard or, if the data set was changed "
             "on purpose, remove '%s' (it is made again)",
             path, have->shard_bytes, have->n_records, have->lengths_crc, want.n_bytes,
             want.n_records, want.lengths_crc, s->name.catalog_path);
}

edt_status edt_catalog_check(const char *const *shard_paths,
                             const edt_side_summary *const *summaries, int64_t n_files,
                             bool may_build, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    set_list list = {0};
    for (int64_t i = 0; i < n_files; ++i) {
        bool is_one;
        edt_shard_name name;
        EDT_TRY_GOTO(edt_shard_name_parse(shard_paths[i], &arena, err, &is_one, &name));
        if (!is_one) {
            continue;
        }
        set *s = NULL;
        EDT_TRY_GOTO(find_set(&list, &name, shard_paths[i], err, &s));
        ++s->n_listed;
        if (s->catalog != NULL) {
            EDT_TRY_GOTO(check_shard(s, shard_paths[i], name.i_shard, summaries[i], err));
        }
    }
    for (int64_t i = 0; i < list.n; ++i) {
        const set *s = &list.sets[i];
        edt_error why = {0};
        if (s->catalog == NULL && may_build && s->n_listed == s->name.n_shards &&
            edt_catalog_build_if_complete(s->shard_path, &why) != EDT_OK) {
            EDT_INFO("the catalog of the data set could not be written: %s", why.text);
        }
    }
fail:
    for (int64_t i = 0; i < list.n; ++i) {
        edt_catalog_close(list.sets[i].catalog);
    }
    edt_mem_free(list.sets);
    edt_arena_deinit(&arena);
    return status;
}
