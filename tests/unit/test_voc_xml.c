#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "dataio/voc_xml.h"

#define HEAD "<annotation><folder> VOC2007 </folder><filename>a&amp;b.jpg</filename>"
#define SIZE "<size><width>30</width><height> 20\n</height><depth>3</depth></size>"
#define BOX "<bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>3e1</xmax><ymax>-4</ymax></bndbox>"
#define OBJECT(name, difficult)                                                                \
    "<object><name>" name "</name><pose></pose><truncated>1</truncated><difficult>" difficult  \
    "</difficult>" BOX "</object>"
#define TAIL "</annotation>"

static edt_status parse(const char *xml, bool ignore_difficult, edt_arena *arena,
                        edt_error *err, edt_voc_annotation *out)
{
    return edt_voc_xml_parse((edt_span){(const uint8_t *)xml, strlen(xml)}, ignore_difficult,
                             arena, err, out);
}

Test(voc_xml, fields_come_from_their_places_and_the_last_counts, .timeout = 10)
{
    // Elements of other places carry the same names; sizes, texts and boxes repeat.
    static const char xml[] =
        "<?xml version='1.0' encoding='ISO-8859-1'?><!-- note -->"
        "<annotation><name>no</name><size><width>9</width></size>" //
        "<folder>other</folder><folder>VOC2007</folder><filename>caf\xe9.jpg</filename>" SIZE
        "<object><name>first</name><name> dog </name><part><name>head</name>"
        "<bndbox><xmin>7</xmin></bndbox></part><pose> Left </pose><truncated>2</truncated>"
        "<difficult>0</difficult><bndbox><xmin>9</xmin><ymin>9</ymin></bndbox>" BOX "</object>"
        "<object><name><![CDATA[cat]]></name><pose/><truncated>0</truncated>"
        "<difficult>3</difficult>" BOX "</object>" TAIL;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_error err = {0};
    edt_voc_annotation note;
    cr_assert_eq(parse(xml, false, &arena, &err, &note), EDT_OK, "%s", err.text);
    cr_assert_str_eq(note.folder, "VOC2007");
    cr_assert_str_eq(note.filename, "caf\xc3\xa9.jpg");
    cr_assert(note.height == 20 && note.width == 30);
    cr_assert_eq(note.n_objects, 2);
    const edt_voc_object *dog = &note.objects[0];
    cr_assert_str_eq(dog->name, "dog");
    cr_assert_str_eq(dog->pose, " Left ");
    cr_assert(dog->truncated == 2 && !dog->difficult);
    cr_assert(dog->box[0] == 2.5 && dog->box[1] == 1 && dog->box[2] == -4 && dog->box[3] == 30);
    cr_assert_str_eq(note.objects[1].name, "cat");
    cr_assert_str_eq(note.objects[1].pose, "");
    cr_assert(note.objects[1].difficult);
    cr_assert_eq(parse(xml, true, &arena, &err, &note), EDT_OK, "%s", err.text);
    cr_assert_eq(note.n_objects, 1);
    cr_assert_eq(parse(HEAD SIZE TAIL, false, &arena, &err, &note), EDT_OK, "%s", err.text);
    cr_assert_eq(note.n_objects, 0);
    cr_assert_str_eq(note.filename, "a&b.jpg");
    edt_arena_deinit(&arena);
}

// Each mutation has its status and names what is wrong.
Test(voc_xml, what_is_wrong_is_named, .timeout = 10)
{
    static const struct {
        const char *xml;
        edt_status status;
        const char *words;
    } cases[] = {
        {"", EDT_ERR_FORMAT, "empty file"},
        {"not xml", EDT_ERR_FORMAT, "line 1"},
        {HEAD SIZE, EDT_ERR_FORMAT, "line 2: the file ends inside"},
        {HEAD "\n<size></sizes>" TAIL, EDT_ERR_FORMAT, "line 2"},
        {HEAD "<folder>\xff</folder>" SIZE TAIL, EDT_ERR_FORMAT, "line 1"},
        {HEAD SIZE TAIL "<more/>", EDT_ERR_FORMAT, "line 2"},
        {"<annotations/>", EDT_ERR_INVALID, "'annotations' instead of 'annotation'"},
        {HEAD TAIL, EDT_ERR_INVALID, "'size/width' is missing"},
        {"<annotation>" SIZE TAIL, EDT_ERR_INVALID, "'folder' is missing"},
        {"<annotation><folder/><filename> </filename>" SIZE TAIL, EDT_ERR_INVALID,
         "'filename' is empty"},
        {HEAD "<size><width>0</width><height>1</height></size>" TAIL, EDT_ERR_INVALID,
         "'size/width': '0' is not from 1 to 2147483647"},
        {HEAD "<size><width>1.5</width><height>1</height></size>" TAIL, EDT_ERR_INVALID,
         "'1.5' is not a whole number"},
        {HEAD "<size><width>99999999999999999999</width><height>1</height></size>" TAIL,
         EDT_ERR_INVALID, "is not a whole number"},
        {HEAD "<size>3</size>" TAIL, EDT_ERR_INVALID, "'size/width' is missing"},
        {HEAD "<folder><b>x</b></folder>" SIZE TAIL, EDT_ERR_INVALID,
         "'folder' holds an element 'b'"},
        {HEAD SIZE "<object><name>x</name></object>" TAIL, EDT_ERR_INVALID,
         "object 0: element 'object/difficult' is missing"},
        {HEAD SIZE OBJECT("x", "0") OBJECT("y", "maybe") TAIL, EDT_ERR_INVALID,
         "object 1: element 'object/difficult': 'maybe'"},
        {HEAD SIZE "<object><difficult>0</difficult><name>x</name><pose>p</pose><bndbox>"
                   "<xmin>nan</xmin><ymin>0x1</ymin><xmax>1</xmax></bndbox></object>" TAIL,
         EDT_ERR_INVALID, "'object/bndbox/ymin': '0x1' is not a number"},
        {HEAD SIZE "<object><difficult>0</difficult><name>x</name><truncated>0</truncated>" BOX
                   "</object>" TAIL,
         EDT_ERR_INVALID, "'object/pose' is missing"},
        // Nothing is fetched or expanded.
        {"<!DOCTYPE annotation SYSTEM 'http://localhost:9/x.dtd'>" HEAD SIZE TAIL,
         EDT_ERR_FORMAT, "<!DOCTYPE>"},
        {"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>]>" HEAD SIZE TAIL,
         EDT_ERR_FORMAT, "<!DOCTYPE>"},
        {HEAD "<folder>&evil;</folder>" SIZE TAIL, EDT_ERR_FORMAT, "evil"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        edt_arena arena;
        edt_arena_init(&arena, EDT_MEM_ARENA, 0);
        edt_error err = {0};
        edt_voc_annotation note;
        const edt_status status = parse(cases[i].xml, false, &arena, &err, &note);
        cr_expect(status == cases[i].status, "case %zu: %s: %s", i, edt_status_name(status),
                  err.text);
        cr_expect(strstr(err.text, cases[i].words) != NULL, "case %zu: '%s'", i, err.text);
        edt_arena_deinit(&arena);
    }
}

Test(voc_xml, a_deep_or_huge_document_is_refused, .timeout = 30)
{
    enum { N = 100000 };
    static char xml[8 * N];
    size_t n = 0;
    for (int i = 0; i < N; ++i) {
        n += (size_t)snprintf(xml + n, sizeof xml - n, i == 0 ? "<annotation>" : "<a>");
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_error err = {0};
    edt_voc_annotation note;
    cr_assert_eq(parse(xml, false, &arena, &err, &note), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "deeper"), "%s", err.text);
    n = (size_t)snprintf(xml, sizeof xml, "<annotation><folder>");
    memset(xml + n, 'x', sizeof xml - n - 1);
    xml[sizeof xml - 1] = '\0';
    cr_assert_eq(parse(xml, false, &arena, &err, &note), EDT_ERR_INVALID);
    cr_assert_not_null(strstr(err.text, "longer"), "%s", err.text);
    const edt_span huge = {(const uint8_t *)xml, (size_t)EDT_VOC_XML_MAX_BYTES + 1};
    cr_assert_eq(edt_voc_xml_parse(huge, false, &arena, &err, &note), EDT_ERR_FORMAT);
    edt_arena_deinit(&arena);
}
