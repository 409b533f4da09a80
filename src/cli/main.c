/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe VERB ...: finds the verb. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

const bl_command bl_commands[] = {
#define X(symbol, name, words, help) { name, words, help, bl_cmd_##symbol },
#include "cli/commands.def"
#undef X
};
const size_t bl_n_commands = BL_COUNTOF(bl_commands);

static void print_help(FILE *to)
{
    fprintf(to, "Usage: bitlathe VERB ...\n"
                "The right number of bits for every layer of a neural network on the chip that runs it.\n\n");
    for (size_t i = 0; i < bl_n_commands; i++)
        fprintf(to, "  %-10s %s\n", bl_commands[i].name, bl_commands[i].help);
    fprintf(to, "\nFirst:  bitlathe quantize model.onnx --data npy:samples.npy --budget size=0.6 -o run\n"
                "Each verb has --help.  Exit codes: 0 done, 1 a goal was not reached, 64 usage, 65 bad data,\n"
                "66 input missing, 69 not available here, 70 our bug, 73 cannot create, 74 read or write\n"
                "error, 75 stopped (run it again to go on), 130 interrupted.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return BL_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        printf("bitlathe %s\n", BL_VERSION_STRING);
        return 0;
    }
    for (size_t i = 0; i < bl_n_commands; i++)
        if (!strcmp(bl_commands[i].name, argv[1])) return bl_commands[i].main(argc - 1, argv + 1);
    for (char *c = argv[1]; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = '?';
    fprintf(stderr, "bitlathe: %.100s: unknown verb; see `bitlathe --help`\n", argv[1]);
    return BL_USAGE;
}
