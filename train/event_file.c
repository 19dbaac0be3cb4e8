// See event_file.h. An event is packed into one reused block together with its framing and
// written with one call at the offset behind the last whole one; what a full disk leaves of a
// record is cut off again, so that readers never meet half a record in the middle.
#include "train/event_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/path.h"
#include "dataio/tfrecord.h"
#include "train/event.pb-c.h"

enum {
    MAX_SCALARS = 256,
    MAX_HPARAMS = 256,
    COLORSPACE_RGB = 3,
    SESSION_START = 1,
    SESSION_SUCCESS = 1,
    SESSION_FAILURE = 2,
    TF_FLOAT = 1,
    TF_DOUBLE = 2,
    TF_STRING = 7,
    CLASS_TENSOR = 2,
};

struct edt_event_file {
    char *dir;
    char *path; // NULL: not opened yet
    int fd;
    uint64_t n_bytes; // whole records
    uint8_t *block;
    size_t capacity;
    bool failing; // the last write failed, which has been told
    int64_t n_lost;
};

static double wall_time(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

edt_status edt_event_file_create(const char *dir, edt_error *err, edt_event_file **out_file)
{
    edt_event_file *f = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *f);
    if (f == NULL || (f->dir = edt_mem_strdup(EDT_MEM_MISC, dir)) == NULL) {
        edt_mem_free(f);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an event file in %s", dir);
    }
    f->fd = -1;
    *out_file = f;
    return EDT_OK;
}

void edt_event_file_destroy(edt_event_file *f)
{
    if (f == NULL) {
        return;
    }
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    if (f->n_lost > 0) {
        EDT_WARN("%" PRId64 " events for TensorBoard could not be written to %s", f->n_lost,
                 f->dir);
    }
    edt_mem_free(f->block);
    edt_mem_free(f->path);
    edt_mem_free(f->dir);
    edt_mem_free(f);
}

const char *edt_event_file_path(const edt_event_file *f)
{
    return f->path;
}

int64_t edt_event_file_n_lost(const edt_event_file *f)
{
    return f->n_lost;
}

// `what` happened to the file; told once, until writing succeeds again.
static void lose(edt_event_file *f, const char *what)
{
    ++f->n_lost;
    if (!f->failing) {
        EDT_WARN("%s: %s; TensorBoard will miss events, training goes on (metrics.jsonl has "
                 "the numbers)",
                 f->path != NULL ? f->path : f->dir, what);
    }
    f->failing = true;
}

static void lose_errno(edt_event_file *f, const char *what, int number)
{
    char text[128], reason[96];
    const char *words = strerror_r(number, reason, sizeof reason);
    (void)snprintf(text, sizeof text, "%s: %s", what, words);
    lose(f, text);
}

// The block with the event packed and framed; NULL when there is no memory.
static const uint8_t *frame(edt_event_file *f, const Edt__Event__Event *event,
                            size_t *out_bytes)
{
    const size_t n_payload = edt__event__event__get_packed_size(event);
    const size_t n_bytes = EDT_TFRECORD_HEADER_BYTES + n_payload + EDT_TFRECORD_FOOTER_BYTES;
    if (n_bytes > f->capacity) {
        const size_t capacity = n_bytes + n_bytes / 2;
        uint8_t *block = edt_mem_realloc(EDT_MEM_MISC, f->block, capacity);
        if (block == NULL) {
            return NULL;
        }
        f->block = block;
        f->capacity = capacity;
    }
    uint8_t *payload = f->block + EDT_TFRECORD_HEADER_BYTES;
    edt_tfrecord_put_header(n_payload, f->block);
    (void)edt__event__event__pack(event, payload);
    edt_tfrecord_put_footer(edt_crc32c(0, payload, n_payload), payload + n_payload);
    *out_bytes = n_bytes;
    return f->block;
}

static void append(edt_event_file *f, const Edt__Event__Event *event)
{
    size_t n_bytes = 0;
    const uint8_t *bytes = frame(f, event, &n_bytes);
    if (bytes == NULL) {
        lose(f, "no memory for an event");
        return;
    }
    size_t done = 0;
    while (done < n_bytes) {
        const ssize_t n =
            pwrite(f->fd, bytes + done, n_bytes - done, (off_t)(f->n_bytes + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            const int number = n < 0 ? errno : ENOSPC;
            (void)ftruncate(f->fd, (off_t)f->n_bytes);
            lose_errno(f, "cannot write", number);
            return;
        }
        done += (size_t)n;
    }
    f->n_bytes += n_bytes;
    f->failing = false;
}

// Readers take the files of a directory in the order of their names and leave one when a newer
// one has something: two of one process and second are told apart by a number.
static void open_file(edt_event_file *f)
{
    edt_error err;
    char host[65] = "localhost";
    char path[1024];
    if (edt_path_mkdirs(f->dir, &err) != EDT_OK) {
        lose(f, err.text);
        return;
    }
    (void)gethostname(host, sizeof host - 1);
    const double now = wall_time();
    for (int i = 0; i < 1000 && f->fd < 0; ++i) {
        const int n = snprintf(path, sizeof path, "%s/events.out.tfevents.%010lld.%s.%ld.%03d",
                               f->dir, (long long)now, host, (long)getpid(), i);
        if (n >= (int)sizeof path) {
            lose(f, "the name of an event file would be too long");
            return;
        }
        f->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd < 0 && errno != EEXIST) {
            break;
        }
    }
    if (f->fd < 0) {
        lose_errno(f, "cannot create an event file", errno);
        return;
    }
    f->path = edt_mem_strdup(EDT_MEM_MISC, path); // NULL: messages name the directory
}

// What every file begins with.
static void write_version(edt_event_file *f)
{
    char text[] = "brain.Event:2";
    Edt__Event__Event version = EDT__EVENT__EVENT__INIT;
    version.wall_time = wall_time();
    version.what_case = EDT__EVENT__EVENT__WHAT_FILE_VERSION;
    version.file_version = text;
    append(f, &version);
}

static void write_event(edt_event_file *f, Edt__Event__Event *event, int64_t step)
{
    if (f->fd < 0) {
        open_file(f);
    }
    if (f->fd >= 0 && f->n_bytes == 0) {
        write_version(f);
    }
    if (f->fd < 0 || f->n_bytes == 0) {
        return; // the event is counted as lost with the file or its beginning
    }
    event->wall_time = wall_time();
    event->step = step;
    append(f, event);
}

void edt_event_file_restart(edt_event_file *f, int64_t step)
{
    Edt__Event__SessionLog log = EDT__EVENT__SESSION_LOG__INIT;
    Edt__Event__Event event = EDT__EVENT__EVENT__INIT;
    log.status = SESSION_START;
    event.what_case = EDT__EVENT__EVENT__WHAT_SESSION_LOG;
    event.session_log = &log;
    write_event(f, &event, step);
}

static void write_values(edt_event_file *f, int64_t step, Edt__Event__Value **values,
                         size_t n_values)
{
    Edt__Event__Summary summary = EDT__EVENT__SUMMARY__INIT;
    Edt__Event__Event event = EDT__EVENT__EVENT__INIT;
    summary.n_value = n_values;
    summary.value = values;
    event.what_case = EDT__EVENT__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    write_event(f, &event, step);
}

// protobuf-c's structs want char *, and write nothing through them.
static char *as_text(const char *text)
{
    union {
        const char *in;
        char *out;
    } same = {.in = text};
    return same.out;
}

static ProtobufCBinaryData as_bytes(const void *data, size_t n_bytes)
{
    union {
        const void *in;
        uint8_t *out;
    } same = {.in = data};
    return (ProtobufCBinaryData){.data = same.out, .len = n_bytes};
}

void edt_event_file_scalars(edt_event_file *f, int64_t step, const edt_event_scalar *scalars,
                            int n_scalars)
{
    Edt__Event__Value values[MAX_SCALARS];
    Edt__Event__Value *pointers[MAX_SCALARS];
    for (int first = 0; first < n_scalars; first += MAX_SCALARS) {
        const int left = n_scalars - first;
        const int n = left < MAX_SCALARS ? left : MAX_SCALARS;
        for (int i = 0; i < n; ++i) {
            edt__event__value__init(&values[i]);
            values[i].tag = as_text(scalars[first + i].tag);
            values[i].content_case = EDT__EVENT__VALUE__CONTENT_SIMPLE_VALUE;
            values[i].simple_value = (float)scalars[first + i].value;
            pointers[i] = &values[i];
        }
        write_values(f, step, pointers, (size_t)n);
    }
}

void edt_event_file_image(edt_event_file *f, int64_t step, const edt_event_image *image)
{
    Edt__Event__Image picture = EDT__EVENT__IMAGE__INIT;
    Edt__Event__Value value = EDT__EVENT__VALUE__INIT;
    Edt__Event__Value *pointer = &value;
    picture.height = (int32_t)image->h;
    picture.width = (int32_t)image->w;
    picture.colorspace = COLORSPACE_RGB;
    picture.encoded = as_bytes(image->encoded.data, image->encoded.n_bytes);
    value.tag = as_text(image->tag);
    value.content_case = EDT__EVENT__VALUE__CONTENT_IMAGE;
    value.image = &picture;
    write_values(f, step, &pointer, 1);
}

// One value that holds a tensor for a plugin, the plugin's own words in `content`.
static void write_tensor(edt_event_file *f, int64_t step, const char *tag, const char *plugin,
                         ProtobufCBinaryData content, Edt__Event__Tensor *tensor)
{
    Edt__Event__Metadata__Plugin owner = EDT__EVENT__METADATA__PLUGIN__INIT;
    Edt__Event__Metadata metadata = EDT__EVENT__METADATA__INIT;
    Edt__Event__Value value = EDT__EVENT__VALUE__INIT;
    Edt__Event__Value *pointer = &value;
    owner.name = as_text(plugin);
    owner.content = content;
    metadata.plugin = &owner;
    metadata.data_class = CLASS_TENSOR;
    value.tag = as_text(tag);
    value.metadata = &metadata;
    value.content_case = EDT__EVENT__VALUE__CONTENT_TENSOR;
    value.tensor = tensor;
    write_values(f, step, &pointer, 1);
}

void edt_event_file_histogram(edt_event_file *f, int64_t step, const edt_event_histogram *h)
{
    _Static_assert(sizeof(edt_event_bucket) == 3 * sizeof(double), "rows of the tensor");
    Edt__Event__Shape__Dim rows = EDT__EVENT__SHAPE__DIM__INIT;
    Edt__Event__Shape__Dim columns = EDT__EVENT__SHAPE__DIM__INIT;
    Edt__Event__Shape__Dim *dims[] = {&rows, &columns};
    Edt__Event__Shape shape = EDT__EVENT__SHAPE__INIT;
    Edt__Event__Tensor tensor = EDT__EVENT__TENSOR__INIT;
    rows.size = h->n_buckets;
    columns.size = 3;
    shape.n_dim = 2;
    shape.dim = dims;
    tensor.dtype = TF_DOUBLE;
    tensor.shape = &shape;
    tensor.content = as_bytes(h->buckets, (size_t)h->n_buckets * sizeof *h->buckets);
    write_tensor(f, step, h->tag, "histograms", as_bytes(NULL, 0), &tensor);
}

void edt_event_file_text(edt_event_file *f, int64_t step, const char *tag, const char *text)
{
    ProtobufCBinaryData words = as_bytes(text, strlen(text));
    Edt__Event__Shape shape = EDT__EVENT__SHAPE__INIT;
    Edt__Event__Tensor tensor = EDT__EVENT__TENSOR__INIT;
    tensor.dtype = TF_STRING;
    tensor.shape = &shape;
    tensor.n_string_val = 1;
    tensor.string_val = &words;
    write_tensor(f, step, tag, "text", as_bytes(NULL, 0), &tensor);
}

// The plugin's words stand in the metadata; the tensor is the single zero that its readers
// want.
static void write_hparams(edt_event_file *f, const char *tag, const Edt__Event__Hparams *what)
{
    const size_t n_bytes = edt__event__hparams__get_packed_size(what);
    uint8_t *content = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    if (content == NULL) {
        lose(f, "no memory for the settings of the run");
        return;
    }
    (void)edt__event__hparams__pack(what, content);
    float zero = 0.0F;
    Edt__Event__Shape__Dim dim = EDT__EVENT__SHAPE__DIM__INIT;
    Edt__Event__Shape__Dim *dims[] = {&dim};
    Edt__Event__Shape shape = EDT__EVENT__SHAPE__INIT;
    Edt__Event__Tensor tensor = EDT__EVENT__TENSOR__INIT;
    dim.size = 1;
    shape.n_dim = 1;
    shape.dim = dims;
    tensor.dtype = TF_FLOAT;
    tensor.shape = &shape;
    tensor.n_float_val = 1;
    tensor.float_val = &zero;
    write_tensor(f, 0, tag, "hparams", as_bytes(content, n_bytes), &tensor);
    edt_mem_free(content);
}

void edt_event_file_session(edt_event_file *f, const edt_event_hparam *hparams, int n_hparams)
{
    Edt__Event__SessionStart__Number numbers[MAX_HPARAMS];
    Edt__Event__SessionStart__Entry entries[MAX_HPARAMS];
    Edt__Event__SessionStart__Entry *pointers[MAX_HPARAMS];
    const int n = n_hparams < MAX_HPARAMS ? n_hparams : MAX_HPARAMS;
    for (int i = 0; i < n; ++i) {
        edt__event__session_start__number__init(&numbers[i]);
        edt__event__session_start__entry__init(&entries[i]);
        if (hparams[i].text != NULL) {
            numbers[i].kind_case = EDT__EVENT__SESSION_START__NUMBER__KIND_TEXT;
            numbers[i].text = as_text(hparams[i].text);
        } else if (hparams[i].is_flag) {
            numbers[i].kind_case = EDT__EVENT__SESSION_START__NUMBER__KIND_FLAG;
            numbers[i].flag = hparams[i].number != 0.0;
        } else {
            numbers[i].kind_case = EDT__EVENT__SESSION_START__NUMBER__KIND_NUMBER;
            numbers[i].number = hparams[i].number;
        }
        entries[i].key = as_text(hparams[i].name);
        entries[i].value = &numbers[i];
        pointers[i] = &entries[i];
    }
    Edt__Event__SessionStart start = EDT__EVENT__SESSION_START__INIT;
    start.n_hparams = (size_t)n;
    start.hparams = pointers;
    start.start_time = wall_time();
    Edt__Event__Hparams what = EDT__EVENT__HPARAMS__INIT;
    what.what_case = EDT__EVENT__HPARAMS__WHAT_START;
    what.start = &start;
    write_hparams(f, "_hparams_/session_start_info", &what);
}

void edt_event_file_session_end(edt_event_file *f, bool succeeded)
{
    Edt__Event__SessionEnd end = EDT__EVENT__SESSION_END__INIT;
    end.status = succeeded ? SESSION_SUCCESS : SESSION_FAILURE;
    end.end_time = wall_time();
    Edt__Event__Hparams what = EDT__EVENT__HPARAMS__INIT;
    what.what_case = EDT__EVENT__HPARAMS__WHAT_END;
    what.end = &end;
    write_hparams(f, "_hparams_/session_end_info", &what);
}
