/* SPDX-License-Identifier: BSD-3-Clause */
/* One TensorProto in a file of its own (.pb), as ONNX's test data come: an input for `run`. */
#include "graph/onnx_private.h"

bl_status bl_tensor_from_pb(bl_ctx *ctx, const char *place, const void *data, size_t size,
                            bl_arena *arena, bl_tensor *out)
{
    bl_graph owner = {.arena = arena}; /* bl_onnx_tensor puts constants into a graph's arena */
    bl_onnx in = {.ctx = ctx, .place = place, .data = data, .size = size, .graph = &owner};
    ProtobufCMessage *message = NULL;
    if (size == 0)
        return bl_fail(ctx, BL_DATA, place, "fetch or export it again", "the file is empty");
    in.scratch = bl_arena_new(ctx, "reading a tensor");
    BL_ALLOC_TRY(ctx, in.scratch);
    bl_status status =
        bl_onnx_parse(&in, BL_ONNX_TENSOR, &onnx__tensor_proto__descriptor, &message);
    if (status == BL_OK)
        status = bl_onnx_tensor(&in, (const Onnx__TensorProto *)message, "tensor", out);
    bl_arena_free(in.scratch);
    return status;
}
