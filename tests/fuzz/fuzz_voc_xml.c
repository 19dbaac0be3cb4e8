// Any bytes as a VOC annotation file: an error with words, or a sound annotation.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataio/voc_xml.h"

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_error err = {0};
    edt_voc_annotation note;
    const bool ignore_difficult = n % 2 == 1;
    const edt_status status =
        edt_voc_xml_parse((edt_span){data, n}, ignore_difficult, &arena, &err, &note);
    if (status == EDT_OK) {
        bool sound = note.height > 0 && note.width > 0 && note.filename[0] != '\0';
        for (int64_t i = 0; i < note.n_objects; ++i) {
            const edt_voc_object *object = &note.objects[i];
            sound = sound && object->name != NULL && object->pose != NULL &&
                    !(object->difficult && ignore_difficult);
            for (int k = 0; k < 4; ++k) {
                sound = sound && isfinite(object->box[k]);
            }
        }
        if (!sound) {
            abort();
        }
    } else if (err.text[0] == '\0') {
        abort();
    }
    edt_arena_deinit(&arena);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "<annotation><folder>VOC2012</folder><filename>a.jpg</filename><size><width>486</width>"
        "<height>500</height></size><object><name>person</name><pose>Unspecified</pose>"
        "<truncated>0</truncated><difficult>0</difficult><bndbox><xmin>174</xmin><ymin>101</"
        "ymin>"
        "<xmax>349</xmax><ymax>351</ymax></bndbox></object></annotation>",
        "<?xml version='1.0' encoding='UTF-8'?><annotation><folder/><filename>&#233;</filename>"
        "<size><height>1</height><width>2</width></size><object><difficult>1</difficult></"
        "object>"
        "<object><part><name>x</name></part></object><!-- c --></annotation>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;&amp;<![CDATA[x]]></annotation>",
    };
    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
