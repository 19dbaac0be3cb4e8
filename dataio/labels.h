// Class names by id: the predefined maps of the reference (spec/data.md 12, tf2/label_util.py), YAML
// files and dictionaries.
#ifndef EDT_DATAIO_LABELS_H
#define EDT_DATAIO_LABELS_H

#include "core/hparams.h"

// Fills hp->label_map.entries from its `source`: "coco", "voc", "waymo" or a *.yaml file of id: name.
// A dictionary given directly, or none, stays as it is. EDT_ERR_USAGE for an unknown name,
// EDT_ERR_FORMAT with the line for a file that is not such a map. Texts live in hp->arena.
edt_status edt_labels_resolve(edt_hparams *hp, edt_error *err);

// Name of a class id, or NULL. Entries are sorted by id.
const char *edt_labels_find(const edt_label_map *map, int64_t id);

// One of the predefined maps, NULL for an unknown name. Static storage.
const edt_label_map *edt_labels_predefined(const char *name);

#endif
