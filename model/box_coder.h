// Box regression targets and their inverse (spec/model.md 4.2, 4.3), in f32 and in the
// reference's order of operations. Boxes and anchors are ymin,xmin,ymax,xmax; codes are
// ty,tx,th,tw.
#ifndef EDT_MODEL_BOX_CODER_H
#define EDT_MODEL_BOX_CODER_H

// Sizes below 1e-8 are raised to it, so that degenerate boxes give finite codes.
void edt_box_encode(const float anchor[4], const float box[4], float out_code[4]);

// No clamping of th and tw and no clipping: large codes give infinite boxes, as in the
// reference.
void edt_box_decode(const float anchor[4], const float code[4], float out_box[4]);

#endif
