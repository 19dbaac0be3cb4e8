// See convert_order.h.
#include "dataio/convert_order.h"

int edt_convert_world_size(const edt_convert_spec *spec)
{
    return spec->options->world_size > 0 ? spec->options->world_size : 1;
}

int64_t edt_convert_count_groups(const edt_convert_spec *spec)
{
    const int64_t n = spec->options->num_shards;
    int64_t size = n < 8 ? 1 : n < 16 ? 2 : n < 1024 ? 4 : n / 256;
    while (size > 1 && n / size < 2 * (int64_t)edt_convert_world_size(spec)) {
        size /= 2;
    }
    return (n + size - 1) / size;
}

static int part_of(const edt_convert_spec *spec, int64_t i)
{
    int part = 0;
    while (part + 1 < spec->n_parts && spec->part_begin[part + 1] <= i) {
        ++part;
    }
    return part;
}

static int64_t part_first(const edt_convert_spec *spec, int part)
{
    return part < spec->n_parts ? spec->part_begin[part] : part == 0 ? 0 : spec->n_images;
}

int64_t edt_convert_shard_of(const edt_convert_spec *spec, int64_t i)
{
    return (i - part_first(spec, part_of(spec, i))) % spec->options->num_shards;
}

// The first image of shard i_shard in `part` or a later one; n_images when there is none.
static int64_t first_from_part(const edt_convert_spec *spec, int part, int64_t i_shard)
{
    const int n_parts = spec->n_parts > 0 ? spec->n_parts : 1;
    for (; part < n_parts; ++part) {
        const int64_t begin = part_first(spec, part);
        const int64_t end = part + 1 < n_parts ? part_first(spec, part + 1) : spec->n_images;
        if (i_shard < end - begin) {
            return begin + i_shard;
        }
    }
    return spec->n_images;
}

int64_t edt_convert_next_in_shard(const edt_convert_spec *spec, int64_t i)
{
    const int part = part_of(spec, i);
    const int64_t end = part + 1 < spec->n_parts ? part_first(spec, part + 1) : spec->n_images;
    return i + spec->options->num_shards < end
               ? i + spec->options->num_shards
               : first_from_part(spec, part + 1, edt_convert_shard_of(spec, i));
}

int64_t edt_convert_first_in_shard(const edt_convert_spec *spec, int64_t i_shard)
{
    return first_from_part(spec, 0, i_shard);
}
