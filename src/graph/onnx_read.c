/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From bytes to the parsed model: map, pre-scan (onnx_scan.c), the check against the memory
 * ceiling, then the generated parser on an arena, which counts and refuses.  What the model means
 * is left to onnx_graph.c.  The parsed form dies here; only the graph leaves.
 */
#include "graph/onnx_private.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ files of other kinds */

/* The first line of what looks like text, or NULL. */
static const char *text_start(const uint8_t *data, size_t size, char *buf, size_t buf_size)
{
    size_t n = BL_MIN(size, (size_t)512), line = 0, cut = 0;
    for (size_t i = 0; i < n; i++)
        if ((data[i] < 0x20 && !strchr("\t\n\r\f", data[i])) || data[i] == 0x7F || data[i] == 0)
            return NULL;
    while (cut < 4 && cut < n && !bl_utf8_valid((const char *)data, n - cut)) cut++;
    if (n == 0 || cut == 4 || cut == n)
        return NULL; /* up to 3 bytes of a last character may be cut */
    while (line < n && line < buf_size - 1 && data[line] != '\n' && data[line] != '\r') line++;
    memcpy(buf, data, line);
    buf[line] = '\0';
    return buf;
}

/* True, and the pending error says what the file is, if that can be told. */
static bool is_foreign(bl_ctx *ctx, const char *place, const uint8_t *data, size_t size)
{
    static const struct {
        size_t at;
        const char *magic, *what;
    } formats[] = {
        {0, "PK\x03\x04", "a ZIP archive (PyTorch, Keras)"},
        {0, "\x89HDF", "an HDF5 file (Keras)"},
        {4, "TFL3", "a TensorFlow Lite model"},
        {0, "\x1F\x8B", "a gzip archive"},
        {0, "\x93NUMPY", "a NumPy array"},
        {0, "\x80\x02", "a Python pickle"},
        {0, "GGUF", "a GGUF file"},
        {0, "BITLATHE", "what bitlathe made of a network"},
        {0, "\x7F" "ELF", "a program"},
        {0, "\x89PNG", "a picture"},
    };
    char line[41];
    if (text_start(data, size, line, sizeof(line))) {
        bool lfs = strncmp(line, "version https://git-lfs", 23) == 0;
        bl_fail(ctx, BL_DATA, place,
                lfs ? "fetch the file itself with: git lfs pull"
                    : "download the file itself, not a page about it",
                "this is text (\"%s\"), not an ONNX file", line);
        return true;
    }
    for (size_t i = 0; i < BL_COUNTOF(formats); i++) {
        size_t n = strlen(formats[i].magic);
        if (size < formats[i].at + n || memcmp(data + formats[i].at, formats[i].magic, n) != 0)
            continue;
        bl_fail(ctx, BL_DATA, place, "export the network as ONNX", "this is %s, not an ONNX file",
                formats[i].what);
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------ the parser on an arena */

typedef struct parser_memory {
    bl_arena *arena;
    bool refused;
} parser_memory;

static void *parser_alloc(void *user, size_t size)
{
    parser_memory *m = user;
    void *p = m->refused ? NULL : bl_alloc(m->arena, 1, size);
    m->refused = !p;
    return p;
}

static void parser_free(void *user, void *p)
{
    (void)user; /* dies with the arena: freeing the parsed form would recurse */
    (void)p;
}

static bl_status check_ceiling(bl_ctx *ctx, const char *place, uint64_t need)
{
    uint64_t live, ceiling = ctx->options.memory_bytes;
    char need_text[32], ceiling_text[32];
    bl_memory_use(ctx, &live, NULL);
    if (live <= ceiling && need <= ceiling - live) return BL_OK;
    return bl_fail(ctx, BL_UNAVAILABLE, place, "raise --memory or use a smaller model",
                   "reading it needs %s, more than is left of %s", bl_human_bytes(need, need_text),
                   bl_human_bytes(ceiling, ceiling_text));
}

bl_status bl_onnx_parse(bl_onnx *in, bl_onnx_root root,
                        const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out)
{
    bl_onnx_scan scan;
    const uint8_t *bytes = in->data;
    BL_TRY(bl_onnx_scan_file(in->ctx, in->scratch, in->place, root, in->data, in->size, &scan));
    BL_TRY(check_ceiling(in->ctx, in->place, scan.need_bytes));
    if (scan.n_cuts > 0) {
        uint8_t *compact = BL_NEW(in->scratch, uint8_t, scan.compact_bytes);
        BL_ALLOC_TRY(in->ctx, compact);
        bl_onnx_compact(&scan, in->data, in->size, compact);
        bytes = compact;
    }
    parser_memory memory = {in->scratch, false};
    ProtobufCAllocator allocator = {parser_alloc, parser_free, &memory};
    *out = protobuf_c_message_unpack(descriptor, &allocator, scan.compact_bytes, bytes);
    if (*out) return BL_OK;
    if (memory.refused) return bl_fail_within(in->ctx, "%s", in->place);
    return bl_fail(in->ctx, BL_DATA, in->place, BL_ONNX_DAMAGED, "the parser rejects it");
}

static bl_status read_model(bl_onnx *in)
{
    ProtobufCMessage *message = NULL;
    bl_status status = bl_onnx_parse(in, BL_ONNX_MODEL, &onnx__model_proto__descriptor, &message);
    in->model = (const Onnx__ModelProto *)message;
    if (status == BL_OK && !in->model->graph)
        status = bl_fail(in->ctx, BL_DATA, in->place, BL_ONNX_DAMAGED, "it holds no graph");
    if (status == BL_DATA && is_foreign(in->ctx, in->place, in->data, in->size)) return BL_DATA;
    BL_TRY(status);
    return bl_onnx_graph(in);
}

static bl_status import_from(bl_onnx *in, bl_graph **out)
{
    bl_ctx *ctx = in->ctx;
    bl_status status;
    if (in->size == 0)
        return bl_fail(ctx, BL_DATA, in->place, "fetch or export it again", "the file is empty");
    if (in->size > BL_ONNX_FILE_MAX)
        return bl_fail(ctx, BL_DATA, in->place, "store the constants outside (external data)",
                       "an ONNX file has at most 2147483647 bytes");
    in->scratch = bl_arena_new(ctx, "reading ONNX");
    BL_ALLOC_TRY(ctx, in->scratch);
    status = bl_graph_new(ctx, &in->graph);
    if (status == BL_OK) status = read_model(in);
    bl_arena_free(in->scratch);
    if (status != BL_OK) {
        bl_graph_free(in->graph);
        return status;
    }
    *out = in->graph;
    return BL_OK;
}

bl_status bl_import_bytes(bl_ctx *ctx, const char *name, const void *data, size_t size,
                          const bl_import_options *options, bl_graph **out)
{
    bl_onnx in = {.ctx = ctx, .place = name, .data = data, .size = size, .options = options};
    return import_from(&in, out);
}

bl_status bl_import(bl_ctx *ctx, const char *path, const bl_import_options *options, bl_graph **out)
{
    bl_map map;
    bl_arena *names = bl_arena_new(ctx, "reading ONNX");
    BL_ALLOC_TRY(ctx, names);
    size_t folder_bytes = (size_t)(bl_path_base(path) - path);
    char *folder = folder_bytes ? bl_strndup(names, path, folder_bytes) : bl_strdup(names, ".");
    bl_status status = folder ? bl_map_file(ctx, path, BL_ONNX_FILE_MAX, &map) : bl_pending(ctx);
    if (status == BL_OK) {
        bl_onnx in = {.ctx = ctx,
                      .place = path,
                      .folder = folder,
                      .data = map.data,
                      .size = map.size,
                      .borrow = true,
                      .options = options};
        status = import_from(&in, out);
        if (status == BL_OK)
            (*out)->map = map;
        else
            bl_unmap(&map);
    }
    bl_arena_free(names);
    return status;
}
