// Tensors -> a Keras weight file: a group for each layer with the list of its weights, in the
// order given, and one dataset for each weight. No time stamps, so equal contents are equal
// bytes.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/json.h"
#include "model/io/h5_wire.h"
#include "model/io/hdf5/hdf5_priv.h"
#include "model/io/hdf5/hdf5_program.h"

// What Keras allows one attribute, whose header HDF5 bounds by 64 KiB.
enum { ATTRIBUTE_BYTES = 64512, GROWTH_BYTES = 1 << 24 };

typedef struct writer {
    edt_arena arena;
    const edt_safetensors *image;
    hid_t file;
    hid_t make_parents; // link creation: missing groups on the way
    hid_t no_times;     // dataset creation
} writer;

static edt_status failed(edt_error *err, const char *what, const char *name)
{
    EDT_FAIL(err, EDT_ERR_IO, "the HDF5 library cannot write %s '%.300s'", what, name);
}

// A list of texts of one width as numpy stores it; n 0: an empty list of float64. is_scalar:
// one text that is no list.
static edt_status put_texts(hid_t object, const char *attribute, const char *texts,
                            size_t width, size_t n, bool is_scalar, edt_error *err)
{
    const hsize_t dim = n;
    const hid_t space = is_scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dim, NULL);
    const hid_t type = H5Tcopy(n > 0 ? H5T_C_S1 : H5T_IEEE_F64LE);
    hid_t made = -1;
    if (n == 0 ||
        (H5Tset_size(type, width) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0)) {
        made = H5Acreate2(object, attribute, type, space, H5P_DEFAULT, H5P_DEFAULT);
    }
    const bool is_done = made >= 0 && (n == 0 || H5Awrite(made, type, texts) >= 0);
    (void)H5Aclose(made);
    (void)H5Tclose(type);
    (void)H5Sclose(space);
    return is_done ? EDT_OK : failed(err, "attribute", attribute);
}

static edt_status put_text(hid_t object, const char *attribute, const char *text,
                           edt_error *err)
{
    return put_texts(object, attribute, text, strlen(text), 1, true, err);
}

// A list of names, cut into numbered attributes where one cannot hold it: as numpy.array_split
// cuts, the first parts one longer.
static edt_status put_names(writer *w, hid_t object, const char *attribute,
                            const edt_json_node *names, bool is_layers, edt_error *err)
{
    const size_t n = (size_t)names->n;
    size_t width = 1;
    for (const edt_json_node *node = names->first; node != NULL; node = node->next) {
        const char *name = is_layers ? edt_json_get(node, "name")->text : node->text;
        width = strlen(name) > width ? strlen(name) : width;
    }
    if (width > ATTRIBUTE_BYTES) {
        EDT_FAIL(err, EDT_ERR_INVALID, "a name of %zu bytes is too long for HDF5", width);
    }
    char *texts = edt_arena_calloc(&w->arena, n + 1, width);
    if (texts == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory");
    }
    size_t at = 0;
    for (const edt_json_node *node = names->first; node != NULL; node = node->next) {
        const char *name = is_layers ? edt_json_get(node, "name")->text : node->text;
        memcpy(texts + width * at++, name, strlen(name));
    }
    size_t n_parts = 1;
    while ((n + n_parts - 1) / n_parts * width > ATTRIBUTE_BYTES) {
        ++n_parts;
    }
    if (n_parts == 1) {
        return put_texts(object, attribute, texts, width, n, false, err);
    }
    at = 0;
    for (size_t i = 0; i < n_parts; ++i) {
        char part[64];
        (void)snprintf(part, sizeof part, "%s%zu", attribute, i);
        const size_t n_here = n / n_parts + (i < n % n_parts ? 1 : 0);
        EDT_TRY(put_texts(object, part, texts + width * at, width, n_here, false, err));
        at += n_here;
    }
    return EDT_OK;
}

static hid_t file_type(edt_dtype dtype)
{
    switch (dtype) {
    case EDT_DTYPE_F32: return H5T_IEEE_F32LE;
    case EDT_DTYPE_F64: return H5T_IEEE_F64LE;
    case EDT_DTYPE_I32: return H5T_STD_I32LE;
    case EDT_DTYPE_I64: return H5T_STD_I64LE;
    case EDT_DTYPE_U8: return H5T_STD_U8LE;
    default: return -1;
    }
}

static edt_status put_weight(writer *w, hid_t group, const char *layer, const char *name,
                             edt_error *err)
{
    const char *key = edt_arena_printf(&w->arena, "%s/%s", layer, name);
    const edt_safetensors_item *item = key == NULL ? NULL : edt_safetensors_find(w->image, key);
    if (item == NULL || file_type(item->desc.dtype) < 0) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "weight '%.300s' is not handed over", name);
    }
    hsize_t dims[EDT_MAX_DIMS] = {0};
    for (int k = 0; k < item->desc.shape.n_dims; ++k) {
        dims[k] = (hsize_t)item->desc.shape.dim[k];
    }
    const hid_t type = file_type(item->desc.dtype);
    const hid_t space = item->desc.shape.n_dims == 0
                            ? H5Screate(H5S_SCALAR)
                            : H5Screate_simple(item->desc.shape.n_dims, dims, NULL);
    const hid_t set =
        H5Dcreate2(group, name, type, space, w->make_parents, w->no_times, H5P_DEFAULT);
    const bool is_done =
        set >= 0 && (item->data.n_bytes == 0 ||
                     H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, item->data.data) >= 0);
    (void)H5Dclose(set);
    (void)H5Sclose(space);
    return is_done ? EDT_OK : failed(err, "tensor", name);
}

static edt_status put_layer(writer *w, const edt_json_node *layer, edt_error *err)
{
    const char *name = edt_json_get(layer, "name")->text;
    const edt_json_node *weights = edt_json_get(layer, "weights");
    const hid_t group = H5Gcreate2(w->file, name, w->make_parents, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) {
        return failed(err, "layer", name);
    }
    edt_status status = put_names(w, group, "weight_names", weights, false, err);
    for (const edt_json_node *node = weights->first; status == EDT_OK && node != NULL;
         node = node->next) {
        status = put_weight(w, group, name, node->text, err);
    }
    (void)H5Gclose(group);
    return status;
}

static edt_status check_layers(const edt_json_node *layers, edt_error *err)
{
    bool is_right = layers->kind == EDT_JSON_KIND_ARRAY;
    for (const edt_json_node *layer = layers->first; is_right && layer != NULL;
         layer = layer->next) {
        const edt_json_node *name = edt_json_get(layer, "name");
        const edt_json_node *weights = edt_json_get(layer, "weights");
        is_right = name != NULL && name->text != NULL && weights != NULL &&
                   weights->kind == EDT_JSON_KIND_ARRAY;
        for (const edt_json_node *w = is_right ? weights->first : NULL; w != NULL;
             w = w->next) {
            is_right = is_right && w->text != NULL;
        }
    }
    if (!is_right) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "the list of layers is malformed");
    }
    return EDT_OK;
}

static edt_status write_file(writer *w, edt_error *err)
{
    const char *text = edt_safetensors_meta_get(w->image, EDT_H5_LAYERS);
    const char *backend = edt_safetensors_meta_get(w->image, EDT_H5_BACKEND);
    const char *version = edt_safetensors_meta_get(w->image, EDT_H5_KERAS_VERSION);
    if (text == NULL || backend == NULL || version == NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "the list of layers is missing");
    }
    const edt_json_node *layers = NULL;
    EDT_TRY(edt_json_parse((edt_span){(const uint8_t *)text, strlen(text)}, &w->arena, err,
                           &layers));
    EDT_TRY(check_layers(layers, err));
    const hid_t root = H5Gopen2(w->file, "/", H5P_DEFAULT);
    if (root < 0) {
        return failed(err, "group", "/");
    }
    edt_status status = put_names(w, root, "layer_names", layers, true, err);
    if (status == EDT_OK) {
        status = put_text(root, "backend", backend, err);
    }
    if (status == EDT_OK) {
        status = put_text(root, "keras_version", version, err);
    }
    for (const edt_json_node *layer = layers->first; status == EDT_OK && layer != NULL;
         layer = layer->next) {
        status = put_layer(w, layer, err);
    }
    if (status == EDT_OK) {
        // Newer versions of Keras ask for the weights of the model itself: none.
        const hid_t top =
            H5Gcreate2(root, "top_level_model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        status = top < 0 ? failed(err, "group", "top_level_model_weights")
                         : put_texts(top, "weight_names", NULL, 0, 0, false, err);
        (void)H5Gclose(top);
    }
    (void)H5Gclose(root);
    return status;
}

// The file grows in memory: the library wants a name for any other kind, and what has one may
// be cut short by a full disk.
static edt_status create_file(writer *w, edt_error *err)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (H5Pset_fapl_core(access, GROWTH_BYTES, 0) >= 0) {
        w->file = H5Fcreate("weights.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    }
    (void)H5Pclose(access);
    w->make_parents = H5Pcreate(H5P_LINK_CREATE);
    w->no_times = H5Pcreate(H5P_DATASET_CREATE);
    if (w->file < 0 || H5Pset_create_intermediate_group(w->make_parents, 1) < 0 ||
        H5Pset_obj_track_times(w->no_times, 0) < 0) {
        EDT_FAIL(err, EDT_ERR_IO, "the HDF5 library cannot create a file in memory");
    }
    return EDT_OK;
}

static edt_status copy_out(const writer *w, int fd, edt_error *err)
{
    const ssize_t n =
        H5Fflush(w->file, H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(w->file, NULL, 0);
    if (n <= 0) {
        return failed(err, "file", "in memory");
    }
    void *data = MAP_FAILED;
    if (ftruncate(fd, n) == 0) {
        data = mmap(NULL, (size_t)n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (data == MAP_FAILED) {
        return edt_error_set_errno(err, EDT_ERR_NOMEM, errno, "no place for %zd bytes", n);
    }
    const bool is_done = H5Fget_file_image(w->file, data, (size_t)n) == n;
    (void)munmap(data, (size_t)n);
    return is_done ? EDT_OK : failed(err, "file", "in memory");
}

edt_status edt_hdf5_write(int image_fd, int file_fd, edt_error *err)
{
    writer w = {.file = -1, .make_parents = -1, .no_times = -1};
    edt_h5_wire wire = {.fd = -1};
    edt_safetensors *image = NULL;
    edt_status status = EDT_OK;
    edt_arena_init(&w.arena, EDT_MEM_TEXT, 0);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    EDT_TRY_GOTO(edt_h5_wire_map(image_fd, err, &wire));
    EDT_TRY_GOTO(edt_safetensors_open_span((edt_span){wire.data, wire.n_bytes}, err, &image));
    w.image = image;
    EDT_TRY_GOTO(create_file(&w, err));
    EDT_TRY_GOTO(write_file(&w, err));
    status = copy_out(&w, file_fd, err);
fail:
    (void)H5Pclose(w.make_parents);
    (void)H5Pclose(w.no_times);
    (void)H5Fclose(w.file);
    edt_safetensors_close(image);
    edt_h5_wire_unmap(&wire);
    edt_arena_deinit(&w.arena);
    return status;
}
