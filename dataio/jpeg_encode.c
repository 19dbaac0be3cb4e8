// See jpeg_encode.h. As in jpeg_decode.c, libjpeg's longjmp stays inside one function that owns
// nothing; the output grows in our own memory.
#include "dataio/jpeg_encode.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include "core/file.h"
#include "core/mem.h"

enum { FIRST_BYTES = 1 << 16, MAX_SIDE = 65500 };

typedef struct encoder {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr destination;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    uint8_t *data;
    size_t n_bytes, capacity;
} encoder;

static void on_error(j_common_ptr info)
{
    encoder *e = info->client_data;
    info->err->format_message(info, e->message);
    longjmp(e->jump, 1);
}

static void on_message(j_common_ptr info, int level)
{
    (void)info, (void)level;
}

static void give_room(encoder *e)
{
    e->destination.next_output_byte = e->data + e->n_bytes;
    e->destination.free_in_buffer = e->capacity - e->n_bytes;
}

static void destination_init(j_compress_ptr info)
{
    give_room(info->client_data);
}

// Called when the whole buffer is full.
static boolean destination_full(j_compress_ptr info)
{
    encoder *e = info->client_data;
    e->n_bytes = e->capacity;
    uint8_t *fresh = edt_mem_realloc(EDT_MEM_IMAGE, e->data, 2 * e->capacity);
    if (fresh == NULL) {
        (void)snprintf(e->message, sizeof e->message, "no memory for %zu bytes",
                       2 * e->capacity);
        longjmp(e->jump, 1);
    }
    e->data = fresh;
    e->capacity *= 2;
    give_room(e);
    return TRUE;
}

static void destination_end(j_compress_ptr info)
{
    encoder *e = info->client_data;
    e->n_bytes = e->capacity - e->destination.free_in_buffer;
}

static bool run(encoder *e, const edt_image *image, const edt_jpeg_encode_options *options)
{
    struct jpeg_compress_struct *info = &e->info;
    info->err = jpeg_std_error(&e->errors);
    e->errors.error_exit = on_error;
    e->errors.emit_message = on_message;
    info->client_data = e;
    if (setjmp(e->jump) != 0) {
        return false;
    }
    jpeg_create_compress(info);
    e->destination = (struct jpeg_destination_mgr){.init_destination = destination_init,
                                                   .empty_output_buffer = destination_full,
                                                   .term_destination = destination_end};
    info->dest = &e->destination;
    info->image_width = (JDIMENSION)image->w;
    info->image_height = (JDIMENSION)image->h;
    info->input_components = 3;
    info->in_color_space = JCS_RGB;
    jpeg_set_defaults(info);
    jpeg_set_quality(info, options->quality > 0 ? options->quality : 75, TRUE);
    if (options->full_chroma) {
        info->comp_info[0].h_samp_factor = info->comp_info[0].v_samp_factor = 1;
    }
    jpeg_start_compress(info, TRUE);
    while (info->next_scanline < info->image_height) {
        JSAMPROW row = image->data + (int64_t)info->next_scanline * image->stride;
        (void)jpeg_write_scanlines(info, &row, 1);
    }
    jpeg_finish_compress(info);
    return true;
}

edt_status edt_jpeg_encode(const edt_image *image, const edt_jpeg_encode_options *options,
                           edt_error *err, uint8_t **out_data, size_t *out_bytes)
{
    static const edt_jpeg_encode_options defaults = {0};
    if (image->h < 1 || image->w < 1 || image->h > MAX_SIDE || image->w > MAX_SIDE) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "a JPEG of %" PRId64 "x%" PRId64 " pixels; sides of 1 to %d are allowed",
                 image->w, image->h, MAX_SIDE);
    }
    encoder *e = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *e);
    if (e == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a JPEG encoder");
    }
    edt_status status = EDT_OK;
    e->data = edt_mem_alloc(EDT_MEM_IMAGE, FIRST_BYTES);
    e->capacity = FIRST_BYTES;
    if (e->data == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for an encoded picture");
    } else if (!run(e, image, options == NULL ? &defaults : options)) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "cannot encode a JPEG: %s", e->message);
        edt_mem_free(e->data);
    } else {
        *out_data = e->data;
        *out_bytes = e->n_bytes;
    }
    jpeg_destroy_compress(&e->info); // a zeroed object is legal there
    edt_mem_free(e);
    return status;
}

edt_status edt_jpeg_write(const char *path, const edt_image *image,
                          const edt_jpeg_encode_options *options, edt_error *err)
{
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    EDT_TRY_CTX(edt_jpeg_encode(image, options, err, &data, &n_bytes), err, "%s", path);
    const edt_status status = edt_file_write(path, data, n_bytes, err);
    edt_mem_free(data);
    return status;
}
