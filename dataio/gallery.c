// See gallery.h.
#include "dataio/gallery.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "augment/resize.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/path.h"
#include "core/strbuf.h"
#include "dataio/id_map.h"
#include "dataio/jpeg_encode.h"

enum {
    CELL = 256,   // side of a thumbnail
    CAPTION = 24, // below it
    GAP = 8,
    COLUMNS = 5,
    MAX_CELLS = 60,
    CHIPS = 12,  // classes named under a picture
    DARK = 0x20, // gray of the sheet
};

typedef struct class_count {
    int64_t class_id, n_boxes;
    const char *name;
} class_count;

struct edt_gallery {
    edt_arena arena;
    const char *dir, *title, *details;
    edt_strbuf cards;
    edt_resizer *resizer;
    uint8_t *sheet; // MAX_CELLS cells, COLUMNS in a row
    int64_t n_cells, n_pictures, n_boxes;
    class_count *classes;
    int64_t n_classes, capacity;
    edt_id_map index; // class to its place
};

static const char style[] =
    ":root{--bg:#f4f5f7;--card:#fff;--text:#1d2330;--dim:#667085;--line:#e1e4ea}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14161a;--card:#1e2127;--text:#e8eaee;"
    "--dim:#98a1b0;--line:#31363f}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);"
    "font:14px/1.45 system-ui,-apple-system,'Segoe UI',sans-serif}"
    "header,main,footer{max-width:1680px;margin:0 auto;padding:0 24px}"
    "header{padding-top:28px}h1{margin:0 0 4px;font-size:24px;font-weight:650}"
    "p{margin:0 0 12px;color:var(--dim);overflow-wrap:anywhere}a{color:inherit}"
    ".grid{display:grid;gap:18px;grid-template-columns:repeat(auto-fill,minmax(330px,1fr))}"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "overflow:hidden}figure img{display:block;width:100%;height:auto;background:#000}"
    "figcaption{padding:10px 14px 12px}b{font-size:16px;font-weight:650}"
    ".dim{color:var(--dim)}.mono{font:12px/1.5 ui-monospace,Consolas,monospace;"
    "color:var(--dim);overflow-wrap:anywhere}"
    ".chips{display:flex;flex-wrap:wrap;gap:5px;margin:8px 0 4px}"
    ".chip{border-radius:9px;padding:1px 9px;font-size:12.5px;white-space:nowrap;"
    "border:1px solid rgba(0,0,0,.18)}"
    "details{margin-top:6px}summary{cursor:pointer;color:var(--dim)}"
    "table{border-collapse:collapse;width:100%;margin-top:6px;font-size:12.5px;"
    "font-variant-numeric:tabular-nums}"
    "td,th{padding:2px 6px;text-align:right;border-top:1px solid var(--line)}"
    "th{font-weight:500;color:var(--dim);border:0}"
    "td:first-child,th:first-child{text-align:left}"
    "footer{padding-top:20px;padding-bottom:36px;color:var(--dim)}";

edt_status edt_gallery_create(const edt_gallery_info *info, edt_error *err,
                              edt_gallery **out_gallery)
{
    const int64_t n_rows = (MAX_CELLS + COLUMNS - 1) / COLUMNS;
    const size_t n_bytes =
        (size_t)(n_rows * (CELL + CAPTION + GAP) + GAP) * (COLUMNS * (CELL + GAP) + GAP) * 3;
    edt_gallery *gallery = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *gallery);
    if (gallery == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gallery");
    }
    edt_arena_init(&gallery->arena, EDT_MEM_TEXT, 0);
    gallery->dir = edt_arena_strdup(&gallery->arena, info->dir);
    gallery->title = edt_arena_strdup(&gallery->arena, info->title);
    gallery->details = edt_arena_strdup(&gallery->arena, info->details);
    gallery->sheet = edt_mem_alloc(EDT_MEM_IMAGE, n_bytes);
    if (gallery->dir == NULL || gallery->title == NULL || gallery->details == NULL ||
        gallery->sheet == NULL) {
        edt_gallery_destroy(gallery);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gallery");
    }
    memset(gallery->sheet, DARK, n_bytes);
    const edt_status status = edt_resizer_create(err, &gallery->resizer);
    if (status != EDT_OK) {
        edt_gallery_destroy(gallery);
        return status;
    }
    *out_gallery = gallery;
    return EDT_OK;
}

void edt_gallery_destroy(edt_gallery *gallery)
{
    if (gallery != NULL) {
        edt_resizer_destroy(gallery->resizer);
        edt_strbuf_deinit(&gallery->cards);
        edt_id_map_deinit(&gallery->index);
        edt_mem_free(gallery->classes);
        edt_mem_free(gallery->sheet);
        edt_arena_deinit(&gallery->arena);
        edt_mem_free(gallery);
    }
}

static edt_image sheet_view(const edt_gallery *gallery, int64_t n_cells)
{
    const int64_t n_rows = (n_cells + COLUMNS - 1) / COLUMNS;
    const int64_t n_columns = n_cells < COLUMNS ? n_cells : COLUMNS;
    return (edt_image){.data = gallery->sheet,
                       .h = n_rows * (CELL + CAPTION + GAP) + GAP,
                       .w = n_columns * (CELL + GAP) + GAP,
                       .stride = (int64_t)(COLUMNS * (CELL + GAP) + GAP) * 3};
}

// A small copy of the picture in the middle of the next cell, id and boxes below it.
static edt_status add_to_sheet(edt_gallery *gallery, const edt_gallery_picture *p,
                               edt_error *err)
{
    if (gallery->n_cells == MAX_CELLS) {
        return EDT_OK;
    }
    edt_scale_params params;
    EDT_TRY(edt_scale_params_eval(p->image->h, p->image->w, CELL, CELL, err, &params));
    uint8_t *cell = edt_arena_alloc(&gallery->arena, (size_t)CELL * CELL * 3);
    if (cell == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the contact sheet");
    }
    EDT_TRY(edt_resize_u8(gallery->resizer, p->image, &params, false, err, cell));
    edt_image sheet = sheet_view(gallery, MAX_CELLS);
    const int64_t top = GAP + gallery->n_cells / COLUMNS * (CELL + CAPTION + GAP);
    const int64_t left = GAP + gallery->n_cells % COLUMNS * (CELL + GAP);
    const double longer = (double)(p->image->h > p->image->w ? p->image->h : p->image->w);
    const int64_t h = (int64_t)fmax(1, round((double)p->image->h * CELL / longer));
    const int64_t w = (int64_t)fmax(1, round((double)p->image->w * CELL / longer));
    const int64_t y0 = top + (CELL - h) / 2, x0 = left + (CELL - w) / 2;
    for (int64_t y = 0; y < h; ++y) {
        memcpy(sheet.data + (y0 + y) * sheet.stride + x0 * 3, cell + y * CELL * 3,
               (size_t)w * 3);
    }
    edt_image strip = {.data = sheet.data + (top + CELL) * sheet.stride + left * 3,
                       .h = CAPTION,
                       .w = CELL,
                       .stride = sheet.stride};
    const char *caption = edt_arena_printf(&gallery->arena, "%s  ·  %" PRId64 " box%s",
                                           p->id[0] != '\0' ? p->id : p->name, p->n_boxes,
                                           p->n_boxes == 1 ? "" : "es");
    if (caption == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the contact sheet");
    }
    static const uint8_t gray[3] = {0xd8, 0xd8, 0xd8};
    EDT_TRY(edt_draw_text(&strip, caption, 4, 16, 13, gray, err));
    ++gallery->n_cells;
    return EDT_OK;
}

static edt_status count_class(edt_gallery *gallery, const edt_draw_box *box, edt_error *err)
{
    int64_t i = edt_id_map_get(&gallery->index, box->class_id);
    if (i < 0) {
        i = gallery->n_classes;
        if (i == gallery->capacity) {
            const int64_t capacity = i > 0 ? 2 * i : 64;
            class_count *grown = edt_mem_realloc(EDT_MEM_MISC, gallery->classes,
                                                 (size_t)capacity * sizeof *grown);
            if (grown == NULL) {
                EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gallery");
            }
            gallery->classes = grown;
            gallery->capacity = capacity;
        }
        gallery->classes[i] = (class_count){
            .class_id = box->class_id,
            .name = edt_arena_strdup(&gallery->arena, box->text != NULL ? box->text : "")};
        if (gallery->classes[i].name == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the gallery");
        }
        EDT_TRY(edt_id_map_set(&gallery->index, box->class_id, i, err));
        ++gallery->n_classes;
    }
    ++gallery->classes[i].n_boxes;
    return EDT_OK;
}

// The class's colour with text that can be read on it.
static void put_chip(edt_strbuf *page, int64_t class_id, const char *name, int64_t n)
{
    uint8_t rgb[3];
    edt_draw_class_color(class_id, rgb);
    const bool bright = 299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] > 128 * 1000;
    edt_strbuf_printf(page, "<span class=\"chip\" style=\"background:#%02x%02x%02x;color:%s\">",
                      rgb[0], rgb[1], rgb[2], bright ? "#111" : "#fff");
    edt_strbuf_put_html(page, name);
    if (n > 1) {
        edt_strbuf_printf(page, " ×%" PRId64, n);
    }
    edt_strbuf_puts(page, "</span>");
}

// Each class of a picture once, in the order of its boxes.
static void put_chips(edt_strbuf *page, const edt_gallery_picture *p)
{
    int n_chips = 0;
    edt_strbuf_puts(page, "<div class=\"chips\">");
    for (int64_t i = 0; i < p->n_boxes; ++i) {
        int64_t n = 0;
        bool seen = false;
        for (int64_t k = 0; k < p->n_boxes; ++k) {
            const bool same = p->boxes[k].class_id == p->boxes[i].class_id;
            seen = seen || (same && k < i);
            n += same;
        }
        if (!seen && ++n_chips <= CHIPS) {
            put_chip(page, p->boxes[i].class_id,
                     p->boxes[i].text != NULL ? p->boxes[i].text : "", n);
        }
    }
    if (n_chips > CHIPS) {
        edt_strbuf_printf(page, "<span class=\"dim\">+%d</span>", n_chips - CHIPS);
    }
    edt_strbuf_puts(page, "</div>");
}

static void put_boxes(edt_strbuf *page, const edt_gallery_picture *p)
{
    edt_strbuf_printf(page,
                      "<details><summary>%" PRId64 " box%s</summary><table><tr><th>class</th>"
                      "<th>x</th><th>y</th><th>width</th><th>height</th></tr>",
                      p->n_boxes, p->n_boxes == 1 ? "" : "es");
    for (int64_t i = 0; i < p->n_boxes; ++i) {
        const float *b = p->boxes[i].box;
        edt_strbuf_puts(page, "<tr><td>");
        edt_strbuf_put_html(page, p->boxes[i].text != NULL ? p->boxes[i].text : "");
        edt_strbuf_printf(page, " <span class=\"dim\">%" PRId64 "</span></td>",
                          p->boxes[i].class_id);
        const double values[4] = {(double)b[1], (double)b[0], (double)b[3] - (double)b[1],
                                  (double)b[2] - (double)b[0]};
        for (int k = 0; k < 4; ++k) {
            edt_strbuf_printf(page, "<td>%.0f</td>", values[k]);
        }
        edt_strbuf_puts(page, "</tr>");
    }
    edt_strbuf_puts(page, "</table></details>");
}

static void put_card(edt_strbuf *page, const edt_gallery_picture *p)
{
    edt_strbuf_puts(page, "<figure><a href=\"");
    edt_strbuf_put_html(page, p->file_name);
    edt_strbuf_puts(page, "\"><img loading=\"lazy\" src=\"");
    edt_strbuf_put_html(page, p->file_name);
    edt_strbuf_printf(page, "\" width=\"%" PRId64 "\" height=\"%" PRId64 "\" alt=\"",
                      p->image->w, p->image->h);
    edt_strbuf_put_html(page, p->id);
    edt_strbuf_puts(page, "\"></a><figcaption><b>");
    edt_strbuf_put_html(page, p->id[0] != '\0' ? p->id : "(no id)");
    edt_strbuf_puts(page, "</b> <span class=\"dim\">");
    if (p->width > 0) {
        edt_strbuf_printf(page, "%" PRId64 " × %" PRId64 " → ", p->width, p->height);
    }
    edt_strbuf_printf(page, "%" PRId64 " × %" PRId64 "</span>", p->valid_w, p->valid_h);
    if (p->scale > 0) {
        edt_strbuf_printf(page, " <span class=\"dim\">scale %.2f</span>", 1.0 / p->scale);
    }
    put_chips(page, p);
    edt_strbuf_puts(page, "<div class=\"mono\">");
    edt_strbuf_put_html(page, p->name);
    edt_strbuf_puts(page, p->name[0] != '\0' ? "<br>" : "");
    edt_strbuf_put_html(page, p->shard);
    edt_strbuf_printf(page, " · record %" PRId64 "</div>", p->i_record);
    put_boxes(page, p);
    edt_strbuf_puts(page, "</figcaption></figure>\n");
}

edt_status edt_gallery_add(edt_gallery *gallery, const edt_gallery_picture *picture,
                           edt_error *err)
{
    for (int64_t i = 0; i < picture->n_boxes; ++i) {
        EDT_TRY(count_class(gallery, &picture->boxes[i], err));
    }
    ++gallery->n_pictures;
    gallery->n_boxes += picture->n_boxes;
    put_card(&gallery->cards, picture);
    return add_to_sheet(gallery, picture, err);
}

static int compare_counts(const void *a, const void *b)
{
    const class_count *x = a, *y = b;
    return x->n_boxes != y->n_boxes ? (x->n_boxes < y->n_boxes) - (x->n_boxes > y->n_boxes)
                                    : (x->class_id > y->class_id) - (x->class_id < y->class_id);
}

static void put_page(edt_gallery *gallery, const char *closing, edt_strbuf *page)
{
    edt_strbuf_puts(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                          "<meta name=\"viewport\" content=\"width=device-width\"><title>");
    edt_strbuf_put_html(page, gallery->title);
    edt_strbuf_printf(page, "</title><style>%s</style></head>\n<body><header><h1>", style);
    edt_strbuf_put_html(page, gallery->title);
    edt_strbuf_puts(page, "</h1><p>");
    edt_strbuf_put_html(page, gallery->details);
    edt_strbuf_printf(page,
                      "<br>%" PRId64 " pictures, %" PRId64 " boxes of %" PRId64
                      " classes; boxes are in pixels of the network's input. "
                      "<a href=\"samples.jpg\">Contact sheet</a></p><div class=\"chips\" "
                      "style=\"margin-bottom:20px\">",
                      gallery->n_pictures, gallery->n_boxes, gallery->n_classes);
    if (gallery->n_classes > 0) {
        qsort(gallery->classes, (size_t)gallery->n_classes, sizeof *gallery->classes,
              compare_counts);
    }
    for (int64_t i = 0; i < gallery->n_classes; ++i) {
        const class_count *c = &gallery->classes[i];
        put_chip(page, c->class_id, c->name, c->n_boxes);
    }
    edt_strbuf_puts(page, "</div></header>\n<main class=\"grid\">\n");
    edt_strbuf_append(page, gallery->cards.text, gallery->cards.n_bytes);
    edt_strbuf_puts(page, "</main><footer>");
    edt_strbuf_put_html(page, closing != NULL ? closing : "");
    edt_strbuf_puts(page, "</footer></body></html>\n");
}

edt_status edt_gallery_write(edt_gallery *gallery, const char *closing, edt_error *err)
{
    const char *sheet_path = edt_path_join(&gallery->arena, gallery->dir, "samples.jpg");
    const char *page_path = edt_path_join(&gallery->arena, gallery->dir, "index.html");
    edt_strbuf page = {0};
    put_page(gallery, closing, &page);
    edt_status status = EDT_OK;
    if (page.failed || gallery->cards.failed || sheet_path == NULL || page_path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the gallery page");
    }
    if (status == EDT_OK && gallery->n_cells > 0) {
        static const edt_jpeg_encode_options encode = {.quality = 90};
        const edt_image sheet = sheet_view(gallery, gallery->n_cells);
        status = edt_jpeg_write(sheet_path, &sheet, &encode, err);
    }
    if (status == EDT_OK) {
        status = edt_file_write(page_path, page.text, page.n_bytes, err);
    }
    edt_strbuf_deinit(&page);
    return status;
}
