// Makes the side index of a shard that comes without one; see side_index.h.
#include <inttypes.h>
#include <sys/stat.h>

#include "dataio/side_index.h"

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
    for (;;) {
        edt_record record;
        status = edt_shard_reader_next(reader, err, &record);
        if (status == EDT_END) {
            break;
        }
        if (status != EDT_OK) {
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
