// Keras weight files -> tensors, by name: lists of layers and weights are attributes of groups,
// each weight is one dataset. Nothing is followed out of the file: no external or soft links,
// no external storage, no filter that would be loaded from a folder.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "model/io/h5_wire.h"
#include "model/io/hdf5/hdf5_priv.h"
#include "model/io/hdf5/hdf5_program.h"

typedef struct weight {
    const char *key;  // "layer/weight:0"
    const char *name; // "weight:0"
    const char *unreadable;
    hid_t dataset, memory_type;
} weight;

typedef struct reader {
    edt_arena arena;
    hid_t file;
    int64_t n, cap;
    weight *weights;
    edt_h5_tensor *tensors; // same index
    uint64_t n_bytes, max_bytes;
} reader;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for the lists of an HDF5 file");
}

// --- objects ---

static bool is_group(hid_t object)
{
    return object >= 0 && H5Iget_type(object) == H5I_GROUP;
}

static bool has_link(hid_t group, const char *name)
{
    return H5Lexists(group, name, H5P_DEFAULT) > 0;
}

// Opens one step down, by a hard link only.
static edt_status open_child(hid_t group, const char *name, const char *whole, edt_error *err,
                             hid_t *out_object)
{
    if (!has_link(group, name)) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "'%.300s' is listed but not there", whole);
    }
    H5L_info_t link;
    if (H5Lget_info(group, name, &link, H5P_DEFAULT) < 0) {
        return edt_hdf5_damaged(err, "the link to", whole);
    }
    if (link.type != H5L_TYPE_HARD) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "'%.300s' is a link to another place; such links are not followed", whole);
    }
    const hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0) {
        return edt_hdf5_damaged(err, "object", whole);
    }
    *out_object = object;
    return EDT_OK;
}

// Opens "a/b/c" below a group.
static edt_status open_below(reader *r, hid_t group, const char *path, edt_error *err,
                             hid_t *out_object)
{
    char *rest = edt_arena_strdup(&r->arena, path);
    if (rest == NULL) {
        return no_memory(err);
    }
    hid_t at = group;
    char *save = NULL;
    edt_status status = EDT_OK;
    for (char *step = strtok_r(rest, "/", &save); status == EDT_OK && step != NULL;
         step = strtok_r(NULL, "/", &save)) {
        hid_t next = -1;
        if (strcmp(step, ".") == 0 || !is_group(at)) {
            status = edt_error_set(err, EDT_ERR_FORMAT, "'%.300s' is not there", path);
        } else {
            status = open_child(at, step, path, err, &next);
        }
        if (at != group) {
            (void)H5Oclose(at);
        }
        at = next;
    }
    if (status == EDT_OK && at == group) {
        status = edt_error_set(err, EDT_ERR_FORMAT, "a name is empty");
    }
    if (status == EDT_OK) {
        *out_object = at;
    }
    return status;
}

// --- datasets ---

// Half precision as IEEE has it; HDF5 knows any layout of bits.
static bool is_half(hid_t type)
{
    size_t sign, exponent, n_exponent, mantissa, n_mantissa;
    return H5Tget_size(type) == 2 && H5Tget_precision(type) == 16 &&
           H5Tget_fields(type, &sign, &exponent, &n_exponent, &mantissa, &n_mantissa) >= 0 &&
           sign == 15 && exponent == 10 && n_exponent == 5 && mantissa == 0 &&
           n_mantissa == 10 && H5Tget_ebias(type) == 15 &&
           H5Tget_norm(type) == H5T_NORM_IMPLIED;
}

// How elements of the type come into memory; EDT_DTYPE_NONE: not at all.
static edt_dtype memory_dtype(hid_t type, hid_t *out_memory)
{
    const size_t size = H5Tget_size(type);
    *out_memory = -1;
    if (H5Tget_class(type) == H5T_FLOAT) {
        if (is_half(type)) {
            *out_memory = H5Tcopy(type);
            return *out_memory >= 0 &&
                           H5Tset_order(*out_memory, H5Tget_order(H5T_NATIVE_INT)) >= 0
                       ? EDT_DTYPE_F16
                       : EDT_DTYPE_NONE;
        }
        *out_memory = H5Tcopy(size <= 4 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE);
        return size <= 4 ? EDT_DTYPE_F32 : size <= 8 ? EDT_DTYPE_F64 : EDT_DTYPE_NONE;
    }
    if (H5Tget_class(type) == H5T_INTEGER) {
        const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
        if (size == 1 && !is_signed) {
            *out_memory = H5Tcopy(H5T_NATIVE_UINT8);
            return EDT_DTYPE_U8;
        }
        if (size < 4 || (size == 4 && is_signed)) {
            *out_memory = H5Tcopy(H5T_NATIVE_INT32);
            return EDT_DTYPE_I32;
        }
        if (size == 4 || (size == 8 && is_signed)) {
            *out_memory = H5Tcopy(H5T_NATIVE_INT64);
            return EDT_DTYPE_I64;
        }
    }
    return EDT_DTYPE_NONE;
}

static edt_status describe(reader *r, weight *w, edt_h5_tensor *tensor, hid_t type, hid_t space,
                           edt_error *err)
{
    hsize_t dims[H5S_MAX_RANK] = {0};
    const H5S_class_t space_class = H5Sget_simple_extent_type(space);
    const int n_dims = H5Sget_simple_extent_dims(space, NULL, NULL);
    if (n_dims < 0 || n_dims > H5S_MAX_RANK ||
        H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        return edt_hdf5_damaged(err, "the shape of", w->key);
    }
    tensor->desc.dtype = memory_dtype(type, &w->memory_type);
    if (tensor->desc.dtype == EDT_DTYPE_NONE) {
        w->unreadable = "its elements are no numbers of 8 to 64 bits";
    } else if (n_dims > EDT_MAX_DIMS) {
        w->unreadable = "it has more than 5 dimensions";
    } else if (space_class == H5S_NULL) {
        w->unreadable = "it has no elements by its declaration";
    }
    if (w->unreadable != NULL) {
        tensor->desc = (edt_tensor_desc){EDT_DTYPE_U8, edt_shape_1(0)};
        return EDT_OK;
    }
    const uint64_t size = edt_dtype_bytes(tensor->desc.dtype);
    uint64_t n_bytes = size;
    bool is_empty = false;
    for (int k = 0; k < n_dims; ++k) {
        is_empty = is_empty || dims[k] == 0;
    }
    tensor->desc.shape.n_dims = n_dims;
    for (int k = 0; k < n_dims; ++k) {
        if (dims[k] > EDT_H5_MAX_BYTES ||
            (!is_empty && n_bytes > (r->max_bytes - r->n_bytes) / dims[k])) {
            EDT_FAIL(err, EDT_ERR_FORMAT,
                     "'%.300s' has more elements than a file of this size can hold", w->key);
        }
        n_bytes *= is_empty ? 1 : dims[k];
        tensor->desc.shape.dim[k] = (int64_t)dims[k];
    }
    if (!is_empty) {
        if (n_bytes > r->max_bytes - r->n_bytes) {
            EDT_FAIL(err, EDT_ERR_FORMAT,
                     "'%.300s' has more elements than a file of this size can hold", w->key);
        }
        r->n_bytes += n_bytes;
    }
    return EDT_OK;
}

// Whether each chunk of a dataset was written. Compressed ones do not tell by their size.
static bool has_all_chunks(const weight *w, hid_t properties, const edt_shape *shape)
{
    hsize_t chunk[EDT_MAX_DIMS] = {0}, n_wanted = 1, n_stored = 0;
    if (H5Pget_chunk(properties, EDT_MAX_DIMS, chunk) != shape->n_dims) {
        return false;
    }
    for (int k = 0; k < shape->n_dims; ++k) {
        if (chunk[k] == 0) {
            return false;
        }
        n_wanted *= ((hsize_t)shape->dim[k] - 1) / chunk[k] + 1;
    }
    const hid_t space = H5Dget_space(w->dataset);
    const bool is_known = H5Dget_num_chunks(w->dataset, space, &n_stored) >= 0;
    (void)H5Sclose(space);
    return is_known && n_stored == n_wanted;
}

// Elements in this file, all of them written.
static edt_status check_storage(const weight *w, const edt_h5_tensor *tensor, edt_error *err)
{
    const hid_t properties = H5Dget_create_plist(w->dataset);
    if (properties < 0) {
        return edt_hdf5_damaged(err, "dataset", w->key);
    }
    edt_status status = EDT_OK;
    const H5D_layout_t layout = H5Pget_layout(properties);
    H5D_space_status_t allocated;
    if (H5Pget_external_count(properties) != 0 || layout == H5D_VIRTUAL) {
        status = edt_error_set(
            err, EDT_ERR_UNSUPPORTED,
            "the elements of '%.300s' lie in another file; those are not read", w->key);
    } else if (edt_tensor_bytes(&tensor->desc) == 0) {
        status = EDT_OK;
    } else if (H5Dget_space_status(w->dataset, &allocated) < 0) {
        status = edt_hdf5_damaged(err, "dataset", w->key);
    } else if (layout == H5D_CHUNKED ? !has_all_chunks(w, properties, &tensor->desc.shape)
                                     : allocated != H5D_SPACE_STATUS_ALLOCATED) {
        status = edt_error_set(err, EDT_ERR_CORRUPT, "'%.300s' was never written completely",
                               w->key);
    }
    (void)H5Pclose(properties);
    return status;
}

static edt_status grow(reader *r, edt_error *err)
{
    if (r->n < r->cap) {
        return EDT_OK;
    }
    const int64_t cap = r->cap == 0 ? 256 : 2 * r->cap;
    weight *weights = edt_arena_calloc(&r->arena, (size_t)cap, sizeof *weights);
    edt_h5_tensor *tensors = edt_arena_calloc(&r->arena, (size_t)cap, sizeof *tensors);
    if (cap > 2 * EDT_H5_MAX_TENSORS || weights == NULL || tensors == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for more than %lld tensors", (long long)r->n);
    }
    if (r->n > 0) {
        memcpy(weights, r->weights, (size_t)r->n * sizeof *weights);
        memcpy(tensors, r->tensors, (size_t)r->n * sizeof *tensors);
    }
    r->weights = weights;
    r->tensors = tensors;
    r->cap = cap;
    return EDT_OK;
}

static edt_status add_weight(reader *r, hid_t group, const char *layer, const char *name,
                             edt_error *err)
{
    EDT_TRY(grow(r, err));
    weight *w = &r->weights[r->n];
    edt_h5_tensor *tensor = &r->tensors[r->n];
    *w = (weight){.name = name, .dataset = -1, .memory_type = -1};
    w->key = edt_arena_printf(&r->arena, "%s/%s", layer, name);
    if (w->key == NULL) {
        return no_memory(err);
    }
    *tensor = (edt_h5_tensor){.name = w->key};
    EDT_TRY(open_below(r, group, name, err, &w->dataset));
    ++r->n; // closed from here on
    if (H5Iget_type(w->dataset) != H5I_DATASET) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "'%.300s' is no dataset", w->key);
    }
    const hid_t type = H5Dget_type(w->dataset);
    const hid_t space = H5Dget_space(w->dataset);
    edt_status status = type < 0 || space < 0 ? edt_hdf5_damaged(err, "dataset", w->key)
                                              : describe(r, w, tensor, type, space, err);
    if (status == EDT_OK && w->unreadable == NULL) {
        status = check_storage(w, tensor, err);
    }
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    return status;
}

static edt_status add_layer(reader *r, hid_t root, const char *layer, edt_error *err)
{
    hid_t group = -1;
    edt_hdf5_names names = {0};
    EDT_TRY(open_below(r, root, layer, err, &group));
    edt_status status = EDT_OK;
    if (!is_group(group)) {
        status = edt_error_set(err, EDT_ERR_FORMAT, "layer '%.300s' is no group", layer);
    } else if (!edt_hdf5_has_names(group, "weight_names")) {
        status = edt_error_set(err, EDT_ERR_FORMAT,
                               "layer '%.300s' has no attribute 'weight_names'", layer);
    } else {
        status = edt_hdf5_read_names(&r->arena, group, "weight_names", err, &names);
    }
    for (int64_t i = 0; status == EDT_OK && i < names.n; ++i) {
        status = add_weight(r, group, layer, names.names[i], err);
    }
    (void)H5Oclose(group);
    return status;
}

// --- the file ---

static edt_status open_file(reader *r, int fd, edt_error *err)
{
    char path[EDT_HDF5_PATH_BYTES];
    const hid_t access = edt_hdf5_access(fd, path);
    r->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    edt_status status = EDT_OK;
    if (r->file < 0) {
        char words[EDT_HDF5_WORDS_BYTES]; // which the next call of the library clears
        status = edt_error_set(err, EDT_ERR_CORRUPT,
                               "the HDF5 library does not open it: %s; damaged?",
                               edt_hdf5_words(words));
    }
    (void)H5Pclose(access);
    return status;
}

// The group that has the list of layers: the file's root, or `model_weights` of a whole model.
static edt_status find_root(reader *r, edt_error *err, hid_t *out_root)
{
    const hid_t root = H5Gopen2(r->file, "/", H5P_DEFAULT);
    if (root < 0) {
        return edt_hdf5_damaged(err, "group", "/");
    }
    if (edt_hdf5_has_names(root, "layer_names")) {
        *out_root = root;
        return EDT_OK;
    }
    edt_status status;
    hid_t inner = -1;
    if (has_link(root, "model_weights")) {
        status = open_child(root, "model_weights", "model_weights", err, &inner);
        if (status == EDT_OK && is_group(inner) && edt_hdf5_has_names(inner, "layer_names")) {
            *out_root = inner;
        } else if (status == EDT_OK) {
            (void)H5Oclose(inner);
            status = edt_error_set(err, EDT_ERR_FORMAT,
                                   "its group 'model_weights' has no attribute 'layer_names'");
        }
    } else if (has_link(root, "_layer_checkpoint_dependencies") || has_link(root, "layers")) {
        status =
            edt_error_set(err, EDT_ERR_UNSUPPORTED,
                          "it has the layout of Keras 3 (.weights.h5), which keeps no names "
                          "of variables; save it in the older .h5 format or as a "
                          "TensorFlow checkpoint");
    } else {
        status = edt_error_set(err, EDT_ERR_FORMAT,
                               "no Keras weight file: neither an attribute 'layer_names' nor a "
                               "group 'model_weights'");
    }
    (void)H5Gclose(root);
    return status;
}

static edt_status list_weights(reader *r, edt_error *err)
{
    static const char top[] = "top_level_model_weights";
    hid_t root = -1;
    edt_hdf5_names layers = {0};
    EDT_TRY(find_root(r, err, &root));
    edt_status status = edt_hdf5_read_names(&r->arena, root, "layer_names", err, &layers);
    bool has_top = false;
    for (int64_t i = 0; status == EDT_OK && i < layers.n; ++i) {
        has_top = has_top || strcmp(layers.names[i], top) == 0;
        status = add_layer(r, root, layers.names[i], err);
    }
    if (status == EDT_OK && !has_top && has_link(root, top)) {
        status = add_layer(r, root, top, err);
    }
    (void)H5Oclose(root);
    return status;
}

static edt_status write_image(reader *r, int image_fd, edt_error *err)
{
    edt_safetensors_meta *meta =
        edt_arena_calloc(&r->arena, 2 * (size_t)r->n + 1, sizeof *meta);
    if (meta == NULL) {
        return no_memory(err);
    }
    int64_t n_meta = 0;
    for (int64_t i = 0; i < r->n; ++i) {
        const weight *w = &r->weights[i];
        meta[n_meta++] = (edt_safetensors_meta){
            edt_arena_printf(&r->arena, EDT_H5_NAME "%s", w->key), w->name};
        if (w->unreadable != NULL) {
            meta[n_meta++] = (edt_safetensors_meta){
                edt_arena_printf(&r->arena, EDT_H5_UNREADABLE "%s", w->key), w->unreadable};
        }
    }
    for (int64_t i = 0; i < n_meta; ++i) {
        if (meta[i].key == NULL) {
            return no_memory(err);
        }
    }
    edt_h5_wire wire = {.fd = -1};
    EDT_TRY(edt_h5_wire_create(image_fd, r->tensors, r->n, meta, n_meta, err, &wire));
    edt_status status = EDT_OK;
    for (int64_t i = 0; status == EDT_OK && i < r->n; ++i) {
        const weight *w = &r->weights[i];
        if (w->unreadable == NULL && edt_tensor_bytes(&r->tensors[i].desc) > 0 &&
            H5Dread(w->dataset, w->memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                    r->tensors[i].data) < 0) {
            status = edt_hdf5_damaged(err, "tensor", w->key);
        }
    }
    edt_h5_wire_unmap(&wire);
    return status;
}

edt_status edt_hdf5_read(int file_fd, int image_fd, edt_error *err)
{
    // Highest ratio of deflate: a file cannot hold more, compressed.
    enum { MAX_RATIO = 1032, LEAST_BYTES = 1 << 20 };
    struct stat info;
    if (fstat(file_fd, &info) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "fstat");
    }
    reader r = {.file = -1};
    edt_arena_init(&r.arena, EDT_MEM_TEXT, 0);
    const uint64_t ratio_bytes = (uint64_t)info.st_size * MAX_RATIO + LEAST_BYTES;
    r.max_bytes = ratio_bytes < EDT_H5_MAX_BYTES ? ratio_bytes : EDT_H5_MAX_BYTES;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    (void)H5PLset_loading_state(0);
    edt_status status = open_file(&r, file_fd, err);
    if (status == EDT_OK) {
        status = list_weights(&r, err);
    }
    if (status == EDT_OK) {
        status = write_image(&r, image_fd, err);
    }
    for (int64_t i = 0; i < r.n; ++i) {
        (void)H5Tclose(r.weights[i].memory_type);
        (void)H5Oclose(r.weights[i].dataset);
    }
    (void)H5Fclose(r.file);
    edt_arena_deinit(&r.arena);
    return status;
}
