// Stand-in for cuDNN's graph interface: one convolution or one of its gradients per graph,
// computed plainly. As strict as the library: attributes are checked for name, type, number and
// order, everything must be finalised, pointers aligned, workspaces given (they are filled with
// NaN). It offers engines that a caller must pass over: one that rounds its inputs, one that is
// not deterministic; some refuse unequal paddings.
#include <stdio.h>
#include <string.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <cudnn.h>

#include "tests/cuda_emulator/emulated_convolution.h"
#include "tests/cuda_emulator/emulator.h"

using namespace edt_emulator;

struct cudnnContext {
    cudaStream_t stream;
};

namespace
{

enum engine_kind { ROUNDS_INPUTS, UNORDERED, PLAIN, UNEQUAL_PADDINGS, SLOW };

struct object;
using reference = std::shared_ptr<object>;

struct attribute {
    cudnnBackendAttributeType_t type;
    int64_t count;
    std::vector<char> bytes;
    std::vector<reference> objects; // of CUDNN_TYPE_BACKEND_DESCRIPTOR
};

struct object {
    cudnnBackendDescriptorType_t type;
    bool finalised = false;
    std::map<cudnnBackendAttributeName_t, attribute> attributes;
    engine_kind engine = PLAIN; // of engines and configurations
    reference graph;            // of configurations

    template <typename V> V value(cudnnBackendAttributeName_t name, int i = 0) const
    {
        V v;
        memcpy(&v, attributes.at(name).bytes.data() + (size_t)i * sizeof v, sizeof v);
        return v;
    }
    const object &child(cudnnBackendAttributeName_t name) const
    {
        return *attributes.at(name).objects[0];
    }
};

thread_local std::string last_error;

cudnnStatus_t refuse(cudnnStatus_t code, const std::string &why)
{
    last_error = why;
    return code;
}

// An attribute that a descriptor takes. count 0: any number.
struct rule {
    cudnnBackendDescriptorType_t owner;
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t count;
};

#define OPERATION(DESC, PREFIX, X, W, Y)                                                       \
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_##DESC##_DESCRIPTOR,                                  \
     CUDNN_ATTR_OPERATION_CONVOLUTION_##PREFIX##_##X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},       \
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_##DESC##_DESCRIPTOR,                              \
         CUDNN_ATTR_OPERATION_CONVOLUTION_##PREFIX##_##W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},   \
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_##DESC##_DESCRIPTOR,                              \
         CUDNN_ATTR_OPERATION_CONVOLUTION_##PREFIX##_##Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},   \
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_##DESC##_DESCRIPTOR,                              \
         CUDNN_ATTR_OPERATION_CONVOLUTION_##PREFIX##_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, \
         1},                                                                                   \
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_##DESC##_DESCRIPTOR,                              \
         CUDNN_ATTR_OPERATION_CONVOLUTION_##PREFIX##_ALPHA, CUDNN_TYPE_FLOAT, 1},              \
    {                                                                                          \
        CUDNN_BACKEND_OPERATION_CONVOLUTION_##DESC##_DESCRIPTOR,                               \
            CUDNN_ATTR_OPERATION_CONVOLUTION_##PREFIX##_BETA, CUDNN_TYPE_FLOAT, 1              \
    }

const rule rules[] = {
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_COMP_TYPE,
     CUDNN_TYPE_DATA_TYPE, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_CONV_MODE,
     CUDNN_TYPE_CONVOLUTION_MODE, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS,
     CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64,
     2},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES,
     CUDNN_TYPE_INT64, 2},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS,
     CUDNN_TYPE_INT64, 2},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS,
     CUDNN_TYPE_INT64, 2},
    OPERATION(FORWARD, FORWARD, X, W, Y),
    OPERATION(BACKWARD_DATA, BWD_DATA, DX, W, DY),
    OPERATION(BACKWARD_FILTER, BWD_FILTER, X, DW, DY),
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_HANDLE,
     CUDNN_TYPE_HANDLE, 1},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_HANDLE,
     CUDNN_TYPE_HANDLE, 1},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
     CUDNN_TYPE_INT64, 3},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
     CUDNN_TYPE_VOID_PTR, 3},
    {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
     CUDNN_TYPE_VOID_PTR, 1},
};

size_t bytes_of(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_INT64: return sizeof(int64_t);
    case CUDNN_TYPE_FLOAT: return sizeof(float);
    case CUDNN_TYPE_DATA_TYPE:
    case CUDNN_TYPE_CONVOLUTION_MODE:
    case CUDNN_TYPE_HEUR_MODE: return sizeof(int);
    default: return sizeof(void *);
    }
}

element element_of(cudnnDataType_t type)
{
    switch (type) {
    case CUDNN_DATA_FLOAT: return element::f32;
    case CUDNN_DATA_BFLOAT16: return element::bf16;
    case CUDNN_DATA_HALF: return element::f16;
    default: return element::other;
    }
}

tensor tensor_of(const object &o)
{
    tensor t = {element_of(o.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)),
                {},
                o.value<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID),
                o.value<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)};
    for (int i = 0; i < 4; ++i) {
        t.dim[i] = o.value<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, i);
    }
    return t;
}

convolution convolution_of(const object &op)
{
    convolution c = {};
    cudnnBackendAttributeName_t x = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X;
    cudnnBackendAttributeName_t w = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W;
    cudnnBackendAttributeName_t y = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y;
    cudnnBackendAttributeName_t window = CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC;
    if (op.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR) {
        c.kind = DATA;
        x = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX;
        w = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W;
        y = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY;
        window = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC;
    } else if (op.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR) {
        c.kind = WEIGHT;
        x = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X;
        w = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW;
        y = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY;
        window = CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC;
    }
    c.x = tensor_of(op.child(x));
    c.w = tensor_of(op.child(w));
    c.y = tensor_of(op.child(y));
    for (int i = 0; i < 2; ++i) {
        const object &o = op.child(window);
        c.stride[i] = o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i);
        c.before[i] = o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i);
        c.after[i] = o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i);
    }
    return c;
}

const char *tensor_offence(const object &o)
{
    const tensor t = tensor_of(o);
    const int64_t packed[4] = {t.dim[1] * t.dim[2] * t.dim[3], 1, t.dim[1] * t.dim[3],
                               t.dim[1]};
    if (t.type == element::other) {
        return "data type of a tensor";
    }
    for (int i = 0; i < 4; ++i) {
        if (t.dim[i] < 1 || o.value<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, i) != packed[i]) {
            return "strides of a tensor are not those of packed channels-last data";
        }
    }
    return t.alignment < 1 || (t.alignment & (t.alignment - 1)) != 0 ? "alignment of a tensor"
                                                                     : nullptr;
}

const char *window_offence(const object &o)
{
    if (o.value<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT ||
        o.value<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) !=
            CUDNN_CROSS_CORRELATION ||
        o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2) {
        return "a convolution in float, as cross-correlation, in 2 dimensions is all there is";
    }
    for (int i = 0; i < 2; ++i) {
        if (o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, i) != 1 ||
            o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i) < 1 ||
            o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i) < 0 ||
            o.value<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i) < 0) {
            return "dilation, stride or padding";
        }
    }
    return nullptr;
}

const char *operation_offence(const object &o)
{
    const convolution c = convolution_of(o);
    if (c.x.dim[0] != c.y.dim[0] || c.x.dim[1] != c.w.dim[1] || c.y.dim[1] != c.w.dim[0]) {
        return "batches or channels do not fit each other";
    }
    for (int i = 0; i < 2; ++i) {
        const int64_t room = c.x.dim[2 + i] + c.before[i] + c.after[i] - c.w.dim[2 + i];
        if (room < 0 || c.y.dim[2 + i] != room / c.stride[i] + 1) {
            return "size of y does not follow from x, window and padding";
        }
    }
    if (c.x.uid == c.w.uid || c.x.uid == c.y.uid || c.w.uid == c.y.uid) {
        return "unique ids are not unique";
    }
    return c.x.type != c.w.type || c.x.type != c.y.type ? "data types differ" : nullptr;
}

const char *offence(const object &o)
{
    switch (o.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return tensor_offence(o);
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: return window_offence(o);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
        return operation_offence(o);
    default: return nullptr;
    }
}

convolution graph_convolution(const object &graph)
{
    return convolution_of(graph.child(CUDNN_ATTR_OPERATIONGRAPH_OPS));
}

// Whether the engine has a plan for it.
bool supports(engine_kind engine, const convolution &c)
{
    if (c.unequal() && (engine != UNEQUAL_PADDINGS || c.x.type != element::bf16)) {
        return false;
    }
    return engine != UNEQUAL_PADDINGS || c.unequal();
}

std::vector<engine_kind> engines_of(cudnnBackendHeurMode_t mode)
{
    return mode == CUDNN_HEUR_MODE_A
               ? std::vector<engine_kind>{ROUNDS_INPUTS, UNORDERED, UNEQUAL_PADDINGS}
               : std::vector<engine_kind>{PLAIN, SLOW};
}

std::vector<cudnnBackendNumericalNote_t> notes_of(engine_kind engine)
{
    switch (engine) {
    case ROUNDS_INPUTS: return {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS};
    case UNORDERED:
        return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC};
    case UNEQUAL_PADDINGS: return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
    default: return {};
    }
}

int64_t workspace_of(engine_kind engine)
{
    return engine == SLOW ? 0 : 1024 + 256 * (int64_t)engine;
}

const object &config_of(const object &plan)
{
    return plan.child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
}

reference &of(cudnnBackendDescriptor_t descriptor)
{
    return *static_cast<reference *>(descriptor);
}

} // namespace

size_t cudnnGetVersion()
{
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_SUCCESS ? "success" : "failure";
}

void cudnnGetLastErrorString(char *message, size_t n_bytes)
{
    (void)snprintf(message, n_bytes, "%s", last_error.c_str());
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    *handle = new cudnnContext{nullptr};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *descriptor)
{
    reference *r = new reference(std::make_shared<object>());
    (*r)->type = type;
    *descriptor = r;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor)
{
    delete static_cast<reference *>(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values)
{
    object &o = *of(descriptor);
    if (o.finalised) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalised already");
    }
    for (const rule &r : rules) {
        if (r.owner != o.type || r.name != name) {
            continue;
        }
        if (r.type != type) {
            return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "type of an attribute");
        }
        if (r.count != count || values == nullptr) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "number of elements of an attribute");
        }
        const char *bytes = static_cast<const char *>(values);
        attribute a = {type, count, {bytes, bytes + (size_t)count * bytes_of(type)}, {}};
        if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
            const reference &child = of(*static_cast<const cudnnBackendDescriptor_t *>(values));
            if (!child->finalised) {
                return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                              "a descriptor that is not finalised");
            }
            a.objects.push_back(child);
        }
        o.attributes[name] = a;
        return CUDNN_STATUS_SUCCESS;
    }
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the descriptor has no such attribute");
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor)
{
    object &o = *of(descriptor);
    if (o.finalised) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalised already");
    }
    for (const rule &r : rules) {
        if (r.owner == o.type && o.attributes.count(r.name) == 0) {
            return refuse(CUDNN_STATUS_BAD_PARAM,
                          "attribute " + std::to_string((int)r.name) + " is missing");
        }
    }
    const char *why = offence(o);
    if (why != nullptr) {
        return refuse(CUDNN_STATUS_BAD_PARAM, why);
    }
    if (o.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
        const object &config = config_of(o);
        if (!supports(config.engine, graph_convolution(*config.graph))) {
            return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the engine does not do this");
        }
    }
    o.finalised = true;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t wanted,
                                       int64_t *count, void *values)
{
    const object &o = *of(descriptor);
    if (!o.finalised) {
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the descriptor is not finalised");
    }
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        const auto mode = o.value<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE);
        const std::vector<engine_kind> engines = engines_of(mode);
        *count = 0;
        for (; *count < wanted && *count < (int64_t)engines.size(); ++*count) {
            object &config = *of(static_cast<cudnnBackendDescriptor_t *>(values)[*count]);
            if (config.type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) {
                return refuse(CUDNN_STATUS_BAD_PARAM, "results must be configurations");
            }
            config.engine = engines[(size_t)*count];
            config.graph = o.attributes.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).objects[0];
            config.finalised = true;
        }
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINECFG_ENGINE && o.type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR &&
        type == CUDNN_TYPE_BACKEND_DESCRIPTOR && wanted == 1) {
        object &engine = *of(*static_cast<cudnnBackendDescriptor_t *>(values));
        if (engine.type != CUDNN_BACKEND_ENGINE_DESCRIPTOR) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "the result must be an engine");
        }
        engine.engine = o.engine;
        engine.finalised = true;
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && o.type == CUDNN_BACKEND_ENGINE_DESCRIPTOR &&
        type == CUDNN_TYPE_NUMERICAL_NOTE) {
        const std::vector<cudnnBackendNumericalNote_t> notes = notes_of(o.engine);
        *count = (int64_t)notes.size() < wanted ? (int64_t)notes.size() : wanted;
        if (*count > 0) {
            memcpy(values, notes.data(), (size_t)*count * sizeof notes[0]);
        }
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE &&
        o.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && type == CUDNN_TYPE_INT64 &&
        wanted == 1) {
        *static_cast<int64_t *>(values) = workspace_of(config_of(o).engine);
        *count = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "no such attribute to read");
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack_descriptor)
{
    const object &o = *of(plan);
    const object &pack = *of(pack_descriptor);
    if (!o.finalised || !pack.finalised || o.type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ||
        pack.type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR) {
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "plan or variant pack");
    }
    const engine_kind engine = config_of(o).engine;
    const convolution c = graph_convolution(*config_of(o).graph);
    const tensor *tensors[3] = {&c.x, &c.w, &c.y};
    void *pointers[4] = {};
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
            if (pack.value<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, j) == tensors[i]->uid) {
                pointers[i] = pack.value<void *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, j);
            }
        }
        if (pointers[i] == nullptr) {
            return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "pointer of a tensor");
        }
        if ((uintptr_t)pointers[i] % (uintptr_t)tensors[i]->alignment != 0) {
            return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "pointer of a tensor");
        }
    }
    pointers[3] = pack.value<void *>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    if (workspace_of(engine) > 0 &&
        (pointers[3] == nullptr || (uintptr_t)pointers[3] % 16 != 0)) {
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "workspace");
    }
    const std::vector<void *> operands(pointers, pointers + 4);
    const cudaError_t code = enqueue(handle->stream, [c, engine, operands] {
        convolve(c, engine == ROUNDS_INPUTS, operands.data(), (size_t)workspace_of(engine));
    });
    return code == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}
