// Makes the side index of a shard that comes without one; see side_index.h.
#include <inttypes.h>
#include <sys/stat.h>

#include "dataio/side_index.h"

// A shard that is damaged from some record on: whoever opens it learns what can be done.
static edt_status end_at_damage(edt_status status, const edt_error *reason, int64_t n_good,
                                edt_error *err)
{
    const bool is_damage = status == EDT_ERR_FORMAT || status == EDT_ERR_CORRUPT;
    if (is_damage && n_good > 0) {
        EDT_FAIL(err, status,
                 "%s; copy the shard again, or save what is whole: inspect_records "
                 "--repair=OUT SHARD",
                 reason->text);
    }
    return edt_error_set(err, status, "%s", reason->text);
}

edt_status edt_side_index_rebuild(const char *shard_path,
                                  const edt_shard_reader_options *options, edt_error *err,
                                  edt_side_index **out_index)
{
    edt_shard_reader_options walk = options != NULL ? *options : (edt_shard_reader_options){0};
    walk.skip_data_crc = true;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_status status = EDT_OK;
    edt_shard_reader *reader = NULL;
    edt_side_builder *builder = NULL;
    EDT_TRY_GOTO(edt_shard_reader_open(shard_path, &walk, err, &reader));
    EDT_TRY_GOTO(edt_side_builder_create(err, &builder));
    for (int64_t n_good = 0;; ++n_good) {
        edt_record record;
        edt_error reason = {0};
        status = edt_shard_reader_next(reader, &reason, &record);
        if (status == EDT_END) {
            break;
        }
        if (status != EDT_OK) {
            status = end_at_damage(status, &reason, n_good, err);
            goto fail;
        }
        edt_arena_reset(&arena);
        edt_record_info info;
        EDT_TRY_GOTO(edt_record_info_from_payload(record.payload, &arena, err, &info));
        EDT_TRY_GOTO(
            edt_side_builder_add(builder, record.offset, record.payload.n_bytes, &info, err));
    }
    EDT_TRY_GOTO(edt_side_builder_finish(
        builder, edt_shard_reader_format(reader), edt_shard_reader_file_bytes(reader),
        edt_shard_reader_stream_bytes(reader), err, out_index));
fail:
    edt_side_builder_destroy(builder);
    edt_shard_reader_close(reader);
    edt_arena_deinit(&arena);
    return status;
}
