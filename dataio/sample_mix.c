// See sample_mix.h.
#include "dataio/sample_mix.h"

#include <inttypes.h>

#include "augment/copy_paste.h"
#include "augment/mixup.h"
#include "augment/mosaic.h"
#include "core/clock.h"
#include "core/mem.h"
#include "dataio/sample_objects.h"

enum { N_PARTNERS = EDT_SAMPLE_MAX_PARTNERS };
_Static_assert(N_PARTNERS == EDT_MOSAIC_TILES - 1, "a mosaic is the sample and its partners");

struct edt_sample_mixer {
    const edt_preprocess_config *config;
    edt_sample_picture *partners[N_PARTNERS];
    edt_mix_buffers *buffers;
    edt_image_decoder *mask_decoder;
    edt_row_buffer masks; // of all objects that are pasted
    double parse_seconds, read_seconds;
};

// The sample at work.
typedef struct mixing {
    edt_sample_mixer *mixer;
    const edt_sample *sample;
    edt_sample_picture *own;
    edt_arena *arena;
    int64_t h, w; // of the picture as it is now
    edt_objects objects;
    edt_image image; // no data: own is not decoded yet
} mixing;

// A partner whose record has been read and whose picture is open.
typedef struct partner {
    edt_sample_picture *picture;
    edt_example example;
    int64_t h, w;
    edt_objects objects;
    int64_t *source; // of each object, its number in the record
} partner;

edt_status edt_sample_mixer_create(const edt_preprocess_config *config, edt_error *err,
                                   edt_sample_mixer **out_mixer)
{
    edt_status status = EDT_OK;
    edt_sample_mixer *m = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *m);
    if (m == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for mixing pictures");
    }
    m->config = config;
    for (int i = 0; i < N_PARTNERS; ++i) {
        EDT_TRY_GOTO(edt_sample_picture_create(config->exif_rotate, config->cache, err,
                                               &m->partners[i]));
    }
    EDT_TRY_GOTO(edt_mix_buffers_create(err, &m->buffers));
    EDT_TRY_GOTO(edt_image_decoder_create(NULL, err, &m->mask_decoder));
    *out_mixer = m;
    return EDT_OK;
fail:
    edt_sample_mixer_destroy(m);
    return status;
}

void edt_sample_mixer_destroy(edt_sample_mixer *mixer)
{
    if (mixer == NULL) {
        return;
    }
    for (int i = 0; i < N_PARTNERS; ++i) {
        edt_sample_picture_destroy(mixer->partners[i]);
    }
    edt_mix_buffers_destroy(mixer->buffers);
    edt_image_decoder_destroy(mixer->mask_decoder);
    edt_row_buffer_deinit(&mixer->masks);
    edt_mem_free(mixer);
}

double edt_sample_mixer_decode_seconds(const edt_sample_mixer *mixer)
{
    double sum = mixer->parse_seconds;
    for (int i = 0; i < N_PARTNERS; ++i) {
        sum += edt_sample_picture_seconds(mixer->partners[i]);
    }
    return sum;
}

double edt_sample_mixer_read_seconds(const edt_sample_mixer *mixer)
{
    return mixer->read_seconds;
}

// Its objects and its picture's size. What makes a sample bad makes a partner bad, its id too:
// records that were met as bad samples are passed over unseen, and batches must not depend on
// what was met before.
static edt_status open_partner(mixing *m, edt_span record, int64_t index, unsigned what,
                               edt_error *err, partner *p)
{
    const edt_preprocess_config *c = m->mixer->config;
    const double t0 = edt_clock_now_s();
    int64_t unused_id;
    EDT_TRY(edt_example_decode(record, what, m->arena, err, &p->example));
    EDT_TRY(edt_sample_source_id(c, &p->example, err, &unused_id));
    EDT_TRY(edt_sample_objects_read(c, &p->example, m->arena, err, &p->objects, &p->source));
    m->mixer->parse_seconds += edt_clock_now_s() - t0;
    return edt_sample_picture_open(p->picture, p->example.encoded, index, err, &p->h, &p->w);
}

// What is done with a partner while its record is in memory.
typedef edt_status use_partner(mixing *m, partner *p, void *ctx, edt_error *err);

// Draws partners until one can be used.
static edt_status with_partner(mixing *m, int slot, unsigned what, use_partner *use, void *ctx,
                               edt_error *err)
{
    const edt_partner_source *source = m->sample->partners;
    edt_status status = EDT_OK;
    for (int i_try = 0; i_try < EDT_SAMPLE_MAX_PARTNER_TRIES; ++i_try) {
        const int64_t index = source->draw(source->ctx, &m->sample->draws->mixing);
        edt_span record;
        edt_error reason = {0};
        const double t0 = edt_clock_now_s();
        status = source->read(source->ctx, index, &reason, &record);
        m->mixer->read_seconds += edt_clock_now_s() - t0;
        partner p = {.picture = m->mixer->partners[slot]};
        if (status == EDT_OK) {
            status = open_partner(m, record, index, what, &reason, &p);
        }
        if (status == EDT_OK) {
            status = use(m, &p, ctx, &reason);
        }
        if (status == EDT_OK) {
            return EDT_OK;
        }
        const bool is_last = i_try + 1 == EDT_SAMPLE_MAX_PARTNER_TRIES;
        const edt_status verdict = source->reject(source->ctx, index, status, &reason);
        if (verdict != EDT_OK || is_last) {
            return edt_error_set(err, verdict != EDT_OK ? verdict : status, "mixed with %s",
                                 reason.text);
        }
    }
    return status;
}

static edt_status decode_own(mixing *m, edt_error *err)
{
    if (m->image.data != NULL) {
        return EDT_OK;
    }
    return edt_sample_picture_decode(m->own, 0, true, err, &m->image);
}

typedef struct mosaic_tiles {
    edt_image images[EDT_MOSAIC_TILES];
    edt_objects objects[EDT_MOSAIC_TILES];
    int n;
} mosaic_tiles;

static edt_status take_tile(mixing *m, partner *p, void *ctx, edt_error *err)
{
    (void)m;
    mosaic_tiles *tiles = ctx;
    EDT_TRY(edt_sample_picture_decode(p->picture, 0, false, err, &tiles->images[tiles->n]));
    tiles->objects[tiles->n++] = p->objects;
    return EDT_OK;
}

static edt_status make_mosaic(mixing *m, edt_error *err)
{
    const edt_hw size = m->mixer->config->image_size;
    const edt_mosaic_split split =
        edt_mosaic_draw(size.h, size.w, EDT_MOSAIC_MIN_PERCENT, &m->sample->draws->mixing);
    mosaic_tiles tiles = {.objects = {m->objects}, .n = 1};
    EDT_TRY(edt_sample_picture_decode(m->own, 0, false, err, &tiles.images[0]));
    for (int i = 0; i < N_PARTNERS; ++i) {
        EDT_TRY(with_partner(m, i, 0, take_tile, &tiles, err));
    }
    EDT_TRY(edt_mosaic_compose(m->mixer->buffers, tiles.images, tiles.objects, &split, m->arena,
                               err, &m->image, &m->objects));
    m->h = m->image.h;
    m->w = m->image.w;
    return EDT_OK;
}

// The region of mask `number` of the record as u8 [region.h, region.w].
static edt_status decode_mask(mixing *m, const partner *p, int64_t number, edt_region region,
                              edt_error *err, uint8_t *out_mask)
{
    edt_image_decoder *decoder = m->mixer->mask_decoder;
    int64_t h, w;
    edt_image image;
    EDT_TRY(edt_image_open(decoder, p->example.masks[number], err, &h, &w));
    if (h != p->h || w != p->w) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "%" PRId64 "x%" PRId64 " pixels for a picture of %" PRId64 "x%" PRId64, w, h,
                 p->w, p->h);
    }
    EDT_TRY(edt_image_decode(decoder, 0, err, &image));
    for (int64_t y = 0; y < region.h; ++y) {
        const uint8_t *row = image.data + (region.y + y) * image.stride + 3 * region.x;
        for (int64_t x = 0; x < region.w; ++x) {
            out_mask[y * region.w + x] = row[3 * x];
        }
    }
    return EDT_OK;
}

// The masks of the objects that are pasted; NULL when the record has none.
static edt_status decode_masks(mixing *m, const partner *p, const edt_copy_paste_plan *plan,
                               edt_error *err, const uint8_t *const **out_masks)
{
    *out_masks = NULL;
    if (p->example.n_masks == 0) {
        return EDT_OK;
    }
    size_t n_bytes = 0;
    for (int64_t i = 0; i < plan->n; ++i) {
        n_bytes += (size_t)(plan->pastes[i].from.h * plan->pastes[i].from.w);
    }
    const uint8_t **masks = edt_arena_calloc(m->arena, (size_t)plan->n, sizeof *masks);
    if (masks == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the masks of %" PRId64 " objects", plan->n);
    }
    EDT_TRY(edt_row_buffer_reserve(&m->mixer->masks, n_bytes, err));
    uint8_t *mask = m->mixer->masks.data;
    for (int64_t i = 0; i < plan->n; ++i) {
        const edt_paste *paste = &plan->pastes[i];
        const int64_t number = p->source[paste->object];
        EDT_TRY_CTX(decode_mask(m, p, number, paste->from, err, mask), err,
                    "key 'image/object/mask', value %" PRId64, number);
        masks[i] = mask;
        mask += paste->from.h * paste->from.w;
    }
    *out_masks = masks;
    return EDT_OK;
}

// Nothing of the sample changes before the last step, which only memory can stop: a partner
// that fails leaves it as it was.
static edt_status paste_objects(mixing *m, partner *p, void *ctx, edt_error *err)
{
    (void)ctx;
    edt_copy_paste_plan plan;
    EDT_TRY(edt_copy_paste_draw(m->h, m->w, p->h, p->w, &p->objects, &m->sample->draws->mixing,
                                m->arena, err, &plan));
    if (plan.n == 0) {
        return EDT_OK;
    }
    const uint8_t *const *masks;
    edt_image image;
    EDT_TRY(decode_masks(m, p, &plan, err, &masks));
    EDT_TRY(edt_sample_picture_decode(p->picture, 0, false, err, &image));
    return edt_copy_paste_apply(m->mixer->buffers, &m->image, &m->objects, &image, &p->objects,
                                masks, &plan, m->arena, err, &m->objects);
}

static edt_status blend(mixing *m, partner *p, void *ctx, edt_error *err)
{
    (void)ctx;
    const edt_mixup_plan plan =
        edt_mixup_draw(m->h, m->w, p->h, p->w, &m->sample->draws->mixing);
    edt_image image;
    EDT_TRY(edt_sample_picture_decode(p->picture, 0, false, err, &image));
    return edt_mixup_blend(m->mixer->buffers, &m->image, &m->objects, &image, &p->objects,
                           &plan, m->arena, err, &m->objects);
}

static bool happens(const mixing *m, float probability)
{
    const edt_draws *draws = &m->sample->draws->mixing;
    return probability > 0.0f && draws->uniform(draws->ctx) < probability;
}

edt_status edt_sample_mix(edt_sample_mixer *mixer, const edt_sample *sample,
                          edt_sample_picture *own, int64_t h, int64_t w, edt_arena *arena,
                          edt_error *err, edt_objects *objects, edt_image *out_image)
{
    const edt_preprocess_config *c = mixer->config;
    mixing m = {.mixer = mixer,
                .sample = sample,
                .own = own,
                .arena = arena,
                .h = h,
                .w = w,
                .objects = *objects};
    if (happens(&m, c->mosaic_prob)) {
        EDT_TRY(make_mosaic(&m, err));
    }
    if (happens(&m, c->copy_paste_prob)) {
        EDT_TRY(decode_own(&m, err));
        EDT_TRY(with_partner(&m, 0, EDT_EXAMPLE_MASKS, paste_objects, NULL, err));
    }
    if (happens(&m, c->mixup_prob)) {
        EDT_TRY(decode_own(&m, err));
        EDT_TRY(with_partner(&m, 0, 0, blend, NULL, err));
    }
    *objects = m.objects;
    *out_image = m.image;
    return EDT_OK;
}
