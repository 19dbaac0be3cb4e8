// Encodes boxes against anchors and decodes predictions (Faster R-CNN coding without scale
// factors, as tf2/anchors.py and object_detection/faster_rcnn_box_coder.py of the reference).
#include "model/box_coder.h"

#include <math.h>

typedef struct centred {
    float y, x, h, w;
} centred;

static centred centre_of(const float box[4])
{
    const float h = box[2] - box[0];
    const float w = box[3] - box[1];
    return (centred){
        .y = box[0] + h / 2.0f,
        .x = box[1] + w / 2.0f,
        .h = fmaxf(h, 1e-8f),
        .w = fmaxf(w, 1e-8f),
    };
}

void edt_box_encode(const float anchor[4], const float box[4], float out_code[4])
{
    const centred a = centre_of(anchor);
    const centred b = centre_of(box);
    out_code[0] = (b.y - a.y) / a.h;
    out_code[1] = (b.x - a.x) / a.w;
    out_code[2] = logf(b.h / a.h);
    out_code[3] = logf(b.w / a.w);
}

void edt_box_decode(const float anchor[4], const float code[4], float out_box[4])
{
    const float ya = (anchor[0] + anchor[2]) / 2.0f;
    const float xa = (anchor[1] + anchor[3]) / 2.0f;
    const float ha = anchor[2] - anchor[0];
    const float wa = anchor[3] - anchor[1];
    const float h = expf(code[2]) * ha;
    const float w = expf(code[3]) * wa;
    const float y = code[0] * ha + ya;
    const float x = code[1] * wa + xa;
    out_box[0] = y - h / 2.0f;
    out_box[1] = x - w / 2.0f;
    out_box[2] = y + h / 2.0f;
    out_box[3] = x + w / 2.0f;
}
