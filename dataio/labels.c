// See labels.h.
#include "dataio/labels.h"

#include <stdlib.h>
#include <string.h>

#include "core/path.h"
#include "core/yaml.h"

static const edt_label_entry coco[] = {
    {1, "person"}, {2, "bicycle"}, {3, "car"}, {4, "motorcycle"}, {5, "airplane"}, {6, "bus"},
    {7, "train"}, {8, "truck"}, {9, "boat"}, {10, "traffic light"}, {11, "fire hydrant"},
    {13, "stop sign"}, {14, "parking meter"}, {15, "bench"}, {16, "bird"}, {17, "cat"},
    {18, "dog"}, {19, "horse"}, {20, "sheep"}, {21, "cow"}, {22, "elephant"}, {23, "bear"},
    {24, "zebra"}, {25, "giraffe"}, {27, "backpack"}, {28, "umbrella"}, {31, "handbag"},
    {32, "tie"}, {33, "suitcase"}, {34, "frisbee"}, {35, "skis"}, {36, "snowboard"},
    {37, "sports ball"}, {38, "kite"}, {39, "baseball bat"}, {40, "baseball glove"},
    {41, "skateboard"}, {42, "surfboard"}, {43, "tennis racket"}, {44, "bottle"},
    {46, "wine glass"}, {47, "cup"}, {48, "fork"}, {49, "knife"}, {50, "spoon"}, {51, "bowl"},
    {52, "banana"}, {53, "apple"}, {54, "sandwich"}, {55, "orange"}, {56, "broccoli"},
    {57, "carrot"}, {58, "hot dog"}, {59, "pizza"}, {60, "donut"}, {61, "cake"}, {62, "chair"},
    {63, "couch"}, {64, "potted plant"}, {65, "bed"}, {67, "dining table"}, {70, "toilet"},
    {72, "tv"}, {73, "laptop"}, {74, "mouse"}, {75, "remote"}, {76, "keyboard"},
    {77, "cell phone"}, {78, "microwave"}, {79, "oven"}, {80, "toaster"}, {81, "sink"},
    {82, "refrigerator"}, {84, "book"}, {85, "clock"}, {86, "vase"}, {87, "scissors"},
    {88, "teddy bear"}, {89, "hair drier"}, {90, "toothbrush"},
};

static const edt_label_entry voc[] = {
    {1, "aeroplane"}, {2, "bicycle"}, {3, "bird"}, {4, "boat"}, {5, "bottle"}, {6, "bus"},
    {7, "car"}, {8, "cat"}, {9, "chair"}, {10, "cow"}, {11, "diningtable"}, {12, "dog"},
    {13, "horse"}, {14, "motorbike"}, {15, "person"}, {16, "pottedplant"}, {17, "sheep"},
    {18, "sofa"}, {19, "train"}, {20, "tvmonitor"},
};

static const edt_label_entry waymo[] = {
    {1, "vehicle"}, {2, "pedestrian"}, {3, "cyclist"},
};

#define EDT_MAP(entries) {#entries, (int)(sizeof(entries) / sizeof(entries)[0]), entries}
static const edt_label_map predefined[] = {EDT_MAP(coco), EDT_MAP(voc), EDT_MAP(waymo)};
#undef EDT_MAP

const edt_label_map *edt_labels_predefined(const char *name)
{
    for (size_t i = 0; i < sizeof predefined / sizeof predefined[0]; ++i) {
        if (strcmp(name, predefined[i].source) == 0) {
            return &predefined[i];
        }
    }
    return NULL;
}

static int compare_entries(const void *a, const void *b)
{
    const edt_label_entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

const char *edt_labels_find(const edt_label_map *map, int64_t id)
{
    const edt_label_entry key = {.id = id};
    const edt_label_entry *found =
        map->n > 0 ? bsearch(&key, map->entries, (size_t)map->n, sizeof key, compare_entries) : NULL;
    return found != NULL ? found->name : NULL;
}

static edt_status read_yaml(edt_hparams *hp, const char *path, edt_error *err)
{
    const edt_yaml_node *root;
    EDT_TRY(edt_yaml_read_file(path, &hp->arena, err, &root));
    if (root == NULL || root->kind != EDT_YAML_MAP || root->n == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: a label map is a list of lines 'id: name'", path);
    }
    edt_label_entry *entries = edt_arena_calloc(&hp->arena, (size_t)root->n, sizeof *entries);
    if (entries == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the label map %s", path);
    }
    for (int i = 0; i < root->n; ++i) {
        const edt_yaml_node *key = root->keys[i], *value = root->values[i];
        char *end = NULL;
        const bool scalars = key->kind == EDT_YAML_SCALAR && value->kind == EDT_YAML_SCALAR;
        entries[i].id = scalars ? strtoll(key->text, &end, 10) : 0;
        if (!scalars || end == key->text || *end != '\0') {
            EDT_FAIL(err, EDT_ERR_FORMAT, "%s:%d: expected 'id: name' with a whole number as id",
                     path, key->line);
        }
        entries[i].name = value->text;
    }
    qsort(entries, (size_t)root->n, sizeof *entries, compare_entries);
    for (int i = 1; i < root->n; ++i) {
        if (entries[i].id == entries[i - 1].id) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "%s: id %lld stands there twice", path,
                     (long long)entries[i].id);
        }
    }
    hp->label_map.entries = entries;
    hp->label_map.n = root->n;
    return EDT_OK;
}

edt_status edt_labels_resolve(edt_hparams *hp, edt_error *err)
{
    const char *source = hp->label_map.source;
    if (source == NULL) {
        return EDT_OK;
    }
    if (edt_path_has_suffix(source, ".yaml")) {
        return read_yaml(hp, source, err);
    }
    const edt_label_map *map = edt_labels_predefined(source);
    if (map == NULL) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "label_map '%s' is not known; use coco, voc, waymo, a .yaml file or a dictionary",
                 source);
    }
    hp->label_map.entries = map->entries;
    hp->label_map.n = map->n;
    return EDT_OK;
}
