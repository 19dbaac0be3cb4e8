// See voc_xml.h. libxml2's SAX interface, so that no tree is built and a document type
// declaration stops the parser before anything in it is looked at.
#include "dataio/voc_xml.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/parserInternals.h>

enum { MAX_DEPTH = 64, MAX_TEXT_BYTES = 4096 };

// The elements that are read, by the path from the root.
typedef enum field {
    FIELD_FOLDER,
    FIELD_FILENAME,
    FIELD_HEIGHT,
    FIELD_WIDTH,
    FIELD_NAME,
    FIELD_DIFFICULT,
    FIELD_TRUNCATED,
    FIELD_POSE,
    FIELD_YMIN,
    FIELD_XMIN,
    FIELD_YMAX,
    FIELD_XMAX,
    N_FIELDS,
    FIELD_NONE = N_FIELDS
} field;

static const char *const field_paths[N_FIELDS] = {
    "folder",
    "filename",
    "size/height",
    "size/width",
    "object/name",
    "object/difficult",
    "object/truncated",
    "object/pose",
    "object/bndbox/ymin",
    "object/bndbox/xmin",
    "object/bndbox/ymax",
    "object/bndbox/xmax",
};

typedef struct parser {
    xmlParserCtxtPtr context;
    edt_arena *arena;
    bool ignore_difficult;
    const char *texts[N_FIELDS]; // NULL: not seen
    edt_voc_object *objects;
    int64_t n_objects, capacity;
    int64_t n_seen; // objects, those left out too
    int depth;
    char path[128];              // below the root, "" when it is longer than any that is read
    size_t path_ends[MAX_DEPTH]; // length of the path at each depth
    field open;                  // whose text is being collected
    char text[MAX_TEXT_BYTES];
    size_t n_text;
    edt_status status;
    edt_error *err;
} parser;

static void stop(parser *p, edt_status status)
{
    if (p->status == EDT_OK) {
        p->status = status;
        xmlStopParser(p->context);
    }
}

static int line_of(const parser *p)
{
    return p->context->input != NULL ? p->context->input->line : 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// A copy without the blanks around it.
static const char *trimmed(parser *p, const char *text)
{
    while (is_blank(*text)) {
        ++text;
    }
    size_t n = strlen(text);
    while (n > 0 && is_blank(text[n - 1])) {
        --n;
    }
    return edt_arena_strndup(p->arena, text, n);
}

static edt_status fail_missing(const parser *p, field f, edt_error *err)
{
    if (f >= FIELD_NAME) {
        EDT_FAIL(err, EDT_ERR_INVALID, "object %" PRId64 ": element '%s' is missing", p->n_seen,
                 field_paths[f]);
    }
    EDT_FAIL(err, EDT_ERR_INVALID, "element '%s' is missing", field_paths[f]);
}

static edt_status fail_value(const parser *p, field f, const char *wanted, edt_error *err)
{
    if (f >= FIELD_NAME) {
        EDT_FAIL(err, EDT_ERR_INVALID, "object %" PRId64 ": element '%s': '%.64s' is not %s",
                 p->n_seen, field_paths[f], p->texts[f], wanted);
    }
    EDT_FAIL(err, EDT_ERR_INVALID, "element '%s': '%.64s' is not %s", field_paths[f],
             p->texts[f], wanted);
}

static edt_status get_text(parser *p, field f, edt_error *err, const char **out_text)
{
    if (p->texts[f] == NULL) {
        return fail_missing(p, f, err);
    }
    *out_text = trimmed(p, p->texts[f]);
    if (*out_text == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an annotation");
    }
    return EDT_OK;
}

static edt_status get_int(parser *p, field f, int64_t low, int64_t high, edt_error *err,
                          int64_t *out_value)
{
    const char *text;
    EDT_TRY(get_text(p, f, err, &text));
    char *end = NULL;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0) {
        return fail_value(p, f, "a whole number", err);
    }
    if (value < low || value > high) {
        char wanted[64];
        (void)snprintf(wanted, sizeof wanted, "from %" PRId64 " to %" PRId64, low, high);
        return fail_value(p, f, wanted, err);
    }
    *out_value = value;
    return EDT_OK;
}

static edt_status get_number(parser *p, field f, edt_error *err, double *out_value)
{
    const char *text;
    EDT_TRY(get_text(p, f, err, &text));
    char *end = NULL;
    const double value = strtod(text, &end);
    // strtod also takes hexadecimal, which nobody means here.
    if (end == text || *end != '\0' || !isfinite(value) || strpbrk(text, "xX") != NULL) {
        return fail_value(p, f, "a number", err);
    }
    *out_value = value;
    return EDT_OK;
}

static edt_status push_object(parser *p, const edt_voc_object *object, edt_error *err)
{
    if (p->n_objects == p->capacity) {
        const int64_t capacity = p->capacity > 0 ? 2 * p->capacity : 8;
        edt_voc_object *grown = edt_arena_calloc(p->arena, (size_t)capacity, sizeof *grown);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an annotation");
        }
        if (p->n_objects > 0) {
            memcpy(grown, p->objects, (size_t)p->n_objects * sizeof *grown);
        }
        p->objects = grown;
        p->capacity = capacity;
    }
    p->objects[p->n_objects++] = *object;
    return EDT_OK;
}

// In the order in which the reference asks for the elements.
static edt_status finish_object(parser *p, edt_error *err)
{
    edt_voc_object object = {0};
    int64_t difficult;
    if (p->n_seen == EDT_VOC_MAX_OBJECTS) {
        EDT_FAIL(err, EDT_ERR_INVALID, "more than %d objects", EDT_VOC_MAX_OBJECTS);
    }
    EDT_TRY(get_int(p, FIELD_DIFFICULT, INT64_MIN, INT64_MAX, err, &difficult));
    object.difficult = difficult != 0;
    if (!(object.difficult && p->ignore_difficult)) {
        EDT_TRY(get_text(p, FIELD_NAME, err, &object.name));
        for (int i = 0; i < 4; ++i) {
            EDT_TRY(get_number(p, (field)(FIELD_YMIN + i), err, &object.box[i]));
        }
        EDT_TRY(get_int(p, FIELD_TRUNCATED, INT64_MIN, INT64_MAX, err, &object.truncated));
        if (p->texts[FIELD_POSE] == NULL) {
            return fail_missing(p, FIELD_POSE, err);
        }
        object.pose = p->texts[FIELD_POSE];
        EDT_TRY(push_object(p, &object, err));
    }
    ++p->n_seen;
    return EDT_OK;
}

static void forget(parser *p, field first, field last)
{
    for (int i = (int)first; i <= (int)last; ++i) {
        p->texts[i] = NULL;
    }
}

static void start_element(void *ctx, const xmlChar *local, const xmlChar *prefix,
                          const xmlChar *uri, int n_namespaces, const xmlChar **namespaces,
                          int n_attributes, int n_defaulted, const xmlChar **attributes)
{
    (void)prefix, (void)uri, (void)n_namespaces, (void)namespaces;
    (void)n_attributes, (void)n_defaulted, (void)attributes;
    parser *p = ctx;
    const char *name = (const char *)local;
    if (p->status != EDT_OK) {
        return;
    }
    if (p->depth == MAX_DEPTH) {
        stop(p, edt_error_set(p->err, EDT_ERR_FORMAT, "line %d: elements nest deeper than %d",
                              line_of(p), MAX_DEPTH));
        return;
    }
    if (p->open != FIELD_NONE) {
        stop(p, edt_error_set(p->err, EDT_ERR_INVALID,
                              "line %d: element '%s' holds an element '%.64s' instead of text",
                              line_of(p), field_paths[p->open], name));
        return;
    }
    if (p->depth == 0) {
        if (strcmp(name, "annotation") != 0) {
            stop(p, edt_error_set(p->err, EDT_ERR_INVALID,
                                  "the root element is '%.64s' instead of 'annotation'", name));
            return;
        }
        p->path_ends[p->depth++] = 0;
        return;
    }
    // A path that does not fit is none of those that are read, and neither is one below it.
    const size_t n = strlen(name), end = p->path_ends[p->depth - 1];
    const bool fits = end + n + 2 <= sizeof p->path;
    const size_t begin = end > 0 ? end + 1 : 0;
    if (fits) {
        if (end > 0) {
            p->path[end] = '/';
        }
        memcpy(p->path + begin, name, n);
    }
    p->path_ends[p->depth] = fits ? begin + n : sizeof p->path;
    ++p->depth;
    if (!fits) {
        return;
    }
    p->path[begin + n] = '\0';
    if (strcmp(p->path, "object") == 0) {
        forget(p, FIELD_NAME, FIELD_XMAX);
    } else if (strcmp(p->path, "size") == 0) {
        forget(p, FIELD_HEIGHT, FIELD_WIDTH);
    } else if (strcmp(p->path, "object/bndbox") == 0) {
        forget(p, FIELD_YMIN, FIELD_XMAX);
    }
    for (int i = 0; i < N_FIELDS; ++i) {
        if (strcmp(p->path, field_paths[i]) == 0) {
            p->open = (field)i;
            p->n_text = 0;
        }
    }
}

static void end_element(void *ctx, const xmlChar *local, const xmlChar *prefix,
                        const xmlChar *uri)
{
    (void)local, (void)prefix, (void)uri;
    parser *p = ctx;
    if (p->status != EDT_OK) {
        return;
    }
    --p->depth;
    if (p->open != FIELD_NONE) {
        p->texts[p->open] = edt_arena_strndup(p->arena, p->text, p->n_text);
        if (p->texts[p->open] == NULL) {
            stop(p, edt_error_set(p->err, EDT_ERR_NOMEM, "no memory for an annotation"));
        }
        p->open = FIELD_NONE;
    } else if (p->depth == 1 && p->path_ends[1] == 6 && memcmp(p->path, "object", 6) == 0) {
        const edt_status status = finish_object(p, p->err);
        if (status != EDT_OK) {
            stop(p, status);
        }
    }
    if (p->depth > 0 && p->path_ends[p->depth - 1] < sizeof p->path) {
        p->path[p->path_ends[p->depth - 1]] = '\0';
    }
}

static void characters(void *ctx, const xmlChar *text, int n)
{
    parser *p = ctx;
    if (p->status != EDT_OK || p->open == FIELD_NONE) {
        return;
    }
    if ((size_t)n > sizeof p->text - p->n_text) {
        stop(p, edt_error_set(p->err, EDT_ERR_INVALID,
                              "line %d: the text of element '%s' is longer than %d bytes",
                              line_of(p), field_paths[p->open], MAX_TEXT_BYTES));
        return;
    }
    memcpy(p->text + p->n_text, text, (size_t)n);
    p->n_text += (size_t)n;
}

static void refuse_doctype(void *ctx, const xmlChar *name, const xmlChar *external,
                           const xmlChar *system)
{
    (void)name, (void)external, (void)system;
    parser *p = ctx;
    stop(p,
         edt_error_set(p->err, EDT_ERR_FORMAT,
                       "line %d: a document type declaration (<!DOCTYPE>) is not accepted in "
                       "an annotation file; remove it",
                       line_of(p)));
}

// Warnings come here too; only what makes the document unusable ends it. The argument's const
// depends on libxml2's version.
#if LIBXML_VERSION >= 21200
static void on_error(void *ctx, const xmlError *error)
#else
static void on_error(void *ctx, xmlError *error)
#endif
{
    parser *p = ctx;
    if (p->status != EDT_OK || error->level < XML_ERR_ERROR) {
        return;
    }
    if (error->code == XML_ERR_DOCUMENT_END && p->depth > 0) {
        stop(p, edt_error_set(p->err, EDT_ERR_FORMAT,
                              "line %d: the file ends inside an element: it is cut off",
                              error->line));
        return;
    }
    const char *message = error->message != NULL ? error->message : "not well-formed";
    size_t n = strlen(message);
    while (n > 0 && message[n - 1] == '\n') {
        --n;
    }
    stop(p, edt_error_set(p->err, EDT_ERR_FORMAT, "line %d: %.*s", error->line,
                          (int)(n < 200 ? n : 200), message));
}

// Some errors of decoding a character set reach libxml2's generic handler alone, which prints
// them; the document is not well-formed then, which is what the caller hears.
static void ignore_message(void *ctx, const char *format, ...)
{
    (void)ctx, (void)format;
}

static void run(parser *p, edt_span xml, edt_error *err)
{
    xmlSAXHandler handler = {
        .initialized = XML_SAX2_MAGIC,
        .internalSubset = refuse_doctype,
        .startElementNs = start_element,
        .endElementNs = end_element,
        .characters = characters,
        .ignorableWhitespace = characters,
        .cdataBlock = characters,
        .serror = on_error,
    };
    xmlSetGenericErrorFunc(NULL, ignore_message); // of this thread
    p->context = xmlCreatePushParserCtxt(&handler, p, NULL, 0, NULL);
    if (p->context == NULL) {
        p->status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for an XML parser");
        return;
    }
    (void)xmlCtxtUseOptions(p->context, XML_PARSE_NONET);
    (void)xmlParseChunk(p->context, (const char *)xml.data, (int)xml.n_bytes, 1);
    if (p->status == EDT_OK && !p->context->wellFormed) {
        p->status = edt_error_set(err, EDT_ERR_FORMAT, "it is not a well-formed XML document");
    }
    if (p->context->myDoc != NULL) {
        xmlFreeDoc(p->context->myDoc);
    }
    xmlFreeParserCtxt(p->context);
}

edt_status edt_voc_xml_parse(edt_span xml, bool ignore_difficult, edt_arena *arena,
                             edt_error *err, edt_voc_annotation *out_annotation)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, xmlInitParser);
    if (xml.n_bytes == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "it is an empty file");
    }
    if (xml.n_bytes > EDT_VOC_XML_MAX_BYTES) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%zu bytes are too many for an annotation file (%d)",
                 xml.n_bytes, EDT_VOC_XML_MAX_BYTES);
    }
    edt_error words = {0};
    parser p = {.arena = arena,
                .ignore_difficult = ignore_difficult,
                .open = FIELD_NONE,
                .err = &words};
    run(&p, xml, &words);
    edt_voc_annotation found = {.n_objects = p.n_objects, .objects = p.objects};
    if (p.status == EDT_OK) {
        p.status = get_int(&p, FIELD_WIDTH, 1, INT32_MAX, &words, &found.width);
    }
    if (p.status == EDT_OK) {
        p.status = get_int(&p, FIELD_HEIGHT, 1, INT32_MAX, &words, &found.height);
    }
    if (p.status == EDT_OK) {
        p.status = get_text(&p, FIELD_FOLDER, &words, &found.folder);
    }
    if (p.status == EDT_OK) {
        p.status = get_text(&p, FIELD_FILENAME, &words, &found.filename);
    }
    if (p.status == EDT_OK && found.filename[0] == '\0') {
        p.status = edt_error_set(&words, EDT_ERR_INVALID, "element 'filename' is empty");
    }
    if (p.status != EDT_OK) {
        if (err != NULL) {
            *err = words;
        }
        return p.status;
    }
    *out_annotation = found;
    return EDT_OK;
}

const char *edt_voc_xml_library_version(void)
{
    return LIBXML_DOTTED_VERSION;
}
